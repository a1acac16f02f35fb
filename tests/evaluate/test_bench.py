"""Running cells: resuming, failing, interrupting, and never seeing what is tested on."""

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from palate import catalogue
from palate.checks import people
from palate.core import DataError, Method, MethodError, Persona, Population, StorageError, current_job
from palate.evaluate import facets
from palate.evaluate.bench import Bench, estimate
from palate.evaluate.cells import CURVE, Cell, Outcome, Shelf
from palate.evaluate.measured import gather
from palate.evaluate.protocol import new_users, seen_users
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
    monkeypatch.setattr(facets, "registered", lambda: [])


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
        assert dict(one.costs) == dict(two.costs)
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
        bench_of(task, "counting", "mixed", seeds=(1,)),
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


# ---- fits ---------------------------------------------------------------------------------------------


def test_the_control_is_fitted_once(task, shelf, monkeypatch):
    fits = []
    learn = catalogue.find("pooled")._learn
    monkeypatch.setattr(
        catalogue.find("pooled"), "_learn", lambda self, people: (fits.append(1), learn(self, people))[1]
    )
    bench_of(task, "counting", "mixed").run(shelf)
    assert len(fits) == 1


def test_a_control_that_fails_is_told_by_every_method_and_tried_once(task, shelf, monkeypatch):
    tries = []

    def fail(self, people):
        tries.append(1)
        raise MethodError("no control today")

    monkeypatch.setattr(catalogue.find("pooled"), "_learn", fail)
    results = bench_of(task, "counting", "random").run(shelf)
    told = {cell.method: text for cell, text in results.failures.items()}
    assert told["pooled"] == "no control today"
    assert told["counting"] == told["random"]
    assert "pooled, which every method is compared with, failed: no control today" in told["counting"]
    assert len(tries) == 1


def test_a_fit_runs_in_a_job(task, shelf, tmp_path, monkeypatch):
    seen, told = [], []

    def learn(self, people):
        seen.append(current_job().folder)
        current_job().tell("step", 3, 9)
        self.slope_ = 1.0

    monkeypatch.setattr(Counting, "_learn", learn)
    bench_of(task, "counting").run(shelf, lambda *what: told.append(what), tmp_path / "checkpoints")
    assert seen == [tmp_path / "checkpoints"]
    assert ("readers · lexical · counting · fitting: step", 3, 9) in told
    assert current_job().folder is None


# ---- seeds and protocols ------------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False)
class Lucky(Counting):
    """Scores by its seed alone, and cannot work with seed 8."""

    name = "lucky"

    def _learn(self, population):
        if self.seed == 8:
            raise MethodError("8 brings no luck")
        super()._learn(population)

    def _log_odds(self, vectors, queries):
        return np.random.default_rng(self.seed).normal(size=len(queries.options))


@pytest.fixture
def lucky(monkeypatch):
    known = {**catalogue._known(), "lucky": f"{__name__}:Lucky"}
    monkeypatch.setattr(catalogue, "_known", lambda: known)


def test_every_seed_is_run_and_the_first_is_shown(task, shelf, lucky):
    results = bench_of(task, "lucky", seeds=(5, 6)).run(shelf)
    assert [(cell.method, cell.seed) for cell in results.outcomes] == [
        ("pooled", 5),
        ("lucky", 5),
        ("pooled", 6),
        ("lucky", 6),
    ]
    assert len({cell.key for cell in results.outcomes}) == 4
    (section,) = gather(results, {})
    first, second = section.seeds["lucky"]
    assert section.outcomes["lucky"] is first
    assert not np.array_equal(first.applied, second.applied)
    np.testing.assert_array_equal(*(outcome.applied for outcome in section.seeds["pooled"]))
    report, alone = (make_report(r) for r in (results, bench_of(task, "lucky", seeds=(5,)).run(shelf)))
    timeless = [[r for r in each["rows"] if "seconds" not in r["metric"]] for each in (report, alone)]
    assert timeless[0] == timeless[1]
    assert report["config"]["seeds"] == [5, 6]


def test_a_seed_that_fails_is_told_and_the_others_stay(task, shelf, lucky):
    results = bench_of(task, "lucky", seeds=(5, 8)).run(shelf)
    (section,) = gather(results, {})
    assert len(section.seeds["lucky"]) == 1
    (failure,) = make_report(results)["failures"]
    assert (failure["method"], failure["seed"], failure["facet"]) == ("lucky", 8, None)
    assert failure["protocol"] == "new-users"


def test_protocols_and_sizes_are_kept_apart(shelf):
    crowd = people(users=30, rows=12)
    tasks = [new_users("readers", crowd), *(seen_users("readers", crowd, size) for size in (60, 120))]
    bench = Bench(tasks, {"counting": {}})
    assert len({cell.key for cell in bench.cells()}) == 6
    report = make_report(bench.run(shelf), bounds={})
    settings = ["new-users", "seen-users:60", "seen-users:120"]
    for part in ("rows", "curves", "calibration", "users"):
        assert list(dict.fromkeys(entry["protocol"] for entry in report[part])) == settings, part
    assert [entry["protocol"] for entry in report["datasets"]] == settings
    assert [entry["context_pairs"] for entry in report["datasets"]][1:] == [60, 120]
    n = {r["protocol"]: r["pairs"] for r in report["rows"] if r["metric"] == "accuracy"}
    assert n["seen-users:60"] == n["seen-users:120"]


def test_the_suite_is_part_of_the_key(task):
    plain, one, two = (
        Cell(each, "lexical", "counting").key
        for each in (task, *(replace(task, suite=SimpleNamespace(digest=d)) for d in "ab"))
    )
    assert len({plain, one, two}) == 3


# ---- the second control ------------------------------------------------------------------------------


def test_what_choices_add_is_measured_against_the_method_itself(task, shelf):
    results = bench_of(task, "individual", "counting").run(shelf)
    rows = {(r["method"], r["metric"]): r for r in make_report(results)["rows"] if not r["against"]}
    outcome = next(o for c, o in results.outcomes.items() if c.method == "individual")
    assert (outcome.curve[0] == 0).all()
    gain = rows["individual", "from_choices"]
    assert gain["value"] == pytest.approx(rows["individual", "accuracy"]["value"] - 0.5)
    assert gain["low"] < gain["value"] < gain["high"]
    assert rows["counting", "from_choices"]["value"] == 0.0
    assert rows["counting", "choices_helped"]["value"] == rows["counting", "choices_harmed"]["value"] == 0.0
    assert rows["individual", "from_choices_log_loss"]["value"] != 0.0
    assert outcome.gated_before is not None
    assert ("individual+gate", "from_choices") in rows
    assert ("pooled", "from_choices") not in rows


# ---- facets -------------------------------------------------------------------------------------------


def facet(name="depth", version=1, **parts):
    base = {
        "NAME": name,
        "TITLE": name.capitalize(),
        "VERSION": version,
        "measure": lambda sections: [{**s.place, "methods": sorted(s.outcomes)} for s in sections],
        "tell": lambda value: f"{len(value['methods'])} methods.",
        "draw": lambda value: "",
    }
    return SimpleNamespace(**{**base, **parts})


def use(monkeypatch, *modules):
    monkeypatch.setattr(facets, "registered", lambda: list(modules))


def test_what_a_probe_gives_survives_the_shelf(task, shelf, monkeypatch):
    def probe(method, personas, task):
        return {"size": np.arange(len(personas)), "name": np.array([method.name])}

    use(monkeypatch, facet(probe=probe), facet("plain"))
    bench_of(task, "counting").run(shelf)
    results = bench_of(task, "counting").run(shelf)
    assert SEEN["fits"] == ["counting"]
    outcome = next(o for c, o in results.outcomes.items() if c.method == "counting")
    assert sorted(outcome.extra) == ["depth.name", "depth.size"]
    np.testing.assert_array_equal(outcome.extra["depth.size"], np.arange(task.context.n_users))
    assert outcome.extra["depth.name"].tolist() == ["counting"]
    assert not outcome.faults


def test_a_probe_of_a_new_version_misses_and_others_do_not_matter(task, monkeypatch):
    base = keys_of(bench_of(task, "counting"))
    use(monkeypatch, facet())
    assert keys_of(bench_of(task, "counting")) == base
    use(monkeypatch, facet(probe=lambda *given: {}))
    first = keys_of(bench_of(task, "counting"))
    use(monkeypatch, facet(version=2, probe=lambda *given: {}))
    assert len({base["counting"], first["counting"], keys_of(bench_of(task, "counting"))["counting"]}) == 3


@pytest.mark.parametrize(
    ("probe", "why"),
    [
        (lambda *given: {}["nothing"], "KeyError: 'nothing' (<lambda>:"),
        (lambda *given: {"x": np.array([object()])}, "TypeError: ['depth.x'] are arrays of objects"),
    ],
)
def test_a_probe_that_fails_loses_neither_the_cell_nor_the_other_probes(task, shelf, monkeypatch, probe, why):
    use(monkeypatch, facet(probe=probe), facet("other", probe=lambda *given: {"y": np.ones(2)}))
    bench_of(task, "counting").run(shelf)
    results = bench_of(task, "counting").run(shelf)
    assert not results.failures
    assert [list(o.extra) for o in results.outcomes.values()] == [["other.y"]] * 2
    told = [f for f in make_report(results)["failures"] if f["method"] == "counting"]
    assert [(f["facet"], f["protocol"]) for f in told] == [("depth", "new-users")]
    assert told[0]["error"].startswith(why)


def test_facets_are_measured_into_plain_values(task, shelf, monkeypatch):
    odd = facet(
        "odd",
        measure=lambda sections: [{**sections[0].place, "n": np.int64(3), "x": np.array([1.0, np.nan])}],
        tell=lambda value: f"n is {value['n']}.",
    )
    use(monkeypatch, facet(), facet("broken", measure=lambda sections: 1 / 0), odd)
    report = make_report(bench_of(task, "counting").run(shelf))
    json.dumps(report, allow_nan=False)
    depth, last = report["facets"]
    assert (depth["facet"], depth["title"], depth["sentence"]) == ("depth", "Depth", "2 methods.")
    assert (depth["dataset"], depth["protocol"], depth["encoder"]) == ("readers", "new-users", "lexical")
    assert (last["n"], last["x"], last["sentence"]) == (3, [1.0, None], "n is 3.")
    assert any(
        n.startswith("The part broken could not be measured: ZeroDivisionError") for n in report["notes"]
    )


def test_the_facets_of_palate_keep_to_the_form():
    seen = facets.ORDER
    found = [__import__(f"palate.evaluate.facets.{name}", fromlist=["NAME"]) for name in seen]
    assert [module.NAME for module in found] == list(seen)
    for module in found:
        assert isinstance(module.VERSION, int)
        assert module.TITLE
        assert callable(module.measure)
        assert callable(module.tell)
        assert callable(module.draw)
        assert module.measure([]) == []
