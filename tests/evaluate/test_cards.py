import json
import sys
import types
from typing import ClassVar

from report_sample import a_method
from test_page import check

from palate import catalogue
from palate.core import Method
from palate.evaluate.cards import cards, departures, draw
from palate.evaluate.published import PUBLISHED, of_method


def a_class(text, name="one", others=(), paper="a paper"):
    """A method's class in a made-up file with this text and these other methods."""
    module = types.ModuleType(f"made_up_{len(sys.modules)}")
    module.__doc__ = text
    sys.modules[module.__name__] = module
    for each in (name, *others):
        body = {"name": each, "paper": paper, "__module__": module.__name__, "__doc__": "x"}
        setattr(module, each, type(each, (Method,), {**body, "__annotations__": {"name": ClassVar[str]}}))
    return getattr(module, name)


# ---- what differs -------------------------------------------------------------------------------------


def test_bullets_are_read_whole():
    text = """A method.

    formula

Departs from the paper:
- First thing, which goes
  on in a second line with ``code``.
- second thing.

Cost: not a departure.
- nor is this.
"""
    found = departures(a_class(text))
    assert found == ["First thing, which goes on in a second line with code.", "Second thing."]


def test_text_on_the_heading_is_one_bullet():
    text = "A method.\n\nDeparts from the paper: one thing; and\nanother.\n"
    assert departures(a_class(text)) == ["One thing; and another."]


def test_a_bullet_that_names_another_method_is_not_mine():
    text = "M.\n\nDeparts from the paper:\n- all: of us.\n- one: mine\n  alone.\n- two: theirs.\n"
    mine, theirs = a_class(text, "one", ("two",)), a_class(text, "two", ("one",))
    assert departures(mine) == ["All: of us.", "Mine alone."]
    assert departures(theirs) == ["All: of us.", "Theirs."]


def test_a_method_without_a_paper_beside_others_departs_from_none():
    text = "M.\n\nDeparts from the paper:\n- something.\n"
    assert departures(a_class(text, "one", ("two",), paper="")) == []
    assert departures(a_class(text, "one", (), paper="")) == ["Something."]


def test_a_text_without_the_heading_has_none():
    assert departures(a_class("A method.\n\n- a bullet.\n")) == []
    assert departures(a_class(None)) == []


def test_ours_are_found():
    assert "language model" in departures(catalogue.find("pooled"))[0]
    assert not any("conditional" in text.lower() for text in departures(catalogue.find("pooled")))
    assert any("bilinear" in text for text in departures(catalogue.find("conditional")))
    assert len(departures(catalogue.find("lore"))) == 3
    assert len(departures(catalogue.find("similar-user"))) == 1


# ---- published figures --------------------------------------------------------------------------------


def test_published_figures_are_sound():
    keys = [(f.method, f.variant, f.source, f.dataset, f.setting, f.metric) for f in PUBLISHED]
    assert len(keys) == len(set(keys))
    for f in PUBLISHED:
        if f.metric == "accuracy":
            assert f.low < f.value < f.high < 1, f
            assert f.users < f.pairs
        elif f.metric == "accuracy, %":
            assert 25 < f.value < 100, f


def test_published_code_is_there_for_every_row():
    """Nine systems on four data sets, less the two of PAL that were not run."""
    code = [f for f in PUBLISHED if f.source == "public code"]
    assert len(code) == 34
    assert {f.dataset for f in code} == {"bowling-green", "bowling-green-new", "arguments", "arguments-new"}
    (gpo,) = [f for f in of_method("gpo") if f.dataset == "arguments-new"]
    assert (gpo.value, gpo.low, gpo.high, gpo.users, gpo.pairs) == (0.798, 0.772, 0.822, 123, 2709)
    assert (gpo.fit_seconds, gpo.adapt_seconds) == (153, 12)


# ---- cards --------------------------------------------------------------------------------------------


def row(method="lore", metric="accuracy", value=0.77, dataset="bowling-green", encoder="minilm", **more):
    return {"dataset": dataset, "protocol": "new-users", "encoder": encoder, "method": method,
            "metric": metric, "value": value, "low": value - 0.01, "high": value + 0.01, "users": 436,
            "pairs": 6777, "against": None, **more}  # fmt: skip


def a_report(*rows, methods=("lore",)):
    return {
        "schema": "palate-report/2",
        "methods": [a_method(name, 0) for name in methods],
        "rows": list(rows),
    }


def test_ours_stands_beside_theirs_on_the_same_data():
    report = a_report(
        row(),
        row(metric="fit_seconds", value=1.5),
        row(metric="adapt_seconds_per_1000", value=0.25),
        row(metric="log_loss", value=0.5),
        row(value=0.02, against="pooled"),
    )
    (card,) = cards(report)
    (compared,) = card["compared"]
    assert (compared["value"], compared["fit_seconds"], compared["adapt_seconds"]) == (0.764, 30, 40)
    assert compared["here"] == [
        {"encoder": "minilm", "value": 0.77, "low": 0.76, "high": 0.78, "users": 436, "pairs": 6777,
         "fit_seconds": 1.5, "adapt_seconds": 0.25, "differs": []}
    ]  # fmt: skip
    assert {f["dataset"] for f in card["elsewhere"]} == {"bowling-green-new", "arguments", "arguments-new"}
    assert card["departs"] == departures(catalogue.find("lore"))


def test_what_is_not_the_same_is_said():
    (card,) = cards(a_report(row(encoder="lexical", users=400, pairs=6000)))
    assert card["compared"][0]["here"][0]["differs"] == [
        "encoder lexical, published with minilm",
        "400 users, published with 436",
        "6,000 pairs, published with 6,777",
    ]


def test_another_protocol_is_not_compared():
    (card,) = cards(a_report(row(protocol="seen-users:1000")))
    assert card["compared"] == []
    assert len(card["elsewhere"]) == 4


def test_figures_of_papers_are_listed_as_not_run():
    (card,) = cards(a_report(row("gpo", dataset="PRISM"), methods=("gpo",)))
    assert card["compared"] == []
    assert any(f["source"] == "EpiPersona" and f["value"] == 56.5 for f in card["elsewhere"])


def test_bounds_and_gates_have_no_card_and_strangers_do():
    report = a_report(row(), methods=("lore", "stranger"))
    report["methods"] += [a_method("oracle", 0, bound=True), a_method("lore+gate", 0, gated=True)]
    found = cards(report)
    assert [c["method"] for c in found] == ["lore", "stranger"]
    assert "there is no method 'stranger'" in found[1]["unknown"]
    assert cards({"rows": [], "methods": []}) == []


def test_cards_are_drawn_from_plain_values():
    rows = [
        row("pooled", dataset=d, encoder=e) for d in ("bowling-green", "arguments") for e in ("minilm", "x")
    ]
    report = a_report(*rows, row(low=None, high=None), methods=("pooled", "lore", "random"))
    found = json.loads(json.dumps(cards(report)))
    html = draw(found)
    check(f'<link href="data:,">{html}')
    assert html.count("<details>") == 2, "random has nothing to tell"
    assert "LoRe, its own code" in html
    assert "76.4 %" in html
    assert "encoder x, published with minilm" in html
    assert "Published, not run here" in html
    assert draw([]) == ""


def test_names_are_escaped():
    report = a_report(row(encoder='<script>"'))
    html = draw(cards(report))
    assert "<script>" not in html
    assert "&lt;script&gt;&quot;" in html
    check(f'<link href="data:,">{html}')
