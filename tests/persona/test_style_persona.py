"""What ``style`` says of a user, and the choices that it rests on."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from palate.catalogue import build
from palate.core import Describes, History, Persona, Population
from palate.feedback.world import World
from palate.models.features import embed
from palate.models.style import STYLE_AXES

LENGTH = [axis.name for axis in STYLE_AXES].index("length")


@pytest.fixture(scope="module")
def sample():
    return World.two_tastes(users=120).sample()


@pytest.fixture(scope="module")
def people(sample):
    return sample.population


@pytest.fixture(scope="module")
def model(people):
    return build("style").fit(people.take_users(people.role < 2))


@pytest.fixture(scope="module")
def readers(people):
    return people.with_role("test").with_split("context")


@pytest.fixture(scope="module")
def tastes(sample, people):
    return sample.taste[people.role == 2]


def about_length(persona):
    return [c for c in persona.claims if "shorter answers" in c.text or "longer answers" in c.text]


def test_it_says_shorter_of_those_who_choose_short_answers_and_longer_of_the_others(model, readers, tastes):
    said = {0: 0, 1: 0}
    for persona, taste in zip(model.adapt_batch(readers), tastes, strict=True):
        wanted, other = (
            ("shorter answers", "longer answers") if taste == 0 else ("longer answers", "shorter answers")
        )
        assert other not in persona.text
        said[taste] += persona.text.startswith(f"Prefers {wanted}: ")
    assert said[0] > 0.95 * (tastes == 0).sum()
    assert said[1] > 0.95 * (tastes == 1).sum()


def test_evidence_is_the_users_own_choices_and_speaks_of_the_axis(model, readers):
    for history, persona in zip(list(readers)[:12], model.adapt_batch(readers), strict=False):
        rows = {row.id: row for row in history.feedback}
        for claim in about_length(persona):
            shorter = "shorter" in claim.text
            assert len(claim.supports) > len(claim.contradicts)
            assert not set(claim.supports) & set(claim.contradicts)
            for side, agree in ((claim.supports, True), (claim.contradicts, False)):
                for name in side:
                    row = rows[name]
                    other = row.responses[1 - row.chosen]
                    assert ((len(row.chosen_response) < len(other)) == shorter) == agree


def test_a_claim_tells_its_count_its_strength_and_its_interval(model, readers):
    claim = model.adapt(readers.history(0)).claims[0]
    total = len(claim.supports) + len(claim.contradicts)
    assert f"{len(claim.supports)} of {total} choices that differ in it" in claim.text
    assert f"{claim.strength:+.2f} log-odds [{claim.low:+.2f}, {claim.high:+.2f}]" in claim.text
    assert 0 < claim.low < claim.strength < claim.high


def test_an_empty_history_is_told_nothing(model):
    persona = model.adapt(History("new"))
    assert persona.claims == ()
    assert persona.text == "No preference of style is evident from 0 choices."


def test_nothing_is_said_of_a_user_without_choices_even_where_everybody_agrees():
    """All users love short answers, so the average is far from zero; a new user has not said so yet."""
    world = World(
        users=60, tastes=("short",), mixture=(1.0,), strength=4.0, spread=0.1, shared=0.0, differ=("length",)
    )
    crowd = world.sample().population
    model = build("style").fit(crowd.take_users(crowd.role < 2))
    assert "shorter answers" in model.describe(Persona())
    assert model.adapt(History("new")).claims == ()
    told = model.adapt(crowd.with_role("test").history(0))
    assert all(claim.supports or claim.contradicts for claim in told.claims)


def test_ties_and_many_options_give_each_choice_once(model, readers):
    """A choice among three is one choice: its id stands once, on one side."""
    rows = [row for history in list(readers)[:6] for row in history.feedback]
    wide = []
    for number in range(0, len(rows) - 1, 2):
        first, second = rows[number], rows[number + 1]
        shown = (*first.responses, second.responses[0])
        best = int(np.argmin([len(text) for text in shown]))
        wide.append(
            type(first)("ann", first.conversation, shown, None if number % 10 == 0 else best, f"w{number}")
        )
    persona = model.adapt(History("ann", tuple(wide)))
    assert about_length(persona)
    for claim in persona.claims:
        sides = [*claim.supports, *claim.contradicts]
        assert len(sides) == len(set(sides)) <= len(wide)
    tied = {row.id for row in wide if row.chosen is None}
    assert tied.isdisjoint({i for claim in persona.claims for i in (*claim.supports, *claim.contradicts)})


def test_scores_are_the_tastes_times_the_axes(model, readers):
    persona = model.adapt(readers.history(0))
    row = readers.row(0)
    items = readers.options[: len(row.responses)]
    axes = np.asarray(embed(readers.corpus, "style"), np.float64)[items]
    mean = np.array(persona.vector[: len(STYLE_AXES)])
    scores = model.score(persona, row.conversation, row.responses)
    np.testing.assert_allclose(scores, axes @ (model.shared_ + model.spread_ * mean), rtol=1e-6)


def test_taste_and_interval_are_the_posteriors(model, readers, tastes):
    """A user's length taste lies inside its interval, and more choices narrow it."""
    widths = []
    for n in (2, 8, 30):
        taste, variance = model._taste(model.adapt_batch(readers.head(n)).vectors)
        widths.append(np.sqrt(variance[:, LENGTH]).mean())
        right = np.sign(taste[:, LENGTH]) == np.where(tastes == 1, 1, -1)
        assert right.mean() > 0.9
    assert widths == sorted(widths, reverse=True)


def test_intervals_hold_the_true_taste_as_often_as_they_say():
    """Users drawn from the model itself choose on its axes; 95 % intervals hold their true tastes."""
    rng = np.random.default_rng(0)
    crowd = World(users=150, pairs=20, targets=1).sample().population
    model = build("style", {"shareds": (1.0,), "rounds": 3}).fit(crowd)
    axes = np.asarray(embed(crowd.corpus, "style"), np.float64)
    for spread in (np.full(14, 0.3), np.full(14, 1.0), np.array([8.0] + [0.2] * 13)):
        model.spread_ = spread
        truth = model.shared_ + spread * rng.normal(size=(crowd.n_users, len(STYLE_AXES)))
        offered = crowd.options.reshape(-1, 2)
        odds = ((axes[offered[:, 0]] - axes[offered[:, 1]]) * truth[crowd.row_user]).sum(1)
        chosen = (rng.random(len(odds)) > expit(odds)).astype(np.int64)
        told = replace(crowd, chosen=chosen)
        vectors = model.adapt_batch(told).vectors
        held = []
        for user in range(crowd.n_users):
            ways = model._ways(told, user, vectors[user, : len(STYLE_AXES)])
            low, high = model._interval(ways, np.arange(len(STYLE_AXES)))
            near = model._near(ways, np.ones(len(STYLE_AXES), bool))
            assert set(np.flatnonzero((low > 0) | (high < 0))) <= set(near)
            held.append((low <= truth[user]) & (truth[user] <= high))
        assert 0.92 < np.mean(held) < 0.985
        assert np.mean(held, axis=0)[LENGTH] > 0.9


def test_the_shared_variance_is_the_inverse_curvature(model, people):
    """Against a plain computation of the Laplace variance of what people share."""
    train = people.take_users(people.role < 2).with_role("train").pairs
    axes = np.asarray(embed(people.corpus, "style"), np.float64)
    gap = axes[train.winner] - axes[train.loser]
    p = expit(gap @ model.shared_)
    precision = sum(q * np.outer(d, d) for q, d in zip(p * (1 - p), gap, strict=True))
    precision += len(STYLE_AXES) / model.scale_**2 * np.eye(len(STYLE_AXES))
    np.testing.assert_allclose(model.shared_variance_, np.diag(np.linalg.inv(precision)), rtol=1e-6)


def test_it_describes_and_the_average_user_is_described_too(model, readers):
    assert isinstance(model, Describes)
    persona = model.adapt(readers.history(0))
    assert model.describe(persona) == persona.text
    average = model.describe(Persona())
    assert average.startswith("People on average prefer ") or average == "No preference is evident."


def test_words_are_written_on_demand_and_alike_alone_or_in_a_batch(model, readers):
    batch = model.adapt_batch(readers)
    alone = model.adapt(readers.history(3))
    assert alone.text == batch[3].text
    assert [c.supports for c in alone.claims] == [c.supports for c in batch[3].claims]


def test_no_user_at_all(model):
    assert len(model.adapt_batch(Population.of([]))) == 0


# ---- one more choice, and a person's word --------------------------------------------------------------


def test_twenty_updates_are_about_as_good_as_adapting(model, people, readers):
    context = readers.head(20)
    updated = []
    for history in context:
        persona = Persona(history.user)
        for row in history.feedback:
            persona = model.update(persona, row)
        updated.append(persona)
    target = people.with_role("test").with_split("target").pairs
    axes = np.asarray(embed(people.corpus, "style"), np.float64)
    gap = axes[target.winner] - axes[target.loser]
    losses = [
        np.mean(np.logaddexp(0, -(gap * model._taste(vectors)[0][target.user]).sum(1)))
        for vectors in (model.adapt_batch(context).vectors, np.array([p.vector for p in updated]))
    ]
    assert losses[1] < losses[0] + 0.03
    assert updated[0].provenance.feedback == model.adapt(context.history(0)).provenance.feedback


def test_statements_move_with_new_choices(model, readers):
    for history in list(readers)[:8]:
        before = model.adapt(replace(history, feedback=history.feedback[:12]))
        claim, row = about_length(before)[0], history.feedback[12]
        short = int(len(row.responses[1]) < len(row.responses[0]))
        agrees = short if "shorter" in claim.text else 1 - short
        (told,) = about_length(model.update(before, replace(row, chosen=agrees)))
        assert told.strength > claim.strength
        assert told.supports == (*claim.supports, row.id)
        total = len(told.supports) + len(told.contradicts)
        assert f"{len(told.supports)} of {total} choices that differ in it" in told.text
        assert 0 < told.low < told.strength < told.high
        for weaker in about_length(model.update(before, replace(row, chosen=1 - agrees))):
            assert weaker.strength < claim.strength
            assert weaker.contradicts == (*claim.contradicts, row.id)


def test_a_statement_after_an_update_is_about_what_adapting_says():
    """In a world of mild tastes: the same statements, with ends that are near, for choices of either kind."""
    crowd = World(users=200, pairs=20, targets=1, seed=1).sample().population
    model = build("style", {"shareds": (1.0,), "rounds": 6}).fit(crowd.take_users(crowd.role < 2))
    same, lows = 0, []
    for history in list(crowd.with_role("test").with_split("context"))[:30]:
        before = model.adapt(replace(history, feedback=history.feedback[:12]))
        for row in (
            history.feedback[12],
            replace(history.feedback[12], chosen=1 - history.feedback[12].chosen),
        ):
            whole = model.adapt(replace(history, feedback=(*history.feedback[:12], row)))
            said, expected = ({c.about: c for c in p.claims} for p in (model.update(before, row), whole))
            for about in {*said, *expected} & {c.about for c in before.claims}:
                if about in said and about in expected:
                    same += 1
                    lows.append(abs(said[about].low - expected[about].low))
                    assert said[about].supports == expected[about].supports
    assert same > 5
    assert np.mean(lows) < 0.1


def test_a_forgotten_axis_is_ranked_as_for_everyone_and_told_to_nobody(model, readers):
    persona = model.adapt(readers.history(0))
    plain = model.revise(persona, {"length": 0})
    taste = model._taste(np.array([plain.vector]))[0][0]
    assert taste[LENGTH] == pytest.approx(model.shared_[LENGTH])
    gone = next(claim for claim in plain.claims if claim.about == "length")
    assert not gone.kept
    assert gone.headline.startswith("Prefers ")
    assert gone.supports == about_length(persona)[0].supports
    assert "shorter answers" not in plain.text
    assert "longer answers" not in plain.text
    nothing = model.revise(persona, {axis.name: 0.0 for axis in STYLE_AXES})
    talk = "How?"
    texts = ["Yes.", "Yes, and here is why: " * 9]
    np.testing.assert_allclose(model.score(nothing, talk, texts), model.score(Persona(), talk, texts))
    assert nothing.text.startswith("No preference of style is evident from ")


def test_what_a_person_says_stands_with_its_strength_and_turns_its_evidence(model, readers):
    persona = model.adapt(readers.history(0))
    claim = about_length(persona)[0]
    sign = -1.0 if "shorter" in claim.text else 1.0
    turned = model.revise(persona, {"length": -sign * 3.0 - float(model.shared_[LENGTH])})
    said = next(c for c in turned.claims if c.about == "length")
    assert said.headline == ("Prefers longer answers" if sign < 0 else "Prefers shorter answers")
    assert (said.low, said.strength, said.high) == (3.0, 3.0, 3.0)
    assert (said.supports, said.contradicts) == (claim.contradicts, claim.supports)
    assert said.text.endswith("(As the person said.)")
    assert said.text in turned.text
    new = model.revise(persona, {"emphasis": 1.5})
    assert any(c.about == "emphasis" and c.by_hand for c in new.claims)
    assert model.shift_of(new, "emphasis") == pytest.approx(1.5)
    assert model.shift_of(new, "colour") is None
