"""Every kind of row, and every format."""

import csv
import gzip
import io
import json
import sys

import duckdb
import numpy as np
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


# ---- kinds --------------------------------------------------------------------------------------


def test_a_pair(read_rows):
    row = only(read_rows(pair(time="2016-02-01T00:58:12Z", reason="kinder", id="x1")))
    assert (row.user, row.conversation) == ("ann", (Turn("user", "Hi"),))
    assert (row.responses, row.chosen, row.id, row.reason) == (("Hello!", "Yo."), 0, "x1", "kinder")
    assert row.time == 1454288292.0


def test_messages_as_prompt(read_rows):
    talk = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    for field in ("prompt", "conversation", "messages"):
        row = pair()
        del row["prompt"]
        got = only(read_rows({**row, field: talk}))
        assert got.conversation == (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"))


def test_conversation_and_prompt_join(read_rows):
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    row = only(read_rows(pair(prompt="c", conversation=talk)))
    assert row.conversation == (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"))


def test_messages_that_end_in_an_answer_on_offer_do_not_leak_it(read_rows):
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    assert only(read_rows(pair(messages=talk))).conversation == (Turn("user", "Hi"),)


def test_one_user_turn_is_the_same_as_a_prompt(read_rows):
    population = read_rows(pair(), pair(user="bob", prompt=[{"role": "user", "content": "Hi"}])).population
    assert len(population.corpus.conversations) == 1


def test_trl_message_lists(read_rows):
    start = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    good, bad = ([*start, {"role": "assistant", "content": text}] for text in ("good", "bad"))
    row = only(read_rows({"user": "ann", "chosen": good, "rejected": bad}))
    assert (len(row.conversation), row.responses) == (3, ("good", "bad"))
    parted = [
        start[0],
        {"role": "assistant", "content": "B"},
        start[2],
        {"role": "assistant", "content": "bad"},
    ]
    row = only(read_rows({"user": "ann", "chosen": good, "rejected": parted}))
    assert row.conversation == (Turn("user", "a"),)
    assert row.responses[1] == "assistant: B\n\nuser: c\n\nassistant: bad"


def test_trl_with_a_prompt_apart(read_rows):
    row = only(
        read_rows(
            pair(
                prompt=[{"role": "user", "content": "q"}],
                chosen=[{"role": "assistant", "content": "good"}],
                rejected=[{"role": "assistant", "content": "bad"}],
            )
        )
    )
    assert (row.conversation, row.responses) == ((Turn("user", "q"),), ("good", "bad"))


def test_other_message_spellings(read_rows):
    talk = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}]
    assert only(read_rows(pair(prompt=talk))).conversation == (Turn("user", "a"), Turn("assistant", "b"))
    assert only(read_rows(pair(prompt=parts))).conversation == (Turn("user", "xy"),)


@pytest.mark.parametrize(
    ("chosen", "position"),
    [(1, 1), (2.0, 2), ("c", 2), ("0", 0), (None, None), ("tie", None), ({"text": "b"}, 1)],
)
def test_nway(read_rows, chosen, position):
    result = read_rows({"user": "ann", "prompt": "Hi", "responses": ["a", "b", "c"], "chosen": chosen})
    assert only(result).chosen == position
    assert result.shown.tolist() == [True]


def test_a_text_that_is_a_number_wins_over_a_position(read_rows):
    row = {"user": "ann", "prompt": "Hi", "responses": ["2", "1", "0"], "chosen": "2"}
    assert only(read_rows(row)).chosen == 0


def test_ties(read_rows):
    assert only(read_rows(pair(tie=True))).chosen is None
    assert only(read_rows({"user": "a", "prompt": "p", "responses": ["x", "y"], "tie": True})).chosen is None
    assert only(read_rows(pair(tie="false"))).chosen == 0


@pytest.mark.parametrize(
    ("winner", "position"),
    [
        *[("a", 0), ("model_a", 0), ("1", 0), ("A", 0), ("b", 1), ("model_b", 1), (2, 1), ("response_b", 1)],
        *[("tie", None), ("tie (bothbad)", None), ("both", None)],
    ],
)
def test_two_columns_and_a_winner(read_rows, winner, position):
    row = {"user": "ann", "prompt": "Hi", "response_a": "x", "response_b": "y", "winner": winner}
    assert only(read_rows(row)).chosen == position


def test_numbered_columns_go_by_their_own_numbers(read_rows):
    row = {"user": "ann", "prompt": "Hi", "response_0": "x", "response_1": "y", "better_response_id": 1}
    assert only(read_rows(row)).chosen == 1
    row = {"user": "ann", "prompt": "Hi", "response_1": "x", "response_2": "y", "preference": 1}
    assert only(read_rows(row)).chosen == 0


def test_chatbot_arena_rows(read_rows):
    talk = {name: [{"role": "user", "content": "q"}, {"role": "assistant", "content": name}] for name in "ab"}
    row = {
        "question_id": "q1",
        "model_a": "m",
        "model_b": "n",
        "winner": "model_b",
        "judge": "arena_user_1",
        "conversation_a": talk["a"],
        "conversation_b": talk["b"],
        "turn": 1,
    }
    result = read_rows(row)
    got = only(result)
    assert (got.user, got.conversation, got.responses, got.chosen) == (
        "arena_user_1",
        (Turn("user", "q"),),
        ("a", "b"),
        1,
    )
    assert set(result.report.unused) == {"question_id", "model_a", "model_b", "turn"}


@pytest.mark.parametrize(
    ("high", "low"),
    [(5, 2), (True, False), ("up", "down"), ("agree", "disagree"), ("3.5", "1"), ("yes", "no")],
)
def test_ratings_become_pairs(read_rows, high, low):
    rows = [
        {"user": "ann", "prompt": "Hi", "response": text, "rating": rating}
        for text, rating in [("worse", low), ("better", high)]
    ]
    result = read_rows(*rows)
    assert only(result).chosen_response == "better"
    assert (result.report.ratings, result.report.ratings_used) == (2, 2)
    assert "rule gap" in result.report.rule


def test_a_row_of_ratings(read_rows):
    row = {"user": "ann", "prompt": "Hi", "responses": ["a", "b", "c"], "ratings": [1, 3, 2]}
    assert only(read_rows(row)).responses == ("b", "a")


def test_ratings_under_different_prompts_do_not_meet(read_rows):
    rows = [{"user": "a", "prompt": f"p{i}", "response": f"r{i}", "rating": i} for i in range(4)]
    with pytest.raises(DataError, match=r"no pair can be drawn.*0 to 3.*min_gap"):
        read_rows(*rows)


def test_a_later_rating_replaces_an_earlier_one(read_rows):
    votes = [("x", 1), ("y", -1), ("x", -1), ("y", 1)]
    rows = [{"user": "a", "prompt": "p", "response": r, "rating": v} for r, v in votes]
    result = read_rows(*rows)
    assert only(result).chosen_response == "y"
    assert (result.report.ratings_replaced, result.report.ratings_unused) == (2, 2)


def test_users_without_a_choice_are_known(read_rows):
    population = read_rows(pair(), {"user": "idle", "user_split": "test", "profile": {"age": 3}}).population
    assert population.users.tolist() == ["ann", "idle"]
    assert population.role.tolist() == [-1, 2]
    assert population.profiles == {"idle": {"age": "3"}}


def test_optional_fields(read_rows):
    rows = [
        pair(user_split="train", split="context", profile={"age": 30, "likes": ["a"]}, source="lab"),
        pair(prompt="Ho", user_split="training", split="target", source="web"),
        pair(user="bob", user_split="validation", split="context", **{"profile.town": "Rome"}),
    ]
    result = read_rows(*rows)
    people = result.population
    assert people.role.tolist() == [0, 1]
    assert people.split.tolist() == [0, 1, 0]
    assert people.profiles == {"ann": {"age": "30", "likes": '["a"]'}, "bob": {"town": "Rome"}}
    assert result.report.sources == {"lab": 1, "web": 1}


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("1970-01-01T00:01:00+00:00", 60),
        ("1970-01-01 00:01:00", 60),
        (1_700_000_000, 1.7e9),
        (1_700_000_000_000, 1.7e9),
        (1_700_000_000_000_000, 1.7e9),
        (1_700_000_000_000_000_000, 1.7e9),
        ("1700000000.5", 1700000000.5),
        (-5.0, -5.0),
    ],
)
def test_times(read_rows, time, seconds):
    assert only(read_rows(pair(time=time))).time == pytest.approx(seconds)


@pytest.mark.parametrize("time", ["yesterday", True, [1], "inf", 10**400])
def test_a_time_that_does_not_parse_is_unknown_and_counted(read_rows, time):
    result = read_rows(pair(time=time))
    assert only(result).time is None
    assert result.report.warnings.total() == 1


def test_rows_come_in_time_order(read_rows):
    rows = [pair(prompt=f"p{t}", time=t) for t in (5, 1, 3)]
    assert read_rows(*rows).population.times.tolist() == [1, 3, 5]


def test_big_and_foreign_texts(read_rows):
    texts = ["🙂" * 10, "שלום עולם", "x" * 1_000_000, "日本語のテキスト"]
    result = read_rows(*(pair(prompt=f"{text[:20]}?", chosen=text, rejected="no") for text in texts))
    assert result.report.n_set_aside == 0
    assert set(texts) <= set(result.population.corpus.responses)


def test_kinds_may_stand_in_one_file(read_rows):
    rows = [
        pair(),
        {"user": "ann", "prompt": "n", "responses": ["a", "b", "c"], "chosen": 2},
        {"user": "ann", "prompt": "r", "responses": ["d", "e"], "ratings": [5, 1]},
    ]
    result = read_rows(*rows)
    assert np.diff(result.population.option_offsets).tolist() == [2, 3, 2]
    assert result.shown.tolist() == [False, True, False]


def test_ids_given_and_made_do_not_meet(read_rows):
    ids = read_rows(pair(), pair(user="bob", id="row-1"), pair(user="cy", id=7)).population.ids
    assert len(set(ids)) == 3
    assert {"row-1", "7"} <= set(ids)


# ---- formats --------------------------------------------------------------------------------------


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
