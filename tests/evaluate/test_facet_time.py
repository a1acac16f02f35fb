"""Facets of a user's past: how fast it tells, which part tells most, how far it carries to what is new."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from facet_sections import coin, looks_whole, one_sentence, outcome, people, scores, section, task_of

from palate import catalogue
from palate.core import Method
from palate.evaluate.facets import adaptation, episodes, window
from palate.evaluate.protocol import new_users, seen_users
from palate.feedback.world import World
from palate.gate import differences
from palate.numerics.design import log_loss


@dataclass(kw_only=True, eq=False)
class Share(Method):
    """Believes that a user likes "yes" as often as they chose it in what it is shown."""

    name = "share"

    def _learn(self, population):
        self.none_ = 0.0

    def _condense(self, population):
        pairs, n = population.pairs, population.n_users
        yes = [population.corpus.response(i) == "yes" for i in pairs.winner.tolist()]
        vote = np.where(yes, 1.0, -1.0) if len(pairs) else np.zeros(0)
        return np.bincount(pairs.user, weights=vote, minlength=n)[:, None]

    def _log_odds(self, vectors, queries):
        yes = np.array([queries.corpus.response(i) == "yes" for i in queries.options.tolist()])
        return np.where(yes, 1.0, -1.0) * vectors[queries.who[queries.option_query], 0]


@dataclass(kw_only=True, eq=False)
class Average(Share):
    """A control."""

    name = "average"
    personal = False


def probed(facet, method, task):
    """A method's outcome on a task, with what the facet's probe gave."""
    personas = method.adapt_batch(task.context)
    extra = {f"{facet.NAME}.{k}": v for k, v in facet.probe(method, personas, task).items()}
    longest = int(np.diff(task.context.offsets).max())
    curve = {
        k: differences(method, method.adapt_batch(task.context.head(k)), task.context, task.targets)
        for k in (0, 1, 2, 4, longest)
    }
    made = outcome(task, np.ones(len(task.targets), bool), extra=extra)
    return replace(made, applied=curve[longest], curve=curve)


# ---- adaptation -----------------------------------------------------------------------------------------


def first(task, k):
    """Right on the first k of each user's six targets."""
    begin = np.array([task.targets.row[task.targets.user == u].min() for u in task.targets.user])
    return task.targets.row - begin < k


def test_area_is_the_mean_over_the_logarithm_of_what_was_seen():
    """From 2/6 by way of 4/6 to all right at 0, 3 and 15 choices: two doublings each, so 4/6 in the mean."""
    task = task_of(people(context=lambda u: 15 if u % 2 else 3))
    curve = {0: first(task, 2), 3: first(task, 4), 15: first(task, 6)}
    slow = {0: first(task, 2), 3: first(task, 2), 15: first(task, 6)}
    outcomes = {
        "pooled": outcome(task, first(task, 3), personal=False, curve={0: first(task, 3)}),
        "slow": outcome(task, first(task, 6), curve=slow),
        "fast": outcome(task, first(task, 6), curve=curve),
    }
    [values] = adaptation.measure([section(task, outcomes)])
    fast, slow = values["methods"]
    assert (fast["method"], slow["method"]) == ("fast", "slow")
    assert fast["area"]["value"] == pytest.approx((2 + 4) / 2 / 6 / 2 + (4 + 6) / 2 / 6 / 2, abs=1e-6)
    assert slow["area"]["value"] == pytest.approx(2 / 6 / 2 + (2 + 6) / 2 / 6 / 2, abs=1e-6)
    assert fast["gain"]["value"] == pytest.approx(4 / 6 - 3 / 6, abs=1e-6)
    assert [round(p["value"], 4) for p in fast["curve"]] == [0.3333, 0.6667, 1.0]
    assert (values["seen"], values["reach"]) == ([0, 3, 15], [60, 60, 30])
    told = adaptation.tell(values)
    assert one_sentence(told)
    assert "fast learns from a new user's choices" in told
    assert "bound was not measured" in told
    assert looks_whole(adaptation.draw(values))


def test_curves_are_compared_where_all_have_a_point():
    task = task_of(people())
    outcomes = {
        "one": outcome(task, first(task, 6), curve={0: first(task, 1), 4: first(task, 2), 8: first(task, 6)}),
        "two": outcome(task, first(task, 6), curve={0: first(task, 1), 8: first(task, 6)}),
    }
    [values] = adaptation.measure([section(task, outcomes)])
    assert values["seen"] == [0, 8]
    assert values["methods"][0]["area"] == values["methods"][1]["area"]
    assert values["level"] is None
    assert looks_whole(adaptation.draw(values))


@pytest.fixture(scope="module")
def world():
    task = new_users("world", World(users=120, seed=2).sample().population)
    method = catalogue.build("individual", {"ridges": (1.0,)}, encoder="style").fit(task.fit_on)
    return task, method


def test_the_bound_knows_all_but_the_choice_it_predicts(world):
    """Turning a user's last target choice about turns its own score and no more than the user's others."""
    task, method = world
    before = adaptation.probe(method, method.adapt_batch(task.context), task)["bound"]
    rows = np.flatnonzero(task.people.split == 1)
    mine = rows[task.people.role[task.people.row_user[rows]] == 2]
    row = mine[-1]
    chosen = task.people.chosen.copy()
    chosen[row] = 1 - chosen[row]
    turned = new_users("world", replace(task.people, chosen=chosen))
    after = adaptation.probe(method, method.adapt_batch(turned.context), turned)["bound"]
    own = len(before) - 1
    user = task.targets.user == task.targets.user[own]
    assert turned.targets.winner[own] == task.targets.loser[own]
    assert after[own] == pytest.approx(-before[own])  # the same scores, read the other way round
    assert abs(before[own]) > 0
    assert np.abs(after - before)[user].max() > 1e-6  # its other targets learned from it
    assert after[~user] == pytest.approx(before[~user])


def test_the_bound_knows_more_than_the_context(world):
    task, method = world
    personas = method.adapt_batch(task.context)
    bound = adaptation.probe(method, personas, task)["bound"]
    context = differences(method, personas, task.context, task.targets)
    targets = task.targets.target
    assert len(bound) == len(targets)
    assert log_loss(bound, targets).mean() < log_loss(context, targets).mean() - 0.01
    made = outcome(
        task, context > 0, curve={0: context > 9, 8: context > 0}, extra={"adaptation.bound": bound}
    )
    [values] = adaptation.measure([section(task, {"individual": made})])
    choices = np.diff(task.people.with_role("test").offsets)
    assert values["bound_choices"] == int(np.median(choices[np.unique(task.targets.user)]))
    assert values["bound"]["users"] == task.scored_users
    assert "an individual model on all else a user chose" in adaptation.tell(values)


def test_the_bound_is_asked_of_the_individual_model_for_new_users_alone(world):
    task, method = world
    pooled = catalogue.build("pooled", encoder="style").fit(task.fit_on)
    assert adaptation.probe(pooled, pooled.adapt_batch(task.context), task) == {}
    seen = seen_users("world", World(users=40, seed=2).sample().population, 200)
    assert adaptation.probe(method, method.adapt_batch(seen.context), seen) == {}
    assert adaptation.measure([section(seen, {"one": outcome(seen, coin(seen))})]) == []


# ---- window ---------------------------------------------------------------------------------------------


def drifting(turn):
    """Users like "yes" up to their choice number ``turn`` and "no" from there on; the first 12 are past."""
    return task_of(people(context=12, target=6, choose=lambda u, i: int(i >= turn)))


def test_where_tastes_drift_the_last_choices_tell_more():
    task = drifting(8)
    share = Share().fit(task.fit_on)
    [values] = window.measure([section(task, {"share": probed(window, share, task)})])
    found = values["methods"][0]
    assert found["windows"] == [1, 2, 4, 8]
    assert [p["value"] for p in found["last"]] == [1.0, 1.0, 1.0, 0.5]
    assert [p["value"] for p in found["first"]] == [0.0, 0.0, 0.0, None]  # 8 stands not in this curve
    assert found["all"]["value"] == 0.0
    assert found["short"][0]["value"] == -1.0
    assert found["recency"]["value"] == 1.0
    told = window.tell(values)
    assert one_sentence(told)
    assert "last choices tell more than their first" in told
    assert looks_whole(window.draw(values))


def test_where_tastes_stay_last_and_first_are_not_told_apart():
    task = drifting(0)
    share = Share().fit(task.fit_on)
    [values] = window.measure([section(task, {"share": probed(window, share, task)})])
    assert values["methods"][0]["recency"]["value"] == 0.0
    assert "are not shown to tell more or less" in window.tell(values)


def test_users_with_a_short_past_do_not_blur_the_comparison():
    """Half the users have 3 past choices: windows of 4 show them the same either way."""
    task = task_of(people(context=lambda u: 12 if u % 2 else 3, choose=lambda u, i: int(i >= 8 or not u % 2)))
    share = Share().fit(task.fit_on)
    [values] = window.measure([section(task, {"share": probed(window, share, task)})])
    newer = values["methods"][0]["newer"]
    assert [f["users"] for f in newer[:3]] == [60, 60, 30]
    assert newer[2]["value"] == 1.0


def test_a_control_has_no_window_and_neither_has_one_choice():
    task = task_of(people(context=1, target=3))
    share, average = Share().fit(task.fit_on), Average().fit(task.fit_on)
    personas = share.adapt_batch(task.context)
    assert window.probe(share, personas, task) == {}
    assert window.probe(average, average.adapt_batch(task.context), task) == {}
    assert window.measure([section(task, {"share": outcome(task, coin(task))})]) == []


# ---- episodes -------------------------------------------------------------------------------------------

TOPICS = ("cats and kittens purring softly", "tax forms and interest rates")


def episode(new, talk=None, **more):
    """Users whose past is of cats; targets whose number ``new`` marks are of taxes."""

    def topic(u, i):
        return f"{TOPICS[int(i >= 8 and new(i - 8))]} {u} {i}"

    return task_of(people(users=80, target=6, talk=talk or topic, **more))


def test_a_method_that_knows_only_the_familiar_falls_as_planted():
    task = episode(lambda i: i % 2 == 1)
    begin = np.array([task.targets.row[task.targets.user == u].min() for u in task.targets.user])
    new = (task.targets.row - begin) % 2 == 1
    base = np.ones(len(task.targets), bool)
    base[::4] = False
    outcomes = {
        "pooled": outcome(task, base, personal=False),
        "steady": outcome(task, np.ones(len(new), bool)),
        "fragile": outcome(task, ~new),
    }
    [values] = episodes.measure([section(task, outcomes)])
    found = {m["method"]: m for m in values["methods"]}
    assert values["by"] == "conversations"
    assert len(values["bin_pairs"]) == 5
    assert sum(values["bin_pairs"]) == len(task.targets)
    assert found["fragile"]["bins"][0]["value"] == 0.0
    assert found["fragile"]["bins"][-1]["value"] == 1.0
    assert found["fragile"]["drop"]["value"] == 1.0
    assert found["steady"]["drop"]["value"] == 0.0
    assert found["fragile"]["gain_drop"]["value"] == pytest.approx(
        1.0 - (found["pooled"]["bins"][-1]["value"] - found["pooled"]["bins"][0]["value"]), abs=2e-6
    )
    values["methods"].sort(key=lambda m: m["method"] != "fragile")
    told = episodes.tell(values)
    assert "fragile does worse when people meet something new" in told
    assert one_sentence(told)
    assert looks_whole(episodes.draw(values))


def test_without_conversations_the_responses_are_compared_and_that_is_said():
    task = episode(
        None,
        talk=lambda u, i: "the one question",
        answers=lambda u, i: tuple(f"{TOPICS[int(i >= 11)]} {side} {u}" for side in "ab"),
    )
    begin = np.array([task.targets.row[task.targets.user == u].min() for u in task.targets.user])
    outcomes = {"fragile": outcome(task, task.targets.row - begin < 3)}
    [values] = episodes.measure([section(task, outcomes)])
    assert values["by"] == "responses"
    assert values["methods"][0]["drop"]["value"] == 1.0
    assert "likeness of responses to a user's past (the conversations do not differ)" in episodes.tell(values)
    assert one_sentence(episodes.tell(values))


def test_the_answer_itself_does_not_move_a_target_between_bins():
    """With the choice turned about, likeness of responses stays."""
    answers = lambda u, i: (f"{TOPICS[i % 2]} {u} {i}", f"{TOPICS[0]} {i} {u}")  # noqa: E731
    made = [
        episode(None, talk=lambda u, i: "one", answers=answers, choose=lambda u, i, w=which: w)
        for which in (0, 1)
    ]
    edges = [episodes.measure([section(t, {"m": outcome(t, coin(t))})])[0]["edges"] for t in made]
    assert edges[0] == edges[1]


def test_likeness_is_the_mean_cosine_to_the_past():
    task = episode(lambda i: i % 2 == 1)
    seen = episodes.People(section(task, {"m": outcome(task, coin(task))}))
    found = episodes._by_conversation(seen)
    context, user = task.context, int(task.targets.user[7])
    rows = range(context.offsets[user], context.offsets[user + 1])
    talks = [context.corpus.conversation(context.options[context.option_offsets[r]]) for r in rows]
    talks.append(context.corpus.conversation(task.targets.winner[7]))
    x = np.asarray(episodes.embed_texts([t[0][1] for t in talks], "lexical"), np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert found[7] == pytest.approx(float((x[:-1] @ x[-1]).mean()), abs=1e-5)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"talk": lambda u, i: "one"}, "no target is more like its user's past choices than another"),
        ({"context": 0, "new": lambda i: False}, "no user has a past choice"),
    ],
)
def test_what_cannot_be_told_of_episodes_is_said(more, why):
    new = more.pop("new", None)
    task = episode(new, **more)
    [values] = episodes.measure([section(task, {"m": outcome(task, coin(task))})])
    assert why in episodes.tell(values)
    assert one_sentence(episodes.tell(values))
    assert episodes.draw(values) == ""


def test_scores_are_as_the_helpers_say():
    assert scores([True, False], 2.0).tolist() == [2.0, -2.0]
