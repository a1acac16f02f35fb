"""Budgets are hard caps, costs are counted where they arise, and no known price is no price of zero."""

import threading
import time

import pytest
from llm_parts import Order, asking, count, say

from palate.core import BudgetSpent, ConfigError
from palate.models.llm.budget import Budget, Cost, Price, Purse
from palate.models.llm.client import Task
from palate.models.llm.engine import Completion, ServerFailed, TimedOut
from palate.models.llm.ledger import Ledger, Who
from palate.models.llm.session import connect, language_models

# ---- what may be written ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("500calls", Budget(calls=500)),
        ("1 call", Budget(calls=1)),
        ("2e6tokens", Budget(tokens=2_000_000)),
        ("$3.50", Budget(dollars=3.5)),
        ("$ .5", Budget(dollars=0.5)),
        ("500 CALLS, 1e4 tokens,$2", Budget(500, 10_000, 2.0)),
    ],
)
def test_budgets_are_read(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize(
    "text", ["", "500", "calls", "-5calls", "$", "$-1", "5 euros", "5calls;$2", "5calls,"]
)
def test_budgets_that_cannot_be_read_are_told(text):
    with pytest.raises(ConfigError, match="500calls, 2e6tokens"):
        Budget.parse(text)


def test_a_budget_that_names_a_thing_twice_is_told():
    with pytest.raises(ConfigError, match="calls twice"):
        Budget.parse("5calls,6calls")


# ---- caps ---------------------------------------------------------------------------------------------


def run(users=30):
    return list(connect("fake:a").run(Task(asking(str(i)), f"u{i}", "pi") for i in range(users)))


@pytest.mark.parametrize("cap", [1, 7, 16, 29])
def test_a_cap_on_calls_is_exact_and_the_run_goes_on(engine, cap):
    engine.latency = 0.003
    with language_models(concurrency=8, budget=Budget(calls=cap)) as session:
        with pytest.raises(BudgetSpent, match="the same command goes on") as told:
            run()
        assert (len(engine.seen), session.ledger.total["paid"]) == (cap, cap)
    assert told.value.exit_code == 7
    with language_models(concurrency=8, budget=Budget(calls=30 - cap)) as session:
        assert len(run()) == 30
        assert session.ledger.total["paid"] == 30 - cap
    assert len(engine.seen) == 30


def test_a_budget_that_just_suffices_is_no_error(engine):
    with language_models(budget=Budget(calls=30)):
        assert len(run()) == 30


def test_calls_that_fail_are_not_counted_and_time_outs_are(engine):
    engine.does = lambda text, request, number: ServerFailed("500") if number % 2 else text
    with language_models(budget=Budget(calls=10), concurrency=1):
        assert len(run(10)) == 10
    engine.does = lambda text, request, number: TimedOut("late")
    with language_models(budget=Budget(calls=2), concurrency=1, retries=5), pytest.raises(BudgetSpent):
        connect("fake:a").ask([say("new")])
    assert engine.texts.count("new") == 2


def test_a_cap_on_tokens_holds(engine):
    engine.does = lambda text, request, number: Completion(text, "stop", 100, 40)
    with language_models(concurrency=8, budget=Budget(tokens=2000)) as session:
        with pytest.raises(BudgetSpent):
            run()
        total = session.ledger.total
        spent = total["tokens_in"] + total["tokens_out"]
        assert 2000 - 2 * 140 < spent <= 2000


def test_a_cap_on_money_holds(engine):
    engine.does = lambda text, request, number: Completion(text, "stop", 100, 40)
    prices = {"fake:a": Price(1000.0, 5000.0)}  # 0.1 + 0.2 dollars a call
    with language_models(concurrency=8, budget=Budget(dollars=3.0), prices=prices) as session:
        with pytest.raises(BudgetSpent, match=r"\$3\.00"):
            run()
        assert 2.3 < session.ledger.total["dollars"] <= 3.0


def test_a_cap_on_money_needs_prices(engine):
    with language_models(budget=Budget(dollars=1.0)), pytest.raises(ConfigError, match=r"--price.*fake:a"):
        run()
    assert not engine.seen


def test_prompts_that_cost_more_than_expected_are_reserved_at_what_they_cost(engine):
    """An endpoint that counts three times as many tokens as expected: after the first call, that is known."""
    engine.does = lambda text, request, number: Completion(text, "stop", 300, 40)
    with language_models(concurrency=1, budget=Budget(tokens=3000)) as session:
        with pytest.raises(BudgetSpent):
            run()
        assert 3000 - 340 < session.ledger.total["tokens_in"] + session.ledger.total["tokens_out"] <= 3000


def test_a_call_that_does_not_fit_waits_for_those_on_their_way():
    purse, order = Purse(Budget(tokens=100)), []
    first = Cost(1, 90)
    assert purse.reserve(first, lambda: True)

    def second():
        assert purse.reserve(Cost(1, 50), lambda: True)
        order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.05)
    order.append("first")
    purse.settle(first, Cost(1, 40))
    thread.join()
    assert order == ["first", "second"]
    purse.settle(Cost(1, 50), Cost(1, 50))
    with pytest.raises(BudgetSpent):
        purse.reserve(Cost(1, 20), lambda: True)


def test_a_call_that_is_wanted_no_more_does_not_wait():
    purse = Purse(Budget(calls=1))
    assert purse.reserve(Cost(1), lambda: True)
    assert not purse.reserve(Cost(1), lambda: False)


def test_kept_answers_cost_nothing(engine):
    with language_models():
        run()
    with language_models(budget=Budget(calls=0)):
        assert len(run()) == 30


# ---- the ledger ---------------------------------------------------------------------------------------


def test_costs_are_told_by_method_user_and_program(engines):
    engines["fake:a"] = Order(lambda text, request, number: Completion("Answer: 1", "stop", 1000, 100))
    with language_models(prices={"fake:a": (1.0, 10.0)}) as session:
        client = connect("fake:a")
        client.ask([say("x"), count("y")], user="ann", method="pi")
        client.ask([count("y"), count("z")], user="bob", method="memory")
        tables = {
            by: {row[by]: row for row in session.ledger.table(by)} for by in ("method", "user", "program")
        }
    assert {name: row["paid"] for name, row in tables["method"].items()} == {"pi": 2, "memory": 1}
    assert {name: row["kept"] for name, row in tables["user"].items()} == {"ann": 0, "bob": 1}
    assert {name: row["requests"] for name, row in tables["program"].items()} == {"say": 1, "count": 3}
    assert tables["method"]["pi"]["dollars"] == pytest.approx(2 * (0.001 + 0.001))
    assert tables["method"]["pi"]["tokens_in"] == 2000
    assert tables["user"]["bob"]["seconds"] > 0


def test_no_known_price_is_no_price_of_zero(engine, session):
    connect("fake:a").ask([say("x")])
    assert session.ledger.total["dollars"] is None
    with session.rehearsal() as plan:
        connect("fake:a").ask([say("y")])
    assert plan.money() is None


def test_prices_are_found_by_name_and_by_spec(engines):
    spec = "openai/m@http://127.0.0.1:9/v1"
    engines[spec] = Order(lambda text, request, number: Completion("x", "stop", 1000, 0))
    for name in (spec, "openai/m"):
        with language_models(prices={name: (5.0, 0.0)}) as session:
            connect(spec).ask([say(name)])
            assert session.ledger.total["dollars"] == pytest.approx(0.005)


def test_a_stretch_of_work_is_measured_by_two_snapshots():
    ledger = Ledger()
    ledger.add(Who("pi", "ann", "judge"), requests=2, paid=2, dollars=0.5)
    before = ledger.snapshot()
    ledger.add(Who("pi", "ann", "judge"), requests=1, kept=1)
    ledger.fault(Who("memory", "bob", "judge"), "rate limit")
    ledger.note("said once")
    ledger.note("said once")
    after = ledger.since(before)
    assert before.total["requests"] == 2
    assert [
        (r["user"], r["requests"], r["paid"], r["dollars"], r["faults"]) for r in after.table("user")
    ] == [
        ("ann", 1, 0, 0.0, {}),
        ("bob", 0, 0, 0.0, {"rate limit": 1}),
    ]
    assert after.notes == ("said once",)
    assert 0 <= after.elapsed < 5
    assert ledger.since(ledger.snapshot()).table() == []
