"""Bad input: each bad row is set aside with where and why, and costs no good row."""

import gzip
import json
import math

import pytest
from feedback_rows import as_lines, pair

from palate.core import ConfigError, DataError
from palate.feedback import KINDS, PairRule, read

GOOD = pair(user="zoe", prompt="fine?")
NWAY = {"user": "ann", "prompt": "Hi", "responses": ["a", "b", "c"], "chosen": 0}
AB = {"user": "ann", "prompt": "Hi", "response_a": "a", "response_b": "b", "winner": "a"}
RATED = {"user": "ann", "prompt": "Hi", "response": "a", "rating": 1}


def without(row, name):
    return {k: v for k, v in row.items() if k != name}


BAD = [
    ("{nonsense", "not JSON", ""),
    (b"\x89PNG\r\x00\x1a\x07 garbage \x00\x01", "invalid UTF-8", ""),
    ("\x00\x01\x02", "not JSON", ""),
    (b'{"user": "ann", "prompt": "\xff\xfe", "chosen": "a", "rejected": "b"}', "invalid UTF-8", ""),
    ("[" * 100_000, "not JSON", ""),
    ("[1, 2]", "wrong type", ""),
    ("7", "wrong type", ""),
    (pair(user=None), "missing field", "user"),
    (pair(user="  "), "empty text", "user"),
    (pair(user=["ann"]), "wrong type", "user"),
    (pair(user=1.5), "wrong type", "user"),
    (pair(user=True), "wrong type", "user"),
    (without(pair(), "user"), "missing field", "user"),
    (without(pair(), "rejected"), "missing field", "rejected"),
    (without(pair(), "prompt"), "missing field", "prompt"),
    ({}, "missing field", "user"),
    (pair(prompt=None), "missing field", "prompt"),
    (pair(prompt=""), "empty text", "prompt"),
    (pair(prompt=5), "wrong type", "conversation"),
    (pair(prompt=["hello"]), "wrong type", "conversation"),
    (pair(chosen=""), "empty text", "chosen"),
    (pair(rejected=" \n\t"), "empty text", "rejected"),
    (pair(rejected=None), "missing field", "rejected"),
    (pair(chosen=42), "wrong type", "chosen"),
    (pair(chosen="Yo."), "chosen equals rejected", "rejected"),
    (pair(chosen=[{"role": "user", "content": "a"}], rejected=[]), "wrong type", "chosen"),
    (pair(tie="perhaps"), "wrong type", "tie"),
    ({**NWAY, "responses": ["a"]}, "one response", "responses"),
    ({**NWAY, "responses": []}, "one response", "responses"),
    ({**NWAY, "responses": ["a", "a"]}, "one response", "responses"),
    ({**NWAY, "responses": ["a", "a", "b"]}, "chosen equals rejected", "responses"),
    ({**NWAY, "responses": "a"}, "wrong type", "responses"),
    ({**NWAY, "responses": ["a", None]}, "missing field", "responses"),
    ({**NWAY, "chosen": 3}, "chosen not among responses", "chosen"),
    ({**NWAY, "chosen": -1}, "chosen not among responses", "chosen"),
    ({**NWAY, "chosen": "d"}, "chosen not among responses", "chosen"),
    ({**NWAY, "chosen": True}, "chosen not among responses", "chosen"),
    ({**AB, "winner": "c"}, "bad winner", "winner"),
    ({**AB, "winner": None}, "bad winner", "winner"),
    ({**AB, "winner": 0}, "bad winner", "winner"),
    ({**AB, "response_b": "a"}, "chosen equals rejected", "response_b"),
    ({**RATED, "rating": math.nan}, "bad rating", "rating"),
    ({**RATED, "rating": math.inf}, "bad rating", "rating"),
    ({**RATED, "rating": "great"}, "bad rating", "rating"),
    ({**RATED, "rating": None}, "bad rating", "rating"),
    ({**RATED, "rating": [1]}, "bad rating", "rating"),
    ({**RATED, "response": ""}, "empty text", "response"),
    ({"user": "a", "prompt": "p", "responses": ["x", "y"], "ratings": [1]}, "wrong type", "ratings"),
    (pair(user_split="holdout"), "bad role", "user_split"),
    (pair(split=3), "bad role", "split"),
    (pair(id=[1]), "wrong type", "id"),
    (pair(reason=5), "wrong type", "reason"),
    (pair(profile="old"), "wrong type", "profile"),
]


@pytest.mark.parametrize(("row", "kind", "field"), BAD)
def test_a_bad_row_is_set_aside(read_rows, row, kind, field):
    result = read_rows(GOOD, row, GOOD)
    assert result.population.n_rows == 2
    assert result.report.rows == 3
    assert dict(result.report.set_aside) == {kind: 1}
    (detail,) = result.report.details
    assert (detail.line, detail.field, detail.kind) == (2, field, kind)
    assert detail.file.endswith("rows.jsonl")
    assert detail.why
    assert len(detail.why) < 400
    assert kind in KINDS


def test_a_message_shows_the_value_and_what_was_expected(read_rows):
    detail = read_rows(GOOD, {**NWAY, "chosen": "x" * 500}).report.details[0]
    assert str(detail).endswith("...': expected one of the responses, its position from 0, or null for a tie")
    missing = read_rows(GOOD, without(pair(), "rejected")).report.details[0]
    assert "no column for rejected; there are user, prompt, chosen" in missing.why


def test_strict_raises_on_the_first(read_rows):
    with pytest.raises(DataError, match=r"rows.jsonl:2: rejected: rejected is empty"):
        read_rows(GOOD, pair(rejected=""), "{nonsense", strict=True)
    assert read_rows(GOOD, strict=True).population.n_rows == 1


def test_no_good_row_says_why(read_rows):
    with pytest.raises(DataError) as caught:
        read_rows(*["{"] * 5, pair(user=""))
    message = str(caught.value)
    assert "none of its 6 row(s)" in message
    assert "not JSON 5, empty text 1" in message
    assert len(message.splitlines()) == 4


def test_details_are_bounded_and_counts_are_not(read_rows):
    report = read_rows(GOOD, *["{"] * 1500).report
    assert (report.set_aside["not JSON"], len(report.details)) == (1500, 1000)


def test_lone_surrogates_are_replaced_and_counted(read_rows):
    result = read_rows('{"user": "ann", "prompt": "p", "chosen": "a\\ud83d!", "rejected": "\\ud83d\\ude42"}')
    assert result.population.row(0).responses == ("a\ufffd!", "🙂")
    assert result.report.warnings.total() == 1


def test_nan_in_a_field_that_is_not_used_costs_nothing(read_rows):
    result = read_rows('{"user": "a", "prompt": "p", "chosen": "x", "rejected": "y", "margin": NaN}')
    assert (result.population.n_rows, dict(result.report.unused)) == (1, {"margin": 1})


def test_duplicate_ids(read_rows):
    result = read_rows(pair(id="a"), pair(id="a", chosen="other"), pair(id="b"))
    assert result.population.ids.tolist() == ["a", "b"]
    assert dict(result.report.set_aside) == {"duplicate id": 1}


def test_repeated_rows_are_kept_and_counted(read_rows):
    result = read_rows(pair(), pair(), pair(), pair(user="bob"), pair(time=1), pair(time=2), pair(tie=True))
    assert (result.population.n_rows, result.report.duplicates) == (7, 2)


def test_a_second_role_is_set_aside(read_rows):
    rows = [
        pair(user_split="train"),
        pair(user_split="test"),
        pair(prompt="x"),
        pair(user="bob", user_split="test"),
    ]
    result = read_rows(*rows)
    assert dict(result.report.set_aside) == {"two roles": 1}
    assert result.report.details[0].line == 2
    assert result.population.role.tolist() == [0, 2]


def test_a_target_in_the_context_is_set_aside(read_rows):
    rows = [
        pair(split="target", time=9),
        pair(chosen="Yo.", rejected="Hello!", split="context", time=1),
        pair(prompt="other", split="target", time=2),
        pair(user="bob", split="target", time=3),
    ]
    result = read_rows(*rows)
    assert [(d.line, d.kind) for d in result.report.details] == [(1, "target in context")]
    assert result.population.n_rows == result.report.choices == 3
    assert len(result.shown) == 3


def test_columns_not_used_are_listed(read_rows):
    report = read_rows(pair(margin=1, topic="t"), pair(topic="u", user_id="x")).report
    assert dict(report.unused) == {"topic": 2, "margin": 1, "user_id": 1}
    assert any("topic 2" in line for line in report.lines())
    assert json.loads(json.dumps(report.to_json()))["unused"]["topic"] == 2


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b"", "empty"),
        ("a.jsonl", b"\n\n \n", "holds no row"),
        ("a.csv", b"user,prompt,chosen,rejected\n", "holds no row"),
        ("a.csv", b"user,user,chosen\nx,y,z\n", "every column once"),
        ("a.json", b"[]", "holds no row"),
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 50, "looks binary"),
        ("a.jsonl", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 50, "binary"),
        ("a.parquet", b"not parquet at all", "cannot be read as Parquet"),
        ("a.jsonl.gz", gzip.compress(as_lines([GOOD] * 9))[:12], "cut off"),
        ("a.jsonl", "\ufeff{}".encode("utf-16"), "UTF-16"),
        ("a.txt", b"just some prose", "begins like no format"),
        ("a.csv", b"name,age\nx,y\n", "no column for"),
    ],
)
def test_files_that_hold_nothing(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        read(tmp_path / name)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*hf:OWNER/NAME"):
        read(tmp_path / "missing.jsonl")
    with pytest.raises(DataError, match="there is no file"):
        read(tmp_path / "missing.parquet")
    with pytest.raises(DataError, match="a folder without a file"):
        read(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_lines([GOOD]))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read(path)


def test_a_truncated_file_keeps_its_first_rows(tmp_path):
    rows = [pair(user=f"u{i}", prompt=f"p{i * 7919}", chosen=f"c{i * 104729}") for i in range(5000)]
    whole = gzip.compress(as_lines(rows))
    for name, content in (("cut.jsonl.gz", whole[: len(whole) // 2]), ("bad.jsonl.gz", _flipped(whole))):
        (tmp_path / name).write_bytes(content)
        result = read(tmp_path / name)
        assert 500 < result.population.n_rows < 4900
        assert result.report.set_aside["cut off"] == 1
        assert result.report.details[-1].line > result.population.n_rows


def _flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes(255 - byte for byte in data[middle : middle + 200]) + data[middle + 200 :]


def test_a_broken_array_keeps_its_other_rows(tmp_path):
    text = json.dumps([GOOD, GOOD, GOOD, GOOD])
    broken = text.replace('"fine?"', '"fine?', 1)
    (tmp_path / "a.json").write_text(broken)
    report = read(tmp_path / "a.json").report
    assert report.choices >= 2
    assert report.set_aside["not JSON"] >= 1
    (tmp_path / "b.json").write_text(text[:-30])
    cut = read(tmp_path / "b.json")
    assert cut.population.n_rows == 3
    (tmp_path / "c.json").write_text(text.replace("}]", ', "margin": NaN}]'))
    assert read(tmp_path / "c.json").population.n_rows == 4


def test_bad_csv_rows(tmp_path):
    lines = [
        b"user,prompt,chosen,rejected",
        b"ann,p,a,b",
        b"ann,p,a",
        b'ann,p,"a never closed,b',
        b"ann,p,\xff,b",
        b"bob,p,,b",
        b"bob,p,c,d",
    ]
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines) + b"\n")
    result = read(tmp_path / "a.csv")
    assert [(d.line, d.kind) for d in result.report.details] == [
        (3, "wrong number of cells"),
        (4, "bad quotes"),
        (5, "invalid UTF-8"),
        (6, "empty text"),
    ]
    assert result.population.users.tolist() == ["ann", "bob"]


# ---- options --------------------------------------------------------------------------------------


def test_fields_are_mapped(read_rows):
    row = {"who": "ann", "Frage": "Hi", "gut": "a", "schlecht": "b", "alter": 40, "split": "train"}
    fields = {
        "user": "who",
        "prompt": "frage",
        "chosen": "gut",
        "rejected": "schlecht",
        "profile.age": "alter",
    }
    result = read_rows(row, fields={**fields, "split": ""})
    assert result.population.row(0).responses == ("a", "b")
    assert result.population.profiles == {"ann": {"age": "40"}}
    assert dict(result.report.unused) == {"split": 1}
    assert result.report.columns["user"] == "who"


def test_names_are_recognised_without_case_and_marks(read_rows):
    row = {"Annotator-ID": 3, "Instruction": "Hi", "CHOSEN": "a", "rejected_response": "b", "createdAt": 5}
    row_read = read_rows(row).population.row(0)
    assert (row_read.user, row_read.time) == ("3", 5.0)


def test_a_mapped_column_that_is_nowhere(read_rows):
    with pytest.raises(
        ConfigError, match=r"'anotator', which no row has; did you mean 'annotator'\? Seen: prompt"
    ):
        read_rows({**without(pair(), "user"), "annotator": "x"}, fields={"user": "anotator"})


def test_a_field_that_does_not_exist(read_rows):
    with pytest.raises(ConfigError, match=r"'usr', which is no field: did you mean user"):
        read_rows(GOOD, fields={"usr": "user"})


def test_a_format_that_does_not_exist(read_rows):
    with pytest.raises(ConfigError, match=r"did you mean jsonl\?"):
        read_rows(GOOD, format="jsonlines")


@pytest.mark.parametrize("change", [{"name": "best"}, {"min_gap": 0}, {"min_gap": math.nan}, {"cap": 0}])
def test_rules_that_cannot_work(change):
    with pytest.raises(ConfigError, match=str(next(iter(change.values())))):
        PairRule(**change)
