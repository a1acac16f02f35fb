import csv
import gzip
import json
import re
from collections import Counter

import numpy as np
import pytest

from palate.core import DataError
from palate.evaluate.suite import CONTROLS, GENERAL, embedded_suite, read_suite


def row(n=0, subset="math-prm", **changes):
    return {"id": n, "prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}", "subset": subset,
            "chosen_model": "m1", "rejected_model": "m2", **changes}  # fmt: skip


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def accuracy(suite, right):
    return dict(zip(suite.categories, (np.asarray(right, float) @ suite.averages).tolist(), strict=True))


# ---- reading ------------------------------------------------------------------------------------------


def test_better_and_worse_answers_and_their_category(tmp_path):
    file = write(tmp_path / "s.jsonl", [row(0), row(1, "donotanswer"), row(2, "alpacaeval-easy")])
    suite = read_suite(file)
    assert suite.categories == ("chat", "safety", "reasoning")
    assert [suite.corpus.response(i) for i in suite.pairs.winner] == ["good 0", "good 1", "good 2"]
    assert [suite.corpus.response(i) for i in suite.pairs.loser] == ["bad 0", "bad 1", "bad 2"]
    assert [suite.corpus.conversation(i)[0].content for i in suite.pairs.winner] == ["p0", "p1", "p2"]
    assert [suite.categories[c] for c in suite.category] == ["reasoning", "safety", "chat"]
    assert not suite.notes
    assert not suite.set_aside


def test_every_form_of_file_gives_the_same_suite(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    rows = [row(n, s) for n, s in enumerate(["hep-go", "math-prm", "llmbar-natural", "mt-bench-med"])]
    plain = write(tmp_path / "s.jsonl", rows)
    packed = tmp_path / "s.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = tmp_path / "s.csv"
    with table.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    duckdb.sql(f"COPY (SELECT * FROM '{table}') TO '{tmp_path / 's.parquet'}' (FORMAT parquet)")
    found = {read_suite(f).digest for f in (plain, packed, table, tmp_path / "s.parquet")}
    assert len(found) == 1


def test_the_digest_sees_which_answer_is_better(tmp_path):
    one = read_suite(write(tmp_path / "a.jsonl", [row(0), row(1)]))
    other = read_suite(
        write(tmp_path / "b.jsonl", [row(0), {**row(1), "chosen": "bad 1", "rejected": "good 1"}])
    )
    assert one.digest != other.digest


def test_a_prompt_may_be_messages(tmp_path):
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"}]  # fmt: skip
    suite = read_suite(write(tmp_path / "s.jsonl", [row(0, prompt=talk), row(1, prompt="[1, 2]: its sum?")]))
    assert [turn.content for turn in suite.corpus.conversation(suite.pairs.winner[0])] == ["a", "b", "c"]
    assert suite.corpus.conversation(suite.pairs.winner[1])[0].content == "[1, 2]: its sum?"


# ---- weights ------------------------------------------------------------------------------------------


def test_subsets_weigh_as_in_rewardbench(tmp_path):
    """math-prm counts 984, as much as the six languages of 164 together, whatever the number of its rows."""
    languages = ["hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"]
    rows = [row(n, "math-prm") for n in range(4)] + [row(10 + n, s) for n, s in enumerate(languages)]
    suite = read_suite(write(tmp_path / "s.jsonl", rows))
    assert accuracy(suite, [1] * 4 + [0] * 6) == {"reasoning": pytest.approx(0.5)}
    assert accuracy(suite, [1, 0, 0, 0] + [0] * 6) == {"reasoning": pytest.approx(0.125)}
    chat = read_suite(write(tmp_path / "c.jsonl", [row(0, "mt-bench-hard"), row(1, "llmbar-natural")]))
    assert accuracy(chat, [1, 0]) == {"chat-hard": pytest.approx(37 / 137)}


def test_shares_of_every_category_sum_to_one():
    suite = embedded_suite()
    np.testing.assert_allclose(suite.averages.sum(axis=0), 1.0)
    assert suite.general.tolist() == [name in GENERAL for name in suite.categories]


def test_an_unknown_subset_is_a_category_and_is_told(tmp_path):
    rows = [row(0), row(1, "poetry"), row(2, "poetry"), row(3, "length")]
    suite = read_suite(write(tmp_path / "s.jsonl", rows))
    assert suite.categories == ("reasoning", "length", "poetry")
    assert suite.general.tolist() == [True, False, True]
    assert accuracy(suite, [0, 1, 0, 0])["poetry"] == 0.5
    assert "poetry" in suite.notes[0]
    assert "category of its own" in suite.notes[0]


def test_a_suite_of_controls_alone_is_averaged_over_them(tmp_path):
    suite = read_suite(write(tmp_path / "s.jsonl", [row(0, "length"), row(1, "sycophancy")]))
    assert suite.general.tolist() == [True, True]


# ---- what cannot be used ------------------------------------------------------------------------------


def test_a_bad_row_is_set_aside_and_counted(tmp_path):
    rows = [row(0), row(1, chosen=""), row(2, rejected="good 2"), {"prompt": "p", "chosen": "c"}, row(4)]
    file = write(tmp_path / "s.jsonl", rows)
    file.write_text(file.read_text() + "{broken\n")
    suite = read_suite(file)
    assert len(suite) == 2
    assert suite.set_aside == {
        "empty text": 1,
        "chosen equals rejected": 1,
        "missing field": 1,
        "not JSON": 1,
    }
    assert "4 rows were set aside" in suite.notes[0]
    assert "row 2" in suite.notes[0]


def test_wrong_columns_are_named(tmp_path):
    file = write(tmp_path / "s.jsonl", [{"question": "q", "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError, match=r"columns question, chosen, rejected.*no prompt, subset.*expected"):
        read_suite(file)


def test_a_source_without_a_usable_row_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"2 empty text.*row 1: chosen is empty"):
        read_suite(write(tmp_path / "s.jsonl", [row(0, chosen=" "), row(1, chosen="")]))
    with pytest.raises(DataError, match="no file"):
        read_suite(tmp_path / "missing.jsonl")


def test_rewardbench_is_asked_of_the_hub_by_its_name(monkeypatch):
    asked = []

    def rows(spec):
        asked.append(spec)
        yield 1, row(0)

    monkeypatch.setattr("palate.feedback.sources.stored_rows", rows)
    assert read_suite("allenai/reward-bench").name == "allenai/reward-bench:filtered"
    assert read_suite("hf:allenai/reward-bench").categories == ("reasoning",)
    assert read_suite("hf:someone/suite:test").name == "someone/suite:test"
    assert asked == ["allenai/reward-bench:filtered"] * 2 + ["someone/suite:test"]


# ---- the embedded suite -------------------------------------------------------------------------------


def test_the_embedded_suite_is_balanced():
    suite = embedded_suite()
    assert suite is read_suite("palate")
    assert suite.categories == (*GENERAL, *CONTROLS)
    assert not suite.notes
    assert np.bincount(suite.category).tolist() == [16] * 6
    longer = np.bincount(suite.category, weights=suite.longer)
    assert longer.tolist() == [8.0] * 6, "in half of each category the better answer is the longer"


def test_the_embedded_suite_has_no_copies():
    corpus = embedded_suite().corpus
    assert len(corpus.conversations) == 96
    assert len(corpus.responses) == 192
    words = Counter(w for text in corpus.responses for w in re.findall(r"[a-z']+", text.lower()))
    assert len(words) > 900, "real prose has many words"


def test_lengths_of_the_length_control_differ_much():
    suite = embedded_suite()
    here = suite.category == suite.categories.index("length")
    size = np.array([len(suite.corpus.response(i)) for i in range(len(suite.corpus))])
    ratio = size[suite.pairs.winner[here]] / size[suite.pairs.loser[here]]
    assert (np.abs(np.log2(ratio)) > 1).all()
