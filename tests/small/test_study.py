"""The study: cells are run once, tables and claims are those of the cells."""

import numpy as np
import pytest

pytest.importorskip("trl")

from palate.core import ConfigError
from palate.small.arms import ARMS, LATER, build_arm, paper_name
from palate.small.report import write_study
from palate.small.study import Plan, cells_of, run_study
from palate.small.tables import Claim, Table, claims, delta_pq, estimate, shifts, table, tailoring


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    plan = Plan(
        tmp_path_factory.mktemp("study"), ("raw", "summary"), (0, 1), users=20, base_steps=1, workers=1
    )
    told = []
    cells = run_study(plan, lambda *now: told.append(now))
    return plan, cells, told


def test_cells_are_run_once(ran):
    plan, cells, told = ran
    assert [(c["arm"], c["seed"]) for c in cells] == [("raw", 0), ("summary", 0), ("raw", 1), ("summary", 1)]
    assert told[-1] == ("cells", 4, 4)
    again = []
    assert run_study(plan, lambda *now: again.append(now)) == cells
    assert set(again) == {("base models", 0, 0), ("cells", 4, 4)}
    assert not list((plan.out / "running").glob("*"))


def test_measures_are_a_users_each(ran):
    _, cells, _ = ran
    for cell in cells:
        assert len(cell["accuracy"]) == len(cell["tokens"]) == len(cell["win"]) == 6
        assert all(0 <= value <= 1 for value in cell["accuracy"])
        assert 0.5 < cell["bounds"]["oracle"] <= 1
    raw, summary = cells[0], cells[1]
    assert min(raw["tokens"]) > 100
    assert "accuracy_other" in summary
    assert "accuracy_other" not in raw


def test_files_tell_the_same(ran):
    plan, cells, _ = ran
    tables = write_study(plan.out, cells)
    assert [row[0] for row in tables["arms"][1:]] == ["raw", "summary"]
    text = (plan.out / "study.md").read_text(encoding="utf-8")
    assert "No figure here is one of a real language model." in text
    assert tables["arms"][1][3] in text
    assert tables["arms"][1][3] in (plan.out / "study.html").read_text(encoding="utf-8")


def test_unknown_arms_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no arm \['popy'\]"):
        cells_of(Plan(tmp_path, ("popy",)))


def test_arms_of_which_nothing_is_claimed_have_fewer_seeds_in_a_study_of_all(tmp_path):
    run = [(cell.arm, cell.seed) for cell in cells_of(Plan(tmp_path))]
    assert [seed for arm, seed in run if arm == "users-lore"] == [0]
    assert [seed for arm, seed in run if arm == "popi"] == [0, 1, 2, 3, 4]
    assert len(cells_of(Plan(tmp_path, ("users-lore",)))) == 5


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_makes_its_method(name):
    assert build_arm(name, "folder", 3).config["seed"] == 3
    assert paper_name(name)


# ---- tables by hand -----------------------------------------------------------------------------------


def cell(arm, seed, accuracy, **more):
    return {"arm": arm, "seed": seed, "users": 9, "seconds": 60.0, "accuracy": accuracy, **more}


def test_an_estimate_is_a_mean_with_its_interval():
    found = estimate(np.array([0.0, 1.0] * 50))
    assert found.mean == 0.5
    assert 0.38 < found.low < 0.44 < 0.56 < found.high < 0.62
    assert found.users == 100


def test_claims_are_paired_and_told_apart():
    rows = [
        cell("popi", 0, [0.8, 0.6], tokens=[10.0, 10.0], accuracy_other=[0.75, 0.55],
             also={"popi-full": {"accuracy": [0.9, 0.7]}}),
        cell("raw", 0, [0.6, 0.4], tokens=[150.0, 150.0]),
        cell("summary", 0, [0.7, 0.6]),
        cell("raw-aligned", 0, [0.9, 0.75]),
    ]  # fmt: skip
    found = Table(rows)
    held = {claim.text: claim for claim in claims(found)}
    lead = held["popi over raw prompting, points"]
    assert (round(lead.found.mean, 6), lead.holds) == (0.2, "yes")
    assert held["popi over untuned summaries, points"].found.mean == pytest.approx(0.05)
    assert held["popi over untuned summaries, points"].holds == "no"
    assert held["added tokens of popi, share of raw prompting's"].holds == "yes"
    kept = held["gain kept where another frozen model reads the summaries, share"]
    assert kept.found.mean == pytest.approx(0.15 / 0.2)
    assert kept.holds == "on average"
    assert held["popi-full over raw-aligned, points"].found.mean == pytest.approx(-0.025)
    assert [row[0] for row in table(found)[1:]] == ["popi", "popi-full", "raw", "summary", "raw-aligned"]
    assert paper_name("popi-full") == LATER["popi-full"]


def test_an_arm_with_fewer_seeds_is_shown_with_those_and_compared_on_them():
    found = Table([cell("popi", 0, [0.8]), cell("popi", 1, [0.6]), cell("raw", 1, [0.4])])
    assert [row[2:4] for row in table(found)[1:]] == [["2", "70.0 [60.0, 80.0]"], ["1", "40.0 [40.0, 40.0]"]]
    assert found.between("popi", "raw")[::3] == (pytest.approx(0.2), 1)
    assert found.each("raw") == {1: 0.4}


def test_leads_and_drops_by_hand():
    wins = {"p_won": [3, 1], "p_lost": [1, 0], "q_won": [1, 1], "q_lost": [1, 1]}
    wins |= {"p_lead": [0.5, 0.25], "q_lead": [0.0, 0.0], "heeded": [1, 1], "heeded_plain": [1, 0]}
    both = {f"{key}_{of}": v for of in ("chosen", "rejected") for key, v in wins.items()}
    both["p_lead_rejected"] = [0.75, 0.5]
    rows = [
        cell("pt", 0, [0.5, 0.5], **both),
        cell("epipersona-a", 0, [0.5, 0.5], codes_similar=[0.7, 0.7], codes_dissimilar=[0.65, 0.65],
             survey_similar=[0.8, 0.8], survey_dissimilar=[0.6, 0.6]),
    ]  # fmt: skip
    found = Table(rows)
    held = {claim.text: claim for claim in claims(found)}
    assert held["PT-DPO over plain DPO, Delta-PQ, chosen personas"].found.mean == pytest.approx(0.8 + 0.5 - 1)
    told = "PT-DPO over plain DPO, lead in fit to the persona, % of answers, chosen personas"
    assert held[told].found.mean == pytest.approx(0.375)
    assert held["the same, rejected less chosen"].found.mean == pytest.approx(0.25)
    right = "PT-DPO over plain DPO, choices that the told persona makes, rejected less chosen, points"
    assert held[right].found.mean == 0
    assert tailoring(found)[1][0::4] == ["chosen", "100.0 [100.0, 100.0]"]
    less = held["drop of EpiPersona-A less half of that of survey, points"]
    assert less.found.mean == pytest.approx(0.05 - 0.1)
    assert less.holds == "yes"
    assert [row[0] for row in shifts(found)[1:]] == ["codes", "survey"]


def test_no_difference_is_no_lead():
    assert Claim("a lead", estimate(np.zeros(9)), 0.0).holds == "no"
    assert delta_pq(np.zeros(4)) == 0
