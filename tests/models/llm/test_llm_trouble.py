"""What can go wrong with a call, one thing at a time: each is counted and told; none becomes an answer."""

import threading
import time

import pytest
from llm_parts import Order, asking, count, say

from palate.core import ConfigError, EndpointDown, KeyRefused, ModelError, PalateError, UnknownModel
from palate.models.llm import caller
from palate.models.llm.client import Task
from palate.models.llm.engine import (
    Completion,
    Disconnected,
    Forbidden,
    NoSuchModel,
    RateLimited,
    Refused,
    Rejected,
    ServerFailed,
    TimedOut,
    TooLong,
    Unsupported,
)
from palate.models.llm.pace import Pace
from palate.models.llm.program import Program, Section, read_text
from palate.models.llm.session import connect, language_models
from palate.models.llm.wire import Fault, Request


def first(error, times=1):
    """Raise an error for the first calls, then answer."""
    return lambda text, request, number: error if number <= times else f"about {text}"


def ask(*requests, **who):
    return connect("fake:a").ask(requests, **who)


# ---- what may pass ------------------------------------------------------------------------------------

PASSING = [ServerFailed("500"), TimedOut("late"), Disconnected("reset"), RateLimited("429", 0.01)]


@pytest.mark.parametrize("error", PASSING, ids=lambda e: type(e).__name__)
def test_what_may_pass_is_tried_again(engine, session, error):
    engine.does = first(error, 2)
    (reply,) = ask(say("x"))
    assert reply.text == "about x"
    assert len(engine.seen) == 3
    assert session.ledger.total["retries"] == 2
    assert session.ledger.total["faults"] == {}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ServerFailed("500"), "server"),
        (TimedOut("late"), "timeout"),
        (Disconnected("reset"), "server"),
        (RateLimited("429", 0.01), "rate limit"),
    ],
)
def test_what_does_not_pass_is_a_fault(engine, session, error, kind):
    engine.does = lambda text, request, number: error if text == "bad" else text
    bad, good = ask(say("bad"), say("good"), user="ann", method="pi")
    assert isinstance(bad, Fault)
    assert (bad.kind, good.text) == (kind, "good")
    (row,) = session.ledger.table(by="user")
    assert (row["user"], row["faults"], row["paid"]) == ("ann", {kind: 1}, 1)
    engine.does = lambda text, request, number: text
    assert ask(say("bad"))[0].text == "bad"  # a fault is not kept: it is asked for again


def test_waits_double_and_are_jittered(monkeypatch):
    from palate.models.llm import pace

    monkeypatch.setattr(pace, "FIRST_WAIT", 0.5)
    waits = [[pace.pause(times) for _ in range(200)] for times in (1, 2, 3, 20)]
    for drawn, most in zip(waits, (0.5, 1.0, 2.0, 60.0), strict=True):
        assert most / 2 <= min(drawn) < 0.6 * most
        assert 0.9 * most < max(drawn) <= most


# ---- rate limits --------------------------------------------------------------------------------------


def test_retry_after_holds_all_workers(engine, session):
    """One call is told to wait; no other begins in the meantime."""
    began, told = [], []

    def does(text, request, number):
        began.append(time.monotonic())
        time.sleep(0.03)
        if number == 1:
            told.append(time.monotonic())
            return RateLimited("429", 0.6)
        return text

    engine.does = does
    answers = list(connect("fake:a").run(Task(asking(str(i))) for i in range(20)))
    assert len(answers) == 20
    after = [at - told[0] for at in began]
    assert not [at for at in after if 0.2 < at < 0.59]  # before: those that were on their way
    assert sum(at < 0.2 for at in after) <= 8
    assert sum(at > 0.59 for at in after) >= 13


def test_a_storm_of_429_slows_down_and_ends_well(engines):
    """An endpoint that takes three calls each 50 ms, asked by sixteen workers."""
    times, lock = [], threading.Lock()

    def does(text, request, number):
        now = time.monotonic()
        with lock:
            recent = [at for at in times if at > now - 0.05]
            if len(recent) >= 3:
                return RateLimited("429", 0.05)
            times.append(now)
        time.sleep(0.005)
        return text

    engines["fake:a"] = Order(does)
    with language_models(concurrency=16, retries=3) as session:
        answers = [a[0] for a in connect("fake:a").run(Task(asking(str(i))) for i in range(60))]
        assert [a.text for a in answers] == [str(i) for i in range(60)]
        turned_away = len(engines["fake:a"].seen) - 60
        assert session.ledger.total["retries"] == turned_away
        assert turned_away < 120


def test_pace_halves_once_a_storm_and_recovers():
    pace = Pace(16, 3)

    def begin():
        return sum(pace.enter(lambda: False) for _ in range(20))

    assert begin() == 16
    for _ in range(16):  # all that were on their way are turned away together
        assert pace.limited(0.05)
        pace.leave()
    assert begin() == 0
    time.sleep(0.06)
    assert begin() == 8
    for _ in range(100):
        pace.answer()
    assert begin() == 8  # 16 in all


def test_patience_ends_when_pauses_bring_no_answer():
    pace = Pace(4, 2)
    for patient in (True, True, False):
        assert pace.limited(0.01) is patient
        time.sleep(0.02)
    pace.answer()
    assert pace.limited(0.01)


def test_an_endpoint_that_asks_for_an_hour_ends_the_run(engine, session):
    engine.does = first(RateLimited("quota", 3600.0), 99)
    with pytest.raises(EndpointDown, match=r"3,600 seconds.*the same command goes on"):
        ask(say("x"))


def test_a_storm_of_500_ends_well(engine, session):
    engine.does = lambda text, request, number: (
        ServerFailed("503") if engine.texts.count(text) < 1 + int(text) % 3 else text
    )
    answers = [a[0].text for a in connect("fake:a").run(Task(asking(str(i))) for i in range(30))]
    assert answers == [str(i) for i in range(30)]
    assert session.ledger.total["retries"] == 30


# ---- what ends the run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "cure"),
    [(Forbidden("401"), KeyRefused, "OPENAI_API_KEY"), (NoSuchModel("404"), UnknownModel, "--lm")],
)
def test_what_will_not_pass_ends_the_run_at_once(engine, session, error, kind, cure):
    engine.does = lambda text, request, number: error if text == "5" else text
    found = []
    with pytest.raises(kind, match=cure) as told:
        found.extend(connect("fake:a").run(Task(asking(str(i))) for i in range(200)))
    assert (told.value.exit_code, isinstance(told.value, ModelError)) == (7, True)
    assert engine.texts.count("5") == 1
    assert len(engine.seen) < 20
    assert len(list(session.store.calls())) == len(engine.seen) - 1  # all that was answered is kept


def test_an_endpoint_that_goes_down_ends_the_run_and_it_goes_on_later(engine, session):
    def does(text, request, number):
        time.sleep(0.005)
        return text if number <= 30 else Disconnected("gone", refused=True)

    engine.does = does
    with pytest.raises(EndpointDown, match="Call after call fails"):
        list(connect("fake:a").run(Task(asking(str(i))) for i in range(100)))
    assert len(list(session.store.calls())) == 30
    assert len(engine.seen) < 30 + 3 * 12
    engine.does = lambda text, request, number: text
    answers = list(connect("fake:a").run(Task(asking(str(i))) for i in range(100)))
    assert [a[0].text for a in answers] == [str(i) for i in range(100)]
    assert sum(a[0].paid for a in answers) == 70


def test_an_endpoint_that_never_answered_is_given_up_soon(engines):
    engines["fake:a"] = Order(lambda text, request, number: Disconnected("refused", refused=True))
    with language_models(concurrency=1, retries=6), pytest.raises(EndpointDown, match="mend its address"):
        ask(say("x"))
    assert len(engines["fake:a"].seen) == 3


def test_calls_that_fail_now_and_then_do_not_end_the_run(engine, session):
    engine.does = lambda text, request, number: ServerFailed("500") if int(text) % 3 == 0 else text
    answers = [a[0] for a in connect("fake:a").run(Task(asking(str(i))) for i in range(60))]
    assert sum(isinstance(a, Fault) for a in answers) == 20


def test_an_engine_with_a_bug_ends_the_run(engine, session):
    engine.does = first(ZeroDivisionError("a bug"), 99)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        ask(say("x"))


def test_an_engine_that_cannot_be_made_ends_the_run(session, monkeypatch):
    def broken(spec, timeout, connections):
        raise ConfigError("no such fake")

    monkeypatch.setattr(caller, "make_engine", broken)
    with pytest.raises(ConfigError, match="no such fake"):
        ask(say("x"), say("y"))


def test_requests_that_are_bad_do_not_end_a_run_that_gets_answers(engine, session):
    engine.does = lambda text, request, number: "fine" if text == "0" else Rejected("400: odd")
    answers = [a[0] for a in connect("fake:a").run(Task(asking(str(i))) for i in range(40))]
    assert sum(isinstance(a, Fault) for a in answers) == 39


def test_an_endpoint_that_rejects_everything_ends_the_run(engine, session):
    engine.does = lambda text, request, number: Rejected("400: odd")
    with pytest.raises(EndpointDown, match="400: odd"):
        list(connect("fake:a").run(Task(asking(str(i))) for i in range(100)))
    assert len(engine.seen) < 30


# ---- answers that cannot be read ----------------------------------------------------------------------


def test_an_answer_in_the_wrong_form_is_repaired(engine, session):
    engine.does = lambda text, request, number: "It is seven." if number == 1 else "Answer: 7"
    (reply,) = ask(count("x"))
    assert (reply.value, reply.paid, len(engine.seen)) == (7, True, 2)
    *start, shown, again = engine.seen[1][2]
    assert start == list(engine.seen[0][2])
    assert (shown.role, shown.content, again.role) == ("assistant", "It is seven.", "user")
    assert 'the last line must be "Answer: NUMBER"' in again.content
    calls = list(session.store.calls())
    assert [call.fault for call in calls] == ["", "malformed"]  # both were paid, both are kept
    assert session.ledger.total["repairs"] == 1
    assert session.ledger.total["paid"] == 2
    (second,) = ask(count("x"))
    assert (second.value, second.paid, second.key, len(engine.seen)) == (7, False, reply.key, 2)


def test_an_answer_in_the_wrong_form_twice_is_a_fault(engine, session):
    engine.does = lambda text, request, number: f"Well, {number}."
    (fault,) = ask(count("x"))
    assert (fault.kind, len(engine.seen)) == ("malformed", 2)
    assert "Answer: NUMBER" in fault.message
    assert "Well, 2." in fault.message
    assert {call.fault for call in session.store.calls(faults=True)} == {"malformed"}
    (again,) = ask(count("x"))
    assert (again, len(engine.seen)) == (fault, 2)  # kept: not paid again
    assert fault.key == next(session.store.calls()).key


def test_an_answer_that_was_cut_off_is_asked_for_at_twice_the_length(engine, session):
    engine.does = lambda text, request, number: (
        Completion("Let me think", "length") if request.longest < 40 else Completion("Answer: 3")
    )
    (reply,) = ask(count("x"))
    assert (reply.value, [request.longest for _, request, _ in engine.seen]) == (3, [20, 40])
    engine.does = lambda text, request, number: Completion("Let me think", "length")
    (fault,) = ask(count("y"))
    assert (fault.kind, session.ledger.total["faults"]) == ("truncated", {"truncated": 1})
    assert len(engine.seen) == 4


def test_an_answer_that_was_cut_off_and_can_be_read_stands(engine, session):
    engine.does = lambda text, request, number: Completion("Answer: 3 and", "length")
    assert ask(count("x"))[0].value == 3
    assert len(engine.seen) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        Completion("", "refusal"),
        "I'm sorry, but I can't help with that.",
        "I cannot compare these.",
        Refused("filtered"),
    ],
)
def test_refusals_are_faults_of_their_own(engine, session, refusal):
    engine.does = lambda text, request, number: refusal
    (fault,) = ask(count("x"))
    assert (fault.kind, len(engine.seen)) == ("refused", 1)
    assert session.ledger.total["faults"] == {"refused": 1}


def test_a_request_that_the_endpoint_rejects_is_not_tried_again(engine, session):
    engine.does = first(Rejected("400: odd"), 99)
    (fault,) = ask(say("x"))
    assert (fault.kind, fault.message, len(engine.seen)) == ("server", "400: odd", 1)


def test_no_fault_becomes_a_value(engine, session):
    """Whatever goes wrong, the conversation is told, and nothing in the answer looks like a value."""
    kinds = {"a": ServerFailed("500"), "b": Completion("", "refusal"), "c": "nonsense", "d": TimedOut("late")}
    engine.does = lambda text, request, number: kinds[text]
    answers = ask(*(count(text) for text in kinds))
    assert all(isinstance(answer, Fault) for answer in answers)
    assert not any(hasattr(answer, "value") for answer in answers)
    assert session.ledger.total["faults"] == {"server": 1, "refused": 1, "malformed": 1, "timeout": 1}


# ---- too long -----------------------------------------------------------------------------------------

SHOW = Program("show", "Show", "Be brief.", "Go on.", "Fine.", read_text, max_tokens=50)


def long_request(examples=8):
    spare = [Section("example", f"{i} " + "word " * 100, spare=True) for i in range(examples)]
    return Request(SHOW, (*spare, Section("text", "the end")))


def reads(limit, says):
    """An endpoint that reads so many tokens, at four characters each, and says so or not."""

    def does(text, request, number):
        return Completion("Fine.")

    engine = Order(does)
    complete = engine.complete

    def bounded(model, messages, request):
        size = sum(len(m.content) for m in messages) / 4 + request.longest
        if size > limit:
            engine.seen.append(("too long", request, messages))
            return _raise(TooLong("too long", limit if says else 0))
        return complete(model, messages, request)

    engine.complete = bounded
    return engine


def _raise(error):
    raise error


@pytest.mark.parametrize("says", [True, False])
def test_prompts_are_shortened_to_what_the_endpoint_reads(engines, session, says):
    engines["fake:a"] = engine = reads(700, says)
    (reply,) = ask(long_request())
    assert reply.text == "Fine."
    body = engine.seen[-1][2][1].content
    assert "the end" in body
    assert "7 word" in body  # spare sections go, the oldest first
    assert "0 word" not in body
    assert session.ledger.total["shortened"] >= 1
    assert "reads about" in session.ledger.notes[0]
    told = len(engine.seen)
    assert told <= (2 if says else 6)
    ask(long_request(9))
    assert len(engine.seen) == told + 1  # what was learned holds for the next


def test_what_a_model_reads_is_remembered_by_later_sessions(engines):
    engines["fake:a"] = engine = reads(700, True)
    with language_models():
        ask(long_request())
    with language_models():
        ask(long_request())
        assert len(engine.seen) == 2  # kept
        ask(long_request(9))
        assert len(engine.seen) == 3  # without running into the limit again


def test_answers_to_longer_prompts_stay_good_when_the_limit_is_lowered(engines, session):
    """A prompt that went through before a lower limit was found keeps its answer."""
    engines["fake:a"] = Order(lambda text, request, number: "Fine.")
    ask(long_request(6))
    engines["fake:a"].does = lambda text, request, number: TooLong("no", 500) if number == 2 else "Fine."
    ask(long_request(7))
    assert len(engines["fake:a"].seen) == 3
    assert not ask(long_request(6))[0].paid


def test_a_prompt_that_cannot_be_shortened_is_a_fault(engines, session):
    engines["fake:a"] = reads(60, True)
    (fault,) = ask(say("x" * 2000))
    assert fault.kind == "too long"


def test_the_context_setting_shortens_before_anything_is_sent(engines):
    engines["fake:a"] = Order()
    with language_models(context=600) as session:
        ask(long_request())
        assert session.ledger.total["shortened"] == 1
        assert sum(len(m.content) for m in engines["fake:a"].seen[0][2]) < 3.5 * 600


def test_a_model_that_reads_less_than_the_instruction_is_told(engines):
    engines["fake:a"] = Order()
    with language_models(context=90), pytest.raises(ConfigError, match="name a model that reads more"):
        ask(say("x"))


# ---- settings that are not taken ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "fields", "sent"),
    [
        ("logprobs", {"logprobs": 5}, {"logprobs": 0}),
        ("seed", {"seed": 3}, {"seed": None}),
        ("temperature", {"temperature": 0.2}, {"temperature": 1.0}),
    ],
)
def test_a_setting_that_is_refused_is_left_out_and_remembered(engines, session, setting, fields, sent):
    (name,) = fields

    def does(text, request, number):
        if getattr(request, name) == fields[name]:
            return Unsupported(f"no {setting}", setting)
        return text

    engines["fake:a"] = engine = Order(does)
    assert ask(say("x", **fields))[0].text == "x"
    assert {name: getattr(engine.seen[-1][1], name)} == sent
    assert len(engine.seen) == 2
    assert ask(say("y", **fields))[0].text == "y"
    assert len(engine.seen) == 3
    assert any(setting in note for note in session.ledger.notes)
    session.close()
    with language_models():
        ask(say("z", **fields))
        assert len(engine.seen) == 4


def test_a_setting_that_is_refused_all_the_same_is_a_fault(engine, session):
    engine.does = first(Unsupported("no seed", "seed"), 99)
    assert ask(say("x", seed=1))[0].kind == "server"
    assert len(engine.seen) == 2


def test_calls_that_were_on_their_way_when_a_setting_was_left_out_are_sent_again(engine, session):
    together = threading.Barrier(4)

    def does(text, request, number):
        if number <= 4:
            together.wait(10)
        return Unsupported("no seed", "seed") if request.seed is not None else text

    engine.does = does
    answers = ask(*(say(str(i), seed=1) for i in range(8)))
    assert [a.text for a in answers] == [str(i) for i in range(8)]
    assert len(engine.seen) <= 8 + 4


# ---- the store in trouble -----------------------------------------------------------------------------


def test_a_store_that_cannot_be_written_ends_the_run_before_a_call(engine, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with (
        language_models(folder=tmp_path / "file" / "lm"),
        pytest.raises(PalateError, match="PALATE_LM_STORE") as told,
    ):
        ask(say("x"))
    assert told.value.exit_code == 6
    assert not engine.seen
