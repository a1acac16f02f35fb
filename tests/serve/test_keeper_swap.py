"""Another model takes the place of the one that is served, and no request notices."""

import json
import shutil
import threading

import pytest
from serve_keeping import TENANT, folder, give, of_taste, served

from palate.core import ConfigError, Method, StorageError
from palate.serve.keeper import Keeper, Shelf
from palate.serve.store import Store, clock, jobs, models
from palate.serve.wire.persona import Edit, Edits
from palate.serve.wire.use import Jury, Next, Rank

FOUR = ["Yes.", "No, and here is why not, at some length.", "Perhaps.", "That depends."]


@pytest.fixture
def keeper(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 'palate.db'}")
    keeper = Keeper(store, Shelf.open(store, folder("first")))
    yield keeper
    keeper.stop()
    keeper.store.close()


def test_the_model_that_was_served_last_is_taken_up_again(keeper, tmp_path):
    shown = keeper.model()
    assert shown.fingerprint == served("first").fingerprint
    assert shown.label == "mixed+gate"
    assert (shown.loading, shown.activated > 0, keeper.ready) == (None, True, True)
    again = Shelf.open(keeper.store)
    assert again.active.fingerprint == shown.fingerprint
    assert again.active.words is not None
    with keeper.store.read() as c:
        assert len(models.listed(c)) == 1
    empty = Store.open(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(ConfigError, match="--model"):
        Shelf.open(empty)
    empty.close()


def test_a_swap_drops_no_request(keeper, tmp_path, monkeypatch):
    other = Keeper(keeper.store, Shelf.open(keeper.store))
    users = [f"user-{n}" for n in range(12)]
    for n, user in enumerate(users):
        give(keeper, user, of_taste(("short", "long")[n % 2], 10))
    keeper.readapt(TENANT, users)
    keeper.patch(TENANT, users[0], Edits(version=1, edits=[Edit(do="forget", about="length")]), "k")
    end, faults, answers = threading.Event(), [], []

    def ask(each, seed):
        n = seed
        try:
            while not end.is_set() or n < seed + 6:
                n += 1
                user = users[n % 12]
                answers.append(each.rank(TENANT, Rank(user=user, conversation="Well?", responses=FOUR)))
                each.shown(TENANT, user)
                each.jury(TENANT, Jury(users=users[:3], conversation="Well?", responses=FOUR))
                each.next_pair(TENANT, user, Next())
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=ask, args=(each, s)) for s, each in enumerate([keeper, other] * 2)]
    for thread in threads:
        thread.start()
    keeper.shelf.swap(keeper.store, folder("second")).join()
    assert other.shelf.follow(other.store)
    assert not other.shelf.follow(other.store)
    end.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(answers) >= 24
    second = served("second").fingerprint
    for each in (keeper, other):
        assert each.shelf.active.fingerprint == second
        held = each.current(TENANT, users[1])
        assert held.persona.provenance.model == second
        assert held.choices == 10
    assert keeper.model(TENANT).behind == 12
    assert keeper.model().current == 0
    later = clock.now() + 60
    monkeypatch.setattr(clock, "now", lambda: later)
    while keeper._worker.work():
        pass
    assert (keeper.model().behind, keeper.model().current) == (0, 12)
    with keeper.store.read() as c:
        assert jobs.counts(c) == (0, 0)
        assert keeper.behind(c) == 0
    assert keeper.versions(TENANT, users[1])[0].cause == "model"
    state = {s.about: s.state for s in keeper.shown(TENANT, users[0]).statements}
    assert state["length"] == "forgotten", "what a person corrected outlives the model"


def test_a_folder_that_is_no_model_is_refused(keeper, tmp_path):
    with pytest.raises(StorageError, match="palate fit"):
        keeper.swap(str(tmp_path))
    damaged = tmp_path / "damaged"
    shutil.copytree(folder("second"), damaged)
    (damaged / "state.npz").write_bytes(b"no arrays")
    keeper.shelf.swap(keeper.store, damaged).join()
    shown = keeper.model()
    assert shown.loading.startswith("not loaded")
    assert shown.fingerprint == served("first").fingerprint
    keeper.rank(TENANT, Rank(user="ann", conversation="Well?", responses=FOUR))
    keeper.shelf.swap(keeper.store, folder("second")).join()
    assert keeper.model().loading is None
    assert keeper.model().fingerprint == served("second").fingerprint


def test_one_swap_at_a_time(keeper, monkeypatch):
    wait = threading.Event()
    warm = Method.score
    monkeypatch.setattr(Method, "score", lambda *given: (wait.wait(20), warm(*given))[1])
    thread = keeper.shelf.swap(keeper.store, folder("second"))
    with pytest.raises(ConfigError, match="being loaded"):
        keeper.swap(str(folder("second")))
    assert keeper.model().loading == str(folder("second"))
    assert keeper.shelf.active.fingerprint == served("first").fingerprint
    wait.set()
    thread.join()
    assert keeper.shelf.active.fingerprint == served("second").fingerprint


def test_a_model_that_cannot_be_followed_is_not_tried_each_second(keeper, tmp_path, monkeypatch):
    keeper.store.write(lambda c: models.activate(c, "feed", str(tmp_path / "elsewhere"), "x"))
    assert not keeper.shelf.follow(keeper.store)
    assert keeper.shelf.fault
    monkeypatch.setattr(Shelf, "_load", lambda *_: pytest.fail("tried again at once"))
    assert not keeper.shelf.follow(keeper.store)
    assert keeper.shelf.active.fingerprint == served("first").fingerprint


def test_a_model_without_words_is_served_too(tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(folder("first"), bare)
    shutil.rmtree(bare / "words")
    store = Store.open(f"sqlite:///{tmp_path / 'a.db'}")
    keeper = Keeper(store, Shelf.open(store, bare))
    give(keeper, "ann", of_taste("short", 6))
    shown = keeper.shown(TENANT, "ann")
    assert (shown.text, shown.statements, shown.choices) == (None, [], 6)
    assert json.loads((bare / "model.json").read_text())["method"] == "gate"
    store.close()
