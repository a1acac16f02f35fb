"""The rule that makes pairs of ratings: gap, one use a response, seed, cap, and as many as there can be."""

import time

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from palate.core import ConfigError
from palate.feedback import PairRule
from palate.feedback.ratings import Ratings, draw_pairs

RULE = PairRule()


def columns(rows):
    """Return ratings of (user, conversation, response, value) rows."""
    user, talk, response, value = (np.array(c) for c in zip(*rows, strict=True))
    none = np.full(len(rows), np.nan), np.full(len(rows), -1)
    return Ratings(user, talk, response, value.astype(float), *none)


def votes(n, seed=0, users=30, texts=80):
    rng = np.random.default_rng(seed)
    return Ratings(
        user=rng.integers(0, users, n),
        conversation=rng.integers(0, 3, n),
        response=rng.integers(0, texts, n),
        value=rng.integers(1, 6, n).astype(float),
        time=np.where(rng.random(n) < 0.5, np.nan, rng.random(n)),
        split=rng.integers(-1, 2, n),
    )


tables = st.builds(votes, st.integers(1, 400), st.integers(0, 50), st.integers(1, 20), st.integers(1, 60))
rules = st.builds(
    PairRule,
    min_gap=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    cap=st.integers(1, 12),
    per_response=st.integers(1, 4),
    seed=st.integers(0, 9),
)


@settings(max_examples=60, deadline=None)
@given(tables, rules)
def test_what_every_drawing_keeps(ratings, rule):
    drawn = draw_pairs(ratings, rule)
    win, lose = drawn.winner, drawn.loser
    assert (ratings.value[win] - ratings.value[lose] >= rule.min_gap).all()
    for column in (ratings.user, ratings.conversation, ratings.split):
        assert (column[win] == column[lose]).all()
    assert np.bincount(ratings.user[win], minlength=1).max() <= rule.cap
    used = np.bincount(np.concatenate([win, lose]), minlength=1)
    assert used.max() <= rule.per_response
    assert len({*zip(win.tolist(), lose.tolist(), strict=True)}) == len(win)
    texts = [*zip(ratings.user, ratings.conversation, ratings.response, strict=True)]
    kept = [texts[i] for i in np.unique(np.concatenate([win, lose])).tolist()]
    assert len(set(kept)) == len(kept), "a rating that was given again stands in a pair"


@settings(max_examples=20, deadline=None)
@given(tables, rules)
def test_equal_seeds_draw_equal_pairs(ratings, rule):
    one, two = draw_pairs(ratings, rule), draw_pairs(ratings, rule)
    assert one.winner.tolist() == two.winner.tolist()
    assert one.loser.tolist() == two.loser.tolist()


def test_other_seeds_draw_other_pairs():
    rows = [(0, 0, i, i % 2) for i in range(40)]
    drawn = [set(zip(d.winner, d.loser, strict=True)) for d in (_draw(rows, seed=s) for s in (1, 2))]
    assert drawn[0] != drawn[1]


def _draw(rows, **rule):
    return draw_pairs(columns(rows), PairRule(**rule))


@pytest.mark.parametrize(("likes", "dislikes"), [(5, 5), (2, 9), (9, 2), (0, 4), (1, 1)])
def test_votes_are_matched_as_far_as_they_go(likes, dislikes):
    rows = [(0, 0, i, 1 if i < likes else -1) for i in range(likes + dislikes)]
    assert len(_draw(rows).winner) == min(likes, dislikes)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10), min_size=1, max_size=9), st.integers(1, 6))
def test_no_matching_is_larger(values, gap):
    rows = [(0, 0, i, value) for i, value in enumerate(values)]
    assert len(_draw(rows, min_gap=float(gap)).winner) == _most(sorted(values), gap)


def _most(values, gap):
    """Return the size of a largest matching, by trying all."""
    if len(values) < 2:
        return 0
    first, rest = values[0], values[1:]
    best = _most(rest, gap)
    for place, value in enumerate(rest):
        if value - first >= gap:
            best = max(best, 1 + _most(rest[:place] + rest[place + 1 :], gap))
    return best


def test_more_pairs_a_response():
    rows = [(0, 0, i, i // 4) for i in range(8)]
    assert len(_draw(rows).winner) == 4
    assert len(_draw(rows, per_response=3).winner) == 12


def test_nothing_to_draw():
    assert len(_draw([(0, 0, 0, 1)]).winner) == 0
    assert len(draw_pairs(Ratings(*(np.zeros(0, int) for _ in range(6))), RULE).winner) == 0


def test_the_rule_is_told_in_a_sentence():
    assert str(PairRule(min_gap=2, cap=7, seed=3)) == (
        "rule gap: a response beats one that the same user rated at least 2 lower in the same conversation, "
        "each response of a user in at most one pair, at most 7 pairs a user, drawn by seed 3"
    )


# ---- every two --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(tables, st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.integers(1, 400))
def test_every_two_ratings_are_a_pair(ratings, gap, cap):
    drawn = draw_pairs(ratings, PairRule("all", min_gap=gap, cap=cap))
    last = {}
    known = np.nan_to_num(ratings.time, nan=-np.inf)
    keys = list(zip(ratings.user, ratings.conversation, ratings.response, strict=True))
    for place in np.lexsort((np.arange(len(keys)), known)).tolist():
        last[keys[place]] = place
    kept = sorted(last.values())
    same = (ratings.user, ratings.conversation, ratings.split)
    expected = {
        frozenset((a, b))
        for number, a in enumerate(kept)
        for b in kept[number + 1 :]
        if all(c[a] == c[b] for c in same) and abs(ratings.value[a] - ratings.value[b]) >= gap
    }
    found = [frozenset(two) for two in zip(drawn.winner.tolist(), drawn.loser.tolist(), strict=True)]
    assert len(set(found)) == len(found)
    assert set(found) <= expected
    assert (ratings.value[drawn.winner] >= ratings.value[drawn.loser]).all()
    counts = np.bincount([ratings.user[min(two)] for two in expected], minlength=30)
    made = np.bincount(ratings.user[drawn.winner], minlength=30)
    assert made.tolist() == np.minimum(counts, cap).tolist()


def test_three_graded_answers_make_three_pairs():
    drawn = _draw([(0, 0, 0, 10), (0, 0, 1, 30), (0, 0, 2, 10), (0, 1, 0, 50)], name="all", min_gap=0)
    assert {frozenset(p) for p in zip(drawn.winner.tolist(), drawn.loser.tolist(), strict=True)} == {
        frozenset((1, 0)),
        frozenset((1, 2)),
        frozenset((0, 2)),
    }
    assert len(_draw([(0, 0, 0, 1)], name="all").winner) == 0
    assert len(draw_pairs(Ratings(*(np.zeros(0, int) for _ in range(6))), PairRule("all")).winner) == 0


def test_rules_that_cannot_work():
    with pytest.raises(ConfigError, match="the rule 'best' does not exist; the rules are gap, all"):
        PairRule("best")
    with pytest.raises(ConfigError, match="min_gap is 0; expected a number above 0"):
        PairRule(min_gap=0)
    with pytest.raises(ConfigError, match="min_gap is -1; expected 0 or more"):
        PairRule("all", min_gap=-1)


def test_the_rule_of_every_two_is_told():
    assert str(PairRule("all", min_gap=0, cap=9)) == (
        "rule all: every two responses that the same user rated in the same conversation, equal ratings as "
        "ties, at most 9 pairs a user, drawn by seed 0"
    )
    assert "conversation at least 2 apart, at most" in str(PairRule("all", min_gap=2))


def test_many_ratings_take_no_time():
    ratings = votes(150_000, users=1000, texts=600)
    start = time.process_time()
    assert len(draw_pairs(ratings, RULE).winner) > 10_000
    assert time.process_time() - start < 2
