"""Figures and pictures that the facets share."""

import warnings

import numpy as np
import pytest
from facet_sections import coin, looks_whole, outcome, people, section, task_of

from palate.evaluate.charts import Point, Series
from palate.evaluate.facets._draw import Dot, Row, key, parts, rows, scale, trend
from palate.evaluate.facets._people import People, contrast, figure, figures, shown
from palate.evaluate.metrics import Bootstrap, Scored, compare, summarise


@pytest.fixture(scope="module")
def measured():
    task = task_of(
        people(users=50, target=lambda u: 2 + u % 5, choose=lambda u, i: -1 if i % 7 == 6 else i % 2)
    )
    good = outcome(task, coin(task, 0.8, seed=1))
    return section(task, {"pooled": outcome(task, coin(task), personal=False), "good": good})


def test_figures_are_those_of_the_report(measured):
    """The same users, pairs and draws as the report's own accuracy and paired difference."""
    seen = People(measured)
    targets, both = measured.task.targets, measured.outcomes
    mine, theirs = Scored(targets, both["good"].applied), Scored(targets, both["pooled"].applied)
    bootstrap = Bootstrap(len(seen), 2000, seed=1)
    plain = {f.metric: f for f in summarise(mine, bootstrap)}["accuracy"]
    found = figure(seen.applied["good"])
    assert (found["value"], found["users"]) == (pytest.approx(plain.value, abs=1e-6), plain.users)
    assert (found["low"], found["high"]) == (
        pytest.approx(plain.low, abs=1e-6),
        pytest.approx(plain.high, abs=1e-6),
    )
    paired = {f.metric: f for f in compare(mine, theirs, "pooled", bootstrap)}["accuracy"]
    gain = figure(seen.applied["good"] - seen.control)
    assert (gain["low"], gain["high"]) == (
        pytest.approx(paired.low, abs=1e-6),
        pytest.approx(paired.high, abs=1e-6),
    )


def test_users_with_ties_alone_are_left_out():
    task = task_of(people(users=6, target=2, choose=lambda u, i: -1 if u == 3 and i >= 8 else 0))
    seen = People(section(task, {"pooled": outcome(task, coin(task), personal=False)}))
    assert len(seen) == 5
    assert 3 not in seen.ids
    assert len(seen.control) == 5


def test_ranking_puts_the_best_personal_method_first(measured):
    task = measured.task
    outcomes = {
        "pooled": outcome(task, coin(task), personal=False),
        "weak": outcome(task, coin(task, 0.3)),
        "random": outcome(task, coin(task, 0.99), personal=False),
        "strong": outcome(task, coin(task, 0.9)),
    }
    assert People(section(task, outcomes)).personal == ["strong", "weak"]


def test_a_column_counts_only_the_users_that_have_a_value():
    rng = np.random.default_rng(0)
    table = rng.random((200, 3))
    table[:150, 1] = np.nan
    table[1:, 2] = np.nan
    full, part, single = figures(table)
    assert (full["users"], part["users"], single["users"]) == (200, 50, 1)
    assert part["value"] == pytest.approx(table[150:, 1].mean(), abs=1e-6)
    assert part["high"] - part["low"] > 1.5 * (full["high"] - full["low"])
    assert single["low"] is None
    assert shown(single) == ""


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(100):
        found = figure(rng.normal(0.1, 1.0, size=80))
        hits += found["low"] <= 0.1 <= found["high"]
    assert 88 <= hits <= 100


def test_contrast_is_paired_where_users_are_the_same():
    base = np.random.default_rng(1).random(300)
    paired = contrast(base + 0.05, base)
    assert paired["low"] == paired["high"] == pytest.approx(0.05)
    other = contrast(
        np.where(np.arange(300) < 150, base + 0.05, np.nan), np.where(np.arange(300) >= 150, base, np.nan)
    )
    assert other["high"] - other["low"] > 0.05
    assert contrast(base, np.full(300, np.nan)) == {"value": None, "low": None, "high": None, "users": 300}


def test_nothing_warns_and_nothing_is_not_a_number_where_there_is_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figures(np.zeros((0, 2))) == [{"value": None, "low": None, "high": None, "users": 0}] * 2
        assert rows([], "nothing") == trend([], ["a"], "nothing", x_name="") == key([]) == ""
        assert rows([Row("a", [])], "nothing") == ""


def test_scales_take_one_value_and_far_values():
    for low, high in ((0.5, 0.5), (-0.3, 0.2), (1e-5, 2e-5), (0.0, 1.0)):
        axis = scale(low, high)
        assert axis.low <= low <= high <= axis.high
        assert 2 <= len(axis.ticks) <= 7
        assert len({text for _, text in axis.ticks}) == len(axis.ticks)


def test_a_picture_of_differences_always_holds_its_zero():
    lifted = [Point(i, 0.2 + i / 100, 0.19, 0.22, "") for i in range(2)]
    for html in (
        rows([Row("a", [Dot(-0.2, "", low=-0.22, high=-0.19)])], "differences", signed=True),
        trend([Series("a", lifted, "s0")], ["x", "y"], "differences", x_name="", signed=True),
    ):
        assert 'class="zero"' in html
        assert ">0</text>" in html


def test_pictures_are_whole_and_hold_no_html_of_others():
    bad = '<script>"&'
    dot = Dot(0.5, bad, "s0", 0, 0.4, 0.6, (0.45, 0.55))
    shares = {word: {"value": 1 / 3} for word in ("helped", "left alone", "harmed")}
    line = Series(bad, [Point(0, 0.5, 0.4, 0.6, bad), Point(1, 0.7, None, None, bad)], "s1", 2)
    drawn = [
        rows([Row(bad, [dot], bad)], bad, signed=True, x_name=bad),
        trend([line], [bad, "b"], bad, x_name=bad),
        parts([(bad, shares)]),
    ]
    for html in drawn:
        assert looks_whole(html)
        assert "<script" not in html
