"""Descriptions by a teacher: their form, where they come from, and that they quote no answer."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from palate import build
from palate.checks import people
from palate.core import ConfigError, DataError, Feedback, StorageError, as_conversation
from palate.models.llm.program import Malformed
from palate.models.llm.session import language_models
from palate.tune.examples import Example
from palate.tune.teacher import (
    DESCRIBE,
    KEYS,
    STATE,
    as_lines,
    check_teacher,
    describe_request,
    quotes,
    read_fields,
    salvaged,
    taught,
)

WHOLE = dict.fromkeys(KEYS, "plain") | {"persona": "a busy reader"}
LONG = "Boil water first, then wait for eight whole minutes and cool the egg at once."


def row(name="c1", chosen="Eight minutes.", rejected=LONG, past=()):
    return Example("ann", name, as_conversation("How do I boil an egg?"), chosen, rejected, tuple(past))


@pytest.fixture
def given(tmp_path):
    def write(*entries):
        path = tmp_path / "told.jsonl"
        path.write_text("\n".join(e if isinstance(e, str) else json.dumps(e) for e in entries))
        return f"file:{path}"

    return write


# ---- reading --------------------------------------------------------------------------------------------


def test_a_description_is_one_object_with_every_key():
    told = f"Here it is:\n```json\n{json.dumps(WHOLE | {'mood': 'calm'})}\n```"
    assert read_fields(told) == WHOLE
    assert read_fields(DESCRIBE.example).keys() == set(KEYS)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no object", "one JSON object"),
        ('{"persona": "busy"}', "lacks value, identification, intent, style"),
        (json.dumps(dict.fromkeys(KEYS, "")), "says nothing"),
        (json.dumps(WHOLE)[:-9], "one JSON object"),
    ],
)
def test_what_is_not_one_is_malformed(text, why):
    with pytest.raises(Malformed, match=why):
        read_fields(text)


def test_lists_and_objects_become_words():
    odd = WHOLE | {"value": ["speed", "order"], "style": {"tone": "dry", "length": "short"}, "intent": None}
    fields = read_fields(json.dumps(odd))
    assert (fields["value"], fields["style"], fields["intent"]) == (
        "speed, order",
        "tone: dry; length: short",
        "",
    )


def test_what_was_cut_off_is_read_as_far_as_it_goes():
    text = json.dumps(WHOLE, ensure_ascii=False)
    assert salvaged(text) == WHOLE
    assert salvaged(text[: text.index('"identification"') - 2]) == {
        "persona": "a busy reader",
        "value": "plain",
    }
    assert salvaged("nothing of the kind") == {}
    assert as_lines(salvaged('{"persona": "x", "style": "y')) == "persona: x\nstyle: y"


# ---- quoting --------------------------------------------------------------------------------------------


def test_a_run_of_eight_words_is_a_quotation_and_seven_are_not():
    said = "one two three four five six seven eight nine ten"
    assert quotes("He said ONE, two three four five six seven eight!", [said], "")
    assert not quotes("He said one two three four five six seven.", [said], "")


def test_what_the_conversation_says_may_be_said_again():
    assert not quotes(
        "Asks how to boil an egg in water.", ["how to boil an egg in water"], "How to boil an egg in water?"
    )
    assert quotes("Eight minutes will do", ["Eight minutes will do."], "How long?")
    assert not quotes("wants it short", ["short"], "")


def test_either_answer_may_not_be_quoted(given):
    source = given(
        {"id": "a", "description": "likes cool the egg at once and eight whole minutes"},
        {"id": "b", "description": f"does not like: {LONG}"},
        {"id": "c", "description": f"likes: {LONG}"},
    )
    rows = [row("a"), row("b"), row("c", LONG, "Eight minutes.")]
    found = taught(rows, source, form="plain")
    assert [text is None for text in found.texts] == [False, True, True]
    assert found.left_out == {"quotes an answer": 2}


# ---- sources --------------------------------------------------------------------------------------------


def test_a_file_gives_by_id_and_what_cannot_be_read_is_counted(given):
    source = given(
        {"id": "c1", "description": WHOLE},
        "",
        {"id": "c2", "description": json.dumps(WHOLE)},
        {"id": "c3", "description": '{"persona": '},
    )
    found = taught([row(f"c{n}") for n in range(1, 5)], source)
    assert [text and json.loads(text) for text in found.texts] == [WHOLE, WHOLE, None, None]
    assert found.left_out == Counter({"malformed": 1, "missing": 1})


def test_a_broken_file_is_named_with_its_line(given, tmp_path):
    with pytest.raises(DataError, match=r"told.jsonl, line 2: expected an object such as"):
        taught([row()], given({"id": "c1", "description": "x"}, '{"id": "c2"}'), form="plain")
    with pytest.raises(StorageError, match="cannot be read"):
        taught([row()], f"file:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("source", ["told.jsonl", "url:there"])
def test_an_unknown_source_is_refused(source):
    with pytest.raises(ConfigError, match=r"expected file:PATH .* method:FOLDER"):
        check_teacher(source)


def test_the_request_shows_past_episode_and_pair_but_not_more():
    past = Feedback("ann", as_conversation("Hi"), ("Yo.", "Good day to you."), 0, "c0")
    request = describe_request(row(past=[past]))
    assert request.program is DESCRIBE
    assert [(s.tag, s.spare) for s in request.sections] == [
        ("example", True),
        ("conversation", False),
        ("preferred", False),
        ("other", False),
    ]
    assert request.sections[2].text == "Eight minutes."
    assert describe_request(row(), "plain").program is STATE
    assert not quotes(DESCRIBE.example, [DESCRIBE.ask], "")


def test_an_endpoint_is_asked_through_the_client_and_faults_are_counted():
    with language_models() as session:
        found = taught([row("a"), row("b", LONG, "Eight minutes.")], lm="fake:world", method="epipersona-a")
        table = session.ledger.table(by="program")
    assert found.texts == [None, None]  # the fake does not know this task
    assert found.left_out == {"malformed": 2}
    assert [line["program"] for line in table] == ["epipersona-teacher"]
    with language_models():
        plain = taught([row()], lm="fake:world", form="plain")
    assert plain.texts[0].startswith("This is a fake language model")
    assert not plain.left_out


def test_another_methods_personas_teach(tmp_path):
    """A saved method writes of the past choices of each example, and of nothing else."""
    views = [h for h in people(users=6, rows=5) if len(h.feedback) > 2]
    rows = [Example(h.user, "", h.feedback[0].conversation, "x y", "z", h.feedback[1:]) for h in views]
    with language_models():
        memory = build("memory", {"lm": "fake:world", "evidence": False, "calibrate": 0})
        memory.fit(people(users=6, rows=5)).save(tmp_path / "memory")
        found = taught(rows, f"method:{tmp_path / 'memory'}")
        plain = taught(rows, f"method:{tmp_path / 'memory'}", form="plain")
        wanted = [memory.adapt(replace(h, feedback=h.feedback[1:])).text for h in views]
    assert [json.loads(text)["persona"] for text in found.texts] == wanted
    assert len(set(wanted)) > 1
    assert plain.texts == wanted
