"""What a run will ask: told by rehearsal, near what it then asks, nothing sent; fewer users; variants."""

import pytest

from palate import World, new_users
from palate.catalogue import build, find
from palate.core import BudgetSpent, ConfigError
from palate.evaluate.bench import Bench
from palate.evaluate.cells import Shelf
from palate.evaluate.expected import expect
from palate.evaluate.protocol import fewer_users, seen_users
from palate.evaluate.study import Study
from palate.models.llm.budget import Budget
from palate.models.llm.session import language_models

FAKE = "fake:world?error=0.2"
METHODS = {"default": {}, "retrieval:one": {"k": 1}}


@pytest.fixture(scope="module")
def task():
    return new_users("world", World(users=60, pairs=6, targets=4, episodes=4).sample().population)


def bench(task):
    return Bench([task], METHODS, common={"lm": FAKE})


def test_a_rehearsal_sends_nothing_and_is_near_the_truth(task, tmp_path):
    with language_models(folder=tmp_path / "lm") as session:
        told = expect(bench(task), Shelf(tmp_path / "cells"))
        assert session.ledger.total["paid"] == 0
        assert [row.where for row in told.rows] == ["world · default", "world · retrieval:one"]
        bench(task).run(Shelf(tmp_path / "cells"))
        asked = session.ledger.total["paid"]
        assert told.paid == 0, "a fake costs nobody anything"
        # the second method's controls are the first one's calls, which two rehearsals both count
        assert 0.7 * asked < sum(row.calls for row in told.rows) < 2.5 * asked
        assert expect(bench(task), Shelf(tmp_path / "cells")).rows == []


def test_a_spent_budget_stops_the_run_and_the_same_run_goes_on(task, tmp_path):
    shelf, paid = Shelf(tmp_path / "cells"), 0
    for _ in range(20):
        with language_models(folder=tmp_path / "lm", budget=Budget.parse("150calls")) as session:
            try:
                done = bench(task).run(shelf)
                paid += session.ledger.total["paid"]
                break
            except BudgetSpent:
                assert session.ledger.total["paid"] <= 150
                paid += session.ledger.total["paid"]
    assert not done.failures
    with language_models(folder=tmp_path / "whole") as session:
        whole = bench(task).run(Shelf(tmp_path / "others"))
        assert paid == session.ledger.total["paid"], "no call was paid for twice"
    for one, other in zip(done.outcomes.values(), whole.outcomes.values(), strict=True):
        assert (one.applied == other.applied).all()


def test_costs_of_a_cell_are_what_its_method_asked(task, tmp_path):
    with language_models(folder=tmp_path / "lm"):
        done = bench(task).run(Shelf(tmp_path / "cells"))
    costs = {cell.method: outcome.costs for cell, outcome in done.outcomes.items()}
    assert "lm_calls" not in costs["pooled"]
    assert costs["default"]["lm_calls"] >= 2 * len(task.targets) * 0.9
    assert costs["retrieval:one"]["lm_compared"] > costs["default"]["lm_compared"]
    assert costs["default"]["lm_faults"] == 0


def test_a_variant_is_its_method_with_other_fields():
    assert find("retrieval:one") is find("retrieval")
    assert build("retrieval:one", {"k": 1, "lm": FAKE}).k == 1
    with pytest.raises(ConfigError, match="no method"):
        find("retrieva:one")


def test_fewer_users_keeps_training_users_and_draws_by_the_seed(task):
    few = fewer_users(task, 8, seed=1)
    assert few.context.n_users == 8
    assert (few.people.role == 0).sum() == (task.people.role == 0).sum()
    assert set(few.context.users) <= set(task.context.users)
    assert set(few.context.users) == set(fewer_users(task, 8, seed=1).context.users)
    assert set(few.context.users) != set(fewer_users(task, 8, seed=2).context.users)
    with pytest.raises(ConfigError, match="users=0"):
        fewer_users(task, 0)
    seen = seen_users("world", task.people, 100)
    with pytest.raises(ConfigError, match="seen-users"):
        fewer_users(seen, 5)


def test_methods_that_ask_are_left_out_where_no_model_is_named():
    study = Study(world={"users": 40, "pairs": 4, "targets": 2, "episodes": 2})
    prepared = study.prepare()
    assert "default" not in prepared.bench.methods
    assert "pooled" in prepared.bench.methods
    assert any("ask a language model" in note and "synthesizeme" in note for note in prepared.left_out)
