"""What is written is read back equal, and a file appears whole or not at all."""

import builtins
import errno

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from palate.core import Feedback, History, Population, StorageError, Turn
from palate.feedback import read, split_new_users, write_jsonl

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
talks = st.one_of(
    words.map(lambda text: (Turn("user", text),)),
    st.lists(st.builds(Turn, st.sampled_from(["user", "assistant", "Human"]), words), max_size=3).map(tuple),
)


@st.composite
def rows(draw, user):
    responses = draw(st.lists(words, min_size=2, max_size=4, unique=True))
    talk = draw(talks)
    if talk and talk[-1].role == "assistant" and talk[-1].content in responses:
        talk = (*talk, Turn("user", "and?"))
    return Feedback(
        user,
        talk,
        tuple(responses),
        chosen=draw(st.one_of(st.none(), st.integers(0, len(responses) - 1))),
        time=draw(st.one_of(st.none(), st.floats(-1e9, 1e10))),
        reason=draw(st.one_of(st.none(), words)),
    )


@st.composite
def populations(draw):
    users = draw(st.lists(words, min_size=1, max_size=4, unique=True))
    profiles = st.dictionaries(words, words, max_size=2)
    histories = [History(u, tuple(draw(st.lists(rows(u), max_size=4))), draw(profiles)) for u in users]
    return Population.of(histories)


def same(one, two):
    """Assert that two populations are equal in every column."""
    assert one.digest == two.digest
    assert np.array_equal(one.times, two.times, equal_nan=True)
    assert one.ids.tolist() == two.ids.tolist()
    assert dict(one.reasons) == dict(two.reasons)
    assert {u: dict(p) for u, p in one.profiles.items() if p} == {
        u: dict(p) for u, p in two.profiles.items() if p
    }
    assert list(one) == list(two)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_everything_comes_back(tmp_path, mixed, name):
    result = read(write_jsonl(mixed, tmp_path / name))
    same(result.population, mixed)
    assert result.report.n_set_aside == 0
    assert not result.report.unused
    assert [path.name for path in tmp_path.iterdir()] == [name]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(populations())
def test_any_population_comes_back(tmp_path, population):
    same(read(write_jsonl(population, tmp_path / "any.jsonl")).population, population)


def test_a_split_comes_back(tmp_path):
    rows = [
        Feedback(f"u{i % 7}", (Turn("user", f"p{i % 5}"),), (f"a{i}", f"b{i}"), chosen=0) for i in range(60)
    ]
    done = split_new_users(Population.of(rows), 0)
    same(read(write_jsonl(done, tmp_path / "a.jsonl")).population, done)
    text = (tmp_path / "a.jsonl").read_text()
    assert '"chosen":"a0","rejected":"b0"' in text


def test_a_part_comes_back_without_the_texts_of_the_others(tmp_path, mixed):
    part = mixed.take_users(np.array([1]))
    again = read(write_jsonl(part, tmp_path / "a.jsonl")).population
    assert again.digest == part.compact().digest
    assert len(again.corpus.responses) < len(mixed.corpus.responses)


def test_equal_files_for_equal_populations(tmp_path, mixed):
    one, two = (write_jsonl(mixed, tmp_path / f"{i}.jsonl.gz").read_bytes() for i in range(2))
    assert one == two


def test_a_full_disk_leaves_the_old_file(tmp_path, mixed, monkeypatch):
    target = write_jsonl(mixed, tmp_path / "a.jsonl")
    before = target.read_bytes()
    real = builtins.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[:3])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", lambda *args: Full(real(*args)))
    with pytest.raises(StorageError, match=r"a\.jsonl: No space left on device; free some room"):
        write_jsonl(mixed, target)
    monkeypatch.undo()
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_folder_that_is_not_there(tmp_path, mixed):
    with pytest.raises(StorageError, match="cannot write"):
        write_jsonl(mixed, tmp_path / "none" / "a.jsonl")
