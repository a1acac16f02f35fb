"""Facets over several runs: sizes of seen users, seeds; and all facets of a real small run."""

import json

import numpy as np
import pytest
from facet_sections import coin, looks_whole, one_sentence, outcome, people, section, task_of

from palate.evaluate.bench import Bench
from palate.evaluate.cells import Shelf
from palate.evaluate.facets import draw, measure_all, registered, seeds, seen
from palate.evaluate.measured import gather
from palate.evaluate.protocol import held_back, make_tasks, seen_users
from palate.feedback.world import World


@pytest.fixture(scope="module")
def population():
    return World(users=60, seed=4).sample().population


def sized(population, right_of, sizes=(100, 200), **more):
    """Sections of one data set; ``right_of(size, targets)`` says what the method is right on."""
    found = []
    for size in sizes:
        task = seen_users("toy", population, size)
        base = np.arange(len(task.targets)) % 2 == 0
        outcomes = {
            "pooled": outcome(task, base, personal=False),
            "mixed": outcome(task, right_of(size, base)),
        }
        found.append(section(task, outcomes, **more))
    return found


# ---- seen users -----------------------------------------------------------------------------------------


def test_growth_with_data_is_paired_by_user(population):
    sections = sized(population, lambda size, base: np.ones(len(base), bool) if size == 200 else base)
    [values] = seen.measure(sections[::-1])
    assert (values["protocol"], values["sizes"]) == ("seen-users", [100, 200])
    mixed = values["methods"][0]
    assert mixed["method"] == "mixed"
    assert mixed["points"][1]["value"] == 1.0
    assert mixed["growth"]["value"] == pytest.approx(1 - mixed["points"][0]["value"], abs=1e-6)
    assert mixed["growth"]["low"] > 0
    assert mixed["gains"][0]["value"] == 0.0
    assert mixed["gains"][1] == mixed["growth"]
    told = seen.tell(values)
    assert one_sentence(told)
    assert "mixed grows with data" in told
    assert looks_whole(seen.draw(values))


def test_one_size_tells_nothing_of_growth(population):
    [values] = seen.measure(sized(population, lambda size, base: base, sizes=(100,)))
    assert values["methods"][0]["growth"] is None
    assert "only one size was run" in seen.tell(values)
    assert looks_whole(seen.draw(values))


def test_a_method_that_failed_at_a_size_has_no_point_there(population):
    small, large = sized(population, lambda size, base: base)
    outcomes = {k: v for k, v in large.outcomes.items() if k == "pooled"}
    [values] = seen.measure([small, section(large.task, outcomes)])
    found = {m["method"]: m for m in values["methods"]}
    assert found["mixed"]["points"][1] is None
    assert one_sentence(seen.tell(values))
    assert looks_whole(seen.draw(values))


def test_new_users_have_no_sizes():
    task = task_of(people(users=10))
    assert seen.measure([section(task, {"mixed": outcome(task, coin(task))})]) == []


# ---- seeds ----------------------------------------------------------------------------------------------


def test_spread_over_seeds_is_not_the_interval_over_users():
    task = task_of(people(users=50, target=4))
    number = np.arange(len(task.targets)) % 4
    runs = [outcome(task, number < k) for k in (1, 2, 3)]
    steady = [outcome(task, number < 2, personal=False)] * 3
    outcomes = {"pooled": steady[0], "mixed": runs[0]}
    [values] = seeds.measure([section(task, outcomes, seeds={"pooled": steady, "mixed": runs})])
    found = {m["method"]: m for m in values["methods"]}
    assert found["mixed"]["seeds"] == [0.25, 0.5, 0.75]
    assert found["mixed"]["sd"] == 0.25
    assert found["mixed"]["range"] == 0.5
    assert found["mixed"]["first"]["low"] == found["mixed"]["first"]["high"] == 0.25  # all users alike
    assert found["mixed"]["above"] == 1
    assert found["pooled"]["sd"] == 0.0
    told = seeds.tell(values)
    assert one_sentence(told)
    assert "differ by 50.0 points at most (standard deviation 25.0)" in told
    assert looks_whole(seeds.draw(values))


def test_one_seed_has_no_spread_and_equal_seeds_move_nothing():
    task = task_of(people(users=10))
    one = outcome(task, coin(task))
    assert seeds.measure([section(task, {"mixed": one}, seeds={"mixed": [one]})]) == []
    [values] = seeds.measure([section(task, {"mixed": one}, seeds={"mixed": [one, one]})])
    assert "the seed moves no method: all 2 seeds gave the same accuracy" in seeds.tell(values)


# ---- a real run -----------------------------------------------------------------------------------------


def test_all_facets_of_a_real_run_measure_tell_and_draw(population, tmp_path):
    tasks, _ = make_tasks("world", population, ["new-users", "seen-users:200,400"], simulated=True)
    assert len(tasks) == 3
    assert len(held_back(population).with_split("context").pairs) >= 400
    methods = {"individual": {"ridges": (1.0,)}, "similar-user": {}}
    bench = Bench(tasks, methods, ("style",), seeds=(0, 1))
    results = bench.run(Shelf(tmp_path))
    assert not results.failures
    assert not [o.faults for o in results.outcomes.values() if o.faults]
    values, faults = measure_all(gather(results, {}))
    assert faults == {}
    values = json.loads(json.dumps(values, allow_nan=False))
    ours = {"characteristics", "adaptation", "episodes", "scarcity", "window", "minorities", "harm"}
    ours |= {"seen", "seeds"}
    assert ours <= {value["facet"] for value in values}
    assert ours <= {facet.NAME for facet in registered()}
    for value in (v for v in values if v["facet"] in ours):
        assert one_sentence(value["sentence"])
        picture = draw(value)
        assert not picture or looks_whole(picture)
        assert value["dataset"] == "world"
    drawn = {value["facet"] for value in values if draw(value)}
    assert ours - {"scarcity"} <= drawn
    [new] = [v for v in values if v["facet"] == "adaptation"]
    assert new["bound"]["users"] == tasks[0].scored_users
    [window] = [v for v in values if v["facet"] == "window" and v["protocol"] == "new-users"]
    assert window["methods"][0]["windows"][:2] == [1, 2]
    [grown] = [v for v in values if v["facet"] == "seen"]
    assert grown["sizes"] == [200, 400]
