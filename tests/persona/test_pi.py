"""Whose preference an answer would be: both sides of a pair, and a user's sentences condensed."""

import pytest

from palate.catalogue import build
from palate.core import ConfigError, Feedback, History, as_conversation
from palate.models.llm.program import Malformed
from palate.models.llm.wire import Fault
from palate.persona.demonstrations import DEMONSTRATIONS
from palate.persona.pi import CONDENSE, INFER, infer, infer_request, read_sentence
from palate.persona.protected import find, left_out

TALK = as_conversation("How are you?")


def choice(*texts, chosen=0, name="c1"):
    return Feedback("ann", TALK, texts, chosen, name)


def of(request, tag):
    return [section.text for section in request.sections if section.tag == tag]


def reader(request):
    """Says which answer was preferred; condenses to the last sentence and a count."""
    if request.program is CONDENSE:
        texts = of(request, "persona")
        return f"Prefers {len(texts)} things.\n{texts[-1]}"
    return f"The user is curious and prefers {of(request, 'preferred')[0]} to {of(request, 'other')[0]}."


def pi(**fields):
    return build("pi", {"lm": "fake:world", "evidence": False, **fields})


# ---- a pair ---------------------------------------------------------------------------------------------


def test_a_request_shows_five_demonstrations_then_the_pair():
    request = infer_request(TALK, "Fine.", "Very well indeed.")
    assert [section.tag for section in request.sections] == ["example"] * 5 + [
        "conversation",
        "preferred",
        "other",
    ]
    assert [section.text for section in request.sections[5:]] == [
        "How are you?",
        "Fine.",
        "Very well indeed.",
    ]
    assert all(section.spare for section in request.sections[:5])
    assert not any(section.spare for section in request.sections[5:])


def test_the_words_are_those_that_readers_know_the_programs_by():
    assert INFER.system.splitlines()[0] == "Infer who would prefer this answer"
    assert CONDENSE.system.splitlines()[0] == "Condense personas"
    assert INFER.read(INFER.example) == INFER.example
    assert len(CONDENSE.read(CONDENSE.example)) == 3


def test_demonstrations_have_the_form_they_ask_for_and_teach_no_length():
    longer = []
    for text in DEMONSTRATIONS:
        sentence = text.split("\nPersona: ")[1]
        assert read_sentence(sentence) == sentence
        assert find(sentence, politics=True) == ()
        preferred, other = text.split("\nPreferred: ")[1].split("\nPersona: ")[0].split("\nOther: ")
        ratio = len(preferred) / len(other)
        longer.append(1 if ratio > 1.1 else -1 if ratio < 1 / 1.1 else 0)
    assert sorted(longer) == [-1, -1, 0, 1, 1]


def test_both_sides_exchange_the_answers(stand):
    rows = [choice("a", "b", chosen=1), choice("c", "d", "e", chosen=0)]
    chosen, rejected = (stand(reader).run(infer(rows, side)) for side in ("chosen", "rejected"))
    assert [(p.row, p.preferred, p.other) for p in chosen] == [(0, "b", "a"), (1, "c", "d"), (1, "c", "e")]
    assert [(p.row, p.other, p.preferred) for p in rejected] == [
        (p.row, p.preferred, p.other) for p in chosen
    ]
    assert chosen[0].sentence == "The user is curious and prefers b to a."
    assert rejected[0].sentence == "The user is curious and prefers a to b."


def test_pairs_are_told_by_content_and_bounded(stand):
    plain = choice("best", "z", "y", "x", "w", "x")
    turned = Feedback("ann", TALK, plain.responses[::-1], 5, "c1")
    first, second = stand(reader), stand(reader)
    assert [p.other for p in first.run(infer([plain]))] == ["w", "x", "y"]
    second.run(infer([turned]))
    assert first.asked == second.asked
    assert len(stand(reader).run(infer([plain], rivals=9))) == 4
    assert stand(reader).run(infer([choice("a", "b", chosen=None), choice("a", "a")])) == []


def test_failed_and_odd_answers_are_faults_and_no_sentence(stand):
    def answer(request):
        return Fault("refused", "no") if of(request, "preferred") == ["a"] else "They like it."

    failed, odd = stand(answer).run(infer([choice("a", "b"), choice("c", "d")]))
    assert (failed.sentence, failed.fault.kind) == (None, "refused")
    assert (odd.sentence, odd.fault.kind) == (None, "malformed")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The user is busy and prefers lists.", "The user is busy and prefers lists."),
        ('**Persona:** "The user is busy and prefers lists."', "The user is busy and prefers lists."),
        ("Sure!\n- the user is busy and would prefer lists.", "The user is busy and would prefer lists."),
    ],
)
def test_sentences_are_read_as_models_write_them(text, found):
    assert read_sentence(text) == found


@pytest.mark.parametrize(
    "text", ["", "A busy person.", "The user is busy.", "I think that the user prefers lists."]
)
def test_another_form_is_malformed(text):
    with pytest.raises(Malformed, match=r"The user is \.\.\. and prefers"):
        read_sentence(text)


# ---- a user ---------------------------------------------------------------------------------------------


def test_the_sentences_of_a_user_are_condensed_in_time_order(stand):
    told = stand(reader)
    rows = (choice("a", "b", name="c1"), choice("c", "d", name="c2"))
    written = told.run(pi()._write(History("ann", rows)))
    assert [len(requests) for requests in told.rounds] == [2, 1]
    assert of(told.rounds[1][0], "persona") == [
        "The user is curious and prefers a to b.",
        "The user is curious and prefers c to d.",
    ]
    assert written.text == "Prefers 2 things.\nThe user is curious and prefers c to d."


def test_without_condensing_or_with_one_sentence_the_sentences_stand(stand):
    rows = (choice("a", "b", name="c1"), choice("c", "d", name="c2"))
    told = stand(reader)
    written = told.run(pi(condense=False)._write(History("ann", rows)))
    assert len(told.rounds) == 1
    assert written.text.splitlines() == [
        "The user is curious and prefers a to b.",
        "The user is curious and prefers c to d.",
    ]
    told = stand(reader)
    written = told.run(pi()._write(History("ann", rows[:1])))
    assert (len(told.rounds), written.text) == (1, "The user is curious and prefers a to b.")


def test_where_condensing_fails_the_sentences_stand(stand):
    def answer(request):
        return Fault("timeout", "late") if request.program is CONDENSE else reader(request)

    written = stand(answer).run(pi()._write(History("ann", (choice("a", "b"), choice("c", "d")))))
    assert len(written.text.splitlines()) == 2
    silent = stand(lambda request: Fault("timeout", "late"))
    assert silent.run(pi()._write(History("ann", (choice("a", "b"),)))).text is None


def test_protected_attributes_never_reach_the_persona_and_are_counted(stand):
    def answer(request):
        if request.program is CONDENSE:
            assert not any(find(text) for text in of(request, "persona"))
            return "Prefers short answers.\nThe user is pregnant."
        return {
            "a": "The user is a Muslim woman and prefers short answers.",
            "c": "The user prefers examples because of their dyslexia.",
            "e": "The user is busy and prefers lists.",
        }[of(request, "preferred")[0]]

    rows = tuple(choice(a, b, name=a) for a, b in ("ab", "cd", "ef"))
    told = stand(answer)
    written = told.run(pi()._write(History("ann", rows)))
    assert of(told.rounds[1][0], "persona") == [
        "The user prefers short answers.",
        "The user is busy and prefers lists.",
    ]
    assert written.text == "Prefers short answers."
    assert left_out(written.claims) == {"religion": 1, "sex": 1, "disability": 1, "pregnancy": 1}
    assert [claim.supports for claim in written.claims] == [("a",), ("a",), ("c",), ("a", "c", "e")]


def test_politics_is_protected_where_it_is_asked_for(stand):
    def answer(request):
        return "The user is a socialist and prefers blunt answers."

    rows = (choice("a", "b"),)
    assert "socialist" in stand(answer).run(pi()._write(History("ann", rows))).text
    assert (
        stand(answer).run(pi(politics=True)._write(History("ann", rows))).text
        == "The user prefers blunt answers."
    )


def test_a_choice_against_nobody_is_refused():
    with pytest.raises(ConfigError, match="rivals=0; expected 1 or more"):
        pi(rivals=0)
