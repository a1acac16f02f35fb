"""Running cells: resuming, failing, interrupting, and never seeing what is tested on."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from palate import catalogue
from palate.checks import people
from palate.core import DataError, Method, MethodError, Persona, Population, StorageError
from palate.evaluate.bench import Bench, estimate
from palate.evaluate.cells import CURVE, Cell, Outcome, Shelf
from palate.evaluate.protocol import new_users
from palate.evaluate.report import make_report
from palate.feedback.world import World

SEEN = {"fits": [], "populations": []}


@dataclass(kw_only=True, eq=False)
class Counting(Method):
    """Likes short texts, and notes what it was handed."""

    name = "counting"
    slope: float = 1.0
    seed: int = 0

    def _learn(self, population):
        SEEN["fits"].append(self.name)
        SEEN["populations"].append(("fit", population))
        self.slope_ = self.slope

    def _condense(self, population):
        SEEN["populations"].append(("adapt", population))
        return np.full((population.n_users, 1), self.slope_)

    def _log_odds(self, vectors, queries):
        return -np.array([len(queries.corpus.response(i)) for i in queries.options]) / 500.0


@dataclass(kw_only=True, eq=False)
class Failing(Counting):
    name = "failing"

    def _learn(self, population):
        raise MethodError("failing cannot learn today: wait for tomorrow")


@dataclass(kw_only=True, eq=False)
class Crashing(Counting):
    name = "crashing"

    def _condense(self, population):
        return {}["nothing here"]


@dataclass(kw_only=True, eq=False)
class Interrupted(Counting):
    name = "interrupted"
    stop = True

    def _learn(self, population):
        super()._learn(population)
        if Interrupted.stop:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Our methods stand in the catalogue beside the real ones."""
    here = __name__
    ours = {cls.name: f"{here}:{cls.__name__}" for cls in (Counting, Failing, Crashing, Interrupted)}
    monkeypatch.setattr(catalogue, "_known", lambda: {**catalogue._OURS, **ours})
    SEEN["fits"].clear()
    SEEN["populations"].clear()
    Interrupted.stop = True


@pytest.fixture(scope="module")
def task():
    return new_users("readers", people(users=30, rows=10))


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "cells")


def bench_of(task, *methods, **kwargs):
    return Bench([task], {name: {} for name in methods}, **kwargs)


def test_a_second_run_loads_everything(task, shelf):
    bench = bench_of(task, "counting", "random")
    first = bench.run(shelf)
    assert len(first.outcomes) == 3
    assert SEEN["fits"] == ["counting"]
    second = bench_of(task, "counting", "random").run(shelf)
    assert SEEN["fits"] == ["counting"]
    for (a, one), (b, two) in zip(first.outcomes.items(), second.outcomes.items(), strict=True):
        assert a.key == b.key
        np.testing.assert_array_equal(one.applied, two.applied)
        assert dict(one.seconds) == dict(two.seconds)
        assert one.curve.keys() == two.curve.keys()
        assert (one.gated is None) == (two.gated is None)
        assert (one.weight is None) == (two.weight is None)


def test_the_control_is_always_run_and_first(task):
    cells = bench_of(task, "counting", "pooled").cells()
    assert [cell.method for cell in cells] == ["pooled", "counting"]
    assert [cell.method for cell in bench_of(task, "counting").cells()] == ["pooled", "counting"]


def test_an_estimate_counts_what_is_left(task, shelf):
    bench = bench_of(task, "counting", "random")
    before = estimate(bench, shelf)
    assert (before.cells, before.finished) == (3, 0)
    assert before.texts == len(task.people.corpus.responses)
    assert "3 of 3 cells to run" in str(before)
    bench.run(shelf)
    after = estimate(bench, shelf)
    assert (after.finished, after.seconds) == (3, 0.0)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "zip without data"])
def test_a_damaged_cell_is_done_again(task, shelf, damage):
    bench = bench_of(task, "counting")
    good = bench.run(shelf)
    cell = next(c for c in good.outcomes if c.method == "counting")
    file = shelf.folder / f"{cell.key}.npz"
    whole = file.read_bytes()
    file.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "empty": b"",
            "noise": bytes(range(256)) * 20,
            "zip without data": whole[-22:],
        }[damage]
    )
    again = bench.run(shelf)
    assert not again.failures
    assert SEEN["fits"] == ["counting", "counting"]
    np.testing.assert_array_equal(again.outcomes[_like(again, cell)].applied, good.outcomes[cell].applied)
    assert file.stat().st_size > 500


def test_a_cell_with_a_flipped_bit_is_done_again(task, shelf):
    bench = bench_of(task, "counting")
    cell = next(c for c in bench.run(shelf).outcomes if c.method == "counting")
    file = shelf.folder / f"{cell.key}.npz"
    data = bytearray(file.read_bytes())
    data[60:90] = bytes(b ^ 0xFF for b in data[60:90])
    file.write_bytes(bytes(data))
    assert not bench.run(shelf).failures
    assert SEEN["fits"] == ["counting", "counting"]


def _like(results, cell):
    return next(c for c in results.outcomes if c.key == cell.key)


def test_a_cell_of_other_targets_is_not_taken(task, shelf):
    outcome = Outcome(np.zeros(3), None, None, {}, {"fit": 0.0, "adapt": 0.0, "score": 0.0})
    shelf.put("some-key", outcome)
    assert shelf.get("some-key", task.targets) is None
    assert shelf.get("some-key", task.targets.take(np.arange(3))) is not None


def test_a_method_that_fails_is_told_and_the_others_go_on(task, shelf):
    results = bench_of(task, "failing", "crashing", "counting").run(shelf)
    told = {cell.method: text for cell, text in results.failures.items()}
    assert told["failing"] == "failing cannot learn today: wait for tomorrow"
    assert told["crashing"].startswith("KeyError: 'nothing here' (_condense:")
    assert [cell.method for cell in results.outcomes] == ["pooled", "counting"]
    report = make_report(results)
    assert {f["method"] for f in report["failures"]} == {"failing", "crashing"}
    assert "failing" not in {row["method"] for row in report["rows"]}


def test_a_failure_is_tried_again_next_time(task, shelf, monkeypatch):
    bench_of(task, "failing").run(shelf)
    monkeypatch.setattr(Failing, "_learn", Counting._learn)
    assert not bench_of(task, "failing").run(shelf).failures


def test_an_interrupt_keeps_what_is_finished(task, shelf):
    bench = bench_of(task, "counting", "interrupted", "random")
    with pytest.raises(KeyboardInterrupt):
        bench.run(shelf)
    assert len(list(shelf.folder.glob("*.npz"))) == 2
    assert not [f for f in shelf.folder.iterdir() if f.name.startswith(".")]
    Interrupted.stop = False
    results = bench.run(shelf)
    assert [cell.method for cell in results.outcomes] == ["pooled", "counting", "interrupted", "random"]
    assert SEEN["fits"] == ["counting", "interrupted", "interrupted"]


def keys_of(bench):
    return {cell.method: cell.key for cell in bench.cells()}


def test_what_changes_the_outcome_changes_the_key(task):
    base = keys_of(bench_of(task, "counting", "mixed"))
    assert base == keys_of(
        bench_of(new_users("another name", people(users=30, rows=10)), "counting", "mixed")
    )
    fields = keys_of(Bench([task], {"counting": {"slope": 2.0}, "mixed": {}}))
    assert fields["counting"] != base["counting"]
    assert fields["mixed"] == base["mixed"]
    others = [
        bench_of(task, "counting", "mixed", seed=1),
        bench_of(task, "counting", "mixed", encoders=("lexical+style",)),
        bench_of(new_users("readers", people(users=30, rows=10, seed=1)), "counting", "mixed"),
        bench_of(new_users("readers", people(users=30, rows=10), seed=1), "counting", "mixed"),
    ]
    for other in others:
        assert keys_of(other)["mixed"] != base["mixed"]


def test_one_changed_choice_misses(task, shelf):
    bench_of(task, "counting").run(shelf)
    chosen = task.people.chosen.copy()
    row = int(np.flatnonzero(chosen >= 0)[0])
    chosen[row] = 1 - chosen[row]
    changed = new_users("readers", replace(task.people, chosen=chosen))
    bench_of(changed, "counting").run(shelf)
    assert SEEN["fits"] == ["counting", "counting"]


def test_a_method_of_a_new_version_misses(task, monkeypatch):
    before = keys_of(bench_of(task, "counting"))["counting"]
    monkeypatch.setattr(Counting, "version", 2)
    assert keys_of(bench_of(task, "counting"))["counting"] != before


def test_a_changed_control_misses_for_the_methods_that_are_gated_by_it(task):
    """A gate compares with the control, so another control makes another outcome."""
    base = keys_of(Bench([task], {"pooled": {}, "counting": {}}))
    other = keys_of(Bench([task], {"pooled": {"ridges": (100.0,)}, "counting": {}}))
    assert other["pooled"] != base["pooled"]
    assert other["counting"] != base["counting"]


def test_no_room_on_the_disk_stops_with_a_message(task, tmp_path):
    (tmp_path / "cells").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot keep a finished cell in"):
        bench_of(task, "counting").run(Shelf(tmp_path / "cells"))


def test_progress_is_told(shelf):
    told, fresh = [], new_users("readers", people(users=12, rows=6))
    bench_of(fresh, "counting").run(shelf, lambda what, done, total: told.append((what, done, total)))
    assert told[0] == ("readers · lexical · pooled", 0, 2)
    assert ("readers · lexical · counting", 1, 2) in told
    assert told[-1] == ("done", 2, 2)
    assert any("encoding with lexical" in what for what, _, _ in told)


# ---- what methods are shown ---------------------------------------------------------------------------


def test_methods_never_see_test_users_in_fit_nor_targets_in_adapt(task, shelf):
    bench_of(task, "counting").run(shelf)
    role = dict(zip(task.people.users, task.people.role, strict=True))
    split = dict(zip(task.people.ids, task.people.split, strict=True))
    tested = {name for name, r in role.items() if r == 2}
    kinds = {kind for kind, _ in SEEN["populations"]}
    assert kinds == {"fit", "adapt"}
    adapted_to_test = 0
    for kind, population in SEEN["populations"]:
        users = set(population.users)
        if kind == "fit":
            assert not users & tested
            continue
        for row in range(population.n_rows):
            user = population.users[population.row_user[row]]
            assert role[user] != 2 or split[population.ids[row]] == 0, "a target row was handed to adapt"
        adapted_to_test += len(users & tested)
    assert adapted_to_test > 0


def test_what_a_task_hands_to_methods_holds_no_target_choice(task):
    tested = set(task.people.with_role("test").users)
    assert not set(task.fit_on.users) & tested
    assert set(task.context.users) == tested
    targets = {task.people.ids[r] for r in np.flatnonzero(task.people.split == 1)}
    assert not set(task.context.ids) & targets
    assert len(task.targets) > 0


def test_the_curve_counts_choices_up_to_the_whole_context():
    task = new_users("world", World(users=20, pairs=6, targets=3, episodes=3).sample().population)
    SEEN["populations"].clear()
    results = bench_of(task, "counting", "random").run(_Nothing())
    outcome = next(o for c, o in results.outcomes.items() if c.method == "counting")
    assert sorted(outcome.curve) == [k for k in CURVE if k < 6] + [6]
    assert sorted(next(o for c, o in results.outcomes.items() if c.method == "random").curve) == [0]


class _Nothing(Shelf):
    """A shelf that keeps nothing."""

    def __init__(self):
        pass

    def get(self, key, targets):
        return None

    def put(self, key, outcome):
        pass


# ---- the protocol and the report ----------------------------------------------------------------------


def test_too_few_people_are_refused():
    with pytest.raises(DataError, match="no test user has a target choice"):
        new_users("few", people(users=3, rows=1).take_users(np.array([0, 1])))
    crowd = people(users=12, rows=6)
    tied = replace(crowd, chosen=np.full(crowd.n_rows, -1))
    with pytest.raises(DataError, match="target pairs are ties"):
        new_users("ties", tied)
    with pytest.raises(DataError, match=r"no training user has a choice|no test user"):
        new_users("nobody", Population.of([]))


def test_a_report_has_every_method_and_its_gate(task, shelf):
    report = make_report(bench_of(task, "random", "counting").run(shelf), command="palate bench")
    json.dumps(report, allow_nan=False)
    rows = report["rows"]
    assert {row["method"] for row in rows} == {"pooled", "random", "counting", "counting+gate"}
    accuracy = {row["method"]: row for row in rows if row["metric"] == "accuracy" and row["against"] is None}
    assert accuracy["random"]["value"] == 0.5
    assert accuracy["counting"]["low"] <= accuracy["counting"]["value"] <= accuracy["counting"]["high"]
    paired = [row for row in rows if row["against"] == "pooled" and row["metric"] == "accuracy"]
    assert {row["method"] for row in paired} == {"random", "counting", "counting+gate"}
    difference = next(row["value"] for row in paired if row["method"] == "random")
    assert difference == pytest.approx(0.5 - accuracy["pooled"]["value"])


def test_a_cell_makes_its_method_with_its_fields(task):
    cell = Cell(task, "lexical+style", "pooled", {"ridges": [3.0, 1.0]}, 7)
    method = cell.build()
    assert (method.encoder, method.seed, method.ridges) == ("lexical+style", 7, (3.0, 1.0))
    assert method.fit(task.fit_on).adapt(task.context.history(0)) != Persona()
