"""Statements about a taste: what is written reads back, and what others write is read as they meant it."""

import itertools

import numpy as np
import pytest

from palate.fakes.words import (
    AXIS_NAMES,
    PHRASES,
    Statement,
    axes_named,
    mean_taste,
    phrase,
    read_statements,
    statement,
)
from palate.feedback.world_answers import AXES
from palate.models.style import STYLE_AXES


def said(text):
    return {(AXIS_NAMES[s.axis], s.sign) for s in read_statements(text)}


@pytest.mark.parametrize(("axis", "sign"), list(itertools.product(range(8), (-1, 1))))
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("pick", [0.0, 0.99])
def test_what_it_writes_reads_back(axis, sign, strength, pick):
    assert set(read_statements(statement(axis, sign, pick, strength))) == {Statement(axis, sign, strength)}


def test_every_phrase_reads_back_beside_every_other():
    ends = list(itertools.product(range(8), (-1, 1), (0.0, 0.99)))
    assert len(ends) == sum(len(words) for low_high in PHRASES.values() for words in low_high)
    for one, other in itertools.permutations(ends, 2):
        text = f"The user is busy and prefers {phrase(*one)} and {phrase(*other)}."
        assert {(s.axis, s.sign) for s in read_statements(text)} == {one[:2], other[:2]}, text


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_the_words_of_the_axes_are_read(axis):
    assert said(f"Likes answers that are {axis.low}.") == {(axis.name, -1)}
    assert said(f"Likes answers that are {axis.high}.") == {(axis.name, 1)}


@pytest.mark.parametrize("axis", STYLE_AXES, ids=lambda axis: axis.name)
def test_the_sentences_of_style_are_read_with_their_strength_and_without_their_evidence(axis):
    tail = (
        ": 17 of 21 choices that differ in it, +0.90 log-odds [+0.10, +1.20] "
        f"{axis.unit} (people on average +0.20)."
    )
    low, high = (read_statements(f"Prefers {end}{tail}") for end in (axis.low, axis.high))
    assert len({s.axis for s in low}) == len({s.axis for s in high}) == 1
    assert low[0].axis == high[0].axis
    assert low[0].sign == -high[0].sign
    assert low[0].strength == high[0].strength == 0.9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dislikes long answers.", {("length", -1)}),
        (
            "Avoids jargon, lists and formal wording.",
            {("technical", -1), ("structure", -1), ("formality", -1)},
        ),
        ("Does not like long answers but wants warmth.", {("length", -1), ("warmth", 1)}),
        ("Doesn't want hedging.", {("hedging", -1)}),
        ("Prefers short over long answers, and a warm tone.", {("length", -1), ("warmth", 1)}),
        ("Values kindness more than detail.", {("warmth", 1), ("length", -1)}),
        ("Prefers answers without lists.", {("structure", -1)}),
        ("Prefers less formal wording.", {("formality", -1)}),
        ("Finds most answers too long.", {("length", -1)}),
        ("Dislikes answers that are too technical.", {("technical", -1)}),
        ("Wants answers that are not only short but also friendly.", {("length", -1), ("warmth", 1)}),
        ("Prefers casual, not formal, wording.", {("formality", -1)}),
        ("What is known of this user: age: 18-24; employment: student.", set()),
        ("The first answer is the one that was taken.", set()),
        ("", set()),
    ],
)
def test_likes_and_dislikes_are_read(text, expected):
    assert said(text) == expected


def test_what_is_said_twice_counts_once_and_contradictions_cancel():
    taste = mean_taste(read_statements("Prefers short answers.\nPrefers brief replies.\nPrefers lists."))
    assert taste[0] == -1
    assert taste[1] == 1
    assert np.isnan(taste[2:]).all()
    assert mean_taste(read_statements("Prefers short answers. Prefers long answers."))[0] == 0


def test_an_instruction_names_what_to_look_at():
    named = dict(zip(AXIS_NAMES, axes_named("Look at length, structure and warmth."), strict=True))
    assert [name for name, is_named in named.items() if is_named] == ["length", "structure", "warmth"]
    assert not any(axes_named("Describe this user's taste in a few statements."))
