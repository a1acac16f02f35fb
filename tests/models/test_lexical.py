import time

import numpy as np
import pytest

from palate.models import STYLE_AXES, resolve, style_features
from palate.models.lexical import LEXICAL_DIM
from palate.models.tokens import tokenize

ODD = [
    "",
    " ",
    "\n\n",
    "...",
    "🙂🎉",
    "שלום עולם",
    "مرحبا بالعالم؟",
    "你好世界",
    "हिन्दी में",
    "สวัสดี",
    "a\x00b",
    "half \ud83d",
]


def test_odd_texts_give_finite_vectors_of_norm_one_or_zero():
    vectors = resolve("lexical").encode(ODD)
    assert np.isfinite(vectors).all()
    norms = np.linalg.norm(vectors[:, :LEXICAL_DIM], axis=1)
    assert np.allclose(norms[4:], 1, atol=1e-5)
    assert np.allclose(norms[:4], 0)


def test_words_of_other_scripts_are_not_torn_apart():
    counts = dict(zip(ODD, tokenize(ODD).counts.tolist(), strict=True))
    assert (counts["שלום עולם"], counts["مرحبا بالعالم؟"], counts["हिन्दी में"], counts["🙂🎉"]) == (2, 2, 2, 2)
    assert counts["你好世界"] == 4


def test_scripts_without_spaces_share_character_pairs():
    near, far = "我喜欢喝绿茶", "他昨天买了车"
    a, b, c = resolve("lexical").encode(["我喜欢喝红茶", near, far])[:, :LEXICAL_DIM]
    assert a @ b > 0.4
    assert a @ b > a @ c + 0.3


def test_a_text_has_one_vector_whatever_is_beside_it():
    texts = [f"answer number {i} " * (i % 7 + 1) for i in range(3000)]
    whole = resolve("lexical").encode(texts)
    assert (whole[[5, 2999]] == resolve("lexical").encode([texts[5], texts[2999]])).all()
    assert resolve("lexical").encode([]).shape == (0, 526)


def test_hashes_are_the_same_on_every_machine_and_day():
    vector = resolve("lexical").encode(["the same today and tomorrow"])[0, :LEXICAL_DIM]
    assert [i if vector[i] > 0 else -i for i in np.flatnonzero(vector).tolist()] == SAME


SAME = [135, -185, 226, 232, -306, 320, -330, -345, -354]


def test_order_and_repetition_count():
    a, b, c, d = resolve("lexical").encode(["dog bites man", "man bites dog", "good", "good good good"])
    assert 0.3 < a[:512] @ b[:512] < 0.99
    assert c[:512] @ d[:512] < 0.99


def test_progress_reaches_the_end():
    calls = []
    resolve("lexical").encode(["x"] * 2500, lambda done, total: calls.append((done, total)))
    assert calls == [(1024, 2500), (2048, 2500), (2500, 2500)]


@pytest.mark.parametrize(
    "unit",
    ["a. b! ", ".", "\n", " ", "A", "字", "1 ", "*", "'a", "- x\n", "`", "# ", "a\u0300", "?!", "Aa, "],
)
def test_a_megabyte_is_linear(unit):
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    vectors = resolve("lexical").encode([text])
    assert np.isfinite(vectors).all()
    assert time.process_time() - start < 8


LOUD = {
    "length": ("Yes.", "It is so, and here is one more word about it, and then another, and so on."),
    "sentences": ("One. Two. Three.", "One and then two and then three and then four without any pause."),
    "lists": ("First this then that.", "Steps:\n- first\n- second\n1. third\n2) fourth"),
    "sections": ("All in one.", "# Title\n\nFirst part.\n\n**Second:**\n\nMore."),
    "formality": (
        "yeah it's kinda cool, gonna try lol",
        "We therefore conclude; furthermore, it shall apply.",
    ),
    "hedging": ("It is so.", "Perhaps it might be so; I think it possibly seems likely."),
    "warmth": ("The value is four.", "Thank you, dear friend! I hope you feel great and wish you the best."),
    "directness": ("One option exists.", "You must stop now. Always check, and make sure to do it."),
    "technical": (
        "The cat sat.",
        "The algorithm allocates 512 MB of memory at 3.2 GHz in `init()`; configuration.",
    ),
    "examples": (
        "Things vary.",
        "For example, in towns such as Lyon or, say, Berlin, 3 of 10 people; for instance.",
    ),
    "questions": ("I see.", "Why? What for? Who says so?"),
    "emphasis": ("fine.", "WOW! This is AMAZING!!! **Really** 🎉"),
    "first person": ("The sky is blue.", "I think my view is mine, and we like our home."),
    "caution": ("Go ahead.", "Do not go. Never, unless careful: no, it isn't safe; beware the risk."),
}


@pytest.mark.parametrize("axis", range(len(STYLE_AXES)), ids=[axis.name for axis in STYLE_AXES])
def test_every_axis_moves_the_right_way(axis):
    low, high = style_features(LOUD[STYLE_AXES[axis].name])[:, axis]
    assert high > low + 0.5


def test_features_are_clipped_and_named():
    extreme = style_features(["why? " * 1000, "no " * 1000, "", "I " * 100_000])
    assert np.abs(extreme).max() <= 4
    assert extreme.dtype == np.float32
    assert len(STYLE_AXES) == 14 == len({axis.name for axis in STYLE_AXES})
    assert style_features([]).shape == (0, 14)


def test_a_doubling_of_length_is_one_step():
    short, long = style_features(["word " * 31, "word " * 63])[:, 0]
    assert long - short == pytest.approx(1, abs=1e-5)


def test_the_style_block_is_scaled_beside_text_and_plain_alone():
    texts = ["Perhaps. Why not?", "No."]
    alone, beside = resolve("style").encode(texts), resolve("lexical").encode(texts)[:, 512:]
    assert np.allclose(alone / 14**0.5, beside)
