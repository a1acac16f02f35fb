"""PersonalRewardBench as it is published: files a split of users, all its columns, both of its halves."""

import json

import duckdb
import numpy as np
import pytest
from adapter_rows import personal
from feedback_rows import as_lines

from palate.feedback import PairRule, read

JUDGES = (
    "azure/gpt-4o-mini-240718",
    "gemini/gemini-1.5-pro",
    "meta-llama/Llama-3.1-70B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "Qwen/Qwen2.5-72B-Instruct",
)


def published(user, split, number, half="prism"):
    """Return a row with every column of the release; in the Arena half ``chosen`` is a list."""
    row = personal(user, split, number)
    row |= {
        "chosen_score": 90.0,
        "rejected_score": 40.0,
        "dataset": half,
        "query_reasoning": "People differ.",
        "personalizable_query": True,
        "response_reasoning": "So do the answers.",
        "personalizable_responses": True,
    }
    for judge in JUDGES:
        for order in ("", "flip_"):
            row |= {f"prediction_{order}{judge}": "First", f"reasoning_{order}{judge}": "It is better."}
    if half == "arena":
        row["chosen"] = [row["chosen"]]
    return row


def release(half="prism"):
    """Return the rows of each split of users: 4 train, 1 validation, 5 test users with ten pairs each."""
    parts = ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    users = {"train": range(4), "validation": range(4, 5), "test": range(5, 10)}
    return {
        name: [published(f"user{u}", part, 100 * u + n, half) for u in some for n, part in enumerate(parts)]
        for name, some in users.items()
    }


def store(folder, rows, format):
    """Write splits as the hub keeps them, with what stands beside them."""
    (folder / "data").mkdir(parents=True)
    for name, lines in rows.items():
        plain = folder / f"{name}.tmp"
        plain.write_bytes(as_lines(lines))
        target = folder / "data" / f"{name}-00000-of-00001.{format}"
        if format == "parquet":
            duckdb.read_json(str(plain), format="newline_delimited").write_parquet(str(target))
        else:
            target.write_bytes(plain.read_bytes())
        plain.unlink()
    (folder / "README.md").write_text("# A card")
    (folder / "notes.jsonl").write_text(
        json.dumps({"user": "x", "prompt": "p", "chosen": "a", "rejected": "b"})
    )
    return folder


@pytest.mark.parametrize("half", ["prism", "arena"])
@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_the_published_files_load_as_they_are(tmp_path, format, half):
    folder = store(tmp_path / "chatbot_arena_personalized_0125", release(half), format)
    for spec in (f"personalrewardbench:{folder}", str(folder)):
        result = read(spec)
        people, report = result.population, result.report
        assert (report.adapter, report.n_set_aside, report.rows) == ("personalrewardbench", 0, 100)
        roles = dict(zip(people.users.tolist(), people.role.tolist(), strict=True))
        assert roles == {f"user{n}": 0 if n < 4 else 1 if n == 4 else 2 for n in range(10)}
        for user in range(10):
            rows = slice(people.offsets[user], people.offsets[user + 1])
            assert people.split[rows].tolist() == [0] * 7 + [1] * 3
            number = 100 * int(people.users[user][4:])
            for place, row in enumerate(range(rows.start, rows.stop)):
                seen = people.row(row)
                assert seen.chosen_response == f"Good {number + place}", "rows are in the order of the file"
                assert [turn.role for turn in seen.conversation] == ["user", "assistant", "user"]
        assert people.times.tolist() != people.times.tolist(), "the release has no times"


def test_one_file_has_the_role_that_its_name_speaks_for(tmp_path):
    folder = store(tmp_path / "out", release(), "parquet")
    people = read(folder / "data" / "validation-00000-of-00001.parquet").population
    assert (people.users.tolist(), people.role.tolist()) == (["user4"], [1])


def test_what_stands_beside_the_data_is_no_data(tmp_path):
    folder = store(tmp_path / "out", release(), "jsonl")
    assert "x" not in read(str(folder)).population.users
    (folder / "data" / "rows.jsonl").write_bytes((folder / "notes.jsonl").read_bytes())
    assert "x" not in read(str(folder)).population.users
    for file in (folder / "data").glob("*-00000-*"):
        file.rename(folder / f"part {file.name}")
    assert "x" in read(str(folder)).population.users, "without files named by splits every file is read"


def test_ids_times_reasons_and_profiles_are_read_where_they_are(tmp_path):
    more = {"id": "a1", "time": 17.5, "reason": "warm", "profile": json.dumps({"age": 40, "town": "Łódź"})}
    file = tmp_path / "test.jsonl"
    late = {**published("ann", "train", 2), "id": "a2", "time": 3}
    file.write_bytes(as_lines([{**published("ann", "test", 1), **more}, late, published("bob", "train", 3)]))
    people = read(f"personalrewardbench:{file}").population
    assert people.ids.tolist() == ["a2", "a1", "row-3"]
    assert people.times[:2].tolist() == [3.0, 17.5]
    assert dict(people.reasons) == {"a1": "warm"}
    assert dict(people.profiles["ann"]) == {"age": "40", "town": "Łódź"}


def test_a_broken_row_costs_itself_only(tmp_path):
    rows = release()
    rows["test"][3] = {**rows["test"][3], "rejected": None}
    rows["test"][7] = {**rows["test"][7], "chosen": rows["test"][7]["rejected"]}
    result = read(str(store(tmp_path / "out", rows, "jsonl")))
    assert result.population.n_rows == 98
    assert dict(result.report.set_aside) == {"missing field": 1, "chosen equals rejected": 1}


def test_ratings_come_with_their_pairs(tmp_path):
    rows = [
        {"user": "ann", "prompt": "Hi", "response": text, "rating": rating, "time": time}
        for time, (text, rating) in enumerate([("a", 2), ("b", 5), ("c", 5)])
    ]
    plain = {"user": "ann", "prompt": "Ho", "chosen": "x", "rejected": "y", "time": 1.5}
    file = tmp_path / "rated.jsonl"
    file.write_bytes(as_lines([*rows[:2], plain, rows[2]]))
    result = read(file, rule=PairRule("all", min_gap=0))
    people = result.population
    found = {
        people.row(n).responses: (people.row(n).chosen, result.grades[n].tolist())
        for n in range(people.n_rows)
    }
    assert found.pop(("x", "y"))[0] == 0
    assert found.pop(("b", "a")) == (0, [5.0, 2.0])
    assert found.pop(("c", "a")) == (0, [5.0, 2.0])
    ((responses, tie),) = found.items()
    assert (set(responses), tie) == ({"b", "c"}, (None, [5.0, 5.0]))
    disjoint = read(file).grades
    assert disjoint[~np.isnan(disjoint)].tolist() == [5.0, 2.0]
