import json
import re
from html.parser import HTMLParser

import pytest
from report_sample import SAMPLE, a_method, make_report

from palate.core.errors import ConfigError
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


def tiny(gap=0.05, *, low=None, high=None, helped=0.6, harmed=0.2, **changes):
    """One data set, the control and one personal method whose difference is given."""
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
    methods = [a_method("pooled", 0, control=True, personal=False), a_method("mixed", 0)]
    return {
        "schema": "palate-report/1",
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
        curves=[{"dataset": "d", "encoder": "e", "method": "mixed", "points": [
            hollow, {"pairs": 2, "value": None}]}],
        calibration=[{"dataset": "d", "encoder": "e", "method": "mixed", "bins": [
            {"confidence": 0.3, "accuracy": 0.2, "pairs": None}, {"confidence": None, "accuracy": 0.5}]}],
        users=[{"dataset": "d", "encoder": "e", "method": "mixed", "rows": [
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
    page = render({"schema": "palate-report/1"})
    check(page)
    assert "nothing was scored" in page
    assert headline({"schema": "palate-report/1"}) == []


def test_headline_of_a_clear_win():
    assert headline(tiny(0.05)) == [
        "On d, mixed predicts 75.0 % [73.0, 77.0] of unseen users' choices, 5.0 points [3.0, 7.0] more than "
        "the pooled model; it helped 60 % of 50 users and harmed 20 %."
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


@pytest.mark.parametrize("seen", [None, "palate-report/2", 3])
def test_an_unknown_schema_is_refused(seen):
    for call in (render, headline):
        with pytest.raises(ConfigError, match=re.escape(f"{seen!r}, expected 'palate-report/1'")):
            call({"schema": seen})


def test_a_malformed_part_names_its_place():
    with pytest.raises(ConfigError, match=r"rows\[1\] has no method, metric"):
        render(
            {
                "schema": "palate-report/1",
                "rows": [{"dataset": "d", "method": "m", "metric": "a"}, {"dataset": "d"}],
            }
        )
    with pytest.raises(ConfigError, match="curves is str, expected a list"):
        render({"schema": "palate-report/1", "curves": "no"})
    with pytest.raises(ConfigError, match="schema is 'list'"):
        render([])


def test_stays_small_with_many_users_and_methods():
    report = make_report(users=500, places=(("big", "hash", True),), extra=[f"method-{i}" for i in range(8)])
    page = render(report)
    assert len(report["methods"]) == 16
    assert len(page.encode()) < 1_500_000
    assert "the 200 least well predicted of 500 users" in page
    check(page)
