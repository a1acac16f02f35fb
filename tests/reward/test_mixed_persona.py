"""Mixed beyond fit and adapt: its fast projection, one more choice, and a person's word on a style axis."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from taste_worlds import TWO, fitted, task_of

from palate.catalogue import build
from palate.core import (
    Feedback,
    History,
    MethodError,
    Persona,
    Personas,
    Query,
    as_conversation,
    forget_texts,
)
from palate.feedback.world import World
from palate.gate import Gate, differences
from palate.models.features import embed
from palate.models.style import STYLE_AXES
from palate.numerics.design import log_loss, mean_by
from palate.numerics.mixed_effects import MixedEffects

LENGTH = [axis.name for axis in STYLE_AXES].index("length")
QUICK = {"ranks": (4,), "shareds": (1.0,), "personals": (0.5,), "groups": ()}


@pytest.fixture(scope="module")
def world():
    """Many tastes: (people, a fitted model without groups)."""
    people = World(users=240, pairs=24, targets=10, seed=4).sample().population
    return people, build("mixed", QUICK).fit(people.take_users(people.role < 2))


def told(model, context):
    """The context's users by updates alone, from an empty history."""
    personas = []
    for history in context:
        persona = Persona(history.user)
        for row in history.feedback:
            persona = model.update(persona, row)
        personas.append(persona)
    return personas


def losses(model, personas, people, target):
    d = differences(model, personas, people, target)
    return d, float(np.nanmean(mean_by(target.user, log_loss(d, target.target), people.n_users)))


# ---- the projection -----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["groups", "world"])
def test_the_projection_is_the_features_times_the_model(which, world):
    model = fitted("mixed", TWO) if which == "groups" else world[1]
    corpus = (task_of(TWO).context if which == "groups" else world[0]).corpus
    text, style = np.asarray(embed(corpus, "lexical"))[:, :512], np.asarray(embed(corpus, "style"))
    features = model._kernel().features(text, np.asarray(style / np.sqrt(14), np.float64))
    slow = MixedEffects(model.shared_, model.directions_, model.spread_).project(features, style)
    for got, expected in zip(model._projection(text, style), slow, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_slopes_along_the_axes_are_those_of_least_squares(world):
    """A direction that is a style axis has that slope, and none on the others."""
    model = world[1]
    kernel = model._kernel()
    directions = np.zeros((len(model.shared_), 1))
    directions[kernel.text.shape[1] + LENGTH] = 3.0  # f = 3 length / sqrt(14)
    along = type(model._projection).of(kernel, MixedEffects(model.shared_, directions, model.spread_)).along
    expected = np.zeros(14)
    expected[LENGTH] = 3.0 / np.sqrt(14)
    np.testing.assert_allclose(along[0], expected, atol=1e-6)


# ---- one more choice ----------------------------------------------------------------------------------


def test_twenty_updates_are_about_as_good_as_adapting(world):
    people, model = world
    tested = people.with_role("test")
    context, target = tested.with_split("context").head(20), tested.with_split("target").pairs
    adapted, updated = model.adapt_batch(context), Personas.of(told(model, context))
    plain = losses(model, model.adapt_batch(context.head(0)), tested, target)[1]
    full, by_update = (losses(model, personas, tested, target) for personas in (adapted, updated))
    assert full[1] < plain - 0.05
    assert by_update[1] < full[1] + 0.02  # nats a choice
    assert np.corrcoef(full[0], by_update[0])[0, 1] > 0.95
    size = len(model._shifts.average)
    assert np.corrcoef(adapted.vectors[:, :size].ravel(), updated.vectors[:, :size].ravel())[0, 1] > 0.9


def test_groups_of_taste_are_told_apart_by_updates_too():
    model, task = fitted("mixed", TWO), task_of(TWO)
    context = task.context.head(5)
    adapted, updated = model.adapt_batch(context), Personas.of(told(model, context))
    groups = len(model.group_weights_)
    assert groups == 2
    shares = [personas.vectors[:, -groups:] for personas in (adapted, updated)]
    assert (shares[0].argmax(axis=1) == shares[1].argmax(axis=1)).mean() > 0.97
    assert losses(model, updated, task.context, task.targets)[1] < 0.3


def test_through_the_gate_the_weight_moves_by_what_was_not_seen(world):
    people, model = world
    gate = Gate(method=model, control=build("pooled")).fit(people.take_users(people.role < 2))
    tested = people.with_role("test")
    history = tested.with_split("context").history(0)
    persona = gate.adapt(replace(history, feedback=history.feedback[:8]))
    row = history.feedback[8]
    other = Feedback(row.user, row.conversation, row.responses, 1 - row.chosen, "other")
    odds = [float(np.subtract(*m.score(p, row.conversation, row.responses)))
            for m, p in ((model, gate.inner_persona(persona)), (gate.control, Persona()))]  # fmt: skip
    sign = 1.0 if row.chosen == 0 else -1.0
    for choice, side in ((row, sign), (other, -sign)):
        after = gate.update(persona, choice)
        mixed = odds[1] + np.linspace(0, 1, 5) * (odds[0] - odds[1])
        share = np.array(persona.vector[-7:-2]) / (1 + np.exp(-side * mixed))
        np.testing.assert_allclose(after.vector[-7:-2], share / share.sum(), rtol=1e-5)
        assert after.verdict.choices == persona.verdict.choices + 1
        right = float(side * odds[0] > 0)
        assert after.verdict.accuracy == pytest.approx((8 * persona.verdict.accuracy + right) / 9)
        assert after.vector[-1] == after.verdict.weight
        assert after.provenance.feedback == (*persona.provenance.feedback, choice.id)


# ---- a person's word ----------------------------------------------------------------------------------


def length_slope(model, persona):
    """How far scores of short and long answers part for this user."""
    short, long = ("Take the train at noon.", "Take the train at noon. " * 12)
    return float(np.diff(model.score(persona, "How?", [short, long]))[0])


def test_a_person_who_wants_longer_answers_gets_them(world):
    people, model = world
    for history in list(people.with_role("test").with_split("context"))[:6]:
        persona = model.adapt(history)
        slopes = [length_slope(model, model.revise(persona, {"length": s})) for s in (-2.0, 0.0, 2.0)]
        assert slopes == sorted(slopes)
        assert slopes[2] > slopes[0] + 1.0


def test_a_shift_counts_what_learned_directions_have_of_the_axis(world):
    people, model = world
    persona = model.adapt(people.with_role("test").with_split("context").history(1))
    mean = np.array(persona.vector)[: len(model._shifts.average)]
    r = model.rank_
    expected = model.spread_[LENGTH] * mean[r + LENGTH] + mean[:r] @ model._projection.along[:, LENGTH]
    assert model.shift_of(persona, "length") == pytest.approx(expected)
    with pytest.raises(MethodError, match=r"mixed has no axis 'colour' to set to \+1\.00; it has length,"):
        model.revise(persona, {"colour": 1.0})


def test_the_average_user_of_a_model_with_groups_has_no_shift():
    model = fitted("mixed", TWO)
    nobody = model.adapt(History("nobody"))
    for axis in STYLE_AXES:
        assert model.shift_of(nobody, axis.name) == pytest.approx(0.0, abs=1e-6)


# ---- many threads -------------------------------------------------------------------------------------


def test_eight_threads_get_what_one_gets(world):
    people, model = world
    gate = Gate(method=model, control=build("pooled")).fit(people.take_users(people.role < 2))
    histories = [replace(h, feedback=h.feedback[:6]) for h in people.with_role("test").with_split("context")][
        :8
    ]
    talk = as_conversation("How?")

    def work(number):
        """Adapt, update, revise and score, for another user first each time."""
        out = {}
        for turn in range(len(histories)):
            user = (number + turn) % len(histories)
            history = histories[user]
            persona = gate.adapt(replace(history, feedback=history.feedback[:5]))
            persona = gate.revise(gate.update(persona, history.feedback[5]), {"lists": 0.5})
            texts = tuple(f"{text} {user}" for text in history.feedback[0].responses)
            out[user] = persona, gate.score_batch([Query(persona, talk, texts)]).tolist()
        return out

    forget_texts()
    expected = work(0)
    forget_texts()
    found = [None] * 8
    threads = [threading.Thread(target=lambda i=i: found.__setitem__(i, work(i))) for i in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one == expected for one in found)
