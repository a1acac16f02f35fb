"""A small run of a method that asks a (fake) language model, with all facets of its words."""

import json
from dataclasses import replace

import pytest
from facet_sections import looks_whole, one_sentence
from test_page import check

from palate.core import Feedback, History, Population
from palate.evaluate.bench import Bench
from palate.evaluate.cells import Shelf
from palate.evaluate.facets import draw
from palate.evaluate.page import render
from palate.evaluate.protocol import new_users
from palate.evaluate.report import make_report
from palate.feedback.world import World
from palate.models.llm.session import language_models

GOOD, BAD = "fake:world?seed=1", "fake:world?seed=2&blind=persona"
WANTS = ("short answers", "long answers")


@pytest.fixture(scope="module")
def task():
    """People who want one of two things, say so in their profile, and give it as the reason for choices."""
    world = World.two_tastes(users=64, seed=2)
    sample = World(**{**vars(world), "pairs": 4, "targets": 4, "episodes": 2}).sample()
    histories = []
    for number, history in enumerate(sample.population):
        long = int(sample.theta[number][0] > 0)
        wish = f"I want {WANTS[long]}."
        rows = [
            Feedback(
                row.user,
                row.conversation,
                row.responses,
                row.chosen,
                row.id,
                row.time,
                f"I like {WANTS[long]}, and [chosen] has them.",
            )
            for row in history.feedback
        ]
        histories.append(History(history.user, tuple(rows), {"stated": wish, "camp": "ab"[long]}))
    return new_users("wishes", Population.of(histories), seed=1, simulated=True)


@pytest.fixture(scope="module")
def report(task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    crossed = replace(task, transfer=(GOOD, BAD))
    with language_models(folder=folder / "store", concurrency=4):
        bench = Bench(
            [crossed],
            {"default": {}, "pi": {"evidence": False, "condense": False}},
            common={"lm": GOOD, "judge_lm": ""},
        )
        results = bench.run(Shelf(folder / "cells"))
    assert not results.failures
    assert not [o.faults for o in results.outcomes.values() if o.faults]
    return json.loads(json.dumps(make_report(results), allow_nan=False))


def found(report, facet):
    return [value for value in report["facets"] if value["facet"] == facet]


def test_every_facet_of_words_is_told_and_drawn(report):
    for facet in ("match", "reasons", "alone", "salience", "clusters", "map", "transfer", "calls"):
        assert len(found(report, facet)) == 1, facet
        (value,) = found(report, facet)
        assert one_sentence(value["sentence"])
        assert facet in ("salience",) or looks_whole(draw(value))
    check(render(report))


def test_a_reader_that_errs_nowhere_shows_what_is_planted(report):
    """Half the people want long answers, half short ones: everything follows from that one axis."""
    (alone,) = found(report, "alone")
    assert alone["models"][0]["both"]["low"] > 0.9
    assert alone["models"][0]["writer"] == GOOD
    (match,) = found(report, "match")
    (method,) = match["methods"]
    assert match["source"] == "stated"
    assert method["matched"]["value"] > 0.9
    assert method["gain"]["low"] > 0.2
    (reasons,) = found(report, "reasons")
    assert reasons["models"][0]["gain"]["low"] > 0
    (where,) = found(report, "map")
    assert {f["field"]: f for f in where["fields"]}["camp"]["told"]["low"] > 0.2
    (salience,) = found(report, "salience")
    assert salience["words"] == []  # the data lean to neither side


def test_a_reader_blind_to_the_persona_gains_nothing_from_another_writer(report):
    (matrix,) = found(report, "transfer")
    assert matrix["models"] == [GOOD, BAD]
    read, blind = ([row[j]["value"] for row in matrix["gain"]] for j in (0, 1))
    assert min(read) > 0.2
    assert blind == [0.0, 0.0]
    assert matrix["gain"][1][0]["low"] > 0  # the blind one writes as well as the other


def test_costs_stand_by_method(report):
    (calls,) = found(report, "calls")
    assert [m["method"] for m in calls["methods"]] == ["default", "pi"]
    assert calls["methods"][1]["facets"] > 0
    assert calls["methods"][0]["facets"] == 0
    assert calls["methods"][1]["asked_a_user"] > calls["methods"][0]["asked_a_user"]


def test_curves_of_read_methods_have_both_ends(report):
    (adaptation,) = found(report, "adaptation")
    assert [m["method"] for m in adaptation["methods"]] == ["pi"]
    assert adaptation["seen"][0] == 0
    assert adaptation["methods"][0]["learned"]["low"] > 0.2
    assert "pi learns from a new user's choices" in adaptation["sentence"]
