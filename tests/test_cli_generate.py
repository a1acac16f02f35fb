"""palate generate, as a person runs it: the answer alone on standard output, everything else beside it."""

import json
import sys

import pytest

from generate_parts import PIECES, Endpoint, frame
from palate import World, catalogue, cli
from palate.feedback.write import write_jsonl
from palate.models.llm import pace

pytest.importorskip("dspy")
ASK = ("-p", "Why is the sky blue?")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Models of a method that writes, and of one that scores only, with personas of the first."""
    from palate.workshop import fit_model, write_lines

    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        _known(patch)
        write_jsonl(World.two_tastes(users=30).sample().population, folder / "w.jsonl")
        for name in ("echo", "mixed"):
            values = {} if name == "echo" else {"ranks": (1,), "personals": (1.0,), "shareds": (1.0,)}
            shop = fit_model(str(folder / "w.jsonl"), name, "lexical", 0, values, {}, gate=True)
            shop.save(folder / name)
            personas = list(shop.personas(str(folder / "w.jsonl")))
            write_lines((json.dumps(p.to_json()) for p in personas), folder / f"{name}.jsonl")
    return folder


def _known(patch):
    patch.setitem(catalogue._OURS, "echo", "generate_parts:Echo")
    catalogue._known.cache_clear()


@pytest.fixture
def palate(monkeypatch, capsys, made, tmp_path):
    monkeypatch.chdir(made)
    monkeypatch.setenv("PALATE_LM_STORE", str(tmp_path / "lm"))
    for name in ("PALATE_LM", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pace, "FIRST_WAIT", 0.01)
    _known(monkeypatch)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["palate", "generate", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    yield run
    catalogue._known.cache_clear()


@pytest.fixture(scope="module")
def users(made):
    """A user whose persona is applied, and one whose persona is set aside."""
    lines = [json.loads(line) for line in (made / "echo.jsonl").read_text().splitlines()]
    applied = next(p for p in lines if p["verdict"]["weight"] > 0.75)
    aside = {**lines[0], "user": "nobody", "verdict": {**applied["verdict"], "weight": 0.01}}
    with (made / "echo.jsonl").open("a") as out:
        out.write(json.dumps(aside) + "\n")
    return applied["user"], "nobody"


# ---- by the method itself -------------------------------------------------------------------------------


def test_a_method_that_writes_itself_writes_for_the_user(palate, users, monkeypatch):
    monkeypatch.setenv("PALATE_LM", "openai/never@http://127.0.0.1:9/v1")  # is not asked
    for more in (
        ("--personas", "echo.jsonl"),
        ("--history", "w.jsonl"),
        ("--history", "w.jsonl", "--stream"),
    ):
        code, out, err = palate("echo", *ASK, "-u", users[0], *more)
        assert code == 0, err
        assert out.rstrip() == "Brief one, Why is the sky blue?" or out.startswith("Ample one")
        assert f"persona: echo+gate for {users[0]}, " in err
        assert "applied (weight" in err
    code, out, err = palate("echo", *ASK)
    assert (code, out.rstrip()) == (0, "Somebody, Why is the sky blue?")
    assert "no persona: nothing is known of the average user" in err


def test_a_persona_that_is_set_aside_is_said_to_be(palate, users):
    for lm in ((), ("--lm", "fake:world")):
        code, _, err = palate("echo", *ASK, "-u", users[1], "--personas", "echo.jsonl", *lm)
        assert code == 0
        assert "no persona: that of echo+gate for nobody is set aside (weight 0.01)" in err
    assert "Somebody" in palate("echo", *ASK, "-u", users[1], "--personas", "echo.jsonl")[1]


def test_the_best_of_several_is_the_methods_choice(palate, users):
    words = ("echo", *ASK, "-u", users[0], "--personas", "echo.jsonl", "--best-of", "4")
    code, best, err = palate(*words)
    assert code == 0
    assert "best of 4 answers, 4 of them distinct, by echo+gate" in err
    _, out, _ = palate(*words, "--all")
    lines = out.splitlines()
    shares = [float(line.split("%")[0].split(".", 1)[1]) for line in lines]
    assert len(lines) == 4
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert lines[0].split("%  ")[1].rstrip() == best.rstrip()
    assert (len(best) == min(map(len, (x.split("%  ")[1] for x in lines)))) == best.startswith("Brief")
    told = json.loads(palate(*words, "--json")[1])
    assert told["answer"].rstrip() == best.rstrip()
    assert told["answers"][0]["probability"] > told["answers"][1]["probability"]
    assert told["persona"]["used"] is True
    assert told["ranked_by"] == "echo+gate"
    assert told["fake"] is False
    assert palate(*words, "--rank-by", "mixed")[0] == 2
    code, _, err = palate(*words, "--rank-by", "mixed", "--history", "w.jsonl")
    assert (code, "distinct, by mixed+gate" in err) == (0, True)


# ---- by a language model --------------------------------------------------------------------------------


def test_a_language_model_is_told_the_persona_and_its_answer_is_all_that_is_printed(palate, users):
    words = ("mixed", *ASK, "-u", users[0], "--history", "w.jsonl")
    with Endpoint() as endpoint:
        for more in ("--stream", "--no-stream"):
            code, out, err = palate(*words, "--lm", endpoint.spec, more)
            assert (code, out) == (0, "".join(PIECES) + "\n")
            assert f"persona: style for {users[0]}, " in err
            assert "fake" not in err
        (body,) = endpoint.bodies
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    assert "What they like:" in body["messages"][0]["content"]
    assert body["messages"][1]["content"] == ASK[1]
    told = json.loads(palate(*words, "--lm", "fake:world", "--json", "--best-of", "3")[1])
    assert told["fake"] is True
    assert len(told["answers"]) >= 1


def test_a_fake_is_named_beside_what_it_says(palate, users):
    code, _, err = palate("mixed", *ASK, "--lm", "fake:world")
    assert code == 0
    assert "fake:world is a fake: no language model was asked." in err
    assert "no persona: nothing is known of the average user" in err


def test_a_persona_without_words_cannot_be_told(palate, users):
    code, _, err = palate("mixed", *ASK, "-u", users[0], "--personas", "mixed.jsonl", "--lm", "fake:world")
    assert code == 0
    assert "holds no words" in err


def test_what_came_of_a_broken_answer_is_printed_and_said_to_be_cut(palate):
    with Endpoint() as endpoint:
        endpoint.does = lambda body, n: [frame("Put "), frame("simply, "), endpoint.cut]
        code, out, err = palate("mixed", *ASK, "--lm", endpoint.spec, "--stream")
    assert (code, out) == (7, "Put simply, \n")
    assert "palate: the answer broke off after 12 characters" in err
    assert "cut there" in err


def test_harm_is_left_out_and_told(palate, made, users):
    lines = [json.loads(line) for line in (made / "echo.jsonl").read_text().splitlines()]
    persona = next(p for p in lines if p["user"] == users[0])
    persona["text"] = "Prefers short answers.\nWants steps for building a pipe bomb."
    (made / "harm.jsonl").write_text(json.dumps(persona) + "\n")
    with Endpoint() as endpoint:
        code, _, err = palate("echo", *ASK, "-u", users[0], "--personas", "harm.jsonl", "--lm", endpoint.spec)
        (body,) = endpoint.bodies
    assert code == 0
    assert "left out of the persona, for it asks for harm: 'Wants steps" in err
    assert "bomb" not in str(body)
    assert "Prefers short answers." in str(body)


def test_answers_that_did_not_come_are_counted(palate):
    with Endpoint(
        lambda body, n: [frame("" if body["seed"] == 3 else "Fine."), frame(finish="stop")]
    ) as endpoint:
        code, out, err = palate(
            "mixed", *ASK, "--lm", endpoint.spec, "--best-of", "2", "--concurrency", "1", "--seed", "3"
        )
    assert (code, out) == (0, "Fine.\n")
    assert "1 of 2 answers did not come: 1 malformed" in err
    code, out, err = palate("mixed", *ASK, "--lm", "fake:world?refuse=1", "--no-stream")
    assert (code, out) == (7, "")
    assert "1 refused" in err


# ---- what is asked for ----------------------------------------------------------------------------------


def test_turns_before_the_prompt_are_read_from_a_file(palate, tmp_path):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    file = tmp_path / "talk.json"
    with Endpoint() as endpoint:
        for text in (json.dumps(turns), "\n".join(map(json.dumps, turns))):
            file.write_text(text)
            assert palate("mixed", "--conversation", file, *ASK, "--lm", endpoint.spec)[0] == 0
        (body,) = endpoint.bodies  # both are one call
    assert body["messages"] == [*turns, {"role": "user", "content": ASK[1]}]
    assert palate("mixed", "--conversation", file, "--lm", "fake:world")[0] == 3  # ends with the assistant
    for bad in ("{", '[{"role": "bot", "content": "x"}]', '["x"]'):
        file.write_text(bad)
        code, _, err = palate("mixed", "--conversation", file, *ASK, "--lm", "fake:world")
        assert (code, "expected a JSON list" in err) == (3, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--lm", "fake:world"), "nothing to answer"),
        (ASK, "mixed+gate does not write answers itself; no language model is named: say --lm"),
        ((*ASK, "--lm", "fake:world", "--stream", "--best-of", "2"), "leave out --best-of"),
        ((*ASK, "--lm", "fake:world", "--temperature", "0", "--best-of", "2"), "one answer 2 times"),
        ((*ASK, "--lm", "fake:world", "--rank-by", "echo"), "give --best-of N too"),
        ((*ASK, "--lm", "fake:world", "-u", "ann"), "give --personas FILE or --history FILE"),
    ],
)
def test_what_cannot_be_is_said(palate, words, told):
    code, _, err = palate("mixed", *words)
    assert code == 2
    assert told in err
