import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from report_sample import SAMPLE, a_method, make_report

from palate.core.errors import ConfigError
from palate.evaluate import facets
from palate.evaluate.page import headline, render

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Nesting(HTMLParser):
    """Checks that every tag is closed where it must be, and gathers links and text."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.stack, self.faults, self.ids, self.links, self.tags = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        names = [name for name, _ in attrs]
        self.faults += [f"{tag}: {name} twice" for name in names if names.count(name) > 1]
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src", "action")]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")


def check(page):
    parser = Nesting()
    parser.feed(page)
    parser.close()
    assert parser.faults == []
    assert parser.stack == []
    assert len(parser.ids) == len(set(parser.ids))
    inner = {link[1:] for link in parser.links if link.startswith("#")}
    assert inner <= set(parser.ids)
    assert {link for link in parser.links if not link.startswith("#")} == {"data:,"}
    assert not re.search(r"(url\(|@import|(?<!/)\bnan\b%|None</)", page)
    return parser


def tiny(gap=0.05, *, low=None, high=None, helped=0.6, harmed=0.2, own=0.04, **changes):
    """One data set, the control and one personal method; ``own`` is what users' own choices add to it."""
    half = 0.02
    base = {
        "dataset": "d",
        "protocol": "new-users",
        "encoder": "e",
        "users": 50,
        "pairs": 400,
        "against": None,
    }
    mixed = {**base, "method": "mixed"}
    paired = {**mixed, "against": "pooled"}
    low, high = gap - half if low is None else low, gap + half if high is None else high
    rows = [
        {**base, "method": "pooled", "metric": "accuracy", "value": 0.7, "low": 0.68, "high": 0.72},
        {**mixed, "metric": "accuracy", "value": 0.7 + gap, "low": 0.68 + gap, "high": 0.72 + gap},
        {**paired, "metric": "accuracy", "value": gap, "low": low, "high": high},
        {**paired, "metric": "helped", "value": helped, "low": 0.5, "high": 0.7},
        {**paired, "metric": "harmed", "value": harmed, "low": 0.1, "high": 0.3},
    ]
    if own is not None:
        rows.append({**mixed, "metric": "from_choices", "value": own, "low": own - half, "high": own + half})
    methods = [a_method("pooled", 0, control=True, personal=False), a_method("mixed", 0)]
    return {
        "schema": "palate-report/2",
        "rows": rows,
        "methods": methods,
        "datasets": [{"name": "d"}],
        **changes,
    }


@pytest.fixture(scope="module")
def sample():
    return json.loads(SAMPLE.read_text("utf-8"))


def test_the_sample_is_what_the_generator_makes(sample):
    assert sample == json.loads(json.dumps(make_report()))


def test_renders_the_sample(sample):
    page = render(sample)
    parser = check(page)
    real, world = (
        figure[: figure.index("</figure>")] for figure in page.split("How many choices it takes")[1:]
    )
    assert (real.count('<text class="end'), world.count('<text class="end')) == (5, 6)
    for words in ("Does personalization help?", "Leaderboard", "What each method adds to pooled",
                  "How many choices it takes", "User by user", "Who gains, who loses",
                  "Is it as sure as it should be?", "How it was measured",
                  "Run it again", "40 users", "2,000 resamples", "All numbers of this report are synthetic.",
                  "At a glance", "simulated"):  # fmt: skip
        assert words in page
    named = [attrs for tag, attrs in parser.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(named) > 20
    assert all(attrs.get("aria-label") for attrs in named)
    assert all(attrs.get("tabindex") == "0" for _, attrs in parser.tags if attrs.get("role") == "region")


def test_asks_nothing_of_the_network(sample):
    page = render(sample)
    assert not re.search(r"https?://", page)
    assert "default-src 'none'" in page


def test_gated_variants_stand_under_their_base_and_bounds_apart(sample):
    page = render(sample)
    board = page[page.index('aria-label="Leaderboard of toy-world"') :]
    board = board[: board.index("</table>")]
    order = [board.index(f'<th scope="row">{name}') for name in ("oracle", "mixed", "mixed+gate")]
    assert order == sorted(order)
    following = board[board.index('<th scope="row">mixed<') :]
    assert following[following.index("<tr") :].startswith('<tr class="nested"><th scope="row">mixed+gate')
    assert '<tbody class="bounds"><tr class="bound">' in board
    assert '<tr class="control">' in board


def test_hostile_text_stays_text():
    evil = "<script>alert('x')</script>\"'&]]>"
    report = make_report(users=6, places=((evil, evil, True),))
    text, quoted = json.dumps(report), json.dumps(evil)[1:-1]
    swapped = json.loads(text.replace("user-00", quoted).replace("mixed", quoted))
    swapped["failures"] = [{"dataset": evil, "encoder": evil, "method": evil + "2", "error": evil}]
    swapped |= {"command": evil, "notes": [evil], "created": evil, "palate": evil, "config": {evil: evil}}
    swapped["methods"][0] |= {"paper": evil + " http://a.b", "summary": evil, "fields": {evil: evil}}
    page = render(swapped)
    parser = check(page)
    assert page.count("<script>") == 1
    assert "alert('x')" not in page
    assert not [name for _, attrs in parser.tags for name in attrs if name.startswith("on")]


@pytest.mark.parametrize(
    "part", ["curves", "calibration", "users", "failures", "notes", "methods", "datasets", "config"]
)
def test_every_part_may_be_missing(sample, part):
    check(render({key: value for key, value in sample.items() if key != part}))


def test_missing_values_do_not_break_the_page():
    hollow = {"pairs": 0, "value": 0.7, "low": None, "high": float("nan"), "users": None}
    holes = tiny(
        curves=[{"dataset": "d", "protocol": "new-users", "encoder": "e", "method": "mixed", "points": [
            hollow, {"pairs": 2, "value": None}]}],
        calibration=[{"dataset": "d", "protocol": "new-users", "encoder": "e", "method": "mixed", "bins": [
            {"confidence": 0.3, "accuracy": 0.2, "pairs": None}, {"confidence": None, "accuracy": 0.5}]}],
        users=[{"dataset": "d", "protocol": "new-users", "encoder": "e", "method": "mixed", "rows": [
            ["a", 3, 0.5, None, None], ["b", 2, None, 0.5, 1], ["c", 4], ["d", 5, 1.0, 0.5]]}],
    )  # fmt: skip
    page = render(holes)
    check(page)
    assert "nan" not in page[: page.index("<script>")].lower()
    check(render(tiny(users=[{"dataset": "d", "method": "mixed", "rows": None}], curves=None)))


def test_one_method_and_no_control():
    report = tiny()
    report["rows"] = [r for r in report["rows"] if r["method"] == "mixed" and not r["against"]]
    report["methods"] = report["methods"][1:]
    assert "cannot be told" in headline(report)[0]
    check(render(report))


def test_all_failed_tells_every_error():
    report = tiny(
        failures=[
            {"dataset": "d", "encoder": "e", "method": m, "error": f"boom {m}"} for m in ("pooled", "mixed")
        ]
    )
    report["rows"] = []
    assert headline(report) == [
        "On d no method was scored, so nothing can be said. 2 methods failed: pooled and mixed."
    ]
    page = render(report)
    check(page)
    assert page.count("boom mixed") == 2


def test_an_empty_report_says_so():
    page = render({"schema": "palate-report/2"})
    check(page)
    assert "nothing was scored" in page
    assert headline({"schema": "palate-report/2"}) == []


def test_headline_of_a_clear_win():
    assert headline(tiny(0.05)) == [
        "On d, mixed predicts 75.0 % [73.0, 77.0] of unseen users' choices, 5.0 points [3.0, 7.0] more than "
        "the pooled model; the users' own choices add +4.0 points [+2.0, +6.0]; it helped 60 % of 50 users "
        "and harmed 20 %."
    ]


def test_headline_without_a_win_claims_none():
    (told,) = headline(tiny(0.01))
    assert "personalization is not shown to help" in told
    assert "+1.0 points [−1.0, +3.0]" in told
    assert "includes zero" in told
    assert "more than" not in told
    assert "better" not in told


def test_an_interval_that_touches_zero_is_no_win():
    assert "not shown" in headline(tiny(0.02, low=0.0))[0]
    assert "cannot be told" in headline(tiny(0.02, low=float("nan")))[0]


def test_headline_of_harm():
    (told,) = headline(tiny(-0.05, helped=0.2, harmed=0.6))
    assert "personalization does harm: mixed predicts 65.0 %" in told
    assert "5.0 points [3.0, 7.0] fewer than the pooled model" in told
    assert "No, it harms" in render(tiny(-0.05))


def test_the_headline_speaks_of_the_method_that_is_shown_better():
    report = tiny(0.05)
    wide = [{**r, "method": "wide"} for r in report["rows"] if r["method"] == "mixed"]
    for row in wide:
        row["value"] += 0.02 if row["metric"] == "accuracy" else 0
        if row["against"] and row["metric"] == "accuracy":
            row["low"] = -0.01
    report["rows"] += wide
    report["methods"].append(a_method("wide", 0))
    (told,) = headline(report)
    assert told.startswith("On d, mixed predicts")
    assert "Of 2 personal methods 1 is better than the pooled model and 1 is not told apart from it." in told


def test_bounds_are_never_the_answer(sample):
    told = headline(sample)[1]
    assert told.startswith("On toy-world")
    assert "oracle predicts" not in told
    assert "Known bounds of this simulated world: oracle" in told


@pytest.mark.parametrize("seen", [None, "palate-report/1", "palate-report/3", 3])
def test_an_unknown_schema_is_refused(seen):
    for call in (render, headline):
        with pytest.raises(ConfigError, match=re.escape(f"{seen!r}, expected 'palate-report/2'")):
            call({"schema": seen})


def test_a_malformed_part_names_its_place():
    with pytest.raises(ConfigError, match=r"rows\[1\] has no method, metric"):
        render(
            {
                "schema": "palate-report/2",
                "rows": [{"dataset": "d", "method": "m", "metric": "a"}, {"dataset": "d"}],
            }
        )
    with pytest.raises(ConfigError, match="curves is str, expected a list"):
        render({"schema": "palate-report/2", "curves": "no"})
    with pytest.raises(ConfigError, match="schema is 'list'"):
        render([])


def test_stays_small_with_many_users_and_methods():
    report = make_report(users=500, places=(("big", "hash", True),), extra=[f"method-{i}" for i in range(8)])
    page = render(report)
    assert len(report["methods"]) == 16
    assert len(page.encode()) < 1_500_000
    assert "the 200 least well predicted of 500 users" in page
    check(page)


# ---- is it because the method knows the user? ----------------------------------------------------------


def second(report, name, gap, own, half=0.02):
    """Add a personal method with its own difference to the control and to itself before any choice."""
    for row in [dict(r) for r in report["rows"] if r["method"] == "mixed"]:
        value = own if row["metric"] == "from_choices" else gap if row["against"] else 0.7 + gap
        if row["metric"] in ("accuracy", "from_choices"):
            row |= {"value": value, "low": value - half, "high": value + half}
        report["rows"].append({**row, "method": name})
    report["methods"].append(a_method(name, 0))


@pytest.mark.parametrize(
    ("own", "why"), [(0.0, "an interval that includes zero"), (-0.03, "which makes it worse")]
)
def test_a_better_shared_model_is_not_personalization(own, why):
    report = tiny(0.05, own=own)
    (told,) = headline(report)
    assert told.startswith(
        "On d, mixed is better than the pooled model, but not because it knows the user: it predicts 75.0 %"
    )
    assert "5.0 points [3.0, 7.0] more; the users' own choices add" in told
    assert why in told
    page = render(report)
    check(page)
    assert '<span class="verdict">Yes</span>' not in page
    assert '<span class="verdict">Not shown</span>' in page


def test_without_the_second_control_nothing_is_claimed():
    report = tiny(0.05, own=None)
    (told,) = headline(report)
    assert "so whether it helps to know them cannot be told" in told
    assert '<span class="verdict">Cannot be told</span>' in render(report)


def test_knowing_the_user_without_beating_the_control_is_no_yes():
    (told,) = headline(tiny(0.0, own=0.2))
    assert "personalization is not shown to help" in told
    assert "the users' own choices add +20.0 points [+18.0, +22.0]" in told


def test_the_lead_is_better_in_both_ways_even_if_another_is_more_accurate():
    report = tiny(0.05, own=0.04)
    second(report, "shared", 0.08, 0.0)
    (told,) = headline(report)
    assert told.startswith("On d, mixed predicts 75.0 %")
    assert "1 of those better gained by the users' own choices." in told
    assert '<span class="verdict">Yes</span>' in render(report)


def test_the_leaderboard_shows_what_choices_add():
    report = tiny(0.05, own=0.04)
    board = render(report)
    board = board[board.index('aria-label="Leaderboard of d"') :]
    board = board[: board.index("</table>")]
    assert "Points from their choices" in board
    assert "[+2.0, +6.0]" in board
    assert "better than mixed before any choice" in board
    columns = {row.count("<td") + row.count("<th") for row in board.split("<tr")[1:]}
    assert columns == {9}


# ---- protocols, seeds, facets, failures ----------------------------------------------------------------


def several():
    """One data set under two protocols and three settings."""
    report = tiny(0.05)
    for size, gap in ((1000, 0.01), (10000, 0.06)):
        part = tiny(gap)["rows"]
        report["rows"] += [{**row, "protocol": f"seen-users:{size}"} for row in part]
    return report


def test_every_protocol_and_size_is_a_section():
    report = several()
    told = headline(report)
    assert len(told) == 3
    assert "unseen users" in told[0]
    assert told[1].startswith("On d after 1,000 training pairs, personalization is not shown")
    assert "held-back choices of users it learned from" in told[2]
    page = render(report)
    check(page)
    assert "seen users, 10,000 training pairs" in page
    assert "dealt evenly" in page


def test_parts_of_one_protocol_do_not_leak_into_another():
    report = several()
    bins = [{"confidence": 0.7, "accuracy": 0.6, "pairs": 9}]
    report["calibration"] = [
        {"dataset": "d", "protocol": "seen-users:1000", "encoder": "e", "method": "mixed", "bins": bins}
    ]
    assert render(report).count("Is it as sure as it should be?") == 1


def facet(**changes):
    place = {"dataset": "d", "protocol": "new-users", "encoder": "e"}
    return {
        "facet": "reach",
        **place,
        "title": "Whom it reaches",
        "sentence": "It reaches 5 of 9.",
        **changes,
    }


@pytest.fixture
def reach(monkeypatch):
    """A facet whose picture tells its number, and fails without one."""
    module = SimpleNamespace(NAME="reach", draw=lambda value: f"<svg><text>{value['n'] + 1}</text></svg>")
    monkeypatch.setattr(facets, "registered", lambda: [module])


def test_facets_are_shown_with_picture_and_sentence(reach):
    page = render(tiny(facets=[facet(n=41), facet(facet="unknown", sentence="Still told.")]))
    check(page)
    assert "<h3>Whom it reaches</h3><svg><text>42</text></svg>" in page
    assert "It reaches 5 of 9." in page
    assert "Still told." in page


def test_a_facet_over_sizes_stands_with_the_largest(reach):
    report = several() | {"facets": [facet(n=1, protocol="seen-users")]}
    page = render(report)
    check(page)
    assert page.index("Whom it reaches") > page.index("seen users, 10,000 training pairs</small></h2>")


def test_a_picture_that_cannot_be_drawn_is_said_to_be_so(reach):
    page = render(tiny(facets=[facet(n="<b>")]))
    check(page)
    assert "The picture cannot be drawn: TypeError" in page
    assert "It reaches 5 of 9." in page


def test_a_failure_is_shown_in_its_place_only():
    place = {"dataset": "d", "protocol": "new-users", "encoder": "e", "seed": 0, "facet": None}
    report = several() | {
        "failures": [
            {**place, "method": "broken", "error": "boom"},
            {**place, "method": "mixed", "error": "no luck", "seed": 2},
            {**place, "method": "mixed", "error": "no suite", "facet": "tax"},
        ]
    }
    page = render(report)
    check(page)
    board = page[page.index('aria-label="All data sets"') :]
    row = board[board.index('<th scope="row">broken') : board.index("</table>")]
    row = row[: row.index("</tr>")]
    assert (row.count(">failed<"), row.count(">–<")) == (1, 2)
    assert page.count('<tr class="failed">') == 1
    assert page.count(">failed</td>") == 1
    assert "mixed, a run with seed 2: no luck" in page
    assert "mixed, the part tax with seed 0: no suite" in page
    assert headline(report)[0].endswith("1 method failed: broken.")
