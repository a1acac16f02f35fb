"""Keys and words of statements, corrections of sentences, shared corpora, and single questions as columns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.core import (
    Claim,
    DataError,
    Feedback,
    MethodError,
    Persona,
    Population,
    Provenance,
    Queries,
    Query,
    about,
    as_conversation,
    axis_shifts,
    corrected,
    forget_texts,
    one_choice,
    one_query,
    shared,
    standing,
)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text("aB 1.,:-%+/42(x)", max_size=30))
def test_a_keys_key_is_itself_and_case_space_and_figures_are_no_matter(text):
    key = about(text)
    assert about(key) == key
    assert about(f"  {text}  ") == key
    if key and not any(c.isdigit() for c in text) and text.isascii():
        assert about(text.upper()) == key
        assert about(f"{text} 12.5.") in (key, about(f"{text} 12.5"))


def test_a_sentence_that_is_told_with_other_figures_is_about_the_same():
    assert about("At most 3 sentences!") == about("at most  5 sentences.") == "at most sentences"
    assert about("Likes lists.") != about("Dislikes lists.")


def test_a_claim_has_the_key_of_its_sentence_unless_one_is_given():
    bare, named = Claim("Likes lists.", 1.0, 0.5, 2.0), Claim("Likes lists.", 1.0, 0.5, 2.0, about="lists")
    assert (bare.about, bare.key) == ("likes lists", "Likes lists.")
    assert (named.about, named.key) == ("lists", "lists")
    for claim in (bare, named):
        assert claim.said(2.0).about == claim.forgotten().about == claim.about
        assert claim.said(2.0).forgotten().statement == claim.text
        assert claim.forgotten().said(1.0).key == claim.key
        assert [c.by_hand for c in (claim, claim.said(1.0), claim.forgotten())] == [False, True, True]


@pytest.mark.parametrize(
    ("text", "headline"),
    [
        (
            "Prefers shorter answers: 7 of 8 choices that differ in it, +1.5 log-odds.",
            "Prefers shorter answers",
        ),
        ("Prefers lists: +1.20 log-odds per doubling. (As the person said.)", "Prefers lists"),
        ("Tone: warm.", "Tone: warm"),
        ("Forgotten, as the person said: Likes lists.", "Likes lists"),
    ],
)
def test_a_headline_is_the_statement_without_figures(text, headline):
    assert Claim(text, 1.0, 0.0, 2.0).headline == headline


def test_provenance_goes_on_with_a_choice():
    row = Feedback("ann", as_conversation("Q"), ("a", "b"), 0, "c2", 5.0)
    seen = Provenance("style", "0f", ("c1",), 7.0).after(row)
    assert (seen.feedback, seen.until) == (("c1", "c2"), 7.0)
    assert Provenance("style", "0f").after(row).until == 5.0


# ---- corrections --------------------------------------------------------------------------------------

LISTS, WARM = Claim("Likes lists.", 2.0, 0.5, 4.0, ("a",)), Claim("Wants warmth.", 1.0, 0.1, 3.0, ("b",))
ANN = Persona("ann", "Likes lists.\nWants warmth.", claims=(LISTS, WARM))
LINES = ["Likes lists.", "Wants warmth."]


def test_a_forgotten_sentence_leaves_the_text_and_stays_among_the_claims():
    plain = corrected(ANN, {"likes lists": 0}, LINES)
    assert plain.text == "Wants warmth."
    assert plain.claims[0].supports == ("a",)
    assert not plain.claims[0].kept
    assert standing(plain, "Likes lists.", ["Wants warmth."]) == 0.0
    again = corrected(plain, {"Likes lists.": 1}, ["Wants warmth."])
    assert again.text == "Likes lists. (As the person said.)\nWants warmth."
    assert (again.claims[0].low, again.claims[0].high) == (1.0, 1.0)
    assert corrected(corrected(ANN, {"likes lists": 0, "wants warmth": 0}, LINES), {}, []).text is None


def test_a_new_sentence_is_added_and_one_of_unknown_evidence_can_be_forgotten():
    told = corrected(
        Persona("ann", "Likes tea. Likes cake."),
        {"likes tea": 0, "No jokes.": 1},
        ["Likes tea.", "Likes cake."],
    )
    assert told.text == "Likes cake.\nNo jokes. (As the person said.)"
    assert [claim.about for claim in told.claims if claim.kept] == ["likes cake", "no jokes"]


def test_what_stands_already_changes_nothing():
    for shifts in ({}, {"likes lists": 1}, {"never said": 0}, {"Wants  WARMTH": 3.0}):
        assert corrected(ANN, shifts, LINES) is ANN


def test_wrong_corrections_say_what_mends_them():
    with pytest.raises(MethodError, match=r"a sentence stands \(1\) or it does not \(0\)"):
        corrected(ANN, {"likes lists": -1}, LINES)
    with pytest.raises(MethodError, match="finite number; 0 forgets it"):
        axis_shifts({"length": float("inf")}, ("length",), "style")
    with pytest.raises(MethodError, match=r"style has no axis 'size' to set to \+1\.00; it has length"):
        axis_shifts({"size": 1.0}, ("length",), "style")


# ---- shared corpora, single questions -----------------------------------------------------------------


def test_equal_small_corpora_are_one_until_texts_are_forgotten():
    first, second = (one_query(Persona(), "Hi", ["a" * 3, "b"]).corpus for _ in range(2))
    assert first is second
    assert one_query(Persona(), "Ho", ["aaa", "b"]).corpus is not first
    assert forget_texts() >= 2
    assert one_query(Persona(), "Hi", ["aaa", "b"]).corpus is not first


def test_large_corpora_are_not_kept():
    forget_texts()
    assert shared(one_query(Persona(), "Hi", ["a", "b" * 300_000]).corpus) is not None
    shared(one_query(Persona(), "Hi", [f"{n}" for n in range(257)]).corpus)
    assert forget_texts() == 0


def test_what_was_asked_longest_ago_goes_first(monkeypatch):
    forget_texts()
    monkeypatch.setattr("palate.core.recall._ALL_ITEMS", 6)
    one, two, three = (one_query(Persona(), f"{n}", ["a", "b"]).corpus for n in range(3))
    assert one_query(Persona(), "0", ["a", "b"]).corpus is one
    one_query(Persona(), "4", ["a", "b"])
    assert one_query(Persona(), "0", ["a", "b"]).corpus is one
    assert one_query(Persona(), "1", ["a", "b"]).corpus is not two
    assert three is not two


@pytest.mark.parametrize("responses", [["a", "b"], ["a", "b", "a"], ["x", "y", "z", ""]])
@pytest.mark.parametrize(
    "talk", ["Hi", as_conversation([("user", "Hi"), ("assistant", "Yo"), ("user", "?")])]
)
def test_one_question_is_the_question_among_many(talk, responses):
    one, many = (
        one_query(Persona("ann"), talk, responses),
        Queries.of([Query(Persona("ann"), talk, tuple(responses))]),
    )
    assert one.corpus.digest == many.corpus.digest
    for name in ("who", "options", "offsets"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    with pytest.raises(DataError, match="ranking needs two"):
        one_query(Persona(), talk, ["a"])


@pytest.mark.parametrize("chosen", [0, 2, None])
@pytest.mark.parametrize("responses", [("a", "b", "c"), ("a", "b", "a"), ("a", "b", "c", "d")])
def test_one_choice_is_the_choice_of_a_population(chosen, responses):
    row = Feedback("ann", as_conversation("Q"), responses, chosen, "c")
    corpus, pairs = one_choice(row)
    people = Population.of([row])
    assert corpus.digest == people.corpus.digest

    def told(texts, some):
        ends = zip(some.winner, some.loser, some.target, strict=True)
        return sorted((texts.response(a), texts.response(b), t) for a, b, t in ends)

    assert told(corpus, pairs) == told(people.corpus, people.pairs)
