"""Many conversations at once: order, laziness, sharing, errors, and an end that keeps what was paid."""

import gc
import os
import signal
import threading
import time
import tracemalloc
from contextlib import contextmanager
from itertools import count as numbers

import pytest
from llm_parts import COUNT, SAY, Order, asking, count, say

from palate.core import ConfigError
from palate.models.llm.client import Task
from palate.models.llm.engine import Completion, identity
from palate.models.llm.program import Program, Section
from palate.models.llm.session import Settings, connect, current_session, language_models
from palate.models.llm.wire import Fault, Reply, Request, Token

# ---- the key ------------------------------------------------------------------------------------------

ONE = say("hello", temperature=0.5, seed=1)
CHANGES = {
    "temperature": 0.6,
    "seed": 2,
    "sample": 1,
    "logprobs": 5,
    "max_tokens": 41,
    "sections": (Section("text", "hello!"),),
    "program": Program("say", "Say something", "Be plain.", "Write one line.", "Something plain.", version=2),
}


def key(request, model="m"):
    return request.key(model, request.told(8192).messages)


@pytest.mark.parametrize("field", CHANGES)
def test_the_key_covers_every_field(field):
    assert key(ONE) != key(ONE.but(**{field: CHANGES[field]}))
    assert key(ONE) == key(ONE.but(**{field: getattr(ONE, field)}))


@pytest.mark.parametrize("word", ["title", "instruction", "ask"])
def test_the_key_covers_the_programs_words(word):
    changed = {"name": "say", "title": "Say something", "instruction": "Be plain.", "ask": "Write one line."}
    other = Program(**{**changed, word: "Other."}, example="x", max_tokens=40)
    assert key(ONE) != key(ONE.but(program=other))


def test_the_key_covers_the_model_and_not_who_asks(engine, session):
    assert key(ONE, "m") != key(ONE, "n")
    client = connect("fake:a")
    (one,) = client.ask([say("x")], user="ann", method="pi")
    (two,) = client.ask([say("x")], user="bob", method="memory")
    assert (one.key, one.paid, two.paid) == (two.key, True, False)
    assert one.key == say("x").key(identity("fake:a"), say("x").told(8192).messages)


# ---- order and laziness -------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_tasks(engine, session):
    engine.does = lambda text, request, number: time.sleep(0.03 if "slow" in text else 0) or f"about {text}"
    tasks = (Task(asking(f"{'slow' if i % 5 == 0 else 'quick'} {i}"), f"u{i}") for i in range(40))
    found = [answers[0].text for answers in connect("fake:a").run(tasks)]
    assert found == [f"about {'slow' if i % 5 == 0 else 'quick'} {i}" for i in range(40)]
    assert engine.most == 4  # as many calls at a time as were allowed, and no more


def test_tasks_are_taken_as_they_are_needed(engine, session):
    begun = []

    def endless():
        for i in numbers():
            begun.append(i)
            yield Task(asking(f"{i}a", f"{i}b"))

    results = connect("fake:a").run(endless())
    for i in range(50):
        assert next(results)[1].text == f"about {i}b"
        assert len(begun) <= i + 2 * 4 + 4 * 16 + 1
    results.close()


def test_a_slow_user_does_not_let_results_pile_up(engine, session):
    begun = []

    def does(text, request, number):
        until = time.monotonic() + 10
        while text == "0" and len(begun) < 60 and time.monotonic() < until:
            time.sleep(0.01)
        if text == "0":
            time.sleep(0.3)  # time for others to go too far, if they could
        return text

    def tasks():
        for i in range(500):
            begun.append(i)
            yield Task(asking(str(i)))

    engine.does = does
    results = connect("fake:a").run(tasks())
    assert next(results)[0].text == "0"
    assert 60 <= len(begun) <= 4 * 16 + 2 * 4 + 2  # others went on, but not without a bound
    assert len(list(results)) == 499


class Forgetful(list):
    """Counts what it is given and lets it go."""

    def append(self, item):
        super().append(None)


def test_memory_does_not_grow_with_the_number_of_users(session, engines):
    engines["fake:a"] = Order(lambda text, request, number: "x" * 2000)
    engines["fake:a"].seen = Forgetful()

    def peak(users):
        gc.collect()
        tracemalloc.start()
        for _ in connect("fake:a").run(Task(asking(f"{users} {i} " + "y" * 8000)) for i in range(users)):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(50)
    gc.disable()  # not even until garbage is looked for
    try:
        few, many = peak(200), peak(700)
    finally:
        gc.enable()
    assert many - few < 3e6  # 500 users more, each with prompts of 16 KB


def test_conversations_compose(engine, session):
    def inner(name):
        (reply,) = yield [say(name)]
        return reply.text

    def outer(name):
        first = yield from inner(f"{name} first")
        nothing = yield []
        two = yield [say(f"{first}!"), say(f"{first}?")]
        last = yield from inner(two[1].text)
        return first, nothing, [a.text for a in two], last

    (found,) = connect("fake:a").run([Task(outer("ann"))])
    first = "about ann first"
    assert found == (first, [], [f"about {first}!", f"about {first}?"], f"about about {first}?")


def test_a_drive_inside_a_conversation(engine, session):
    client = connect("fake:a")

    def outer(i):
        (mine,) = yield [say(f"same {i % 2}")]
        (inner,) = client.run([Task(asking(f"same {i % 2}", f"inner {i}"))])
        return mine.text, inner[1].text

    found = list(client.run(Task(outer(i)) for i in range(12)))
    assert found == [(f"about same {i % 2}", f"about inner {i}") for i in range(12)]
    assert len(engine.seen) == 2 + 12


def test_an_error_in_a_conversation_ends_the_run_and_keeps_what_was_paid(engine, session):
    engine.latency = 0.05
    closed = []

    def bad():
        yield [say("before")]
        raise ZeroDivisionError("mine")

    def good(i):
        try:
            return (yield from asking(f"good {i}", f"more {i}"))
        finally:
            closed.append(i)

    client = connect("fake:a")
    with pytest.raises(ZeroDivisionError, match="mine"):
        list(client.run([Task(good(0)), Task(bad()), Task(good(1)), Task(good(2))]))
    sent = len(engine.seen)
    assert closed == [0, 1, 2]
    assert len(list(session.store.calls())) == sent  # nothing that was sent is lost
    list(client.run([Task(good(i)) for i in range(3)]))
    assert len(engine.seen) == 7


def test_a_consumer_that_leaves_keeps_what_was_paid(engine, session):
    engine.latency = 0.02
    results = connect("fake:a").run(Task(asking(str(i))) for i in range(100))
    next(results)
    results.close()
    sent = len(engine.seen)
    assert sent < 30
    assert len(list(session.store.calls())) == sent


# ---- sharing ------------------------------------------------------------------------------------------


def test_equal_requests_in_flight_are_one_call(engine, session):
    engine.latency = 0.05
    found = list(connect("fake:a").run(Task(asking("same"), f"u{i}", "pi") for i in range(10)))
    assert [answers[0].text for answers in found] == ["about same"] * 10
    assert len(engine.seen) == 1
    assert sum(answers[0].paid for answers in found) == 1
    total = session.ledger.total
    assert (total["requests"], total["paid"], total["shared"] + total["kept"]) == (10, 1, 9)
    assert {use.user for call in session.store.calls() for use in call.uses} == {f"u{i}" for i in range(10)}


def test_equal_requests_of_several_threads_are_one_call(engine, session):
    engine.latency = 0.05
    client, found = connect("fake:a"), []

    def work():
        found.extend(client.ask([say("same"), say("other")]))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(engine.texts) == ["other", "same"]
    assert len(found) == 12
    assert sum(answer.paid for answer in found) == 2


def test_equal_requests_of_one_question_are_one_call(engine, session):
    answers = connect("fake:a").ask([say("x"), say("x"), say("x", sample=1, temperature=1.0)])
    assert [a.text for a in answers] == ["about x"] * 3
    assert len(engine.seen) == 2


def test_a_request_may_name_another_model(engines, session):
    engines["fake:a"] = Order(lambda text, request, number: f"a {text}")
    engines["fake:b"] = Order(lambda text, request, number: f"b {text}")
    answers = connect("fake:a").ask([say("x"), say("x", lm="fake:b"), say("y", lm="fake:b")])
    assert [a.text for a in answers] == ["a x", "b x", "b y"]
    assert {call.model for call in session.store.calls()} == {"fake:a", "fake:b"}


def test_a_slow_model_does_not_hold_up_another(engines, session):
    done, free = [], threading.Event()
    engines["fake:a"] = Order(lambda text, request, number: str(free.wait(10)))
    engines["fake:b"] = Order()

    def follow(i):
        yield [say(str(i), lm="fake:b")]
        done.append(i)
        if len(done) == 20:
            free.set()

    slow = [Task(asking(f"slow {i}")) for i in range(4)]
    found = list(connect("fake:a").run(slow + [Task(follow(i)) for i in range(20)]))
    assert [answers[0].text for answers in found[:4]] == ["True"] * 4


# ---- answers ------------------------------------------------------------------------------------------


def test_kept_answers_come_back_whole(engines, tmp_path):
    token = Token(" 7", -0.25, ((" 7", -0.25), (" 8", -1.75)))
    engines["fake:a"] = Order(lambda text, request, number: Completion("Answer: 7", "stop", 12, 3, (token,)))
    replies = []
    for _ in range(2):
        with language_models():
            replies += connect("fake:a").ask([count("x", logprobs=2)])
    first, second = replies
    assert len(engines["fake:a"].seen) == 1
    assert (first.paid, second.paid) == (True, False)
    assert second == Reply(**{name: getattr(first, name) for name in first.__slots__} | {"paid": False})
    assert (second.value, second.tokens_in, second.logprobs) == (7, 12, (token,))


def test_tokens_are_estimated_where_nobody_counts(engines, session):
    engines["fake:a"] = Order(lambda text, request, number: Completion("word " * 20))
    (reply,) = connect("fake:a").ask([say("x" * 700)])
    assert 200 < reply.tokens_in < 500
    assert 20 < reply.tokens_out < 50


# ---- rehearsal ----------------------------------------------------------------------------------------


def candidates(name):
    """Draws three texts, and asks a question about each."""
    texts = yield [say(name, temperature=1.0, sample=i) for i in range(3)]
    scores = yield [count(text.text) for text in texts]
    return max(score.value for score in scores)


def test_a_rehearsal_counts_what_the_run_then_asks(engine, session):
    def does(text, request, number):
        return f"draw {request.sample} of {text}" if request.program is SAY else "Answer: 3"

    engine.does = does
    client = connect("fake:a")
    tasks = [(f"u{i}", "pi" if i % 2 else "memory") for i in range(6)]

    def run():
        return list(client.run(Task(candidates(user), user, method) for user, method in tasks))

    with session.rehearsal() as plan:
        assert run() == [7] * 6  # the example of COUNT
    assert not engine.seen
    assert not list(session.store.calls())
    assert session.ledger.total["requests"] == 0
    assert (plan.calls, plan.kept) == (36, 0)
    assert {row["method"]: row["paid"] for row in plan.table()} == {"memory": 18, "pi": 18}
    assert plan.seconds(2.0, 4) == 18.0
    assert plan.seconds(2.0, 1000) == 4.0  # two calls that wait for each other
    assert run() == [3] * 6
    assert session.ledger.total["paid"] == 36
    with session.rehearsal() as after:
        assert run() == [3] * 6  # kept answers are used
    assert (after.calls, after.kept) == (0, 36)


def test_expected_tokens_and_money_come_near_the_measured_ones(engines):
    engines["fake:m"] = Order(lambda text, request, number: "Something as plain.")
    with language_models(prices={"fake:m": (1.0, 10.0)}) as session:
        client = connect("fake:m")
        with session.rehearsal() as plan:
            client.ask([say(f"{i}" * 400) for i in range(10)])
        assert plan.calls == 10
        assert 150 * 10 < plan.tokens_in < 350 * 10
        assert plan.money() == pytest.approx((plan.tokens_in + 10 * plan.tokens_out) / 1e6)
        assert plan.money({"fake:m": (0.0, 0.0)}) == 0.0


def test_a_rehearsal_begins_no_store(engine, tmp_path):
    with language_models(folder=tmp_path / "none") as session, session.rehearsal() as plan:
        connect("fake:a").ask([say("x")])
        assert plan.calls == 1
    assert not (tmp_path / "none").exists()


def test_a_program_that_cannot_read_its_own_example_is_told(engine, session):
    odd = Program("odd", "Odd", "Be odd.", "Be odd.", "no number", COUNT.read)
    with session.rehearsal(), pytest.raises(ConfigError, match="example of program odd"):
        connect("fake:a").ask([Request(odd, (Section("text", "x"),))])


# ---- sessions -----------------------------------------------------------------------------------------


def test_no_model_named_is_told_with_the_cure(monkeypatch):
    with pytest.raises(ConfigError, match=r"--lm openai/gpt-4o-mini.*PALATE_LM"):
        connect("")
    monkeypatch.setenv("PALATE_LM", "openai/gpt-4o-mini")
    assert connect("").spec == "openai/gpt-4o-mini"


def test_clients_know_their_names():
    client = connect("openai/fake-world@http://127.0.0.1:9/v1/")
    assert (client.spec, client.name) == ("openai/fake-world@http://127.0.0.1:9/v1", "openai/fake-world")
    assert client.fake
    assert connect("fake:world").fake
    assert not connect("openai/gpt-4o-mini").fake
    assert connect("openai/gpt-4o-mini") is connect(" openai/gpt-4o-mini")


@pytest.mark.parametrize("spec", ["openai/@http://h/v1", "anthropic/x@http://h/v1", "openai/x@http://"])
def test_addresses_that_cannot_be_read_are_told(spec):
    with pytest.raises(ConfigError, match="openai/NAME@http"):
        connect(spec)


def test_a_name_with_a_password_is_refused_without_showing_it():
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as told:
        connect("openai/x@http://me:hunter22@host/v1")
    assert "hunter22" not in str(told.value)


@pytest.mark.parametrize(
    ("setting", "value"), [("concurrency", 0), ("retries", -1), ("timeout", 0), ("context", -5)]
)
def test_settings_that_cannot_work_are_told(setting, value):
    with pytest.raises(ConfigError, match=setting):
        Settings(**{setting: value})


def test_sessions_nest_like_jobs():
    outside = current_session()
    with language_models() as one:
        assert current_session() is one
        with language_models() as two:
            assert current_session() is two
        assert current_session() is one
    assert current_session() is outside


# ---- Ctrl-C -------------------------------------------------------------------------------------------


@pytest.fixture
def interrupt():
    """``with interrupt(0.1, 0.3):`` presses Ctrl-C after these times, and never outside the block."""
    armed = [False]

    def pressed(number, frame):
        if armed[0]:
            raise KeyboardInterrupt

    @contextmanager
    def block(*times):
        timers = [threading.Timer(t, os.kill, [os.getpid(), signal.SIGINT]) for t in times]
        armed[0] = True
        for timer in timers:
            timer.start()
        try:
            yield
        finally:
            armed[0] = False
            for timer in timers:
                timer.cancel()

    before = signal.signal(signal.SIGINT, pressed)
    yield block
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_awaits_what_is_on_its_way_and_sends_no_more(engine, session, interrupt):
    pressed = threading.Event()

    def press(text, request, number):
        if number == 4:  # all workers are at it
            os.kill(os.getpid(), signal.SIGINT)
            pressed.set()
        pressed.wait(10)
        time.sleep(0.5)
        return text

    def tasks():
        for i in range(100):
            yield Task(asking(str(i)))

    engine.does = press
    with interrupt(), pytest.raises(KeyboardInterrupt):
        list(connect("fake:a").run(tasks()))
    assert len(engine.seen) == 4
    assert len(list(session.store.calls())) == 4
    engine.does = lambda text, request, number: text
    assert len(list(connect("fake:a").run(tasks()))) == 100
    assert len(engine.seen) == 100


def test_a_second_ctrl_c_quits_at_once(engine, session, interrupt):
    engine.latency = 3.0
    began = time.monotonic()
    with interrupt(0.1, 0.3), pytest.raises(KeyboardInterrupt):
        list(connect("fake:a").run([Task(asking("x"))]))
    assert time.monotonic() - began < 2.5


def test_interrupts_at_any_moment_leave_nothing_hanging(engine, session, interrupt):
    engine.latency = 0.002
    client, stopped = connect("fake:a"), 0
    for turn in range(12):
        try:
            with interrupt(0.004 + 0.003 * turn):
                list(client.run(Task(asking(f"{turn}-{i}", f"{turn}+{i}")) for i in range(50)))
        except KeyboardInterrupt:
            stopped += 1
    assert stopped
    done = list(client.run(Task(asking(f"{i}-{j}", f"{i}+{j}")) for i in range(12) for j in range(50)))
    assert len(done) == 600
    assert len(engine.texts) == len(set(engine.texts))
    assert not any(isinstance(a, Fault) for answers in done for a in answers)
