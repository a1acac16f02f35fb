"""The prompt that writes personas: how its answer is read, how it is told, kept and found again."""

import json
from dataclasses import replace

import pytest

from palate.core import ConfigError, StorageError
from palate.models.llm.program import Malformed
from palate.persona.theta import (
    MOST_STATEMENTS,
    STARTING,
    Theta,
    known_thetas,
    load_theta,
    prompts_folder,
    read_statements,
    save_theta,
)

MINE = Theta(
    "mine",
    "Describe the user.",
    (("Chose the short one. It is short.", "Prefers short answers."),),
    {"dspy": "3.4.1", "difference": {"points": 3.1, "low": 0.2, "high": 6.0}, "seed": 0},
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PALATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


# ---- answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("Prefers short answers.", ("Prefers short answers.",)),
        ("prefers a\nDISLIKES b", ("Prefers a", "Dislikes b")),
        (
            "1. Prefers a\n2) Dislikes b\n(3) Prefers c\n10. Prefers d",
            ("Prefers a", "Dislikes b", "Prefers c", "Prefers d"),
        ),
        (
            "- Prefers a\n* Dislikes b\n• Prefers c\n> Prefers d",
            ("Prefers a", "Dislikes b", "Prefers c", "Prefers d"),
        ),
        (
            "Here is the persona:\n\n**Prefers** short text: no lists\n\nLet me know!",
            ("Prefers short text: no lists",),
        ),
        ('["Prefers a.",\n "Dislikes c"]', ("Prefers a.", "Dislikes c")),
        (
            "The user strongly values honesty.\nThey do not like hedging.",
            ("Prefers honesty.", "Dislikes hedging."),
        ),
        ("Prefers 2 to 3 sentences\nPrefers 2 to 3 sentences.", ("Prefers 2 to 3 sentences",)),
    ],
)
def test_statements_are_read_from_bullets_numbers_and_talk(text, statements):
    assert read_statements(text) == statements


@pytest.mark.parametrize(
    "text", ["", "   \n", "I'm sorry, but I can't help with that.", "Short answers.", "Prefers", "- \n1."]
)
def test_an_answer_without_a_statement_is_malformed(text):
    with pytest.raises(Malformed, match="Prefers"):
        read_statements(text)


def test_a_persona_has_at_most_eight_statements():
    text = "\n".join(f"{n}. Prefers thing {n}." for n in range(1, 30))
    assert read_statements(text) == tuple(f"Prefers thing {n}." for n in range(1, MOST_STATEMENTS + 1))


def test_a_long_line_is_read_in_no_time():
    with pytest.raises(Malformed):
        read_statements("- " * 50_000 + "1" * 50_000)


# ---- the program --------------------------------------------------------------------------------------


def test_the_program_asks_for_a_persona_in_a_form_that_it_reads():
    program = STARTING.program()
    assert program.title == "Write a persona"
    assert len(program.read(program.example)) == 3
    assert STARTING.instruction in program.system
    assert MINE.program().key != program.key
    assert MINE.program().ask == program.ask


def test_demonstrations_are_material_and_go_first_where_the_prompt_is_too_long():
    theta = replace(MINE, demos=(("Old " * 500, "Prefers a."), ("New " * 500, "Prefers </example> b.")))
    sections = theta.sections(["One. " * 100, "Two. " * 100])
    assert [s.tag for s in sections] == ["example", "example", "reasoning", "reasoning"]
    whole = theta.program().tell(sections)
    assert whole.messages[1].content.count("</example>") == 2
    assert "Prefers (/example) b." in whole.messages[1].content
    told = theta.program().tell(sections, limit=1300)
    assert (told.dropped, told.cut) == (1, 0)
    assert "Old " not in told.messages[1].content
    assert "New " in told.messages[1].content
    assert theta.program().tell(sections, limit=600).dropped == 2


def test_equal_words_do_the_same_under_any_name():
    assert replace(MINE, name="other", made_with={}).words == MINE.words
    assert replace(MINE, name="other").program().key == MINE.program().key


# ---- files --------------------------------------------------------------------------------------------


def test_a_prompt_is_found_again_by_name_and_by_path(home, tmp_path):
    assert save_theta(MINE) == home / "prompts" / "mine.json"
    assert load_theta("mine") == MINE
    save_theta(MINE, "yours")
    assert load_theta("yours") == replace(MINE, name="yours")
    path = save_theta(MINE, tmp_path / "deep" / "er" / "theta.json")
    assert load_theta(path) == load_theta(str(path)) == MINE
    assert [p.name for p in path.parent.iterdir()] == ["theta.json"]
    assert known_thetas() == ["mine", "starting", "yours"]


def test_the_starting_prompt_comes_with_palate():
    assert known_thetas() == ["starting"]
    assert load_theta("starting") is STARTING
    with pytest.raises(ConfigError, match="another name"):
        save_theta(MINE, "starting")
    with pytest.raises(ConfigError, match="another name"):
        save_theta(STARTING)


def test_without_a_home_prompts_stand_with_the_users_settings(monkeypatch, tmp_path):
    monkeypatch.delenv("PALATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prompts_folder() == tmp_path / ".config" / "palate" / "prompts"


@pytest.mark.parametrize("name", ["nobody", "No Body", "nowhere/theta.json"])
def test_an_unknown_name_lists_the_known_ones(name):
    save_theta(MINE)
    with pytest.raises(ConfigError, match="mine, starting") as error:
        load_theta(name)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not json", "not a prompt"),
        ("\x80", "not a prompt"),
        ("[1, 2]", "palate_prompt"),
        ('{"name": "a", "instruction": "b"}', "palate_prompt"),
        ('{"palate_prompt": 2}', "upgrade"),
        ('{"palate_prompt": 1, "name": "a"}', "demos"),
        ('{"palate_prompt": 1, "name": "a", "instruction": 3, "demos": [], "made_with": {}}', "texts"),
        (
            '{"palate_prompt": 1, "name": "a", "instruction": "b", "demos": [["c"]], "made_with": {}}',
            "not a prompt",
        ),
        (
            '{"palate_prompt": 1, "name": "A B", "instruction": "b", "demos": [], "made_with": {}}',
            "cannot name",
        ),
        (
            '{"palate_prompt": 1, "name": "a", "instruction": " ", "demos": [], "made_with": {}}',
            "no instruction",
        ),
    ],
)
def test_a_file_of_another_form_is_told_apart(tmp_path, text, told):
    path = tmp_path / "theta.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=told):
        load_theta(path)


def test_what_json_does_not_take_is_refused_and_nothing_is_left(home):
    with pytest.raises(ConfigError, match="made_with"):
        save_theta(replace(MINE, made_with={"when": object()}))
    assert not home.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        save_theta(MINE, tmp_path / "file" / "theta.json")


def test_a_file_reads_as_plain_json(home):
    data = json.loads(save_theta(MINE).read_text())
    assert data["demos"] == [["Chose the short one. It is short.", "Prefers short answers."]]
    assert data["made_with"]["difference"]["points"] == 3.1


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", "x" * 65])
def test_a_name_is_a_word(name):
    with pytest.raises(ConfigError, match="cannot name a prompt"):
        replace(MINE, name=name)
