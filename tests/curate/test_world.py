"""The whole way with a fake reader in the world, through the client: its filters do what they are for.

The fake reads the world's axes in texts; it is no language model, and nothing here tells how one would do.
"""

import json

import numpy as np
import pytest

from palate import World
from palate.core import BudgetSpent, Feedback, ModelError, Population, as_conversation
from palate.curate import Recipe, curate, plan
from palate.feedback import read
from palate.models.llm.budget import Budget
from palate.models.llm.session import language_models

FILTER, JUDGES = "fake:world?error=0.1", ("fake:world?error=0.2", "fake:world?error=0.2&seed=1")


@pytest.fixture(scope="module")
def sample():
    return World(users=24, pairs=10, targets=4, episodes=2, seed=3).sample()


@pytest.fixture(scope="module")
def done(sample, tmp_path_factory):
    """Return the folder, the summary and what was paid, of one curation with a filter and two judges."""
    folder = tmp_path_factory.mktemp("curated")
    with language_models(folder=folder / "calls") as session:
        summary = curate(sample.population, folder / "out", JUDGES, FILTER)
        paid = session.ledger.total["paid"]
        table = session.ledger.table(by="method")
    return folder, summary, paid, table


def lines_of(folder):
    return [json.loads(line) for line in (folder / "out" / "decisions.jsonl").read_text().splitlines()]


def test_calls_are_those_of_the_plan_and_are_never_made_twice(sample, done):
    folder, summary, paid, table = done
    expected = plan(sample.population, JUDGES, FILTER)
    assert summary.taste["asked"] == expected.asked[0].calls
    judged = sum(judge["asked"] for judge in summary.judges)
    assert judged <= sum(step.calls for step in expected.asked[1:])
    assert paid == summary.taste["asked"] + judged
    assert [row["method"] for row in table] == ["curate personalizable", "curate consensus"]
    before = {f.name: f.read_bytes() for f in (folder / "out").rglob("*") if f.is_file()}
    with language_models(folder=folder / "calls") as session:
        again = curate(sample.population, folder / "out", JUDGES, FILTER)
        assert session.ledger.total["paid"] == 0
    assert again == summary
    assert {f.name: f.read_bytes() for f in (folder / "out").rglob("*") if f.is_file()} == before


def test_every_call_can_be_found_by_its_key(done):
    folder = done[0]
    keys = set()
    for line in lines_of(folder):
        for decision in line["decisions"]:
            keys |= {decision["key"]} if "key" in decision else set()
            keys |= {vote["key"] for judge in decision.get("judges", ()) for vote in judge["votes"]}
    assert len(keys) == done[2]
    with language_models(folder=folder / "calls") as session:
        assert session.store.get(keys).keys() == keys


def test_figures_are_no_matter_of_taste(sample, tmp_path):
    """The fake takes single words for right or wrong, and the world's answers for a matter of taste."""
    few = sample.population.take_users(np.arange(4))
    sums = [
        Feedback(
            str(user),
            as_conversation(f"What is {n} + {n}?"),
            (f"{2 * n}", f"{2 * n + 1}"),
            0,
            id=f"{user}+{n}",
        )
        for user in few.users
        for n in range(5)
    ]
    rows = [row for history in few for row in history.feedback]
    with language_models(folder=tmp_path / "calls"):
        summary = curate(Population.of(rows + sums), tmp_path / "out", filter_lm="fake:world")
    went = {line["id"] for line in lines_of(tmp_path) if line["step"] == "personalizable"}
    assert went == {row.id for row in sums}
    assert summary.pairs == few.n_rows
    assert summary.taste["no"] == 5


def test_what_everybody_would_choose_goes(done):
    """What is left is harder for a judge who knows nobody: the point of the filter."""
    _, summary, _, _ = done
    strata = {s["agree"]: s for s in summary.strata}
    assert [strata[k]["gone"] for k in (0, 4)] == [strata[k]["pairs"] for k in (0, 4)]
    asked = sum(s["pairs"] for s in summary.strata)
    before = sum(s["pairs"] * s["share"] for s in summary.strata) / asked
    left = [s for s in summary.strata if not s["gone"]]
    after = sum(s["pairs"] * s["share"] for s in left) / sum(s["pairs"] for s in left)
    assert before > 0.55
    assert abs(after - 0.5) < abs(before - 0.5)


def test_it_is_said_that_the_models_are_fakes(done):
    rules = done[1].rules
    assert any("no language model, but a fake" in rule and FILTER in rule for rule in rules)


def test_what_is_left_is_a_benchmark(done):
    from palate import build, new_users

    folder, summary, _, _ = done
    people = read(f"personalrewardbench:{folder / 'out'}").population
    assert people.n_rows == summary.pairs
    task = new_users("curated", people)
    assert len(task.targets.user)
    fitted = build("pooled").fit(task.fit_on)
    assert fitted.adapt_batch(task.context)


def test_a_spent_budget_stops_cleanly_and_the_same_call_goes_on(sample, done, tmp_path):
    folder, summary, paid, _ = done
    spent = 0
    for _ in range(20):
        with language_models(folder=tmp_path / "calls", budget=Budget(calls=400)) as session:
            try:
                again = curate(sample.population, tmp_path / "out", JUDGES, FILTER)
            except BudgetSpent:
                assert not (tmp_path / "out").exists()
            else:
                spent += session.ledger.total["paid"]
                break
            spent += session.ledger.total["paid"]
    assert spent == paid
    assert again == summary
    for name in ("decisions.jsonl", "summary.json", "data/test.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / "out" / name).read_bytes()


def test_judges_that_fault_now_and_then(sample, tmp_path):
    few = sample.population.take_users(np.arange(6))
    judges = ["fake:world?malformed=0.3", "fake:world?seed=1&refuse=0.2"]
    recipe = Recipe(min_left=1)
    with language_models(folder=tmp_path / "calls"):
        summary = curate(few, tmp_path / "out", judges, recipe=recipe)
        with pytest.raises(ModelError, match=r"fake:world\?refuse=1, asked what is a matter of taste"):
            curate(few, tmp_path / "out2", filter_lm="fake:world?refuse=1")
    unread = [judge["unread"] for judge in summary.judges]
    assert min(unread) > 0
    assert sum(summary.faults.values()) == sum(unread)
    assert {"refused"} < set(summary.faults) or summary.faults.keys() == {"malformed", "refused"}
    kept = [line for line in lines_of(tmp_path) if line["kept"]]
    marked = [
        line
        for line in kept
        if any("fault" in vote for judge in line["decisions"][2]["judges"] for vote in judge["votes"])
    ]
    assert len(marked) == next(s["pairs"] for s in summary.strata if s["agree"] is None)
