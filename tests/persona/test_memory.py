"""What ``memory`` writes of each choice, and what it keeps."""

import pytest

from palate.catalogue import build
from palate.core import ConfigError, Feedback, History, as_conversation
from palate.judge import as_example
from palate.models.llm.program import Malformed
from palate.models.llm.wire import Fault
from palate.persona.memory import INSIGHTS, read_insights
from palate.persona.protected import left_out


def choice(number, chosen=0, n=2):
    texts = tuple(f"Answer {number}{letter}" for letter in "abc"[:n])
    return Feedback("ann", as_conversation(f"Question {number}?"), texts, chosen, f"c{number}", float(number))


def history(*rows):
    return History("ann", rows)


def note(request):
    """Two insights that name the choice they were written from."""
    (section,) = request.sections
    number = section.text.split("Question ")[1][0]
    return f"- First of {number}.\n- Second of {number}."


def memory(**fields):
    return build("memory", {"lm": "fake:world", "evidence": False, **fields})


def test_each_choice_is_asked_about_alone_and_all_at_once(stand):
    reader, rows = stand(note), [choice(1), choice(2, 1), choice(3, 2, 3)]
    written = reader.run(memory()._write(history(*rows)))
    assert len(reader.rounds) == 1
    assert [r.program for r in reader.asked] == [INSIGHTS] * 3
    assert [[tuple(s[:2]) for s in r.sections] for r in reader.asked] == [
        [("choice", as_example(row))] for row in rows
    ]
    assert written.text.splitlines() == [
        f"{which} of {n}." for n in (1, 2, 3) for which in ("First", "Second")
    ]
    assert written.examples == written.claims == ()


def test_the_words_are_those_that_readers_know_the_program_by():
    assert INSIGHTS.system.splitlines()[0] == "Describe what a choice tells about a user"
    assert len(INSIGHTS.read(INSIGHTS.example)) == 2


def test_the_order_on_offer_is_no_part_of_what_is_asked(stand):
    plain, turned = stand(note), stand(note)
    row = choice(1, 0, 3)
    other = Feedback(row.user, row.conversation, row.responses[::-1], 2, row.id, row.time)
    plain.run(memory()._write(history(row)))
    turned.run(memory()._write(history(other)))
    assert plain.asked == turned.asked


def test_beyond_the_most_the_oldest_go_first(stand):
    written = stand(note).run(memory(most=3)._write(history(choice(1), choice(2))))
    assert written.text.splitlines() == ["Second of 1.", "First of 2.", "Second of 2."]


def test_no_more_than_five_insights_of_a_choice(stand):
    written = stand(lambda request: "\n".join(f"- Insight {n}." for n in range(9))).run(
        memory()._write(history(choice(1)))
    )
    assert written.text.splitlines() == [f"Insight {n}." for n in range(5)]


def test_a_failed_call_leaves_the_other_choices(stand):
    def some(request):
        return Fault("server", "500") if "Question 2" in request.sections[0].text else note(request)

    written = stand(some).run(memory()._write(history(choice(1), choice(2), choice(3))))
    assert [line[-2] for line in written.text.splitlines()] == ["1", "1", "3", "3"]
    nothing = stand(lambda request: Fault("server", "500")).run(memory()._write(history(choice(1))))
    assert nothing.text is None


def test_insights_that_name_protected_attributes_are_left_out_and_counted(stand):
    reader = stand(lambda request: "- The user is Muslim.\n- Prefers short answers.")
    written = reader.run(memory()._write(history(choice(1), choice(2))))
    assert written.text.splitlines() == ["Prefers short answers."] * 2
    assert left_out(written.claims) == {"religion": 2}
    assert [claim.supports for claim in written.claims] == [("c1",), ("c2",)]
    assert not any("Muslim" in claim.text for claim in written.claims)
    whole = reader.run(memory(screen=False)._write(history(choice(1))))
    assert whole.text.splitlines() == ["The user is Muslim.", "Prefers short answers."]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Here are some insights:\n1. Likes lists.\n2) **Likes** wit.", ("Likes lists.", "Likes wit.")),
        ("- Likes lists.\n- likes lists", ("Likes lists.",)),
        ("Likes lists.\nLikes wit.", ("Likes lists.", "Likes wit.")),
        ("```\n* Likes lists.\n```", ("Likes lists.",)),
        ("Insights:\n- 3.5 % more wit", ("3.5 % more wit",)),
    ],
)
def test_insights_are_read_as_models_write_them(text, found):
    assert read_insights(text) == found


@pytest.mark.parametrize("text", ["", "\n\n", "Insights:", "- \n- ...", "```\n```"])
def test_an_answer_without_insights_is_malformed(text):
    with pytest.raises(Malformed, match='begins with "- "'):
        read_insights(text)


def test_a_memory_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="most=0; expected 1 or more"):
        memory(most=0)
