import multiprocessing
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from palate.core import Corpus, as_conversation
from palate.models import EmbeddingCache, cache_folder, embed, embed_texts, text_key

TEXTS = [f"text {i} " + "a" * i for i in range(10)]


def _keys(texts):
    return [text_key(text) for text in texts]


def test_what_is_put_is_got_and_the_rest_is_missing():
    vectors = np.arange(20, dtype=np.float32).reshape(10, 2)
    with EmbeddingCache("k", 2) as cache:
        cache.put_many(_keys(TEXTS), vectors)
    with EmbeddingCache("k", 2) as cache:
        found, got = cache.get_many([*_keys(TEXTS), text_key("other")])
    assert found.tolist() == [True] * 10 + [False]
    assert (got[:10] == vectors).all()


def test_more_keys_than_one_query_takes():
    texts = [str(i) for i in range(2500)]
    with EmbeddingCache("k", 1) as cache:
        cache.put_many(_keys(texts), np.arange(2500, dtype=np.float32)[:, None])
        found, got = cache.get_many(_keys(texts[::-1]))
    assert found.all()
    assert got[0, 0] == 2499


def test_a_second_run_encodes_nothing_and_another_setting_everything(counting):
    first, second, other = counting(), counting(), counting(key="counting2")
    expected = embed_texts(TEXTS, first)
    assert (embed_texts(TEXTS, second) == expected).all()
    assert (len(first.seen), second.seen) == (10, [])
    embed_texts(TEXTS, other)
    assert len(other.seen) == 10


def test_an_interruption_loses_no_finished_batch(counting):
    broken, resumed = counting(fail_after=8), counting()
    with pytest.raises(KeyboardInterrupt):
        embed_texts(TEXTS, broken)
    calls = []
    vectors = embed_texts(TEXTS, resumed, progress=lambda done, total: calls.append((done, total)))
    assert len(broken.seen) == 8
    assert sorted(resumed.seen) == sorted(set(TEXTS) - set(broken.seen))
    assert vectors.tolist() == [list(map(float, counting.vector(text))) for text in TEXTS]
    assert calls == [(8, 10), (10, 10)]


def _write(folder, start):
    with EmbeddingCache("shared", 4, Path(folder)) as cache:
        for i in range(start, start + 40):
            cache.put_many(_keys([f"t{i}", f"u{i}"]), np.full((2, 4), i, np.float32))


def test_two_processes_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(str(tmp_path), start)) for start in (0, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    with EmbeddingCache("shared", 4, tmp_path) as cache:
        found, vectors = cache.get_many(_keys([f"t{i}" for i in range(60)]))
    assert found.all()
    assert (vectors[:, 0] == np.arange(60)).all()


def _cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _scribble(path):
    data = bytearray(path.read_bytes())
    data[4096 : len(data)] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(b"not a database at all" * 100), _cut, _scribble])
def test_a_damaged_file_is_moved_aside_and_rebuilt(counting, damage):
    texts = [f"{i}" * 40 for i in range(400)]
    expected = embed_texts(texts, counting())
    (path,) = cache_folder().glob("*.sqlite")
    damage(path)
    with pytest.warns(UserWarning, match="was damaged .* moved to .* begun again") as caught:
        assert (embed_texts(texts, counting()) == expected).all()
    assert len(caught) == 1
    assert path.with_name(path.name + ".damaged").exists()
    again = counting()
    assert (embed_texts(texts, again) == expected).all()
    assert again.seen == []


def test_a_value_of_the_wrong_length_is_a_miss():
    with EmbeddingCache("k", 2) as cache:
        cache.put_many([text_key("a")], np.ones((1, 2), np.float32))
        cache._connection.execute("UPDATE vectors SET value = x'00'")
        assert not cache.get_many([text_key("a")])[0].any()


@pytest.mark.parametrize("reason", ["database or disk is full", "attempt to write a readonly database"])
def test_a_full_disk_or_readonly_file_warns_once_and_goes_on(counting, monkeypatch, reason):
    embed_texts(TEXTS[:3], counting())

    def fail(self, rows):
        raise sqlite3.OperationalError(reason)

    monkeypatch.setattr(EmbeddingCache, "_insert", fail)
    encoder = counting(batch=2)
    with pytest.warns(UserWarning, match=f"cannot be written .{reason}.*PALATE_CACHE") as caught:
        vectors = embed_texts(TEXTS, encoder)
    assert len(caught) == 1
    assert len(encoder.seen) == 7
    assert vectors.tolist() == [list(map(float, counting.vector(text))) for text in TEXTS]


def test_a_really_full_file_keeps_what_fitted(counting, monkeypatch):
    opened = EmbeddingCache._open

    def small(self):
        opened(self)
        self._connection.execute("PRAGMA max_page_count=4")

    monkeypatch.setattr(EmbeddingCache, "_open", small)
    texts = [f"{i}" * 9 for i in range(600)]
    with pytest.warns(UserWarning, match="disk is full") as caught:
        vectors = embed_texts(texts, counting(batch=60))
    assert len(caught) == 1
    assert vectors[:, 0].tolist() == [len(text) for text in texts]


def test_a_folder_that_cannot_be_made_warns_once(counting, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="encoding goes on without it") as caught:
        assert embed_texts(TEXTS, counting()).shape == (10, 2)
    assert len(caught) == 1


def test_a_readonly_folder_is_still_read(counting, monkeypatch):
    embed_texts(TEXTS, counting())

    def refuse(self):
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(EmbeddingCache, "_open", refuse)
    encoder = counting()
    with pytest.warns(UserWarning, match="what it holds is still used"):
        embed_texts([*TEXTS, "new"], encoder)
    assert encoder.seen == ["new"]


def test_encoders_cheaper_than_a_look_up_leave_no_files(cache_in_tmp):
    corpus = Corpus([as_conversation("q")], TEXTS, np.zeros(10, np.int64), np.arange(10))
    embed(corpus, "lexical")
    assert not cache_in_tmp.exists()


def test_the_folder_has_a_default(monkeypatch):
    monkeypatch.delenv("PALATE_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "palate" / "embeddings"
