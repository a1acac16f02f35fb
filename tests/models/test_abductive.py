"""The estimated persona of a past choice: read by a language model, or a difference of vectors."""

import numpy as np
import pytest

from palate.core import Corpus, Feedback, Pairs, Population, Turn, as_conversation
from palate.core.errors import ConfigError
from palate.models import embed
from palate.models.abductive import OPENING, abduce, ask, reader

QUESTION = "{conversation} no {rejected} yes {chosen} why ?"
TALKS = ["hello world", "help me with this"]


def rows():
    made = [
        Feedback("ann", as_conversation(TALKS[0]), ("the cat sat", "the dog"), 0, "1"),
        Feedback("ann", as_conversation(TALKS[1]), ("yes please", "no"), 1, "2"),
        Feedback("ann", as_conversation(TALKS[1]), ("yes please", "no"), None, "3"),
        Feedback("bob", as_conversation(TALKS[0]), ("the dog", "the cat sat"), 1, "4"),
    ]
    return Population.of(made)


@pytest.fixture(scope="module")
def tiny():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    return torch, transformers


def state_at_the_end(tiny, folder, text):
    """One question at a time, without padding and without a cache."""
    torch, transformers = tiny
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
    return (states[-1] / states[-1].norm()).numpy()


def test_a_language_model_reads_each_choice_and_its_last_state_is_kept(tiny, tiny_lm):
    people = rows()
    e = abduce(people.pairs, people.corpus, f"hf:{tiny_lm}", QUESTION)
    assert e.dtype == np.float32
    assert e.shape == (4, 32)
    texts = [
        f"user: user: {TALKS[0]} no the dog yes the cat sat why ?\nassistant: {OPENING}",
        f"user: user: {TALKS[1]} no yes please yes no why ?\nassistant: {OPENING}",
    ]
    for i, text in enumerate(texts):
        np.testing.assert_allclose(e[i], state_at_the_end(tiny, tiny_lm, text), atol=1e-5)
    assert not e[2].any()  # a tie says nothing of direction
    np.testing.assert_array_equal(e[3], e[0])  # the same choice, whoever made it and in whichever order


def test_which_answer_was_kept_matters(tiny, tiny_lm):
    people = rows()
    pairs = people.pairs
    turned = Pairs(pairs.user, pairs.loser, pairs.winner, pairs.target, pairs.row)
    a, b = (abduce(p, people.corpus, f"hf:{tiny_lm}", QUESTION) for p in (pairs, turned))
    assert (np.abs(a - b).max(axis=1) > 1e-4).tolist() == [True, True, False, True]


def test_equal_choices_are_read_once_and_found_again_on_disk(tiny, tiny_lm, monkeypatch):
    people, read = rows(), []
    model = reader(f"hf:{tiny_lm}")
    plain = type(model)._encode
    monkeypatch.setattr(type(model), "_encode", lambda self, ids: read.append(len(ids)) or plain(self, ids))
    first = abduce(people.pairs, people.corpus, f"hf:{tiny_lm}", QUESTION)
    assert sum(read) == 2  # two distinct choices; the tie asks nothing
    again = rows()  # other objects, equal texts
    np.testing.assert_array_equal(abduce(again.pairs, again.corpus, f"hf:{tiny_lm}", QUESTION), first)
    assert sum(read) == 2
    abduce(again.pairs, again.corpus, f"hf:{tiny_lm}", "{rejected} or {chosen}")  # another question
    assert sum(read) == 4


def test_a_pool_that_was_named_is_kept(tiny, tiny_lm):
    assert reader(f"hf:{tiny_lm}").key == reader(f"hf:{tiny_lm}?pool=last").key
    assert reader(f"hf:{tiny_lm}?layer=1").key == reader(f"hf:{tiny_lm}?layer=1&pool=last").key
    assert reader(f"hf:{tiny_lm}?pool=mean").key != reader(f"hf:{tiny_lm}").key


def test_without_a_language_model_it_is_the_difference_of_vectors():
    people = rows()
    e, x, pairs = (
        abduce(people.pairs, people.corpus, "lexical"),
        embed(people.corpus, "lexical"),
        people.pairs,
    )
    for i in (0, 1, 3):
        np.testing.assert_array_equal(e[i], x[pairs.winner[i]] - x[pairs.loser[i]])
    assert not e[2].any()


def test_no_pairs_and_ties_alone(tiny, tiny_lm):
    none, zero = np.zeros(0, np.int64), np.zeros(1, np.int64)
    corpus = Corpus([as_conversation("hello")], ["yes"], zero, zero)
    for spec, d in (("lexical", 526), (f"hf:{tiny_lm}", 32)):
        assert abduce(Pairs(none, none, none, np.zeros(0), none), corpus, spec).shape == (0, d)
        tie = abduce(Pairs(zero, zero, zero, np.array([0.5]), zero), corpus, spec)
        assert tie.shape == (1, d)
        assert not tie.any()


def test_braces_in_the_texts_are_texts():
    talk = (Turn("user", "{chosen}"), Turn("assistant", "{x}"))
    assert ask("{conversation}/{chosen}/{rejected}/{}", talk, "{rejected}", "b") == (
        "user: {chosen}\nassistant: {x}/{rejected}/b/{}"
    )


def test_kind_errors(tiny_lm):
    with pytest.raises(ConfigError, match=r"has no \{rejected\}: 'why \{chosen\}'"):
        ask("why {chosen}", (), "a", "b")
    with pytest.raises(ConfigError, match="a reader of past choices is a language model, got 'minilm'"):
        reader("minilm")
    with pytest.raises(ConfigError, match=r"without \+style"):
        reader(f"hf:{tiny_lm}+style")
