"""Every format, and every kind of source."""

import csv
import gzip
import io
import json
import sys

import duckdb
import pytest
from backports import zstd
from feedback_rows import as_lines, pair

from palate.core import ConfigError, DataError, MissingExtra, Turn
from palate.feedback import read

ROWS = [
    pair(user=f"u{i % 3}", prompt=f"p{i % 4}", chosen=f"good {i}", rejected=f"bad {i}") for i in range(12)
]


def only(result):
    assert result.population.n_rows == 1, result.report.lines()
    return result.population.row(0)


def same_rows(result):
    assert result.population.n_rows == len(ROWS)
    assert result.population.corpus.responses[:2] == ["good 0", "bad 0"]
    return result


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.data"])
def test_json_lines(tmp_path, name):
    (tmp_path / name).write_bytes(as_lines(ROWS))
    assert same_rows(read(tmp_path / name)).report.format == "jsonl"


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstd.compress)])
def test_compressed_whatever_the_name(tmp_path, suffix, pack):
    for name in (f"a.jsonl{suffix}", "plain.jsonl"):
        (tmp_path / name).write_bytes(pack(as_lines(ROWS)))
        same_rows(read(tmp_path / name))


def test_json_array(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=1))
    assert same_rows(read(tmp_path / "a.json")).report.format == "json"


def test_byte_order_mark_and_windows_lines(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + as_lines(ROWS).replace(b"\n", b"\r\n\r\n"))
    same_rows(read(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("name", "mark"), [("a.csv", ","), ("a.tsv", "\t"), ("semi.csv", ";"), ("a.data", ",")]
)
def test_tables_of_text(tmp_path, name, mark):
    with (tmp_path / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0], delimiter=mark)
        writer.writeheader()
        writer.writerows(ROWS)
    same_rows(read(tmp_path / name))


def test_csv_cells(tmp_path):
    talk = json.dumps([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}])
    rows = [
        ["User", "prompt", "responses", "chosen", "time"],
        ["ann", talk, '["a, b","c\\nd"]', "1", ""],
        ["ann", 'two\nlines "quoted"', '["a","b"]', "a", "2020-01-01"],
    ]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    people = read(tmp_path / "a.csv").population
    assert people.row(0).conversation[0].content == 'two\nlines "quoted"'
    assert people.row(1).conversation == (Turn("user", "Hi"), Turn("assistant", "Ho"))
    assert people.row(1).chosen_response == "c\nd"


def test_parquet(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(as_lines(ROWS))
    target = tmp_path / "odd [1] name.parquet"
    duckdb.execute(f"COPY (FROM read_json('{tmp_path}/a.jsonl')) TO '{target}'")
    assert same_rows(read(target)).report.format == "parquet"
    same_rows(read(target, format="parquet"))


def test_parquet_nested_and_times(tmp_path):
    target = tmp_path / "a.parquet"
    duckdb.execute(
        f"""COPY (SELECT 7 AS annotator, [{{'role': 'user', 'content': 'Hi'}}] AS prompt,
        ['a', 'b'] AS responses, 1 AS chosen, TIMESTAMPTZ '1970-01-01 00:01:00+00' AS "time") TO '{target}'"""
    )
    row = only(read(target))
    assert (row.user, row.conversation, row.chosen, row.time) == ("7", (Turn("user", "Hi"),), 1, 60.0)


def test_columns_that_are_null_do_not_decide_the_kind(tmp_path):
    target = tmp_path / "a.parquet"
    values = "('a','p','x','y',NULL,NULL), ('a','p',NULL,NULL,'r',5), ('a','p',NULL,NULL,'s',1)"
    duckdb.execute(
        f"COPY (FROM (VALUES {values}) t(\"user\", prompt, chosen, rejected, response, rating)) TO '{target}'"
    )
    result = read(target)
    assert (result.population.n_rows, result.report.ratings, result.report.n_set_aside) == (2, 2, 0)


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(as_lines(ROWS))))
    assert same_rows(read("-")).report.source == "-"


def test_a_folder_of_files(tmp_path):
    (tmp_path / "train-0.jsonl").write_bytes(as_lines(ROWS[:5]))
    (tmp_path / "train-1.jsonl.gz").write_bytes(gzip.compress(as_lines([*ROWS[5:], "broken"])))
    (tmp_path / "test-0.jsonl").write_bytes(as_lines(ROWS[:1]))
    (tmp_path / "notes.txt").write_text("not read")
    result = same_rows(read(f"hf:{tmp_path}:train"))
    assert result.report.details[0].file.endswith("train-1.jsonl.gz")
    assert result.report.details[0].line == 8
    assert read(tmp_path).report.rows == len(ROWS) + 2


def test_a_folder_saved_by_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list(ROWS)
    table.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": table, "test": table.select(range(2))}).save_to_disk(tmp_path / "two")
    same_rows(read(tmp_path / "one"))
    same_rows(read(f"hf:{tmp_path / 'two'}:train"))
    with pytest.raises(ConfigError, match="train, test"):
        read(tmp_path / "two")
    with pytest.raises(ConfigError, match="no split 'dev'"):
        read(f"hf:{tmp_path / 'two'}:dev")


class FakeHub:
    """Stands in for ``datasets``: remembers what was asked for."""

    def __init__(self, rows):
        self.rows, self.asked = rows, []

    def load_dataset(self, *names):
        self.asked.append(names)
        if names[0] == "no/where":
            raise FileNotFoundError("Dataset no/where does not exist")
        return {"train": self}

    def iter(self, batch_size):
        yield {name: [row[name] for row in self.rows] for name in self.rows[0]}


def test_a_data_set_of_the_hub(monkeypatch):
    hub = FakeHub(ROWS)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    for spec in ("hf:some/set", "hf:some/set:train", "hf:some/set:conf:train"):
        assert same_rows(read(spec)).report.format == "hf"
    assert hub.asked == [("some/set",), ("some/set",), ("some/set", "conf")]
    with pytest.raises(DataError, match=r"no/where.*OWNER/NAME"):
        read("hf:no/where")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"palate\[hub\]"):
        read("hf:some/set")


def test_progress_is_told(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(as_lines(ROWS * 4000))
    told = []
    read(tmp_path / "a.jsonl", progress=lambda rows, share: told.append((rows, share)))
    assert [rows for rows, _ in told] == [20_000, 40_000, 48_000]
    assert 0 < told[0][1] <= told[1][1] <= told[2][1] == 1.0
