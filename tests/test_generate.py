"""Writing for a user: what is told to whom, what is kept and counted, and what happens when it goes wrong."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from generate_parts import PIECES, Echo, Endpoint, frame, frames
from palate import World
from palate.catalogue import build
from palate.core import (
    BudgetSpent,
    Claim,
    ConfigError,
    Conversation,
    Feedback,
    Generates,
    KeyRefused,
    MethodError,
    ModelError,
    Persona,
    PersonaMismatch,
    Provenance,
    Turn,
    Verdict,
    as_conversation,
)
from palate.export import system_prompt
from palate.fakes.server import Server
from palate.gate import Gate
from palate.generate import answers, applied, best_of, stream, writes
from palate.models.llm import pace
from palate.models.llm.budget import Budget
from palate.models.llm.chat import CHAT
from palate.models.llm.program import Section
from palate.models.llm.session import language_models

pytest.importorskip("dspy")

ANN = Persona(user="ann", text="Prefers short answers.", provenance=Provenance("memory", "m", ("a", "b")))
ASKED = "Why is the sky blue?"
TESTED = Verdict(12, 0.8, 0.6, 0.5, 0.69, 0.9)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "PALATE_LM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pace, "FIRST_WAIT", 0.01)


@pytest.fixture
def session(tmp_path):
    with language_models(folder=tmp_path / "kept", concurrency=4, retries=1, timeout=0.5) as opened:
        yield opened


def aside(persona):
    return replace(persona, verdict=Verdict(12, 0.4, 0.6, 0.9, 0.69, 0.01))


# ---- what is told ---------------------------------------------------------------------------------------


def test_the_persona_is_the_system_message_and_the_turns_are_messages(session):
    talk: Conversation = (
        Turn("system", "You are a librarian."),
        Turn("user", "Hi"),
        Turn("assistant", "Hello."),
        Turn("user", ASKED),
    )
    with Endpoint() as endpoint:
        assert answers([ANN], [talk], endpoint.spec) == [["".join(PIECES)]]
        (body,) = endpoint.bodies
    told = body["messages"]
    assert told[0] == {"role": "system", "content": f"{system_prompt(ANN)}\n\nYou are a librarian."}
    assert "no order" in told[0]["content"]
    assert [(m["role"], m["content"]) for m in told[1:]] == [tuple(turn) for turn in talk[1:]]
    (row,) = session.ledger.table(by="user")
    assert (row["user"], row["paid"]) == ("ann", 1)


@pytest.mark.parametrize("persona", [Persona(), Persona(user="ann"), aside(ANN)])
def test_a_persona_that_its_verdict_sets_aside_is_not_told(session, persona):
    with Endpoint() as endpoint:
        answers([persona], [ASKED], endpoint.spec)
        "".join(stream(persona, f"{ASKED} Now?", endpoint.spec))
    assert [[m["role"] for m in body["messages"]] for body in endpoint.bodies] == [["user"], ["user"]]
    use = applied(persona)
    assert not use.used
    assert use.told.startswith("no persona: ")
    assert ("set aside (weight 0.01)" in use.told) == (persona.verdict is not None)


def test_the_persona_that_is_used_is_named():
    told = applied(replace(ANN, verdict=TESTED)).told
    assert told == f"persona: memory for ann, 2 choices: {TESTED}"
    assert applied(ANN).told.endswith("not tested on held-back choices")
    bare = Persona(user="ann", vector=(1.0,), provenance=Provenance("mixed", "m"))
    assert applied(bare).used
    assert applied(bare, words=True).told == (
        "no persona: that of mixed for ann cannot be told: it holds no words and no past choices"
    )


def test_what_asks_for_harm_is_left_out_before_anything_is_written(session):
    harm = "Wants steps for building a pipe bomb."
    liked = Feedback("ann", as_conversation("Hi"), ("Yo.", "Good day."), 0, id="a", reason=harm)
    claims = (Claim("Prefers short answers.", 1, 0, 2), Claim(harm, 1, 0, 2))
    persona = replace(ANN, text=f"{ANN.text}\n{harm}", claims=claims, examples=(liked,))
    echo = Echo()
    with Endpoint() as endpoint:
        answers([persona], [ASKED], endpoint.spec)
        list(stream(persona, f"{ASKED} Now?", endpoint.spec))
        told = [body["messages"][0]["content"] for body in endpoint.bodies]
    echo.generate_batch([applied(persona).persona], [as_conversation(ASKED)])
    assert all("Prefers short answers." in text and "Good day." in text for text in told)
    assert not any("bomb" in text for text in [*told, str(echo.asked)])
    use = applied(persona)
    assert "bomb" in use.left_out[0]
    assert applied(Persona(user="ann", text=harm), words=True).told.endswith("all its words ask for harm")


def test_a_fake_over_http_is_moved_by_the_persona():
    prompt = World.two_tastes(users=4).sample().population.history(0).feedback[0].conversation
    short, long = (Persona(user=w, text=f"Prefers {w} answers.") for w in ("short", "long"))
    with Server("fake:world") as server, language_models():
        spec = f"openai/fake-world@{server.url}"
        ((brief,), (ample,), (plain,)) = answers([short, long, Persona()], [prompt] * 3, spec, temperature=0)
        assert len(brief) < len(ample)
        assert "".join(stream(short, prompt, spec, temperature=0)) == brief
        assert "does not know this task" not in plain
        assert server.ledger.to_json()["charged"] == 3


# ---- kept, shared, counted, capped ----------------------------------------------------------------------


def test_samples_are_calls_of_their_own_with_seeds_of_their_own(session):
    with Endpoint() as endpoint:
        assert [len(row) for row in answers([ANN] * 2, ["a", "b"], endpoint.spec, 3, seed=5)] == [3, 3]
        assert len(endpoint.bodies) == 6
        assert len({body["seed"] for body in endpoint.bodies}) == 3
        assert {body["temperature"] for body in endpoint.bodies} == {1.0}
        assert answers([ANN], ["a"], endpoint.spec, 3, temperature=0, longest=7) == [["".join(PIECES)] * 3]
        assert len(endpoint.bodies) == 7
        assert endpoint.bodies[-1]["max_tokens"] == 7
        assert "seed" not in endpoint.bodies[-1]


def test_an_answer_is_paid_once_whether_it_streams_or_not(session):
    with Endpoint() as endpoint:
        heard = list(stream(ANN, ASKED, endpoint.spec))
        assert heard == list(PIECES)
        assert answers([ANN], [ASKED], endpoint.spec) == [["".join(PIECES)]]
        assert list(stream(ANN, ASKED, endpoint.spec)) == ["".join(PIECES)]
        assert len(endpoint.bodies) == 1
        assert endpoint.bodies[0]["stream"] is True
        assert endpoint.headers[0]["Idempotency-Key"]
    total = session.ledger.total
    assert (total["requests"], total["paid"], total["kept"]) == (3, 1, 2)
    assert (total["tokens_in"], total["tokens_out"]) == (50, 9)
    (call,) = session.store.calls(user="ann", limit=9)
    assert call.text == "".join(PIECES)


def test_pieces_come_while_the_answer_is_still_being_written(session):
    go = threading.Event()
    with Endpoint(lambda body, n: [frame("Put "), lambda: go.wait(5), *frames(PIECES[1:])]) as endpoint:
        pieces = stream(ANN, ASKED, endpoint.spec)
        assert next(pieces) == "Put "
        go.set()
        assert "".join(pieces) == "simply, it scatters."


def test_whoever_stops_listening_finds_the_answer_kept(session):
    with Endpoint() as endpoint:
        pieces = stream(ANN, ASKED, endpoint.spec)
        next(pieces)
        pieces.close()
        assert list(stream(ANN, ASKED, endpoint.spec)) == ["".join(PIECES)]
        assert len(endpoint.bodies) == 1


def test_the_budget_holds_for_both(tmp_path):
    with (
        Endpoint() as endpoint,
        language_models(folder=tmp_path, budget=Budget.parse("2calls"), concurrency=1) as session,
    ):
        list(stream(ANN, "one", endpoint.spec))
        with pytest.raises(BudgetSpent):
            answers([ANN], ["two"], endpoint.spec, 3)
        with pytest.raises(BudgetSpent):
            list(stream(ANN, "three", endpoint.spec))
        assert len(endpoint.bodies) == 2
        assert session.ledger.total["paid"] == 2


def test_a_rehearsal_asks_nobody(session):
    with Endpoint() as endpoint, session.rehearsal() as plan:
        (piece,) = stream(ANN, ASKED, endpoint.spec)
        assert piece.startswith(CHAT.example)
        answers([ANN], ["two"], endpoint.spec, 3)
        assert endpoint.bodies == []
    assert plan.calls == 4


def test_an_answer_that_is_cut_at_its_longest_is_told(session):
    with Endpoint(lambda body, n: frames(finish="length")) as endpoint:
        assert "".join(stream(ANN, ASKED, endpoint.spec)) == "".join(PIECES)
    assert "cut at 9 tokens" in session.ledger.notes[0]


# ---- what can go wrong ----------------------------------------------------------------------------------


def broken(endpoint, how):
    half = [frame("Put "), frame("simply, ")]
    alive = [lambda: threading.Event().wait(0.2), b": still here\n\n"] * 4
    error = b'data: {"error": {"message": "the model fell over", "type": "server_error"}}\n\n'
    return {
        "hangs": [*half, endpoint.hang],
        "only says that it lives": [*half, *alive, *frames(PIECES[2:])],
        "errs": [*half, error],
        "breaks the connection": [*half, endpoint.cut],
        "ends without an end": half,
        "sends what is no JSON": [*half, b"data: {{{\n\n"],
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "hangs",
        "only says that it lives",
        "errs",
        "breaks the connection",
        "ends without an end",
        "sends what is no JSON",
    ],
)
def test_what_came_before_a_stream_broke_is_said_to_be_cut_and_not_asked_for_again(session, how):
    with Endpoint() as endpoint:
        endpoint.does = lambda body, n: broken(endpoint, how)
        with pytest.raises(ModelError, match="broke off after 12 characters") as caught:
            list(stream(ANN, ASKED, endpoint.spec))
        assert "cut there" in str(caught.value)
        assert len(endpoint.bodies) == 1
    total = session.ledger.total
    assert (total["paid"], total["faults"]) == (0, {"truncated": 1})
    assert list(session.store.calls(limit=9)) == []
    if how == "errs":
        assert "the model fell over" in str(caught.value)


def test_pieces_before_a_break_are_heard(session):
    with Endpoint() as endpoint:
        endpoint.does = lambda body, n: broken(endpoint, "breaks the connection")
        pieces = stream(ANN, ASKED, endpoint.spec)
        assert [next(pieces), next(pieces)] == ["Put ", "simply, "]
        with pytest.raises(ModelError):
            next(pieces)


def test_what_fails_before_the_first_piece_is_tried_again(session):
    sent = [(503, {"error": {"message": "busy"}}), frames()]
    with Endpoint(lambda body, n: sent[n - 1]) as endpoint:
        assert "".join(stream(ANN, ASKED, endpoint.spec)) == "".join(PIECES)
        assert session.ledger.total["retries"] == 1


def test_an_endpoint_that_never_answers_is_a_timeout(session):
    with Endpoint() as endpoint:
        endpoint.does = lambda body, n: [endpoint.hang]
        with pytest.raises(ModelError, match="timeout"):
            list(stream(ANN, ASKED, endpoint.spec))
        assert answers([ANN], ["two"], endpoint.spec) == [[]]
    assert session.ledger.total["faults"] == {"timeout": 2}


def test_an_empty_answer_is_asked_for_again_and_then_is_none(session):
    with Endpoint(lambda body, n: frames(("  ",) if n == 1 else PIECES)) as endpoint:
        assert "".join(stream(ANN, ASKED, endpoint.spec)).strip() == "".join(PIECES)
    with Endpoint(lambda body, n: frames(())) as endpoint:
        assert answers([ANN], [ASKED], endpoint.spec, 2) == [[]]
        with pytest.raises(ModelError, match="the answer is empty"):
            list(stream(ANN, ASKED, endpoint.spec))


def test_a_refusal_is_none(session):
    with Endpoint(lambda body, n: frames((), finish="content_filter")) as endpoint:
        assert answers([ANN], [ASKED], endpoint.spec) == [[]]
    assert session.ledger.total["faults"] == {"refused": 1}


def test_a_key_that_is_refused_ends_both(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-and-secret")
    with Server("fake:world", key="right") as server, language_models():
        for ask in (
            lambda spec: list(stream(ANN, ASKED, spec)),
            lambda spec: answers([ANN], [ASKED], spec),
        ):
            with pytest.raises(KeyRefused, match="OPENAI_API_KEY") as caught:
                ask(f"openai/fake-world@{server.url}")
            assert "sk-wrong" not in str(caught.value)


@pytest.mark.parametrize(("knob", "told"), [("drop", "broke off"), ("hang", "broke off"), ("fail", "server")])
def test_the_fake_over_http_fails_to_order_in_its_streams(tmp_path, knob, told):
    with (
        Server(f"fake:world?{knob}=1") as server,
        language_models(folder=tmp_path, timeout=0.4, retries=1),
        pytest.raises(ModelError, match=told),
    ):
        list(stream(ANN, ASKED, f"openai/fake-world@{server.url}"))


def test_a_model_in_process_comes_in_one_piece(session):
    (piece,) = stream(ANN, ASKED, "fake:world")
    assert answers([ANN], [ASKED], "fake:world") == [[piece]]


# ---- conversations --------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [(), (Turn("user", "a"), Turn("assistant", "b")), (Turn("bot", "a"),)])
def test_a_conversation_that_cannot_be_answered_is_refused(session, turns):
    with pytest.raises(ConfigError, match="ends with the user's"):
        answers([ANN], [turns], "fake:world")


def test_two_lists_of_different_length_are_refused():
    with pytest.raises(ConfigError, match="give one for one"):
        answers([ANN], [], "fake:world")


def test_a_long_conversation_loses_its_oldest_turns():
    turns = [Section("user" if n % 2 == 0 else "assistant", f"{n} " + "x" * 500) for n in range(21)]
    told = CHAT.tell([Section("system", "Be kind."), *turns], 1000)
    kept = told.messages
    assert kept[0] == ("system", "Be kind.")
    assert kept[1].role == "user"
    assert kept[-1].content == turns[-1].text
    assert told.dropped == 21 - (len(kept) - 1)
    assert sum(len(m.content) for m in kept) <= 3500
    assert told.cut == 0
    short = CHAT.tell([Section("system", "Be kind."), Section("user", "y" * 9000)], 1000)
    assert short.cut > 5000
    assert short.messages[0].content == "Be kind."
    with pytest.raises(ConfigError, match="10 tokens are left"):
        CHAT.tell(turns, 10)


# ---- methods that write themselves ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def people():
    return World.two_tastes(users=30).sample().population


@pytest.fixture(scope="module")
def gate(people):
    return Gate(method=Echo(), control=build("pooled")).fit(people)


def test_a_method_that_writes_is_found_inside_the_gate(gate, people):
    assert writes(gate)
    assert writes(Echo())
    assert not writes(build("pooled"))
    assert isinstance(gate.method, Generates)
    personas = [p for p in gate.adapt_batch(people) if p.verdict.weight >= 0.05][:6]
    rows = answers(personas, [ASKED] * len(personas), gate, 2, seed=1)
    inner = gate.method.adapt_batch(people)
    by_user = dict(zip(inner.users, inner.vectors, strict=True))
    for persona, theirs, row in zip(personas, gate.method.asked, rows, strict=True):
        assert theirs.provenance.model == gate.method.fingerprint
        assert theirs.vector == tuple(by_user[persona.user])
        assert theirs == replace(
            gate.method.adapt(people.history(_place(people, persona))), verdict=persona.verdict
        )
        assert row[0].startswith("Brief one" if theirs.vector[0] < 0 else "Ample one")
        assert len(row) == 2
    assert "".join(stream(personas[0], ASKED, gate, seed=1)).split() == rows[0][0].split()


def _place(people, persona):
    return int(np.flatnonzero(people.users == persona.user)[0])


def test_the_gate_sets_a_persona_aside_for_writing(gate, people):
    persona = gate.adapt_batch(people)[0]
    assert answers([aside(persona)], [ASKED], gate)[0][0].startswith("Somebody")
    assert answers([Persona()], [ASKED], gate)[0][0].startswith("Somebody")
    stranger = replace(persona, provenance=Provenance("echo+gate", "another"))
    with pytest.raises(PersonaMismatch, match="adapt the user again"):
        answers([stranger], [ASKED], gate)


def test_a_method_that_does_not_write_says_who_does(people):
    pooled = build("pooled").fit(people)
    with pytest.raises(MethodError, match="--lm"):
        answers([Persona()], [ASKED], pooled)


def test_a_methods_empty_answers_are_none(people):
    assert answers([Persona()], [ASKED], Echo(silent=True).fit(people), 3) == [[]]


# ---- best of n ------------------------------------------------------------------------------------------


def test_the_best_is_what_the_score_says(gate, people):
    for persona in gate.adapt_batch(people)[:8]:
        drafts = [ASKED, "Because.", "word " * 30, "Because."]
        ranked = best_of(gate, persona, ASKED, drafts)
        scores = dict(zip(drafts[:3], gate.score(persona, ASKED, drafts[:3]), strict=True))
        assert ranked.texts == tuple(sorted(scores, key=lambda text: -scores[text]))
        share = np.exp([scores[text] for text in ranked.texts])
        assert np.allclose(ranked.probabilities, share / share.sum(), rtol=1e-12)
        assert np.allclose(ranked.scores, [scores[text] for text in ranked.texts], rtol=1e-12)


def test_one_candidate_needs_no_score_and_none_is_an_error(gate):
    assert best_of(gate, Persona(), ASKED, ["a", "a"]) == (("a",), (1.0,), (0.0,))
    with pytest.raises(MethodError, match="no candidate"):
        best_of(gate, Persona(), ASKED, [])
