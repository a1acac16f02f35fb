"""Users, personas, jobs, keys, pool, models and the audit log in the store."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import serve_stores
from serve_stores import add, kept

from palate.serve.store import audit, choices, clock, erase, jobs, keys, models, people, personas, pool
from palate.serve.store.personas import KeptEdit, KeptPersona, KeptVersion

url, store = serve_stores.url, serve_stores.store


def made(rev=0, version=1, **changes):
    told = {"text": "Likes it short.", "vector": [0.25, -1.0]}
    return replace(KeptPersona(rev, version, 0, "m1", 1, True, told, told, None, 1.5), **changes)


def born(store, user="ann"):
    with store.read() as c:
        return people.state(c, "t", user).born


def save(store, persona, b, user="ann"):
    return store.write(lambda c: personas.save(c, "t", user, persona, born=b))


def load(store, user="ann"):
    with store.read() as c:
        return personas.load(c, "t", user)


# ---- users --------------------------------------------------------------------------------------------


def test_the_list_of_users(store):
    names = ["Ann", "ann", "bob", "zoë", "élan", "a_b", "a%b"]
    for name in names:
        add(store, kept(user=name))
    with store.read() as c:
        whole = [each.user for each in people.listed(c, "t")]
        assert whole == sorted(names)  # byte by byte, on both databases
        assert [u.user for u in people.listed(c, "t", after="a_b", limit=2)] == ["ann", "bob"]
        assert [u.user for u in people.listed(c, "t", like="NN")] == ["Ann", "ann"]
        assert [u.user for u in people.listed(c, "t", like="_")] == ["a_b"]
        assert [u.user for u in people.listed(c, "t", like="%")] == ["a%b"]
        assert people.count(c, "t", like="b") == 3
        first = people.listed(c, "t", limit=1)[0]
        assert (first.choices, first.pending, first.version) == (1, 1, 0)


def test_a_user_without_choices(store):
    number = store.write(lambda c: people.ensure(c, "t", "ann"))
    assert store.write(lambda c: people.ensure(c, "t", "ann")) == number == born(store)
    with store.read() as c:
        state = people.state(c, "t", "ann")
        assert (state.head, state.total, state.rev, state.upto) == (0, 0, None, None)
        assert people.state(c, "t", "bob") is None
    add(store, kept())
    assert born(store) == number


# ---- personas -----------------------------------------------------------------------------------------


def test_a_persona_comes_back_as_it_was(store):
    add(store, kept())
    persona = made(words={"text": "In words."}, exact=False)
    assert save(store, persona, born(store))
    assert load(store) == replace(persona, rev=1)
    with store.read() as c:
        assert personas.loads(c, "t", ["ann", "bob"]) == {"ann": load(store)}
        state = people.state(c, "t", "ann")
        assert (state.rev, state.version, state.model, state.upto, state.exact) == (1, 1, "m1", 1, False)
    assert isinstance(state.exact, bool)


def test_a_stale_save_is_refused(store):
    add(store, kept())
    b = born(store)
    assert save(store, made(), b)
    assert not save(store, made(), b)  # somebody else wrote the first
    assert save(store, made(rev=1, version=2), b)
    assert not save(store, made(rev=1, version=9), b)
    assert not save(store, made(rev=2), b + 1)
    assert load(store) == made(rev=2, version=2)


def test_many_that_save_at_once_one_wins(store):
    add(store, kept())
    b = born(store)
    save(store, made(), b)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: save(store, made(rev=1, version=n), b), range(8)))
    assert sum(won) == 1
    assert load(store).version == won.index(True)


def test_a_deleted_user_is_not_brought_back(store):
    add(store, kept())
    b = born(store)
    save(store, made(), b)
    (job,) = store.write(lambda c: jobs.take(c, 1, -60.0)) or store.write(lambda c: later(c))
    erase.erase(store, "t", "ann")
    for persona in (made(), made(rev=1)):
        assert not save(store, persona, b)
    version = KeptVersion(1, "adapted", "", "m1", 1, {}, None, [], 1.0)
    assert not store.write(lambda c: personas.add_version(c, "t", "ann", version))
    assert not store.write(lambda c: personas.set_edit(c, "t", "ann", KeptEdit("length", "lock")))
    assert not store.write(lambda c: jobs.queue(c, "t", "ann", 0.0))
    store.write(lambda c: jobs.failed(c, job, "ValueError"))
    store.write(lambda c: audit.note(c, "t", "key", "read", "ann"))
    with store.read() as c:
        assert people.state(c, "t", "ann") is None
        assert jobs.counts(c) == (0, 0)
        assert audit.page(c, "t", user="ann").rows == []
    add(store, kept())  # and comes back
    assert born(store) != b
    assert not save(store, made(), b)
    assert save(store, made(), born(store))


def later(c):
    """Take jobs as if an hour had passed."""
    now = clock.now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: now + 3600)
        return jobs.take(c, 9, 30.0)


def test_versions_and_edits(store):
    add(store, kept())
    for n in range(1, 6):
        version = KeptVersion(
            n, "edited", f"version {n}", "m1", n, {"n": n}, None, [{"about": "x"}], float(n)
        )
        assert store.write(lambda c, v=version: personas.add_version(c, "t", "ann", v))
    with store.read() as c:
        assert [v.version for v in personas.versions(c, "t", "ann", limit=2)] == [5, 4]
        assert [v.version for v in personas.versions(c, "t", "ann", before=3)] == [2, 1]
        assert personas.version(c, "t", "ann", 5) == version
        assert personas.version(c, "t", "ann", 6) is None
    first, second = KeptEdit("length", "lock", 0.5, 0.25, None, 1.0), KeptEdit("lists", "forget", time=2.0)
    for edit in (second, first, replace(first, shift=0.75)):
        assert store.write(lambda c, e=edit: personas.set_edit(c, "t", "ann", e))
    with store.read() as c:
        assert personas.edits(c, "t", "ann") == [replace(first, shift=0.75), second]
        assert personas.edits_of(c, "t", ["bob", "ann"])["ann"] == personas.edits(c, "t", "ann")
        assert personas.edits_of(c, "t", ["bob"]) == {"bob": []}
    assert store.write(lambda c: personas.remove_edit(c, "t", "ann", "lists"))
    assert not store.write(lambda c: personas.remove_edit(c, "t", "ann", "lists"))
    store.write(lambda c: personas.replace_edits(c, "t", "ann", [second]))
    with store.read() as c:
        assert personas.edits(c, "t", "ann") == [second]


def test_a_sample_of_personas_and_their_progress(store):
    for n in range(30):
        add(store, kept(user=f"u{n:02}"))
        if n < 20:
            save(
                store,
                made(model="m1" if n < 15 else "m0", body={"vector": [n]}),
                born(store, f"u{n:02}"),
                f"u{n:02}",
            )
    add(store, kept(user="u00", key="k2"))
    with store.read() as c:
        some = list(personas.sample(c, "t", 10))
        assert some == list(personas.sample(c, "t", 10))
        assert len({each.user for each in some}) == 10
        assert all(each.body["vector"] == [int(each.user[1:])] for each in some)
        assert len(list(personas.sample(c, "t"))) == 20
        assert personas.progress(c, "t", "m1") == personas.progress(c, None, "m1") == (14, 16)
        assert personas.progress(c, "other", "m1") == (0, 0)


# ---- jobs ---------------------------------------------------------------------------------------------


@pytest.fixture
def at(monkeypatch):
    """Set the clock."""
    now = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    return lambda time: now.__setitem__(0, time)


def take(store, limit=100, lease=30.0):
    return store.write(lambda c: jobs.take(c, limit, lease))


def test_two_takers_take_each_job_once(store, at):
    add(store, *(kept(user=f"u{n}") for n in range(60)))
    assert take(store) == []  # not due yet
    at(1000.0 + choices.SOON)
    with ThreadPoolExecutor(4) as pool:
        taken = [job.user for batch in pool.map(lambda _: take(store, 7), range(12)) for job in batch]
    assert sorted(taken) == sorted(f"u{n}" for n in range(60))


def test_a_lease_that_ran_out_is_taken_again(store, at):
    add(store, kept())
    at(1010.0)
    (dead,) = take(store)
    at(1039.0)
    assert take(store) == []
    at(1041.0)
    (alive,) = take(store)
    assert alive.user == "ann"
    store.write(lambda c: jobs.done(c, [dead]))  # too late: it is another's
    store.write(lambda c: jobs.failed(c, dead, "Late"))
    with store.read() as c:
        assert jobs.counts(c) == (1, 0)
    store.write(lambda c: jobs.done(c, [alive]))
    with store.read() as c:
        assert jobs.counts(c) == (0, 0)


def test_choices_meanwhile_are_one_more_job(store, at):
    add(store, kept(key="k1"))
    at(1001.0)
    add(store, kept(key="k2"))
    at(1002.0)
    (job,) = take(store)
    assert job.due == 1002.0  # the earlier
    add(store, kept(key="k3"))
    store.write(lambda c: jobs.done(c, [job]))
    with store.read() as c:
        assert jobs.counts(c) == (1, 0)
    assert take(store) == []
    at(1004.0)
    assert len(take(store)) == 1


def test_a_failing_job_is_tried_less_and_less_often(store, at):
    add(store, kept())
    waits, now = [], 1010.0
    for _ in range(12):
        at(now)
        (job,) = take(store)
        store.write(lambda c, j=job: jobs.failed(c, j, "ValueError"))
        step = 1.0
        while not (again := store.write(lambda c, t=now + step: due_at(c, t))):
            step *= 1.25
        waits.append(again - now)
        now = again
    assert waits[:4] == [5.0, 10.0, 20.0, 40.0]
    assert waits[-1] == jobs.LONGEST_WAIT
    add(store, kept(key="k2"))  # does not make it come sooner
    assert take(store) == []
    with store.read() as c:
        assert jobs.counts(c) == jobs.counts(c, "t") == (1, 1)


def due_at(c, _):
    return c.exec_driver_sql("SELECT due FROM jobs").scalar()


def test_a_new_model_queues_all_of_the_old(store, at):
    for n in range(10):
        store.write(lambda c, n=n: people.ensure(c, "t", f"u{n}"))
        save(store, made(model="new" if n < 3 else "old"), born(store, f"u{n}"), f"u{n}")
    assert store.write(lambda c: jobs.queue_all(c, "new")) == 7
    assert store.write(lambda c: jobs.queue_all(c, "new")) == 0
    assert len(take(store)) == 7


# ---- keys, pool, models, audit ------------------------------------------------------------------------


def test_keys(store, at):
    row, secret = store.write(lambda c: keys.make(c, "t", None, "for tests", ["use", "read", "use"], 1.0))
    token, own = store.write(lambda c: keys.make(c, "t", "ann", "", ["read"]))
    assert secret.startswith("pk_")
    assert own.startswith("pu_")
    assert len(secret) == len(own) == 3 + 43  # 256 bits
    with store.read() as c:
        caller = keys.find(c, secret)
        assert (caller.key_id, caller.tenant, caller.user) == (row.id, "t", None)
        assert caller.scopes == {"use", "read"}
        assert keys.find(c, own).user == "ann"
        assert people.state(c, "t", "ann") is not None
        for wrong in ("", secret[:-1], secret.upper(), "\ud800", "x" * 10_000):
            assert keys.find(c, wrong) is None
        assert keys.listed(c, "t") == [row]
        assert keys.listed(c, "t", "ann") == [token]
        assert keys.tenants(c) == ["t"]
        kept_bytes = c.exec_driver_sql("SELECT hash FROM keys WHERE id = '" + row.id + "'").scalar()
    assert bytes(kept_bytes) == hashlib.sha256(secret.encode()).digest()
    assert not store.write(lambda c: keys.revoke(c, "other", row.id))
    at(1000.0 + 86400.0)
    with store.read() as c:
        assert keys.find(c, secret) is None
        assert keys.find(c, own) is not None
    assert store.write(lambda c: keys.revoke(c, "t", token.id))
    with store.read() as c:
        assert keys.find(c, own) is None


def test_the_pool(store, at):
    offer = {"conversation": [{"role": "user", "content": "Hi"}], "responses": ["a", "b"]}
    ids = store.write(lambda c: pool.add(c, "t", [offer, {**offer, "id": "mine"}]))
    with store.read() as c:
        assert pool.stamp(c, "t") == (2, 1000.0)
        assert {each.id for each in pool.page(c, "t")} == set(ids)
        assert pool.page(c, "other") == pool.sampled(c, "other") == []
    at(1001.0)
    assert store.write(lambda c: pool.add(c, "t", [{**offer, "id": "mine", "responses": ["c", "d"]}])) == [
        "mine"
    ]
    with store.read() as c:
        assert pool.stamp(c, "t") == (2, 1001.0)
        assert pool.sampled(c, "t", 1) == [("mine", {**offer, "responses": ["c", "d"]})]
        assert [each.id for each in pool.page(c, "t", after=min(ids), limit=5)] == [max(ids)]
    assert store.write(
        lambda c: [pool.remove(c, "t", "mine"), pool.remove(c, "t", "no"), pool.remove(c, "t")]
    ) == [1, 0, 1]
    with store.read() as c:
        assert pool.count(c, "t") == 0


def test_models(store, at):
    with store.read() as c:
        assert models.active(c) is None
    one = store.write(lambda c: models.activate(c, "f1", "/models/one", "gate(mixed)"))
    assert store.write(lambda c: models.activate(c, "f1", "/models/one", "gate(mixed)")) == one
    two = store.write(lambda c: models.activate(c, "f2", "/models/two", "gate(mixed)"))
    back = store.write(lambda c: models.activate(c, "f1", "/models/one", "gate(mixed)"))
    with store.read() as c:
        assert models.active(c) == back
        assert models.listed(c) == [back, two, one]


def test_the_audit_log(store):
    add(store, kept())
    for n in range(5):
        store.write(
            lambda c, n=n: audit.note(c, "t", "key_1", "read persona", "ann" if n % 2 else "stranger", f"{n}")
        )
    with store.read() as c:
        page = audit.page(c, "t", limit=2)
        assert [(row.detail, row.user) for row in page.rows] == [("4", None), ("3", "ann")]
        rest = audit.page(c, "t", before=page.next)
        assert [row.detail for row in rest.rows] == ["2", "1", "0"]
        assert rest.next is None
        assert len(audit.page(c, "t", user="ann").rows) == 2
        assert audit.page(c, "other").rows == []
