"""A persona as a system prompt, as JSON, and in training data."""

import json
from dataclasses import replace

import pytest

from palate.checks import people
from palate.core import (
    Claim,
    ConfigError,
    DataError,
    Feedback,
    History,
    Persona,
    Personas,
    Population,
    Provenance,
    Turn,
    Verdict,
    as_conversation,
)
from palate.export import Exported, as_lines, from_json, system_prompt, to_json, training_rows

ANN = Persona(user="ann", text="Prefers short answers.\nDislikes lists.")


def choice(number, chosen=0, user="ann", conversation=None, texts=("Yes.", "Yes, it is.")):
    talk = conversation or as_conversation(f"Question {number}?")
    return Feedback(user, talk, texts, chosen, f"{user}-{number}")


def verdict(weight):
    return Verdict(8, 0.9, 0.5, 0.4, 0.7, weight)


# ---- system prompt ------------------------------------------------------------------------------------


def test_a_system_prompt_has_the_text_the_examples_and_how_to_use_them():
    told = system_prompt(replace(ANN, examples=(replace(choice(0), reason="Brief."), choice(1, 1))))
    assert told.startswith("Below is what is known of the user's taste")
    assert "What they like:\nPrefers short answers.\nDislikes lists.\n\n" in told
    assert (
        "They asked: Question 0?\nThey chose: Yes.\nThey did not choose: Yes, it is.\nBecause: Brief." in told
    )
    assert told.endswith("They chose: Yes, it is.\nThey did not choose: Yes.")
    assert "They asked" not in system_prompt(replace(ANN, examples=(choice(0),)), examples=False)


@pytest.mark.parametrize(
    "persona", [Persona(), Persona(user="ann"), Persona(text="  \n "), Persona(vector=(1.0,))]
)
def test_a_persona_without_words_has_no_system_prompt(persona):
    assert system_prompt(persona) == ""


def test_a_system_prompt_is_never_longer_than_asked_for_and_loses_the_oldest_examples_first():
    shown = tuple(choice(n, texts=(f"Answer {n} " * 30, "No.")) for n in range(12))
    whole = replace(ANN, text="\n".join(f"Statement {n} about this user." for n in range(40)), examples=shown)
    sizes = []
    for longest in (450, 500, 800, 1500, 2000, 3000, 6000, 20_000):
        told = system_prompt(whole, longest)
        assert len(told) <= longest
        sizes.append((told.count("Statement"), told.count("They asked")))
        numbers = [n for n in range(12) if f"Question {n}?" in told]
        assert numbers == list(range(12))[12 - len(numbers) :]
        assert "Statement 0 about this user." in told
    assert sizes == sorted(sizes)
    assert sizes[-1] == (40, 12)
    with pytest.raises(ConfigError, match="of 100 characters cannot hold a persona"):
        system_prompt(whole, 100)


def test_a_single_long_line_is_cut_and_says_so():
    told = system_prompt(Persona(text="likes tea and " * 500), 600)
    assert len(told) <= 600
    assert told.endswith("[...]")


# ---- JSON ---------------------------------------------------------------------------------------------


def test_json_is_exact():
    persona = Persona(
        user="änn \ud800",
        text="Likes “tea”\n\x00\u2028.",
        examples=(
            choice(0),
            Feedback("ann", (Turn("system", "S"), Turn("user", "U")), ("a", "b"), None, "t", 1.5),
        ),
        vector=(0.1, -1e-308, 2.0**-40, 3.0),
        claims=(Claim("Likes tea.", 1 / 3, -0.1, 2.5, ("a",), ("b",), 0.25, False, 2),),
        provenance=Provenance("memory", "ab12", ("a", "b"), 1.7e9),
        verdict=verdict(0.3),
    )
    line = to_json(persona)
    assert "\n" not in line
    assert from_json(line) == persona
    assert from_json(to_json(Persona())) == Persona()
    line.encode()


@pytest.mark.parametrize(
    "text", ["", "[]", '"ann"', "{nope", '{"user": "ann", "mood": 3}', '{"claims": [1]}']
)
def test_what_is_no_persona_is_refused(text):
    with pytest.raises(DataError, match="this is not"):
        from_json(text)


# ---- training data ------------------------------------------------------------------------------------


@pytest.fixture
def crowd():
    system = (Turn("system", "Be kind."), Turn("user", "Hi"), Turn("assistant", "Yes?"), Turn("user", "Bye"))
    rows = [
        choice(0),
        choice(1, 1, conversation=system),
        choice(2, None),
        choice(3, 2, texts=("a", "b", "c")),
    ]
    rows += [choice(4, texts=("Same.", "Same.")), choice(0, user="bob"), choice(0, user="eve")]
    return Population.of(rows)


@pytest.fixture
def personas():
    eve = Persona(user="eve", text="Likes lists.", verdict=verdict(0.01))
    return [eve, replace(ANN, verdict=verdict(0.9), provenance=Provenance("memory", "x", ("ann-0",)))]


def test_preference_rows(crowd, personas):
    done = Exported()
    rows = list(training_rows(crowd, personas, done=done))
    assert [(r["user"], r["id"], r["persona"], r["seen"]) for r in rows] == [
        ("ann", "ann-0", "applied", True),
        ("ann", "ann-1", "applied", False),
        ("ann", "ann-3", "applied", False),
        ("ann", "ann-3", "applied", False),
        ("bob", "bob-0", "none", False),
        ("eve", "eve-0", "set aside", False),
    ]
    words = system_prompt(personas[1])
    assert rows[0]["prompt"] == [
        {"role": "system", "content": words},
        {"role": "user", "content": "Question 0?"},
    ]
    assert rows[0]["chosen"] == [{"role": "assistant", "content": "Yes."}]
    assert rows[0]["rejected"] == [{"role": "assistant", "content": "Yes, it is."}]
    assert [turn["role"] for turn in rows[1]["prompt"]] == ["system", "user", "assistant", "user"]
    assert rows[1]["prompt"][0]["content"] == f"{words}\n\nBe kind."
    assert [r["rejected"][0]["content"] for r in rows[2:4]] == ["a", "b"]
    assert [turn["role"] for turn in rows[4]["prompt"]] == ["user"]
    assert [turn["role"] for turn in rows[5]["prompt"]] == ["user"]
    assert (done.rows, done.ties, done.equal, done.seen) == (6, 1, 1, 1)
    assert done.personas == {"applied": 4, "none": 1, "set aside": 1}
    assert list(done.lines()) == [
        "6 rows: 4 with a persona, 1 of users without one",
        "1 row whose persona its own verdict sets aside: left out there",
        "1 row of a choice that the persona was made from (seen: true): train on the others, or adapt "
        "on fewer choices",
        "left out: 1 ties, 1 pairs of equal answers",
    ]


def test_implicit_rows_hold_the_prompt_twice(crowd, personas):
    explicit = list(training_rows(crowd, personas))
    implicit = list(training_rows(crowd, personas, "implicit"))
    assert [r["chosen"] for r in implicit] == [r["prompt"] + r["chosen"] for r in explicit]
    assert [r["rejected"] for r in implicit] == [r["prompt"] + r["rejected"] for r in explicit]
    assert all("prompt" not in r for r in implicit)


def test_sft_rows_are_one_a_choice(crowd, personas):
    rows = list(training_rows(crowd, personas, "sft"))
    assert [r["id"] for r in rows] == ["ann-0", "ann-1", "ann-3", "ann-4", "bob-0", "eve-0"]
    assert rows[2]["messages"][-1] == {"role": "assistant", "content": "c"}
    assert set(rows[0]) == {"messages", "user", "id", "persona", "seen"}


def test_a_persona_that_was_set_aside_is_applied_when_asked(crowd, personas):
    rows = list(training_rows(crowd, personas, weight=0.0))
    assert rows[-1]["persona"] == "applied"


def test_a_choice_is_no_example_in_its_own_row(crowd):
    persona = Persona(user="ann", examples=(choice(0), choice(3, 2, texts=("a", "b", "c"))))
    rows = list(training_rows(crowd, [persona]))
    for row in rows[:4]:
        system = row["prompt"][0]["content"]
        asked = row["prompt"][-1]["content"]
        assert f"They asked: {asked}" not in system
        assert row["seen"] == (row["id"] in ("ann-0", "ann-3"))
    only = Persona(user="ann", examples=(choice(0),))
    first = next(training_rows(crowd, [only]))
    assert (first["persona"], first["seen"]) == ("none", False)
    assert [turn["role"] for turn in first["prompt"]] == ["user"]


def test_an_unknown_kind_is_refused(crowd):
    with pytest.raises(ConfigError, match="no kind of rows 'ppo'; there are preference, implicit, sft"):
        next(training_rows(crowd, [], "ppo"))


def test_rows_are_made_one_at_a_time_and_personas_looked_at_once_a_user():
    crowd = people(users=30)
    looked = []

    def words(number):
        looked.append(number)
        return f"Persona {number}.", ()

    columns = replace(Personas.average(crowd.n_users), users=crowd.users, words=words, _views=None)
    lines = as_lines(training_rows(crowd, columns))
    first = json.loads(next(lines))
    assert first["prompt"][0]["content"].endswith("Persona 0.")
    assert looked == [0]
    assert sum(1 for _ in lines) > 200
    assert looked == list(range(crowd.n_users))


def test_datasets_reads_the_lines(tmp_path, crowd, personas):
    """Each kind loads with the columns and types that TRL documents, and sorts back by what marks rows."""
    datasets = pytest.importorskip("datasets")
    for kind, columns in {
        "preference": ["prompt", "chosen", "rejected"],
        "implicit": ["chosen", "rejected"],
        "sft": ["messages"],
    }.items():
        path = tmp_path / f"{kind}.jsonl"
        path.write_text("\n".join(as_lines(training_rows(crowd, personas, kind))), encoding="utf-8")
        read = datasets.load_dataset(
            "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert read.column_names == [*columns, "user", "id", "persona", "seen"]
        for column in columns:
            messages = read[0][column]
            assert {tuple(sorted(m)) for m in messages} == {("content", "role")}
            assert {type(v) for m in messages for v in m.values()} == {str}
        assert len(read.filter(lambda row: not row["seen"])) == len(read) - 1
        assert list(read[0].items()) == list(next(training_rows(crowd, personas, kind)).items())


def test_trl_takes_the_rows(crowd, personas):
    trl = pytest.importorskip("trl", reason="trl is not installed; the columns are those that it documents")
    rows = list(training_rows(crowd, personas))
    assert trl.is_conversational(rows[0])
    explicit = trl.extract_prompt(next(training_rows(crowd, personas, "implicit")))
    assert explicit["prompt"] == rows[0]["prompt"]


def test_a_history_without_choices_gives_no_row():
    assert list(training_rows(Population.of([History("ann")]), [ANN])) == []
