"""Facets of people: how they disagree, who is a minority, who is harmed, who has a short past."""

import numpy as np
import pytest
from facet_sections import coin, looks_whole, one_sentence, outcome, people, scores, section, task_of
from scipy.stats import binom

from palate import catalogue
from palate.evaluate.facets import characteristics, harm, minorities, scarcity

N = 60


def shared(u, i):
    """Everybody is asked the same questions; a tenth of the users answers against the rest."""
    return int(u % 10 == 0)


def camps(choose=shared, **more):
    return task_of(people(users=N, talk=lambda u, i: f"question {i}", choose=choose, **more))


# ---- characteristics ------------------------------------------------------------------------------------


def test_room_is_what_consistency_leaves_above_the_pooled_model():
    """Each question comes twice and every fifth user changes their mind: consistency 0.8, pooled 0.6."""
    task = task_of(
        people(
            users=100,
            context=8,
            target=5,
            learners=20,
            talk=lambda u, i: f"question {u} {i % 4 if i < 8 else i}",
            choose=lambda u, i: int(u % 5 == 0 and 4 <= i < 8),
        )
    )
    right = np.tile([1, 1, 1, 0, 0], 100).astype(bool)
    [values] = characteristics.measure([section(task, {"pooled": outcome(task, right, personal=False)})])
    assert values["consistency"]["value"] == pytest.approx(0.8)
    assert values["by"] == "consistency"
    assert values["room"]["value"] == pytest.approx(0.2)
    assert values["room"]["low"] < 0.2 < values["room"]["high"]
    width = values["consistency"]["high"] - values["consistency"]["low"]
    assert values["room"]["high"] - values["room"]["low"] == pytest.approx(width, abs=1e-6)  # pooled has none
    assert "no method can gain more than about +20.0 points" in characteristics.tell(values)
    assert "room" in characteristics.draw(values)


def test_room_is_unknown_where_nobody_is_asked_twice_and_its_limit_is_told():
    task = camps()
    [values] = characteristics.measure([section(task, {"pooled": outcome(task, coin(task), personal=False)})])
    assert values["room"] is None
    assert values["inputs"] == 14
    assert values["divergent"]["value"] == 0.0
    assert values["disagreement"]["value"] == 1.0
    assert values["n_minorities"] == 7
    told = characteristics.tell(values)
    assert one_sentence(told)
    most = 100 * (1 - values["pooled"]["value"])
    assert f"the room is unknown (up to {most:.1f} points" in told
    assert looks_whole(characteristics.draw(values))


def test_a_few_repeated_questions_are_no_ceiling():
    task = task_of(people(users=40, talk=lambda u, i: f"question {u} {min(i, 6) if u < 9 else i}", context=8))
    [values] = characteristics.measure([section(task, {"pooled": outcome(task, coin(task), personal=False)})])
    assert values["consistency"]["value"] == 1.0
    assert values["room"] is None
    assert "too few for a ceiling" in characteristics.tell(values)
    assert one_sentence(characteristics.tell(values))


def test_perfect_consistency_is_not_perfectly_certain():
    task = task_of(people(users=40, talk=lambda u, i: f"question {u} {i // 2 if i < 8 else i}", context=8))
    [values] = characteristics.measure([section(task, {"pooled": outcome(task, coin(task), personal=False)})])
    assert values["consistency"]["value"] == values["consistency"]["high"] == 1.0
    assert 0.85 < values["consistency"]["low"] < 1.0


def test_room_of_a_world_is_the_oracles():
    task = camps()
    pooled, oracle = coin(task, 0.6, seed=1), np.ones(len(task.targets), bool)
    outcomes = {"pooled": outcome(task, pooled, personal=False), "mixed": outcome(task, coin(task, 0.7))}
    [values] = characteristics.measure([section(task, outcomes, bounds={"oracle": scores(oracle)})])
    assert values["by"] == "oracle"
    assert values["room"]["value"] == pytest.approx(1 - values["pooled"]["value"], abs=1e-6)
    assert one_sentence(characteristics.tell(values))


def test_without_shared_questions_or_control_that_is_said():
    task = task_of(people(users=8))
    [values] = characteristics.measure([section(task, {"mixed": outcome(task, coin(task))})])
    told = characteristics.tell(values)
    assert "no two users compared the same two responses" in told
    assert "the control failed" in told
    assert looks_whole(characteristics.draw(values))


# ---- minorities -----------------------------------------------------------------------------------------


def served(task, minority, rest):
    """Right on exactly the given share of targets of minority users and of the others."""
    number = task.targets.row - np.array(
        [task.targets.row[task.targets.user == u].min() for u in task.targets.user]
    )
    outsider = np.array([int(name[5:]) % 10 == 0 for name in task.context.users])[task.targets.user]
    return number < np.where(outsider, minority, rest) * 6


def test_planted_minorities_are_found_and_how_they_are_served():
    task = camps()
    outcomes = {
        "pooled": outcome(task, served(task, 0, 1), personal=False),
        "mixed": outcome(task, served(task, 1 / 2, 1), gated=served(task, 1 / 3, 1)),
    }
    [values] = minorities.measure([section(task, outcomes)])
    assert (values["by"], values["minority"], values["majority"], values["left_out"]) == (
        "majority",
        6,
        54,
        0,
    )
    found = {m["method"]: m for m in values["methods"]}
    assert found["pooled"]["minority"]["value"] == 0.0
    assert found["pooled"]["majority"]["value"] == 1.0
    assert found["mixed"]["minority"]["value"] == pytest.approx(0.5)
    assert found["mixed"]["minority_gain"]["value"] == pytest.approx(0.5)
    assert found["mixed+gate"]["minority"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["mixed"]["behind"]["value"] == pytest.approx(0.5)
    assert found["mixed"]["minority"]["users"] == 6
    told = minorities.tell(values)
    assert one_sentence(told)
    assert "6 of 60 users (0 or so by chance alone)" in told
    assert looks_whole(minorities.draw(values))


def test_minorities_that_chance_alone_would_make_are_told():
    """Six past choices a user, each against the majority with probability 1/3: nobody is one at heart."""
    off = np.random.default_rng(0).random((N + 4, 20)) < 1 / 3
    task = camps(choose=lambda u, i: int(off[u, i]), context=6)
    [values] = minorities.measure([section(task, {"pooled": outcome(task, coin(task), personal=False)})])
    expected = N * binom.cdf(2, 6, 2 / 3)
    assert values["chance"] == pytest.approx(expected, rel=0.35)
    assert values["minority"] == pytest.approx(expected, abs=3 * np.sqrt(expected))
    assert values["minority"] > 0
    assert "or so that chance alone makes" in minorities.tell(values)


def test_targets_never_make_a_minority():
    """Users who differ in their targets alone are none, however badly the control serves them."""
    task = camps(choose=lambda u, i: int(u % 10 == 0 and i >= 8))
    outcomes = {
        "pooled": outcome(task, served(task, 0, 1), personal=False),
        "mixed": outcome(task, coin(task)),
    }
    [values] = minorities.measure([section(task, outcomes)])
    assert values["minority"] == 0
    assert "no minority is found" in minorities.tell(values)
    assert one_sentence(minorities.tell(values))


@pytest.mark.parametrize("users", [6, 30])
def test_majority_accuracy_is_that_of_a_plain_count(users):
    """Among few users the own vote often turns the majority, so it must not count."""
    everybody = users + 4
    choice = np.random.default_rng(2).integers(-1, 2, size=(everybody, 20))
    task = task_of(
        people(
            users=users,
            context=9,
            talk=lambda u, i: f"question {(u + i) % 7}",
            choose=lambda u, i: int(choice[u, i]),
        )
    )
    found, count = minorities.majority_accuracy(task)
    votes = {}
    for u in range(everybody):
        for i in range(15):
            if choice[u, i] >= 0:
                votes.setdefault((u + i) % 7, {}).setdefault(u, []).append(choice[u, i])
    for number, name in enumerate(task.context.users):
        u, hits = int(name[5:]), []
        for i in range(9):
            asked = (u + i) % 7
            others = [np.sign(np.mean(v) - 0.5) for who, v in votes.get(asked, {}).items() if who != u]
            if choice[u, i] < 0 or not others:
                continue
            total = sum(others)
            hits.append(0.5 if total == 0 else float((total > 0) == (choice[u, i] == 1)))
        assert count[number] == len(hits)
        assert found[number] == pytest.approx(np.mean(hits))


def test_the_pooled_model_stands_in_where_nothing_is_shared():
    task = task_of(people(users=N))
    past = scores(np.array([int(n[5:]) % 10 for n in task.context.users])[task.context.pairs.user] > 0)
    outcomes = {
        "pooled": outcome(task, coin(task), personal=False, extra={"minorities.past": past}),
        "mixed": outcome(task, coin(task, 0.8)),
    }
    [values] = minorities.measure([section(task, outcomes)])
    assert (values["by"], values["minority"], values["judged"]) == ("pooled", 6, 8)
    assert "one model for all (choices are shared too rarely for a majority)" in minorities.tell(values)
    assert "pooled model, as choices are rarely shared" in minorities.draw(values)


def test_the_stand_in_is_asked_of_controls_on_past_choices_alone():
    task = camps(choose=lambda u, i: int(u % 10 == 0 and u < N))
    pooled = catalogue.build("pooled", encoder="lexical").fit(task.fit_on)
    own = catalogue.build("individual", encoder="lexical").fit(task.fit_on)
    found = minorities.probe(pooled, pooled.adapt_batch(task.context), task)
    assert list(found) == ["past"]
    assert len(found["past"]) == len(task.context.pairs)
    agrees = np.array([int(name[5:]) % 10 > 0 for name in task.context.users])[task.context.pairs.user]
    assert ((found["past"] > 0) == agrees).all()
    assert minorities.probe(own, own.adapt_batch(task.context), task) == {}


def test_users_with_too_few_past_choices_are_left_out():
    task = camps(context=lambda u: 2 if u % 2 else 8)
    [values] = minorities.measure([section(task, {"pooled": outcome(task, coin(task), personal=False)})])
    assert values["left_out"] == 30
    bare = camps(context=1)
    [values] = minorities.measure([section(bare, {"pooled": outcome(bare, coin(bare), personal=False)})])
    assert "cannot be told: no user has 4 past choices" in minorities.tell(values)
    assert minorities.draw(values) == ""


# ---- harm -----------------------------------------------------------------------------------------------


def by_user(task, right_of):
    """Right on the first ``right_of(u)`` of each user's six targets."""
    first = np.array([task.targets.row[task.targets.user == u].min() for u in task.targets.user])
    return task.targets.row - first < np.array([right_of(u) for u in task.targets.user])


def test_planted_help_and_harm_are_counted():
    task = camps()
    base = by_user(task, lambda u: 3)
    after = by_user(task, lambda u: 5 if u < 30 else 3 if u < 45 else 2)
    gated = by_user(task, lambda u: 5 if u < 30 else 3)
    empty = by_user(task, lambda u: 2)
    outcomes = {
        "pooled": outcome(task, base, personal=False),
        "mixed": outcome(task, after, gated=gated, before=base, curve={0: empty, 8: after}),
    }
    [values] = harm.measure([section(task, outcomes)])
    mixed, gate = values["methods"]
    assert [mixed["control"][k]["value"] for k in ("helped", "left alone", "harmed")] == [0.5, 0.25, 0.25]
    assert [gate["control"][k]["value"] for k in ("helped", "left alone", "harmed")] == [0.5, 0.5, 0.0]
    assert [mixed["empty"][k]["value"] for k in ("helped", "harmed")] == [0.75, 0.0]
    assert gate["empty"]["helped"]["value"] == 0.5  # against the gate's own answer before, not the method's
    assert mixed["control"]["worse_off"]["value"] == 0.25
    assert mixed["control"]["loss_gain"]["value"] == pytest.approx((30 * 2 - 15) / 60 / 6, abs=1e-6)
    expected = np.mean([binom.cdf(0, 2, 0.5)] * 30 + [0.0] * 15 + [0.5] * 15)
    assert mixed["control"]["chance"] == pytest.approx(expected, abs=1e-6)
    assert mixed["control"]["quantiles"][2] == pytest.approx((0 + 2 / 6) / 2, abs=1e-6)
    assert one_sentence(harm.tell(values))
    assert looks_whole(harm.draw(values))


def test_chance_is_that_of_the_binomial():
    n = np.arange(40.0)
    exact = binom.cdf(np.ceil(n / 2) - 1, n, 0.5)
    assert harm._below_half(n) == pytest.approx(exact)


def test_no_personal_method_gives_no_picture_of_harm():
    task = camps()
    assert harm.measure([section(task, {"pooled": outcome(task, coin(task), personal=False)})]) == []


def test_without_a_control_harm_is_told_against_the_empty_answer():
    task = camps()
    right = coin(task)
    [values] = harm.measure([section(task, {"mixed": outcome(task, right, curve={0: ~right, 8: right})})])
    assert "against its empty answer" in harm.tell(values)
    assert looks_whole(harm.draw(values))


# ---- scarcity -------------------------------------------------------------------------------------------


def test_gain_of_those_with_a_long_past_alone_is_seen():
    task = task_of(people(users=120, context=lambda u: (2, 9, 20)[u % 3]))
    long = (np.diff(task.context.offsets) > 15)[task.targets.user]
    base = coin(task)
    outcomes = {"pooled": outcome(task, base, personal=False), "mixed": outcome(task, base | long)}
    [values] = scarcity.measure([section(task, outcomes)])
    assert [(b["from"], b["to"], b["users"]) for b in values["buckets"]] == [
        (2, 2, 40),
        (9, 9, 40),
        (20, 20, 40),
    ]
    mixed = values["methods"][0]
    assert [g["value"] for g in mixed["gain"][:2]] == [0.0, 0.0]
    assert mixed["gain"][2]["low"] > 0.3
    assert mixed["more"]["value"] == pytest.approx(mixed["gain"][2]["value"], abs=1e-6)
    told = scarcity.tell(values)
    assert one_sentence(told)
    assert "mixed is not shown to help people with 2 past choices: 0.0 points" in told
    assert looks_whole(scarcity.draw(values))


def test_small_buckets_join_their_neighbours():
    for choices, expected in (
        ([1] * 25 + [5] * 3 + [9] * 25 + [40] * 2, [(1, 1, 25), (5, 40, 30)]),
        ([0] * 5 + [3] * 30, [(0, 3, 35)]),
        ([7] * 3, [(7, 7, 3)]),
    ):
        _, buckets = scarcity._buckets(np.array(choices))
        assert [(b["from"], b["to"], b["users"]) for b in buckets] == expected


def test_equal_pasts_cannot_tell_of_scarcity():
    task = camps()
    outcomes = {"pooled": outcome(task, coin(task), personal=False), "mixed": outcome(task, coin(task))}
    [values] = scarcity.measure([section(task, outcomes)])
    assert "cannot be told: all 60 users have 8 past choices" in scarcity.tell(values)
    assert scarcity.draw(values) == ""
