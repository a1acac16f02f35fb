"""A search for a better prompt: it finds what there is, says so where there is nothing, and pays once.

A fake language model answers everywhere. Where a search must find something, the fake writes what is of use
only to an instruction that names length, in a world where nothing else matters.
"""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("dspy")
pytest.importorskip("optuna")

from palate.core import (
    ConfigError,
    DataError,
    Feedback,
    KeyRefused,
    MethodError,
    MissingExtra,
    Population,
    as_conversation,
)
from palate.fakes.reader import make_engine
from palate.feedback.world import World
from palate.judge import Judge
from palate.models.llm import caller
from palate.models.llm.budget import Budget
from palate.models.llm.engine import Completion, Forbidden
from palate.models.llm.session import language_models
from palate.persona import gains, optimize
from palate.persona.optimize import (
    Optimisation,
    optimise,
    optimise_and_save,
    optimise_step_by_step,
)
from palate.persona.synthesizeme import SynthesizeMe
from palate.persona.theta import STARTING, Theta, load_theta, save_theta

POOR = Theta("poor", "Describe the user's view of risk.")  # in a world where only length matters
WIDE = {"candidates": 8, "trials": 12, "bootstrapped": 1, "labelled": 0, "users": 6, "targets": 10, "seed": 1}
SMALL = {"candidates": 4, "trials": 4, "users": 5, "validation": 8, "targets": 4}


def world(users, seed=0, **fields):
    return (
        replace(World.two_tastes(users=users, seed=seed), pairs=6, episodes=2, **fields).sample().population
    )


def method(lm="fake:world", **fields):
    return SynthesizeMe(**{"lm": lm, "reason": False, "candidates": 2, "evidence": False, **fields})


def run(people, how, lm="fake:world", **fields):
    """Return the lines that are told, and the outcome."""
    steps, lines = optimise_step_by_step(people, method(lm, **fields), how), []
    while True:
        try:
            lines.append(next(steps))
        except StopIteration as end:
            return lines, end.value


class Strict:
    """The fake, but its personas are of use only where the instruction names length."""

    def __init__(self, spec):
        self.engine = make_engine(spec)

    def complete(self, model, messages, request):
        if request.program.name == "persona" and "length" not in messages[0].content:
            return Completion("Prefers daring advice.")
        return self.engine.complete(model, messages, request)


def answered_by(patch, engine):
    patch.setattr(caller, "make_engine", lambda spec, timeout, connections: engine(spec))


@pytest.fixture
def strict(monkeypatch):
    answered_by(monkeypatch, Strict)


@pytest.fixture(scope="module")
def small():
    return world(80, targets=4)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "calls"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PALATE_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A search that finds something: lines, outcome, counts, people and where the answers are kept."""
    people, kept = world(300, seed=1, targets=10), tmp_path_factory.mktemp("wide")
    with pytest.MonkeyPatch.context() as patch, language_models(folder=kept) as session:
        answered_by(patch, Strict)
        lines, outcome = run(people, Optimisation(**WIDE, start=POOR))
        return lines, outcome, session.ledger.total, people, kept


# ---- what is found ------------------------------------------------------------------------------------


def test_a_better_prompt_is_found_and_shown_on_users_that_had_no_say(wide):
    lines, outcome, _, _, _ = wide
    assert outcome.gained
    assert outcome.held_out
    assert outcome.difference.low > 0.05
    assert outcome.before.mean < 0.05
    assert outcome.difference.users == 15
    assert outcome.theta.instruction.startswith("Describe the user's view of risk. Look above all at")
    assert "length" in outcome.theta.instruction
    assert lines[-1] == "The new prompt is kept"
    assert lines[0] == "A fake language model answers: these figures say nothing of a real one."
    assert any(line.startswith("Difference: +") and "15 users" in line for line in lines)


def test_the_record_tells_how_it_came_about_and_survives_a_file(wide, tmp_path):
    _, outcome, _, people, _ = wide
    record = load_theta(save_theta(outcome.theta, tmp_path / "theta.json")).made_with
    assert record == json.loads(json.dumps(record)) == outcome.theta.made_with
    assert record["versions"]["dspy"].count(".") >= 1
    assert record["models"] == dict.fromkeys(("writer", "judge", "proposer"), "fake:world")
    assert record["fake"] is record["gained"] is record["finished"] is record["held_out"] is True
    assert record["data"] == people.digest
    assert record["users"] == {"train": 6, "choose": 15, "held_out": 15}
    assert record["targets"] == 150
    difference = record["after"]["points"] - record["before"]["points"]
    assert record["difference"]["points"] == pytest.approx(difference, abs=0.02)
    assert record["difference"]["low"] > 0
    assert record["seed"] == 1
    assert record["date"][:2] == "20"


def test_a_model_that_is_blind_to_the_prompt_gains_nothing_and_that_is_said(wide, folder):
    people = wide[3]
    with language_models(folder=folder):
        lines, outcome = run(people, Optimisation(**WIDE, start=POOR), "fake:world?blind=instruction,example")
    assert not outcome.gained
    assert outcome.tried > 5
    assert outcome.difference.mean == outcome.difference.low == outcome.difference.high == 0
    assert outcome.theta.words == POOR.words
    assert outcome.theta.made_with["kept"] == "starting"
    assert lines[-1] == "No better prompt was found: the starting prompt is kept"


def test_the_search_calls_what_the_method_calls(wide):
    """A persona of the new prompt is written by the same call that found it."""
    _, outcome, _, people, kept = wide
    save_theta(outcome.theta, "found")
    fields = {"theta": "found", "variant": "personas", "calibrate": 0}
    with language_models(folder=kept) as session:
        fitted = method(**fields).fit(people)
        judged = people.with_role("val")
        fitted.adapt_batch(judged.with_split("context"))
        (row,) = [r for r in session.ledger.table(by="program") if r["program"] == "persona"]
        assert (row["requests"], row["paid"]) == (30, 0)
        assert outcome.theta.demos


@pytest.fixture
def watched(monkeypatch):
    """The gains of the searches that a test runs."""
    made = []

    class Watched(gains.Gains):
        def __init__(self, *parts):
            super().__init__(*parts)
            made.append(self)

    monkeypatch.setattr(optimize, "Gains", Watched)
    return made


def test_demonstrations_are_personas_that_gained(small, folder, watched):
    with language_models(folder=folder):
        run(small, Optimisation(**SMALL, start=POOR))
    (watched,) = watched
    gained = {w.persona for of_user in watched.worth.values() for w in of_user.values() if w.gain > 0}
    lost = {w.persona for of_user in watched.worth.values() for w in of_user.values() if w.gain <= 0}
    shown = {persona for _, demos in watched.worth for _, persona in demos}
    assert shown
    assert shown <= gained
    assert lost - gained  # there were personas to be left out


def test_few_are_judged_at_first_where_many_choose(small, folder, strict):
    with language_models(folder=folder):
        _, outcome = run(small, Optimisation(**SMALL, start=POOR, minibatch=2, full_every=2))
    assert outcome.finished
    assert 1 < outcome.tried < 5


def test_without_users_held_out_the_figures_are_called_too_good(small, folder, strict):
    how = Optimisation(**SMALL, start=POOR, held_out=0.0)
    with language_models(folder=folder):
        lines, outcome = run(small, how)
        _, asked = run(small, replace(how, keep="best"))
    assert outcome.difference.mean > 0
    assert not outcome.held_out
    assert not outcome.gained
    assert outcome.theta.words == POOR.words
    assert "too good" in lines[-3]
    assert lines[-1].startswith("Nothing was shown to be gained")
    assert asked.theta.words == asked.best.words == outcome.best.words
    assert asked.theta.made_with["kept"] == "best"


# ---- what it costs ------------------------------------------------------------------------------------


def test_the_same_command_asks_nothing_twice(wide):
    lines, outcome, cost, people, kept = wide
    with language_models(folder=kept) as session:
        again, same = run(people, Optimisation(**WIDE, start=POOR))
        assert session.ledger.total["paid"] == 0
    assert same.theta.words == outcome.theta.words
    assert again == lines
    most = int(lines[1].split("At most ")[1].split(" calls")[0].replace(",", ""))
    assert 0.3 * most < cost["paid"] <= most


def test_another_process_asks_nothing_twice(small, folder):
    with language_models(folder=folder) as session:
        run(small, Optimisation(**SMALL, start=POOR))
        assert session.ledger.total["paid"] > 100
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {os.path.dirname(__file__)!r})
import test_optimize as t
with t.language_models(folder=Path({str(folder)!r})) as session:
    t.run(t.world(80, targets=4), t.Optimisation(**t.SMALL, start=t.POOR))
    print("paid", session.ledger.total["paid"])
"""
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout == "paid 0\n", done.stderr


def test_a_budget_that_runs_out_ends_cleanly_and_goes_on(small, folder, tmp_path, strict):
    how = Optimisation(**SMALL, start=POOR)
    with language_models(folder=tmp_path / "whole") as session:
        _, whole = run(small, how)
        cost = session.ledger.total["paid"]
    paid, ends = 0, []
    for _ in range(40):
        with language_models(folder=folder, budget=Budget(calls=max(1, cost // 7))) as session:
            lines, outcome = run(small, how)
            paid += session.ledger.total["paid"]
        ends.append((outcome, lines))
        if outcome.finished:
            break
    assert outcome.theta.words == whole.theta.words
    assert outcome.difference == whole.difference
    assert paid == cost
    assert len(ends) >= 7
    for early, lines in ends[:-1]:
        assert early.theta.words == POOR.words  # not shown to gain, as long as it was not tested
        assert early.theta.made_with["finished"] is False
        assert any(line.startswith("Ended early: the budget") for line in lines)
    tried = [early.tried for early, _ in ends]
    assert tried == sorted(tried)
    assert tried[0] == 0


def test_a_budget_that_ends_before_the_test_keeps_the_start_unless_asked(small, folder, strict):
    how = Optimisation(**SMALL, start=POOR)
    with language_models(folder=folder / "whole") as session:
        _, whole = run(small, how)
        cost = session.ledger.total["paid"]
    budget = Budget(calls=cost - 1)
    with language_models(folder=folder / "early", budget=budget):
        lines, early = run(small, how)
        _, asked = run(small, replace(how, keep="best"))
    assert not early.finished
    assert early.difference is early.after is None
    assert early.best.words == whole.best.words != POOR.words
    assert early.theta.words == POOR.words
    assert "not tested" in lines[-2]
    assert asked.theta.words == early.best.words


def test_every_call_names_a_temperature(small, folder, monkeypatch):
    seen = []

    class Watched:
        def __init__(self, spec):
            self.engine = make_engine(spec)

        def complete(self, model, messages, request):
            seen.append(request)
            return self.engine.complete(model, messages, request)

    answered_by(monkeypatch, Watched)
    with language_models(folder=folder):
        run(small, Optimisation(**SMALL, start=POOR), judge_lm="fake:world?seed=1")
    by = {name: [r for r in seen if r.program.name == name] for name in {r.program.name for r in seen}}
    assert set(by) == {"judge", "judge-quick", "persona", "optimize"}
    for name in ("judge", "judge-quick", "persona"):
        assert {r.temperature for r in by[name]} == {0.0}
    assert {r.temperature for r in by["optimize"]} == {1.0}
    proposals = [r for r in by["optimize"] if "proposed_instruction" in r.sections[0].text]
    assert len({r.sample for r in proposals}) == len({r.seed for r in proposals}) == SMALL["candidates"]


# ---- what goes wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("knob", ["refuse=0.3", "malformed=0.4"])
def test_answers_that_fail_are_counted_and_end_nothing(small, folder, knob):
    with language_models(folder=folder) as session:
        lines, outcome = run(small, Optimisation(**SMALL, start=POOR), f"fake:world?{knob}")
        assert session.ledger.total["faults"]
    assert outcome.finished
    assert outcome.counts["unread"] > 0
    assert any("personas could not be read" in line for line in lines)
    assert bool(outcome.notes) == any("proposes instructions gave nothing" in line for line in lines)


def test_a_proposal_that_failed_is_the_starting_instruction(small, folder, monkeypatch, watched):
    class Refusing:
        def __init__(self, spec):
            self.engine = make_engine(spec)

        def complete(self, model, messages, request):
            said = self.engine.complete(model, messages, request)
            return said._replace(finish="refusal") if request.program.name == "optimize" else said

    answered_by(monkeypatch, Refusing)
    with language_models(folder=folder):
        lines, outcome = run(small, Optimisation(**SMALL, start=POOR))
    assert outcome.finished
    assert {instruction for instruction, _ in watched[0].worth} == {POOR.instruction}
    assert outcome.tried > 1  # demonstrations were still searched
    assert len(outcome.notes) >= SMALL["candidates"]
    assert sum("gave nothing" in line for line in lines) == 1


def test_a_judge_that_cannot_be_read_is_a_failure_and_not_a_figure(small, folder):
    with language_models(folder=folder), pytest.raises(MethodError, match="no answer that could be read"):
        run(small, Optimisation(**SMALL), judge_lm="fake:world?malformed=1")


def test_a_key_that_is_refused_in_the_middle_is_raised(small, folder, monkeypatch):
    class Refusing:
        def __init__(self, spec):
            self.engine = make_engine(spec)

        def complete(self, model, messages, request):
            if request.program.name == "optimize":
                raise Forbidden("no credit")
            return self.engine.complete(model, messages, request)

    answered_by(monkeypatch, Refusing)
    with language_models(folder=folder), pytest.raises(KeyRefused):
        run(small, Optimisation(**SMALL))


def test_nothing_is_printed_and_nothing_is_left(small, folder, capfd):
    before, streams = threading.active_count(), (sys.stdout, sys.stderr)
    with language_models(folder=folder):
        steps = optimise_step_by_step(small, method(), Optimisation(**SMALL, start=POOR))
        for line in steps:
            if line.startswith("a prompt with"):
                break
        steps.close()  # as Ctrl-C does
        assert not [t for t in threading.enumerate() if t.name == "palate-optimize"]
        run(small, Optimisation(**SMALL, start=POOR))
    assert (sys.stdout, sys.stderr) == streams
    for _ in range(50):
        if threading.active_count() > before:
            time.sleep(0.1)
    assert threading.active_count() <= before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("field", "value"),
    [("candidates", 2), ("trials", 0), ("labelled", -1), ("held_out", 1.0), ("keep", "all"), ("users", 0)],
)
def test_impossible_fields_are_named(field, value):
    with pytest.raises(ConfigError, match=field):
        Optimisation(**{field: value})


def test_what_is_missing_is_told(small, folder, monkeypatch):
    with language_models(folder=folder):
        with pytest.raises(DataError, match="validation users have past choices"):
            optimise(Population.of([Feedback("ann", as_conversation("Hi"), ("Yo.", "Hello."), 0)]), method())
        with pytest.raises(ConfigError, match="no language model is named"):
            optimise(small, SynthesizeMe())
        monkeypatch.setattr(optimize, "find_spec", lambda module: None if module == "optuna" else 1)
        with pytest.raises(MissingExtra, match="optuna"):
            optimise(small, method())


# ---- saving -------------------------------------------------------------------------------------------


def test_what_is_kept_is_saved_under_its_name(small, folder, tmp_path, strict):
    with language_models(folder=folder):
        how = Optimisation(**SMALL, start=POOR, keep="best")
        lines = list(optimise_and_save(small, method(), how, "mine"))
        path = tmp_path / "My prompt.json"
        list(optimise_and_save(small, method(), how, str(path)))
        assert lines[-1] == f"Saved as {tmp_path / 'home' / 'prompts' / 'mine.json'}"
        assert load_theta("mine").words == optimise(small, method(), **SMALL, start=POOR, keep="best").words
        assert load_theta(path).name == "my-prompt"
        assert load_theta("mine").words != STARTING.words


def test_a_name_that_is_taken_is_refused_before_anything_is_asked(small, folder):
    with language_models(folder=folder) as session:
        with pytest.raises(ConfigError, match="another name"):
            list(optimise_and_save(small, method(), Optimisation(**SMALL), "starting"))
        assert session.ledger.total["requests"] == 0


# ---- gains --------------------------------------------------------------------------------------------


def test_the_interval_is_students():
    mean, low, high, users = gains.figure([0.1, 0.2, 0.6])
    half = 4.302653 * np.std([0.1, 0.2, 0.6], ddof=1) / np.sqrt(3)
    assert (mean, users) == (pytest.approx(0.3), 3)
    assert (low, high) == (pytest.approx(0.3 - half, abs=1e-6), pytest.approx(0.3 + half, abs=1e-6))
    assert gains.figure([0.4])[1:] == (None, None, 1)
    assert str(gains.figure([0.4])) == "+40.0 points (no interval: 1 user)"


def test_targets_are_pairs_of_choices_that_were_held_out():
    talk = as_conversation("Hi")
    rows = [Feedback("ann", talk, ("a", "b", "c"), n % 2, id=f"{n}", time=float(n)) for n in range(5)]
    rows += [Feedback("bob", talk, ("a", "b"), None, id=f"b{n}", time=float(n)) for n in range(4)]
    rows += [Feedback("cas", talk, ("a", "b"), 0, id="c")]
    (ann,) = gains.with_targets(Population.of(rows), 3)  # bob has ties alone, cas nothing to be judged by
    assert [row.id for row in ann.history.feedback] == ["0", "1", "2"]
    assert [t.answers for t in ann.targets] == [("b", "a"), ("b", "c"), ("a", "b")]
    assert all(t.persona is None for t in ann.targets)


def test_gain_is_what_a_persona_adds_and_none_adds_nothing(stand, small):
    """A judge by script: right of the last two targets with a persona, wrong of all without, silent once."""
    (learner,) = gains.with_targets(small.take_users([0]), 4)
    learner = replace(learner, alone=np.array([0.0, 0.0, 0.5, np.nan]), reasoning=("It is short.",))
    chosen = [target.answers[0] for target in learner.targets]

    def answer(request):
        if request.program.name == "persona":
            return "Prefers short answers."
        shown = {s.tag: s.text for s in request.sections}
        assert shown["persona"] == "Prefers short answers."
        if shown["first"] == chosen[1] or shown["second"] == chosen[1]:
            return "?"
        right = chosen.index(shown["first"]) if shown["first"] in chosen else chosen.index(shown["second"])
        prefers = shown["first"] in chosen if right else shown["first"] not in chosen
        return "First" if prefers else "Second"

    measured = gains.Gains(None, Judge(reason=False, logprobs=0))
    worth = stand(answer).run(measured._worth(POOR, learner))
    assert worth == ("Prefers short answers.", pytest.approx(((0.0 - 0.0) + (1.0 - 0.5)) / 2))
    assert measured.counts == {"personas": 1, "unread": 0, "comparisons": 4, "silent": 1}
    nothing = stand(lambda request: "I can't say.").run(measured._worth(POOR, learner))
    assert nothing == ("", 0.0)
    assert measured.counts["unread"] == 1
