"""Personas kept current: by steps, from whole histories, by jobs, over several workers and threads."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest
from serve_keeping import TENANT, give, of_taste, opened, served, world

from palate.core import Claim, Method, Persona
from palate.serve.keeper import Keeper, Served, Shelf, remaking
from palate.serve.keeper.making import made, plain
from palate.serve.store import Store, choices, clock, erase, jobs, people, personas
from palate.serve.store.choices import Kept
from palate.serve.wire.persona import Edit, Edits
from palate.serve.wire.use import Next, Rank

TWO = [
    "It depends.",
    "It depends on a great many things, each of which deserves a paragraph of its own, and more.",
]


@pytest.fixture
def keeper(tmp_path):
    keeper = opened(tmp_path)
    yield keeper
    keeper.stop()
    keeper.store.close()


def history_of(keeper, user):
    with keeper.store.read() as c:
        return choices.history(c, TENANT, user)


def exact(keeper, user):
    return made(served().method, [history_of(keeper, user)])[0]


def close(one, other, most=1e-5):
    return np.allclose(one.vector, other.vector, atol=most, rtol=1e-5)


def rank(user):
    return Rank(user=user, conversation="How do I start?", responses=TWO)


def first_place(keeper, user):
    return {r.index: r.probability for r in keeper.rank(TENANT, rank(user)).ranking}[0]


def test_nobody_and_strangers_are_people_on_average(keeper):
    plain = served().method.score(Persona(), "How do I start?", TWO)
    for user in (None, "a stranger"):
        answer = keeper.rank(TENANT, rank(user))
        assert [r.score for r in answer.ranking] == sorted(plain.tolist(), reverse=True)
        assert (answer.persona.version, answer.persona.choices) == (0, 0)
        assert "on average" in answer.persona.told
    with keeper.store.read() as c:
        assert people.state(c, TENANT, "a stranger") is None


def test_choices_move_rankings_the_right_way(keeper):
    before = first_place(keeper, None)
    give(keeper, "brief", of_taste("short", 20))
    give(keeper, "thorough", of_taste("long", 20))
    assert first_place(keeper, "brief") > before > first_place(keeper, "thorough")
    assert keeper.current(TENANT, "brief").choices == 20


def test_a_choice_is_reflected_at_the_next_read_by_a_step(keeper):
    rows = of_taste("short", 24)
    give(keeper, "ann", rows[:20])
    assert keeper.current(TENANT, "ann").exact
    for n, row in enumerate(rows[20:], 20):
        give(keeper, "ann", [row], n)
        held = keeper.current(TENANT, "ann")
        assert held.persona.provenance.feedback[-1] == f"c{n}"
        assert (held.choices, held.pending, held.exact) == (n + 1, 0, False)


def test_steps_then_a_job_equal_adapting_on_all(keeper):
    rows = of_taste("short", 24)
    give(keeper, "ann", rows[:14])
    keeper.current(TENANT, "ann")
    for n, row in enumerate(rows[14:], 14):
        give(keeper, "ann", [row], n)
        stepped = keeper.current(TENANT, "ann")
    method, asked = served().method, world()[1][7].feedback[:10]
    whole = exact(keeper, "ann")
    for row in asked:
        gap = [np.diff(method.score(p, row.conversation, row.responses))[0] for p in (stepped.persona, whole)]
        assert abs(gap[0] - gap[1]) < 1.0
    assert keeper.readapt(TENANT, ["ann"]) == {"ann": None}
    after = keeper.current(TENANT, "ann")
    assert after.exact
    assert after.version == 1
    assert close(after.persona, whole)
    assert after.persona.provenance == whole.provenance
    assert after.persona.verdict == whole.verdict


def test_a_kept_persona_is_read_back_to_the_last_bit(keeper, tmp_path):
    give(keeper, "ann", of_taste("short", 12))
    keeper.readapt(TENANT, ["ann"])
    other = opened(tmp_path)
    assert other.current(TENANT, "ann").persona == exact(keeper, "ann")
    assert other.shown(TENANT, "ann") == keeper.shown(TENANT, "ann")
    other.store.close()


def test_words_are_found_in_the_whole_history_whatever_ranks(tmp_path):
    """Steps move statements that were found; a new one comes up from the whole history alone."""
    keeper = opened(tmp_path)
    keeper.shelf.serve(Served(served().words, served().words))
    for n, row in enumerate(of_taste("short", 20)):
        give(keeper, "ann", [row], n)
        held = keeper.current(TENANT, "ann")
        if n == 1:
            assert held.words == Persona(user="ann"), "that nothing is evident is told to no model"
            assert keeper.shown(TENANT, "ann").text.startswith("No preference")
    assert not held.exact
    assert "shorter answers" in held.words.text
    assert [s.about for s in keeper.shown(TENANT, "ann").statements] == ["length"]
    keeper.store.close()


def test_removing_a_choice_makes_the_persona_anew_at_once(keeper):
    give(keeper, "ann", of_taste("short", 10))
    keeper.current(TENANT, "ann")
    for kept_before in (False, True):
        if kept_before:
            keeper.readapt(TENANT, ["ann"])
        gone = "c4" if kept_before else "c3"
        assert keeper.store.write(lambda c, gone=gone: choices.remove(c, TENANT, "ann", gone))
        held = keeper.current(TENANT, "ann")
        assert gone not in held.persona.provenance.feedback
        assert close(held.persona, exact(keeper, "ann"))
        assert held.pending == 0
    give(keeper, "ann", of_taste("short", 11)[10:], 10)  # a step after a removal begins where it may
    assert close(keeper.current(TENANT, "ann").persona, exact(keeper, "ann"), 0.5)
    assert {"c3", "c4"}.isdisjoint(keeper.current(TENANT, "ann").persona.provenance.feedback)


def test_ratings_ties_and_reasons_are_taken(keeper):
    talk = [{"role": "user", "content": "Hi"}]
    rows = [
        Kept("ann", "r", {"conversation": talk, "responses": [*TWO, "Yes."], "ratings": [3, 1, 5]}),
        Kept("ann", "t", {"conversation": talk, "responses": TWO, "chosen": None, "reason": "same"}),
    ]
    keeper.store.write(lambda c: choices.add(c, TENANT, rows))
    held = keeper.current(TENANT, "ann")
    assert held.choices == 2
    assert len(held.persona.provenance.feedback) == 4
    assert keeper.readapt(TENANT, ["ann"]) == {"ann": None}
    assert keeper.shown(TENANT, "ann").choices == 2


def test_users_may_use_the_same_keys(keeper):
    users = ["ann", "bob", "cat"]
    for user, name in zip(users, ("short", "long", "short"), strict=True):
        give(keeper, user, of_taste(name, 8 + len(user)))
    assert keeper.readapt(TENANT, users) == dict.fromkeys(users)
    for user in users:
        held, shown = keeper.current(TENANT, user), keeper.shown(TENANT, user)
        assert close(held.persona, exact(keeper, user))
        assert held.persona.provenance.feedback == tuple(
            f"c{n}" for n in range(len(held.persona.provenance.feedback))
        )
        assert {q.key for s in shown.statements for q in s.supports} <= set(held.persona.provenance.feedback)


def test_tenants_are_apart(keeper):
    give(keeper, "ann", of_taste("short", 12))
    give(keeper, "ann", of_taste("long", 12), tenant="other")
    assert not close(keeper.current(TENANT, "ann").persona, keeper.current("other", "ann").persona, 0.1)
    assert keeper.current("third", "ann").state is None


# ---- several workers ----------------------------------------------------------------------------------


def test_a_worker_never_serves_what_another_made_obsolete(keeper, tmp_path):
    other = opened(tmp_path)
    rows = of_taste("short", 20)
    give(other, "ann", rows[:8])
    keeper.current(TENANT, "ann")
    for n, row in enumerate(rows[8:], 8):
        give(other, "ann", [row], n)
        if n % 3 == 0:
            other.readapt(TENANT, ["ann"])
        held = keeper.current(TENANT, "ann")
        assert held.persona.provenance.feedback[-1] == f"c{n}"
        assert held.pending == 0
    other.readapt(TENANT, ["ann"])
    assert close(keeper.current(TENANT, "ann").persona, exact(keeper, "ann"))
    version = other.shown(TENANT, "ann").version
    other.patch(TENANT, "ann", Edits(version=version, edits=[Edit(do="apply", how="never")]), "k")
    assert keeper.current(TENANT, "ann").weight == 0.0
    other.store.write(lambda c: choices.remove(c, TENANT, "ann", "c5"))
    assert "c5" not in keeper.current(TENANT, "ann").persona.provenance.feedback
    other.store.close()


def test_caches_of_an_erased_user_are_gone(keeper, tmp_path):
    other = opened(tmp_path)
    for each in (keeper, other):
        give(each, "ann", of_taste("short", 6))
        each.shown(TENANT, "ann")
        each.next_pair(TENANT, "ann", Next())
        each._worker.look()
    erase.erase(keeper.store, TENANT, "ann", "key")
    gone = keeper.forget(TENANT, "ann")
    assert gone["cache.personas"] == 1
    for each in (keeper, other):
        each._worker.look()
        assert not len(each._current._held)
        assert not len(each._offers._seen)
        assert not len(each._scores._texts)
        assert each.current(TENANT, "ann").persona == Persona(user="ann")
    give(other, "ann", of_taste("long", 5))  # who comes back is another
    assert close(keeper.current(TENANT, "ann").persona, exact(keeper, "ann"))
    other.store.close()


def test_threads_never_mix_users(keeper):
    users, rows = [f"user-{n}" for n in range(50)], world()[1]
    faults = []
    mixed = []

    def look(user, held, shown):
        ids = [*held.persona.provenance.feedback] if held.persona.provenance else []
        ids += [q.key for s in shown.statements for q in (*s.supports, *s.contradicts)]
        mixed.extend(id for id in ids if not id.startswith(user + "/"))
        if shown.user != user or held.persona.user != user:
            mixed.append(shown.user)

    def traffic(seed):
        rng = np.random.default_rng(seed)
        try:
            for n in range(30):
                user = users[rng.integers(50)]
                row = rows[users.index(user)].feedback[rng.integers(20)]
                what = rng.integers(6)
                if what < 2:
                    give(keeper, user, [row], seed * 1000 + n, prefix=user + "/")
                elif what == 2:
                    look(user, keeper.current(TENANT, user), keeper.shown(TENANT, user))
                elif what == 3:
                    answer = keeper.rank(TENANT, rank(user))
                    mixed.extend([answer.persona.user] if answer.persona.user != user else [])
                elif what == 4:
                    keeper.readapt(TENANT, [user, users[rng.integers(50)]][: 1 + n % 2])
                else:
                    for each, held in zip(users[:9], keeper.many(TENANT, users[:9]), strict=True):
                        mixed.extend([held.user] if held.user != each else [])
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=traffic, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert mixed == []
    keeper.readapt(TENANT, users)
    for user in users[:10]:
        assert keeper.current(TENANT, user).pending == 0


# ---- jobs ---------------------------------------------------------------------------------------------


def due(keeper, monkeypatch, seconds=60.0):
    later = clock.now() + seconds
    monkeypatch.setattr(clock, "now", lambda: later)


def test_a_job_writes_a_version_and_is_done(keeper, monkeypatch):
    give(keeper, "ann", of_taste("short", 20))
    due(keeper, monkeypatch)
    assert keeper._worker.work()
    assert not keeper._worker.work()
    (version,) = keeper.versions(TENANT, "ann")
    assert (version.version, version.cause, version.choices) == (1, "adapted", 20)
    assert version.statements
    assert keeper.version(TENANT, "ann", 1) == version
    assert keeper.version(TENANT, "ann", 2) is None
    with keeper.store.read() as c:
        assert jobs.counts(c) == (0, 0)


class Broken(Exception):
    pass


def test_a_user_who_cannot_be_made_blocks_nobody(keeper, monkeypatch):
    for n in range(7):
        give(keeper, f"user-{n}", of_taste("short", 5))
    method, adapt = served().method, type(served().method).adapt_batch

    def adapt_batch(self, histories):
        if any(h.user == "user-3" for h in histories):
            raise Broken("a secret text of user-3")
        return adapt(self, histories)

    monkeypatch.setattr(type(method), "adapt_batch", adapt_batch)
    due(keeper, monkeypatch)
    assert keeper._worker.work()
    with keeper.store.read() as c:
        kept = personas.loads(c, TENANT, [f"user-{n}" for n in range(7)])
        assert jobs.counts(c) == (1, 1)
    assert sorted(kept) == [f"user-{n}" for n in range(7) if n != 3]
    assert not keeper._worker.work(), "a job that failed waits before it is tried again"
    monkeypatch.setattr(type(method), "adapt_batch", adapt)
    due(keeper, monkeypatch, 600.0)
    assert keeper._worker.work()
    with keeper.store.read() as c:
        assert jobs.counts(c) == (0, 0)
    assert keeper.current(TENANT, "user-3").version == 1


def test_a_user_who_cannot_be_made_is_answered_as_people_on_average(keeper, monkeypatch):
    give(keeper, "ann", of_taste("short", 5))
    give(keeper, "bob", of_taste("short", 5))
    method, adapt = served().method, type(served().method).adapt_batch

    def adapt_batch(self, histories):
        if self is method and any(h.user == "ann" for h in histories):
            raise Broken("a secret text")
        return adapt(self, histories)

    monkeypatch.setattr(type(method), "adapt_batch", adapt_batch)
    ann, bob = keeper.many(TENANT, ["ann", "bob"])
    assert (ann.choices, ann.pending, bob.choices) == (0, 5, 5)
    assert ann.persona == Persona(user="ann")
    keeper.rank(TENANT, rank("ann"))
    assert keeper.shown(TENANT, "ann").pending == 5
    monkeypatch.setattr(type(method), "adapt_batch", adapt)
    give(keeper, "ann", of_taste("short", 6)[5:], 5)
    assert keeper.current(TENANT, "ann").choices == 6


def test_a_job_gives_way_to_an_edit_and_to_an_erasure(keeper, monkeypatch):
    give(keeper, "ann", of_taste("short", 5))
    give(keeper, "bob", of_taste("short", 5))
    at_once = remaking.each_made
    between = [
        lambda: keeper.patch(TENANT, "ann", Edits(version=0, edits=[Edit(do="apply", how="always")]), "k"),
        lambda: erase.erase(keeper.store, TENANT, "bob", "k"),
    ]

    def slow(method, histories):
        found = at_once(method, histories)
        while between:
            between.pop()()
        return found

    monkeypatch.setattr(remaking, "each_made", slow)
    assert keeper.readapt(TENANT, ["ann", "bob"]) == {"ann": "changed", "bob": "changed"}
    assert keeper.current(TENANT, "ann").weight == 1.0
    with keeper.store.read() as c:
        assert personas.load(c, TENANT, "bob") is None
    assert keeper.readapt(TENANT, ["ann", "bob"]) == {"ann": None, "bob": None}
    assert keeper.current(TENANT, "ann").weight == 1.0


def test_the_threads_do_the_work_and_stop(keeper):
    give(keeper, "ann", of_taste("short", 5))
    keeper.store.write(lambda c: jobs.queue(c, TENANT, "ann", 0.0))
    keeper.start()
    done = threading.Event()
    for _ in range(100):
        if keeper.current(TENANT, "ann").version or done.wait(0.1):
            break
    assert keeper.current(TENANT, "ann").version == 1
    keeper.stop()
    keeper.stop()


# ---- methods that are dear ----------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False)
class Dear(Method):
    """Likes the length of what was chosen on average; making a persona is said to cost money."""

    name = "dear"
    uses_lm = True
    seed: int = 0

    def _learn(self, population):
        self.scale_ = 0.01

    def _condense(self, population):
        out = np.zeros((population.n_users, 1))
        pairs, corpus = population.pairs, population.corpus
        length = np.array([len(corpus.response(i)) for i in range(len(corpus))], float)
        np.add.at(out[:, 0], pairs.user, np.sign(length[pairs.winner] - length[pairs.loser]))
        return out

    def _log_odds(self, vectors, queries):
        length = np.array([len(queries.corpus.response(i)) for i in queries.options], float)
        return self.scale_ * length * vectors[queries.who[queries.option_query], 0]


def test_a_dear_method_is_served_stale_until_a_job_ran(tmp_path):
    model = Dear().fit(world()[0].population)
    keeper = Keeper(Store.open(f"sqlite:///{tmp_path / 'a.db'}"), Shelf(Served(model)))
    assert not keeper.shelf.active.cheap
    give(keeper, "ann", of_taste("long", 6))
    held = keeper.current(TENANT, "ann")
    assert (held.choices, held.pending) == (0, 6)
    assert held.persona == Persona(user="ann")
    assert "being made" in held.used.told
    assert keeper.readapt(TENANT, ["ann"]) == {"ann": None}
    before = keeper.current(TENANT, "ann")
    assert (before.choices, before.pending) == (6, 0)
    assert before.persona.vector[0] > 0
    give(keeper, "ann", of_taste("long", 8)[6:], 6)
    stale = keeper.current(TENANT, "ann")
    assert (stale.choices, stale.pending, stale.persona) == (6, 2, before.persona)
    assert keeper.shown(TENANT, "ann").pending == 2
    keeper.store.write(lambda c: choices.remove(c, TENANT, "ann", "c1"))
    assert keeper.current(TENANT, "ann").persona == Persona(user="ann"), "what was removed is used no more"
    newer = Dear(seed=1).fit(world()[0].population)
    keeper.readapt(TENANT, ["ann"])
    keeper.shelf.serve(Served(newer))
    old = keeper.current(TENANT, "ann")
    assert old.served.method is model
    assert old.persona.vector[0] > 0
    keeper.rank(TENANT, rank("ann"))
    keeper.readapt(TENANT, ["ann"])
    assert keeper.current(TENANT, "ann").served.method is newer
    keeper.store.close()


def test_numbers_that_json_lacks_are_kept_finite(keeper):
    endless = Persona(
        user="ann", claims=(Claim("x", 1.0, float("-inf"), float("inf")),), vector=(0.1, -1e-300)
    )
    back = Persona.from_json(plain(endless))
    assert back.vector == endless.vector
    assert back.claims[0].low < -1e100 < 1e100 < back.claims[0].high


def test_of_each_hour_the_last_adaptation_is_kept(keeper, monkeypatch):
    """Versions of a busy user do not grow without end."""
    rows = of_taste("short", 9)
    for n in range(9):
        monkeypatch.setattr(clock, "now", lambda n=n: 1.8e9 + 3600 * (n // 3))
        give(keeper, "ann", rows[n : n + 1], first=n)
        keeper.readapt(TENANT, ["ann"])
    assert [version.choices for version in keeper.versions(TENANT, "ann")] == [9, 6, 3]
