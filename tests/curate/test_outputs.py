"""Roles, splits, files that are read back equal, and what is left behind when something goes wrong."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from feedback_rows import as_lines, pair

from palate.core import (
    BudgetSpent,
    ConfigError,
    DataError,
    Feedback,
    ModelError,
    Population,
    StorageError,
    Turn,
    as_conversation,
)
from palate.curate import Recipe, Scores, curate, plan
from palate.feedback import read
from palate.models.llm.wire import Fault

YES, FIRST = "Answer: Yes", "Answer: First"


def talkative(program, sections, lm):
    """A model that finds everything a matter of taste, and judges by a hash of what stands first."""
    return (
        YES if program == "taste" else (FIRST if sum(map(ord, sections["first"])) % 3 else "Answer: Second")
    )


def contents(folder):
    """Every file of a folder, hidden ones too."""
    return {
        str(f.relative_to(folder)): f.read_bytes() for f in sorted(Path(folder).rglob("*")) if f.is_file()
    }


def choices_of(population):
    """Every choice with its user's role, its split and the texts."""
    return Counter(
        (
            row.user,
            tuple((turn.role, turn.content) for turn in row.conversation),
            row.chosen_response,
            tuple(text for i, text in enumerate(row.responses) if i != row.chosen),
            int(population.role[population.row_user[number]]),
            int(population.split[number]),
        )
        for number in range(population.n_rows)
        for row in [population.row(number)]
    )


# ---- roles and splits -------------------------------------------------------------------------------


def test_users_are_dealt_after_the_first_look_at_them(crowd, scripted, tmp_path, decided):
    made = crowd(users=40, pairs=6)
    plain = curate(made, tmp_path / "plain")
    assert {name: n["users"] for name, n in plain.roles.items()} == {"train": 16, "val": 4, "test": 20}
    filtered = curate(
        made, tmp_path / "judged", ["j"], client=scripted(talkative), recipe=Recipe(6, min_left=2)
    )
    assert filtered.pairs < plain.pairs
    one, two = ({n: d["role"] for n, d in decided(tmp_path / f).items()} for f in ("plain", "judged"))
    assert one == two
    assert {line["role"] for line in decided(tmp_path / "plain").values()} == {"train", "val", "test"}


def test_a_users_pairs_are_split_in_time_order(crowd, tmp_path, rows):
    made = crowd(users=3, pairs=10)
    made = replace(made, times=made.times[::-1].copy())  # the rows are not in time order any more
    made = Population.of(row for history in made for row in history.feedback)
    summary = curate(made, tmp_path / "out")
    assert summary.parts == {"train": 15, "val": 6, "test": 9}
    for user in ("u00", "u01", "u02"):
        mine = [row for row in rows(tmp_path / "out").values() if row["user_id"] == user]
        assert [row["split"] for row in mine] == ["train"] * 5 + ["val"] * 2 + ["test"] * 3
        assert [row["time"] for row in mine] == sorted(row["time"] for row in mine)
        assert len({row["conversation_id"] for row in mine}) == 10


def test_a_conversation_is_never_on_two_sides(tmp_path, rows):
    lines = []
    for talk in range(4):
        said = ()
        for turn in range(3):
            said = (*said, Turn("user", f"talk {talk}" if not turn else f"and {turn}?"))
            lines.append(
                Feedback("ann", said, (f"a{talk}{turn}", f"b{talk}{turn}"), 0, time=10.0 * talk + turn)
            )
            said = (*said, Turn("assistant", f"a{talk}{turn}"))
    summary = curate(Population.of(lines), tmp_path / "out")
    found = list(rows(tmp_path / "out").values())
    sides = {(row["conversation_id"], row["split"]) for row in found}
    assert len(sides) == 4
    assert [row["turns"] for row in found] == [1, 2, 3] * 4
    assert summary.untested == 0


def test_users_without_times_are_split_in_the_order_of_their_rows(tmp_path, rows):
    path = tmp_path / "plain.jsonl"
    path.write_bytes(as_lines([pair(prompt=f"p{n}", chosen=f"a{n}", rejected=f"b{n}") for n in range(10)]))
    summary = curate(path, tmp_path / "out")
    assert "no pair has a time: the order of the rows was taken for it" in summary.rules
    found = rows(tmp_path / "out").values()
    assert [row["chosen"]["content"] for row in found] == [f"a{n}" for n in range(10)]
    assert [row["split"] for row in found] == ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    assert {row["time"] for row in found} == {None}


def test_one_user(crowd, tmp_path):
    summary = curate(crowd(users=1, pairs=10), tmp_path / "out")
    assert (summary.users, summary.pairs) == (1, 10)
    assert len(list((tmp_path / "out" / "data").iterdir())) == 1
    assert read(f"personalrewardbench:{tmp_path / 'out'}").population.n_users == 1


def test_a_user_whose_pairs_hang_together_has_no_target(tmp_path):
    talk = as_conversation("Which?")
    chain = [Feedback("ann", talk, (f"t{n}", f"t{n + 1}"), 0, time=float(n)) for n in range(6)]
    summary = curate(Population.of(chain), tmp_path / "out")
    assert (summary.untested, summary.parts["test"]) == (1, 0)
    assert ("users without a target", "1: all their pairs hang together") in list(summary.lines())


def test_roles_and_splits_that_were_given_are_kept(crowd, tmp_path):
    made = crowd(users=6, pairs=6)
    role = np.array([0, 1, 2, 2, 1, 0], np.int8)
    split = np.tile(np.array([0, 1, 0, 0, 0, 1], np.int8), 6)
    summary = curate(replace(made, role=role, split=split), tmp_path / "out")
    assert "roles of users and splits of pairs that the source gave were kept" in summary.rules
    back = read(f"personalrewardbench:{tmp_path / 'out'}").population
    assert choices_of(back) == choices_of(replace(made, role=role, split=split))
    assert summary.parts["test"] == 12


# ---- files ------------------------------------------------------------------------------------------


def everything():
    """Feedback with everything that a row may hold."""
    turns = (
        Turn("system", "Be kind."),
        Turn("user", "Hi"),
        Turn("assistant", "Hello"),
        Turn("user", "Why? 🙂"),
    )
    lines = [
        Feedback("ann", turns, ("[1, 2]", '{"a": 1}'), 0, id="x", time=1.25, reason="why not"),
        Feedback("ann", as_conversation("2024-01-01"), ("2024-01-02", "true"), 1, time=2.0),
        *(Feedback("7", as_conversation(f"p{n}"), (f"a{n}\n\n'\"", "null"), 0) for n in range(6)),
        *(Feedback("bob", as_conversation(f"p{n}"), (f"a{n}", "لأن"), 1, time=float(n)) for n in range(6)),
        Feedback("bob", (), ("no", "prompt"), 0, time=9.0),
    ]
    people = Population.of(lines)
    return replace(people, profiles={"ann": {"age": "40"}, "bob": {"town": "Łódź", "a b": "c"}})


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_what_is_written_is_read_back_equal(tmp_path, scripted, format):
    made, out = everything(), tmp_path / "o [u]t*"
    summary = curate(
        made,
        out,
        ["fake:world?bias=1&seed=2"],
        "f",
        recipe=Recipe(1, min_left=1),
        client=scripted(lambda program, sections, lm: YES if program == "taste" else FIRST),
        format=format,
    )
    assert summary.pairs == made.n_rows
    assert {Path(f).suffix for f in summary.files.values()} == {f".{format}", ".jsonl"}
    for spec in (f"personalrewardbench:{out}", str(out)):
        result = read(spec)
        assert result.report.adapter == "personalrewardbench"
        assert (result.report.n_set_aside, result.report.rows) == (0, made.n_rows)
        back = result.population
        assert sorted(back.users) == sorted(made.users)
        assert {u: dict(p) for u, p in back.profiles.items()} == {
            u: dict(p) for u, p in made.profiles.items()
        }
        assert dict(back.reasons) == dict(made.reasons)
        times = [dict(zip(p.ids, map(str, p.times), strict=True)) for p in (back, made)]
        assert times[0] == times[1]
        parts = Counter(summary.parts)
        assert Counter(back.split.tolist()) == {0: parts["train"] + parts["val"], 1: parts["test"]}
        for name, code in (("train", 0), ("val", 1), ("test", 2)):
            assert int((back.role == code).sum()) == summary.roles[name]["users"]
        texts = {(c[0], c[1], c[2], c[3]) for c in choices_of(back)}
        assert texts == {(c[0], c[1], c[2], c[3]) for c in choices_of(made)}
    again = curate(f"personalrewardbench:{out}", tmp_path / "again", recipe=Recipe(1))
    assert again.roles == summary.roles
    assert again.parts["test"] == summary.parts["test"]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_datasets_loads_the_folder(tmp_path, crowd, scripted, format):
    datasets = pytest.importorskip("datasets")
    recipe = Recipe(min_left=1)
    client = scripted(talkative)
    curate(crowd(), tmp_path / "out", ["a/b-1.5"], "f", recipe=recipe, client=client, format=format)
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["train", "validation", "test"]
    columns = set(found["test"].column_names)
    assert columns >= {
        *("conversation_id", "user_id", "context", "chosen", "rejected", "chosen_score", "rejected_score"),
        *("turns", "dataset", "split", "flip", "query_reasoning", "personalizable_query", "agreement"),
        *("prediction_a/b-1.5", "reasoning_a/b-1.5", "prediction_flip_a/b-1.5", "reasoning_flip_a/b-1.5"),
    }
    row = found["train"][0]
    assert set(row["chosen"]) == {"role", "content"}
    assert row["context"][-1]["role"] == "user"
    assert row["split"] in ("train", "val", "test")


def test_equal_inputs_give_equal_files_and_another_seed_others(crowd, scripted, tmp_path):
    made = crowd(users=30)
    names = ("one", "two", "three")
    for name, seed in zip(names, (0, 0, 1), strict=True):
        judges = ["j", Scores("len", lambda cs: [len(c.answers[0]) - 7 for c in cs])]
        curate(made, tmp_path / name, judges, "f", seed=seed, client=scripted(talkative))
    one, two, three = (contents(tmp_path / name) for name in names)
    assert one == two
    assert one.keys() == {
        "data/test.jsonl",
        "data/train.jsonl",
        "data/validation.jsonl",
        "decisions.jsonl",
        "summary.json",
    }
    assert one["data/test.jsonl"] != three["data/test.jsonl"]


def test_every_row_of_the_input_has_a_line(tmp_path, decided):
    lines = [pair(prompt=f"p{n}", chosen=f"a{n}", rejected=f"b{n}", id=f"r{n}") for n in range(6)]
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(
        as_lines([*lines[:3], "broken", {"user": "ann", "prompt": "x", "chosen": "y"}, *lines[3:]])
    )
    summary = curate(path, tmp_path / "out")
    assert (summary.pairs, summary.read["set_aside"]) == (6, {"not JSON": 1, "missing field": 1})
    assert ("set aside by reading", "not JSON 1, missing field 1") in list(summary.lines())
    told = [json.loads(line) for line in (tmp_path / "out" / "decisions.jsonl").read_text().splitlines()]
    assert [(line["step"], line["about"]["line"]) for line in told[:2]] == [("read", 4), ("read", 5)]
    assert told[0]["why"].startswith("not JSON: ")
    assert [line["id"] for line in told[2:]] == [f"r{n}" for n in range(6)]
    assert all(line["kept"] for line in told[2:])


def test_counts_and_decisions_agree(crowd, scripted, tmp_path, decided, rows):
    summary = curate(crowd(users=20), tmp_path / "out", ["j"], "f", min_pairs=4, client=scripted(talkative))
    found = decided(tmp_path / "out")
    kept = {name for name, line in found.items() if line["kept"]}
    assert kept == set(rows(tmp_path / "out"))
    assert len(kept) == summary.pairs
    assert len(found) == summary.steps[0].pairs
    assert sum(summary.gone.values()) == len(found) - len(kept)
    assert {n: line["split"] for n, line in found.items() if line["kept"]} == {
        n: row["split"] for n, row in rows(tmp_path / "out").items()
    }
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert stored == json.loads(json.dumps(summary.to_json()))


def test_the_papers_counts_stand_beside_ours(tmp_path, scripted):
    from adapter_rows import battle

    lines = [battle(n, "model_a" if n % 2 else "model_b") for n in range(8)]
    path = tmp_path / "arena.jsonl"
    path.write_bytes(as_lines(lines))
    summary = curate(
        path, tmp_path / "out", ["j"], "f", client=scripted(lambda p, s, lm: YES if p == "taste" else FIRST)
    )
    assert str(summary).splitlines() == [
        "step                          pairs  users  paper: pairs  paper: users",
        "as read                           8      1        33,000        13,383",
        "ties and close ratings out        8      1",
        "users with enough pairs           8      1        10,092         1,004",
        "matters of taste                  8      1",
        "users with enough pairs left      8      1         3,927           353",
        "judges differ                     8      1",
        "users with enough pairs left      8      1         1,338           131",
    ]


def test_progress_is_told(crowd, scripted, tmp_path):
    told = []
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_lines([pair(prompt=f"p{n}", chosen=f"a{n}", rejected=f"b{n}") for n in range(30)]))
    curate(
        path, tmp_path / "out", ["j"], "f", tell=lambda *line: told.append(line), client=scripted(talkative)
    )
    assert ("reading", 30, 0) in told
    asked = [line[1:] for line in told if line[0] == "asking what is a matter of taste"]
    assert asked == [(0, 30), (20, 30), (30, 30)]
    assert ("judging in both orders", 30, 30) in told


# ---- what goes wrong --------------------------------------------------------------------------------


def test_a_spent_budget_leaves_what_was_there_and_the_next_run_goes_on(crowd, scripted, tmp_path):
    made = crowd(users=20)
    curate(made, tmp_path / "out", seed=5)
    before = contents(tmp_path / "out")
    whole = scripted(talkative)
    curate(made, tmp_path / "whole", ["j", "k"], "f", client=whole)
    client, left = scripted(talkative), [150]

    def spend(program, sections, lm):
        if not left[0]:
            raise BudgetSpent("the budget of 150 calls is spent")
        left[0] -= 1
        return talkative(program, sections, lm)

    client.say = spend
    with pytest.raises(BudgetSpent):
        curate(made, tmp_path / "out", ["j", "k"], "f", client=client)
    assert contents(tmp_path / "out") == before
    assert not [f for f in (tmp_path / "out").iterdir() if f.name.startswith(".")]
    assert len(client.made) == 150
    client.say = talkative
    curate(made, tmp_path / "out", ["j", "k"], "f", client=client)
    assert len(client.made) == len(whole.made)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_model_that_says_nothing_is_an_error(crowd, scripted, tmp_path):
    silent = scripted(lambda program, sections, lm: Fault("server", "it is on fire") if lm == "bad" else YES)
    with pytest.raises(
        ModelError, match=r"bad, asked what is a matter of taste, gave no answer .* 120 calls"
    ):
        curate(crowd(), tmp_path / "out", filter_lm="bad", client=silent)
    mute = scripted(lambda program, sections, lm: "Hm." if lm == "mute" else FIRST)
    with pytest.raises(
        ModelError, match=r"the judge mute gave no answer .* 240 calls \(malformed; the first"
    ):
        curate(crowd(), tmp_path / "out", ["good", "mute"], client=mute)
    with pytest.raises(ModelError, match="the judge none"):
        curate(crowd(), tmp_path / "out", [Scores("none", lambda cs: [float("nan")] * len(cs))])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("judges", "error"),
    [
        ([3], "3 is no judge: expected a model such as"),
        (["a", "a"], "two judges are called 'a'"),
        ([Scores("a", len), "a"], "two judges are called 'a'"),
    ],
)
def test_judges_that_are_none(crowd, tmp_path, judges, error):
    for call in (lambda: curate(crowd(), tmp_path / "out", judges), lambda: plan(crowd(), judges)):
        with pytest.raises(ConfigError, match=error):
            call()


def test_one_score_alone_always_agrees_with_itself(crowd, tmp_path):
    with pytest.raises(ConfigError, match="rm gives one figure for both orders"):
        curate(crowd(), tmp_path / "out", [Scores("rm", lambda cs: [1.0] * len(cs))])
    assert not (tmp_path / "out").exists()
    both = Scores("rm", lambda cs: [[1.0, -1.0]] * len(cs))
    assert curate(crowd(), tmp_path / "out", [both]).pairs == 120


def test_scores_of_another_shape(crowd, tmp_path):
    with pytest.raises(DataError, match=r"the scores 'rm' have the shape \(3,\) for 120 comparisons"):
        curate(crowd(), tmp_path / "out", [Scores("rm", lambda cs: [1.0, 2.0, 3.0])])


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"min_pairs": 0}, "min_pairs is 0; expected a number of pairs"),
        ({"min_left": 0}, "min_left is 0"),
        ({"cap": 0}, "cap is 0"),
        ({"min_gap": 10}, "min_gap is 10; expected a share of the ratings' scale"),
        ({"target": 1}, "target is 1; expected a share"),
        ({"target": 0.6, "validation": 0.5}, "leaves no context"),
        ({"fractions": (0.5, 0.5, 0.5)}, "expected three shares"),
    ],
)
def test_parameters_that_cannot_work(values, error):
    with pytest.raises(ConfigError, match=error):
        Recipe(**values)


def test_nothing_is_left(crowd, tmp_path, decided):
    curate(crowd(), tmp_path / "out")
    summary = curate(crowd(), tmp_path / "out", ["never asked"], "never asked", min_pairs=50)
    assert (summary.pairs, summary.users) == (0, 0)
    assert list((tmp_path / "out" / "data").iterdir()) == []
    assert {line["step"] for line in decided(tmp_path / "out").values()} == {"users"}
    assert "0" in str(summary)
    assert list(summary.lines())


def test_a_folder_with_rows_of_others_is_left_alone(crowd, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match="holds files that no curation wrote: name another folder"):
        curate(crowd(), tmp_path)
    assert contents(tmp_path) == {"data/train.jsonl": b"mine"}
    with pytest.raises(ConfigError, match="format is 'csv'; expected jsonl or parquet"):
        curate(crowd(), tmp_path / "out", format="csv")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write into"):
        curate(crowd(), tmp_path / "file")


def test_another_format_takes_the_place_of_the_first(crowd, tmp_path):
    curate(crowd(), tmp_path / "out")
    curate(crowd(), tmp_path / "out", format="parquet")
    assert {f.suffix for f in (tmp_path / "out" / "data").iterdir()} == {".parquet"}
    assert read(tmp_path / "out").population.n_rows == 120


def test_a_failure_while_writing_leaves_the_earlier_files(crowd, tmp_path, monkeypatch):
    curate(crowd(), tmp_path / "out")
    before = contents(tmp_path / "out")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("palate.curate.write.summarise", full)
    with pytest.raises(StorageError, match="No space left on device; free some room"):
        curate(crowd(), tmp_path / "out", seed=1)
    assert contents(tmp_path / "out") == before


# ---- real data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tulu", "arguments"])
def test_real_people_without_a_model(name, real, tmp_path):
    path = real(f"{name}.jsonl.gz")
    made = read(path).population
    counts = np.bincount(made.row_user[made.chosen >= 0], minlength=made.n_users)
    summary = curate(path, tmp_path / "out", min_pairs=25)
    assert summary.users == int((counts >= 25).sum())
    assert summary.pairs == int(counts[counts >= 25].sum())
    back = read(f"personalrewardbench:{tmp_path / 'out'}")
    assert (back.report.n_set_aside, back.population.n_rows) == (0, summary.pairs)
    assert sum(n["users"] for n in summary.roles.values()) == summary.users
    share = summary.parts["test"] / summary.pairs
    assert abs(share - 0.3) < 0.05
    texts = {c[:4] for c in choices_of(made)}
    assert {c[:4] for c in choices_of(back.population)} <= texts
