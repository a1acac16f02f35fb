import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from palate.core.errors import ConfigError
from palate.evaluate.page import headline, render

SAMPLE = Path(__file__).with_name("report_sample.json")
VOID = {"meta", "link", "br", "hr", "img", "input"}


def make_report(
    users=40, seed=0, places=(("toy-real", "hash", False), ("toy-world", "hash", True)), extra=()
):
    """A synthetic report: users and answers are drawn, then every figure is counted from them."""
    rng = random.Random(seed)
    methods = [
        _method("pooled", 0.0, control=True, personal=False, summary="One model for everybody."),
        _method("random", -0.24, personal=False, summary="A coin."),
        _method(
            "mixed", 0.06, summary="Each user a small step from the average user, as far as evidence goes."
        ),
        _method("mixed+gate", 0.055, gated=True, base="mixed", summary="mixed, applied where it helps."),
        _method("lore", 0.03, summary="A few shared directions, weighed for every user."),
        _method("similar-user", 0.004, summary="The nearest neighbours' votes."),
        _method("individual", -0.12, summary="A model for every user alone."),
        *(_method(name, 0.01, summary="One more.") for name in extra),
        _method("oracle", 0.14, bound=True, summary="Knows each taste."),
    ]
    report = {
        "schema": "palate-report/1",
        "palate": "0.1.0",
        "created": "2026-11-21T04:00:00Z",
        "command": "palate bench toy.jsonl --methods mixed,lore --encoder hash --seed 0",
        "config": {"methods": [m["name"] for m in methods], "encoders": ["hash"], "seed": 0, "bootstrap": 2000},
        "datasets": [],
        "methods": [{k: v for k, v in m.items() if k != "gain"} for m in methods],
        "rows": [], "curves": [], "calibration": [], "users": [], "failures": [],
        "notes": ["All numbers of this report are synthetic."],
    }  # fmt: skip
    for number, (name, encoder, simulated) in enumerate(places):
        _fill(report, rng, name, encoder, simulated, users, methods, damp=1 - 0.85 * (number % 2))
    return report


def _method(name, gain, *, personal=True, control=False, gated=False, bound=False, base=None, summary=""):
    return {
        "name": name,
        "label": name,
        "paper": "synthetic 2026",
        "personal": personal,
        "control": control,
        "gated": gated,
        "bound": bound,
        "base": base,
        "fields": {"rank": 8},
        "summary": summary,
        "gain": gain,
    }


def _fill(report, rng, name, encoder, simulated, users, methods, damp):
    sizes = [rng.randint(5, 26) for _ in range(users)]
    levels = [min(0.97, max(0.35, rng.gauss(0.73, 0.11))) for _ in range(users)]
    total = sum(sizes)
    report["datasets"].append({
        "name": name, "users": users * 2, "train_users": users * 4 // 5, "val_users": users // 5,
        "test_users": users, "scored_users": users, "context_pairs": total, "target_pairs": total,
        "rows_set_aside": 3, "rule": None, "simulated": simulated,
    })  # fmt: skip
    hit = {m["name"]: _hits(rng, sizes, levels, m, damp) for m in methods if simulated or not m["bound"]}
    place = {"dataset": name, "protocol": "new-users", "encoder": encoder}
    for method, accs in hit.items():
        base = {**place, "method": method, "users": users, "pairs": total, "against": None}
        _rows(report, base, accs, hit["pooled"])
        where = {"dataset": name, "encoder": encoder, "method": method}
        gain = next(m["gain"] for m in methods if m["name"] == method)
        report["curves"].append(
            {**where, "points": [_point(n, gain * damp, users, rng) for n in (0, 1, 2, 4, 8, 16, 30)]}
        )
        report["calibration"].append(
            {
                **where,
                "bins": [
                    {
                        "confidence": c / 100,
                        "accuracy": round(min(1, c / 100 + rng.gauss(-0.01, 0.02)), 4),
                        "pairs": max(1, total // 14 - 3 * i),
                    }
                    for i, c in enumerate(range(52, 100, 5))
                ],
            }
        )
        if method != "pooled" and not method == "oracle":
            report["users"].append(
                {
                    **where,
                    "rows": [
                        [f"user-{i:04d}", sizes[i], a, b, round(rng.random(), 2)]
                        for i, (a, b) in enumerate(zip(accs, hit["pooled"], strict=True))
                    ],
                }
            )


def _hits(rng, sizes, levels, method, damp):
    gain = method["gain"] * (1 if method["bound"] or method["gain"] < 0 else damp)
    out = []
    for size, level in zip(sizes, levels, strict=True):
        chance = min(0.99, max(0.05, level + gain + rng.gauss(0, abs(gain))))
        out.append(round(sum(rng.random() < chance for _ in range(size)) / size, 4))
    return out


def _interval(values):
    mean = sum(values) / len(values)
    half = 1.96 * (sum((v - mean) ** 2 for v in values) / len(values) ** 2) ** 0.5
    return {"value": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def _rows(report, base, accs, pooled):
    gaps = [a - b for a, b in zip(accs, pooled, strict=True)]
    add = lambda metric, numbers, **more: report["rows"].append({**base, "metric": metric, **numbers, **more})  # noqa: E731
    mean = _interval(accs)["value"]
    add("accuracy", _interval(accs))
    add("accuracy_pairs", _interval(accs))
    add(
        "log_loss",
        {
            "value": round(1.1 - mean * 0.8, 4),
            "low": round(1.08 - mean * 0.8, 4),
            "high": round(1.12 - mean * 0.8, 4),
        },
    )
    add("calibration_error", {"value": 0.021, "low": 0.012, "high": 0.034})
    add("worst_tenth", _interval(sorted(accs)[: max(2, len(accs) // 10)]))
    for metric, value in (
        ("fit_seconds", 4.2),
        ("adapt_seconds_per_1000", 0.31),
        ("score_seconds_per_1000", 0.04),
    ):
        add(metric, {"value": value, "low": None, "high": None})
    if base["method"] != "pooled":
        add("accuracy", _interval(gaps), against="pooled")
        loss = _interval([-0.8 * g for g in gaps])
        add("log_loss", loss, against="pooled")
        for metric, picked in (("helped", [g > 0 for g in gaps]), ("unchanged", [g == 0 for g in gaps]),
                               ("harmed", [g < 0 for g in gaps])):  # fmt: skip
            add(metric, _interval([float(p) for p in picked]), against="pooled")


def _point(pairs, gain, users, rng):
    value = 0.73 + gain * (1 - 2.0 ** (-pairs / 6)) + rng.gauss(0, 0.002)
    return {
        "pairs": pairs,
        "value": round(value, 4),
        "low": round(value - 0.016, 4),
        "high": round(value + 0.016, 4),
        "users": users,
    }


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
    rows = [
        {**base, "method": "pooled", "metric": "accuracy", "value": 0.7, "low": 0.68, "high": 0.72},
        {**base, "method": "mixed", "metric": "accuracy", "value": 0.7 + gap, "low": 0.68 + gap, "high": 0.72 + gap},
        {**base, "method": "mixed", "metric": "accuracy", "against": "pooled", "value": gap,
         "low": gap - half if low is None else low, "high": gap + half if high is None else high},
        {**base, "method": "mixed", "metric": "helped", "against": "pooled", "value": helped, "low": 0.5, "high": 0.7},
        {**base, "method": "mixed", "metric": "harmed", "against": "pooled", "value": harmed, "low": 0.1, "high": 0.3},
    ]  # fmt: skip
    methods = [_method("pooled", 0, control=True, personal=False), _method("mixed", 0)]
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
    for words in ("Does personalization help?", "Leaderboard", "What each method adds to pooled", "How many choices it takes",
                  "User by user", "Who gains, who loses", "Is it as sure as it should be?", "How it was measured",
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
    swapped = json.loads(
        json.dumps(report).replace("user-00", json.dumps(evil)[1:-1]).replace("mixed", json.dumps(evil)[1:-1])
    )
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
    holes = tiny(
        curves=[{"dataset": "d", "encoder": "e", "method": "mixed", "points": [
            {"pairs": 0, "value": 0.7, "low": None, "high": float("nan"), "users": None}, {"pairs": 2, "value": None}]}],
        calibration=[{"dataset": "d", "encoder": "e", "method": "mixed", "bins": [
            {"confidence": 0.3, "accuracy": 0.2, "pairs": None}, {"confidence": None, "accuracy": 0.5}]}],
        users=[{"dataset": "d", "encoder": "e", "method": "mixed", "rows": [
            ["a", 3, 0.5, None, None], ["b", 2, None, 0.5, 1], ["c", 4], ["d", 5, 1.0, 0.5]]}],
    )  # fmt: skip
    page = render(holes)
    check(page)
    assert "nan" not in page.lower().replace("finance", "")
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
        "On d, mixed predicts 75.0 % [73.0, 77.0] of unseen users' choices, 5.0 points [3.0, 7.0] more than the "
        "pooled model; it helped 60 % of 50 users and harmed 20 %."
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
    report["methods"].append(_method("wide", 0))
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


if __name__ == "__main__":
    SAMPLE.write_text(json.dumps(make_report(), separators=(",", ":")) + "\n", "utf-8")
