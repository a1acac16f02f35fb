import gc
import threading
import time
from weakref import ref

import numpy as np
import pytest

from palate.core import Corpus, as_conversation
from palate.models import embed, embed_texts, resolve
from palate.models import features as features_module
from palate.models.encoder import Styled


def corpus():
    talks = [as_conversation("first question"), as_conversation("second")]
    return Corpus(talks, ["aa", "bee", "see you"], np.array([0, 0, 1, 1]), np.array([2, 0, 0, 1]))


def test_unique_responses_are_encoded_once_and_gathered(counting):
    encoder = counting()
    matrix = embed(corpus(), encoder)
    assert sorted(encoder.seen) == ["aa", "bee", "see you"]
    assert matrix[:, 0].tolist() == [7, 2, 2, 3]
    assert matrix.dtype == np.float32


def test_the_conversation_counts_where_the_encoder_reads_it(counting):
    encoder = counting(reads_conversation=True)
    matrix = embed(corpus(), encoder)
    assert matrix[:, 0].tolist() == [22, 17, 9, 10]
    assert len(encoder.seen) == 4


@pytest.mark.parametrize("reads", [False, True])
def test_style_is_of_the_response(counting, reads):
    base = counting(reads_conversation=reads)
    texts = corpus()
    matrix = embed(texts, Styled(base, "counting+style"))
    style = resolve("style").encode([texts.response(i) for i in range(4)]) / 14**0.5
    assert np.allclose(matrix[:, 2:], style)
    assert (matrix[:, :2] == embed(texts, base)).all()
    assert (embed_texts(["aa"], Styled(base, "s"))[0, 2:] == matrix[1, 2:]).all()


def test_one_matrix_a_corpus_and_key_read_only(counting):
    texts = corpus()
    matrix = embed(texts, counting())
    assert embed(texts, counting()) is matrix
    assert embed(texts, counting(key="other")) is not matrix
    assert embed(corpus(), counting()) is not matrix
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1


def test_the_matrix_dies_with_its_corpus(counting):
    texts = corpus()
    slots = len(features_module._slots)
    matrix = ref(embed(texts, counting()))
    assert len(features_module._slots) == slots + 1
    owner = ref(texts)
    del texts
    gc.collect()
    assert matrix() is None
    assert owner() is None
    assert len(features_module._slots) <= slots


def test_equal_calls_at_once_encode_once(counting):
    texts, encoder, got = corpus(), counting(cached=False), []
    slow = encoder.encode

    def encode(texts, progress=None):
        time.sleep(0.1)
        return slow(texts)

    encoder.encode = encode
    threads = [threading.Thread(target=lambda: got.append(embed(texts, encoder))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(matrix) for matrix in got}) == 1
    assert len(encoder.seen) == 3


def test_an_error_does_not_block_the_next_try(counting):
    texts = corpus()
    with pytest.raises(KeyboardInterrupt):
        embed(texts, counting(fail_after=0))
    assert embed(texts, counting()).shape == (4, 2)


def test_empty_input():
    empty = Corpus([], [], np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert embed(empty, "lexical").shape == (0, 526)
    assert embed_texts([], "style").shape == (0, 14)
    assert not embed_texts(["a", "b", "a"], "lexical").flags.writeable


def test_an_encoder_without_a_stream_is_cached_in_runs(counting):
    class Plain:
        spec, key, dim, reads_conversation, cached, seen = "p", "plain", 2, False, True, 0
        blocks = (("text", slice(0, 2)),)

        def render(self, conversation, response):
            return response

        def encode(self, texts, progress=None):
            self.seen += len(texts)
            return np.array([counting.vector(text) for text in texts], np.float32)

    plain = Plain()
    texts = [f"{i}" for i in range(300)]
    assert embed_texts(texts, plain)[:, 0].tolist() == [len(text) for text in texts]
    embed_texts(texts, plain)
    assert plain.seen == 300
