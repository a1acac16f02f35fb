"""Where a text stands on the axes: the world's by heart, cut ones by their ends, others by their style."""

import numpy as np
import pytest

from palate.fakes.senses import answers_to, place
from palate.feedback.world_answers import AXES, world_answers
from palate.models.llm.program import Program, Section, count_tokens

WORLD = world_answers()
ITEMS = range(0, len(WORLD.corpus), 7)


def test_the_worlds_texts_are_known_by_heart_whatever_their_white_space():
    for item in ITEMS:
        text = WORLD.corpus.response(item)
        assert (place(text) == WORLD.axes[item]).all()
        assert (place("\n " + text.replace("\n", " \n\n ") + " ") == WORLD.axes[item]).all()


def test_a_text_that_the_prompt_cut_in_the_middle_is_known_by_its_ends():
    program = Program("test", "Title", "Instruct.", "Ask.", "Example.")
    fixed = count_tokens(program.system) + count_tokens("Ask.")
    texts = {item: WORLD.corpus.response(item) for item in ITEMS}
    texts = {item: text for item, text in texts.items() if len(text) > 200}
    assert len(texts) > 100
    wrong = 0
    for item, text in texts.items():
        told = program.tell([Section("first", text)], fixed + len(text) // 5)
        assert told.cut > 0
        cut = told.messages[1].content.removeprefix("<first>\n").partition("\n</first>")[0]
        wrong += not (place(cut) == WORLD.axes[item]).all()
    assert wrong <= 0.02 * len(texts)


def test_a_text_whose_end_is_lost_is_placed_near_its_variants():
    far = [
        np.abs(
            place(WORLD.corpus.response(item)[: len(WORLD.corpus.response(item)) * 2 // 3]) - WORLD.axes[item]
        )
        for item in ITEMS
    ]
    assert np.mean(far) < 0.15


def test_another_text_is_placed_by_its_style():
    """A text that was changed at both ends is unknown; its style still tells most of its axes."""
    items = list(ITEMS)
    placed = np.array([place("So. " + WORLD.corpus.response(item) + " So.") for item in items])
    assert not (placed == WORLD.axes[items]).all(axis=1).any()
    correlation = [np.corrcoef(placed[:, n], WORLD.axes[items, n])[0, 1] for n in range(len(AXES))]
    assert correlation[0] > 0.9
    assert min(correlation[:7]) > 0.4
    assert np.abs(placed).max() <= 1.5


@pytest.mark.parametrize("text", ["", " ", "\ud800", "ok", "x" * 20_000])
def test_any_text_has_a_place(text):
    assert place(text).shape == (8,)
    assert np.isfinite(place(text)).all()


def test_a_place_is_the_callers_own():
    text = WORLD.corpus.response(0)
    place(text)[:] = 9
    assert (place(text) == WORLD.axes[0]).all()


def test_answers_of_a_prompt_are_found():
    prompt = WORLD.corpus.conversations[5][0].content
    assert set(WORLD.corpus.item_conversation[answers_to(prompt)]) == {5}
    assert set(answers_to(f"user: Hi\nassistant: Hello!\nuser: {prompt}")) == set(answers_to(prompt))
    assert len(answers_to("What is rhubarb?")) == 0
