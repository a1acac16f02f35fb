"""The figures of check and describe, where the truth is known."""

import json

import numpy as np
import pytest
from feedback_rows import pair

from palate.core import Population
from palate.feedback import check, clustered_mean, describe, read, split_new_users
from palate.feedback.copies import near_copies, shingle
from palate.feedback.read import ReadResult
from palate.feedback.report import ReadReport

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"


# ---- check ----------------------------------------------------------------------------------------


def test_counts(read_rows):
    rows = [
        pair(),
        pair(),
        pair(chosen="Yo.", rejected="Hello!"),
        pair(user="bob", tie=True),
        {"user": "bob", "prompt": "n", "responses": ["aa", "b", "ccc"], "chosen": "ccc"},
        {"user": "idle"},
        "{",
    ]
    report = check(read_rows(*rows))
    assert (report.users, report.idle_users, report.choices, report.ties, report.nway) == (3, 1, 5, 1, 1)
    assert (report.conflicts, report.read.duplicates) == (1, 1)
    assert report.pairs_per_user[1.0] == 3
    assert report.longer_wins.n == 5
    assert report.longer_wins.value == pytest.approx(4 / 5)
    assert report.first_wins.value == 0.0
    assert "chance 0.333" in report.first_wins.note
    text = "\n".join(f"{what}: {value}" for what, value in report.lines())
    assert "not JSON: 1, such as" in text
    assert json.loads(json.dumps(report.to_json()))["choices"] == 5


def test_first_position_counts_only_rows_that_show_it(read_rows):
    row = {"user": "ann", "prompt": "Hi", "response_a": "x", "response_b": "y"}
    rows = [{**row, "user": f"u{i}", "winner": "a" if i % 4 else "b"} for i in range(80)]
    report = check(read_rows(*rows, *[pair(user=f"u{i}") for i in range(50)]))
    assert (report.first_wins.n, report.first_wins.value) == (80, 0.75)
    assert report.first_wins.low < 0.75 < report.first_wins.high
    assert check(read_rows(pair())).first_wins.value is None


def near_and_exact():
    """Return rows whose copies across the split are known."""
    train = [pair(user="tr", prompt=f"p{i}", chosen=f"{LONG} {i}", rejected=f"no {i}") for i in range(5)]
    rows = [{**row, "user_split": "train", "split": "context"} for row in train]
    test = {"user": "te", "user_split": "test"}
    rows.append({**pair(prompt="q", chosen="mine " + LONG, rejected="other"), **test, "split": "context"})
    rows.append(
        {**pair(prompt="r", chosen=f"{LONG} 3", rejected=LONG.upper() + "!"), **test, "split": "target"}
    )
    rows.append({**pair(prompt="s", chosen="wholly new", rejected="other"), **test, "split": "target"})
    return rows


def test_copies_across_the_split(read_rows):
    report = check(read_rows(*near_and_exact()))
    assert report.roles_from == "as given"
    training, context = report.copies_in_training, report.copies_in_context
    assert (training.texts, training.exact, training.near) == (4, 1, 1)
    assert (context.texts, context.exact, context.near) == (4, 1, 2)


def test_a_population_without_a_choice(read_rows):
    result = read_rows({"user": "a"}, {"user": "b"})
    report = check(result)
    assert (report.choices, report.copies_in_training.texts) == (0, 0)
    assert report.longer_wins.value is None
    assert list(report.lines())
    assert describe(result.population).inputs == 0
    assert check(ReadResult(Population.of([]), ReadReport("none"))).users == 0


def overlap(a, b):
    """Return the overlap of two texts' word triples, counted plainly."""
    sets = [{tuple(w[i : i + 3]) for i in range(max(1, len(w) - 2))} for w in (a.split(), b.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_near_copies_are_those_of_a_plain_count():
    rng = np.random.default_rng(0)
    base = [" ".join(rng.choice(list("abcdefghijklmnop"), 60)) for _ in range(150)]
    other = []
    for text in base:
        words = text.split()
        for place in rng.choice(60, rng.integers(0, 9), replace=False):
            words[place] = "zz"
        other.append(" ".join(words))
    shingles = shingle(base + other)
    left, right = np.arange(150), np.arange(150, 300)
    found = near_copies(shingles, left, right, left * 0, right * 0)
    truth = np.array([overlap(a, b) >= 0.8 for a, b in zip(base, other, strict=True)])
    assert 20 < truth.sum() < 130
    assert (found == truth).mean() > 0.99
    assert not near_copies(shingles, left, right, left, left + 1000).any()
    assert near_copies(shingles, left, right, left, left)[truth].all()


def test_texts_of_every_sort_have_shingles():
    texts = [
        "",
        "!!!",
        "🙂🙂",
        "ab",
        "a b",
        "日本語のテキストです",
        "日本語のテキストでした",
        "x" * 50_000,
        "a\nb c",
    ]
    shingles = shingle(texts)
    assert (np.diff(shingles.offsets) >= 1).all()
    assert len(np.unique(shingles.bands[:, 0])) == len(texts)
    assert len(shingle([])) == 0


# ---- describe -------------------------------------------------------------------------------------


def compared(*answers):
    """Return a population from (user, prompt, first won?) answers, in time order."""
    rows = [
        pair(user=user, prompt=prompt, chosen="ab"[not first], rejected="ba"[not first], time=time)
        for time, (user, prompt, first) in enumerate(answers)
    ]
    return rows


def test_disagreement_and_minorities(read_rows):
    answers = [(f"u{i}", f"p{k}", i != 0) for i in range(5) for k in range(4)]
    answers += [(f"u{i}", "split", i < 3) for i in range(5)]
    answers += [("u0", "alone", True)]
    found = describe(read_rows(*compared(*answers)).population)
    assert found.inputs == 5
    assert found.disagreement.value == 1.0
    assert found.divergent.value == pytest.approx(1 / 5)
    assert (found.n_minorities, found.minorities.value) == (1, pytest.approx(1 / 5))
    quantiles = found.mv_accuracy_quantiles
    # u0 is off four times; on "split" its others are evenly divided. u1: right four times, then divided.
    assert quantiles[0.0] == pytest.approx((0 * 4 + 0.5) / 5)
    assert quantiles[1.0] == pytest.approx((4 + 0.5) / 5)
    assert found.mv_accuracy.n == 5


def test_all_agree(read_rows):
    answers = [(f"u{i}", f"p{k}", True) for i in range(4) for k in range(3)]
    found = describe(read_rows(*compared(*answers)).population)
    assert (found.disagreement.value, found.divergent.value, found.mv_accuracy.value) == (0, 0, 1)
    assert "no user was asked" in str(found.consistency)
    assert "run palate bench" in str(found.room)
    assert json.loads(json.dumps(found.to_json()))["inputs"] == 3


def test_consistency_and_room(read_rows):
    answers = [(f"u{i}", f"p{k}", True) for i in range(4) for k in range(5)]
    again = [(user, prompt, prompt != "p0") for user, prompt, _ in answers]
    population = read_rows(*compared(*answers, *again)).population
    found = describe(population, pooled_accuracy=0.6)
    assert (found.consistency.value, found.consistency.n) == (0.8, 20)
    assert found.room.value == pytest.approx(0.2)
    assert list(found.lines())


def test_a_row_copied_with_its_time_is_no_second_answer(read_rows):
    population = read_rows(
        pair(time=5), pair(time=5), pair(user="bob", time=1), pair(user="bob", time=2)
    ).population
    assert describe(population).consistency.n == 1


# ---- intervals ------------------------------------------------------------------------------------


def test_intervals_resample_users_not_rows():
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(50), 40)
    value = np.repeat(rng.random(50), 40)
    clustered, rows = clustered_mean(value, user), clustered_mean(value, np.arange(2000))
    width = clustered.high - clustered.low
    assert width > 4 * (rows.high - rows.low)
    assert width == pytest.approx(2 * 1.96 * value.reshape(50, 40)[:, 0].std() / 50**0.5, rel=0.2)
    assert clustered == clustered_mean(value, user)
    assert clustered_mean([1.0], [0]).low is None


# ---- real data ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "users", "rows"),
    [
        ("arguments.jsonl.gz", 265, 18_666),
        ("tulu.jsonl.gz", 16, 773),
        ("bowling-green.ratings.jsonl.gz", 1_092, 136_879),
        ("ai-values.ratings.jsonl.gz", 406, 14_048),
    ],
)
def test_real_files(real, name, users, rows):
    result = read(real(name))
    assert (result.report.rows, result.report.users) == (rows, users)
    assert result.report.n_set_aside == (result.report.set_aside["chosen equals rejected"] or 0) <= 2
    done = split_new_users(result.population, 0)
    test = done.with_role("test")
    assert 0.45 < test.n_users / users < 0.55
    assert (np.bincount(test.row_user[test.split == 1], minlength=test.n_users) > 0).all()
    assert check(result).copies_in_context.exact == 0


def test_real_reasons_and_times(real):
    people = read(real("arguments.jsonl.gz")).population
    assert len(people.reasons) > 9_000
    assert not np.isnan(people.times).any()


@pytest.mark.parametrize(
    ("name", "test_users", "targets"),
    [("bowling-green", 436, 6_777), ("arguments-new", 123, 2_709), ("arguments", 132, 3_935)],
)
def test_real_roles_are_obeyed(real, name, test_users, targets):
    result = read(real(f"bench/{name}.jsonl.gz"))
    test = split_new_users(result.population, 0).with_role("test")
    assert test.n_users == test_users
    found = int((test.split == 1).sum())
    assert targets - result.report.n_set_aside <= found <= targets
