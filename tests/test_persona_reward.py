"""rm-persona: against a plain solution, and in worlds where personas carry the truth, or nothing."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_expit

from palate import catalogue
from palate.catalogue import build, load
from palate.core import ConfigError, History, Method, Persona, Population, Queries, Query
from palate.evaluate.protocol import new_users
from palate.feedback.world import World
from palate.gate import Gate, differences
from palate.models.features import embed
from palate.numerics.design import Design
from palate.persona_reward import fit_head

SAID = {
    "short": ("Prefers short answers.", "Wants it brief.", "Likes few words.", "Short and brief is best."),
    "long": (
        "Prefers long answers.",
        "Wants it in detail.",
        "Likes many words.",
        "Long and detailed is best.",
    ),
}
CHATTER = (
    "Owns a bicycle.",
    "Lives by the sea.",
    "Has two cats.",
    "Reads at night.",
    "Plays the oboe.",
    "Is shy.",
)


@dataclass(kw_only=True, eq=False)
class Teller(Method):
    """Says of a user what it sees in the choices, or something that has nothing to do with them."""

    name: ClassVar[str] = "teller"
    noise: bool = False
    seed: int = 0
    seen: ClassVar[list[Population]] = []

    def _learn(self, population):
        self.noise_ = self.noise

    def _condense(self, population):
        return np.zeros((population.n_users, 0))

    def _log_odds(self, vectors, queries):
        return np.zeros(len(queries.options))

    def _words(self, population, vectors):
        self.seen.append(population)

        def write(user):
            history = population.history(user)
            rng = np.random.default_rng([sum(map(ord, history.user)), len(history)])
            if self.noise_:
                return " ".join(rng.permutation(CHATTER)[:3]), ()
            gaps = [2 * len(f.chosen_response) - sum(map(len, f.responses)) for f in history.feedback]
            return str(rng.choice(SAID["long" if np.mean(gaps) > 0 else "short"])), ()

        return write


@dataclass(kw_only=True, eq=False)
class Mute(Teller):
    """Keeps no words of anybody."""

    name: ClassVar[str] = "mute"

    def _words(self, population, vectors):
        return None


@pytest.fixture(autouse=True)
def tellers(monkeypatch):
    here = Teller.__module__
    monkeypatch.setitem(catalogue._OURS, "teller", f"{here}:Teller")
    monkeypatch.setitem(catalogue._OURS, "mute", f"{here}:Mute")
    catalogue._known.cache_clear()
    Teller.seen.clear()
    yield
    catalogue._known.cache_clear()


@pytest.fixture(scope="module")
def task():
    return new_users("two", World.two_tastes(users=120).sample().population, simulated=True)


def model(task, **fields):
    return build("rm-persona", {"writer": "teller", **fields}).fit(task.fit_on)


def log_odds_of(method, task):
    return differences(method, method.adapt_batch(task.context), task.context, task.targets)


def by_user(task, d):
    """Share of each test user's targets that are predicted."""
    right = (d > 0) + 0.5 * (d == 0)
    user = task.targets.user
    return np.bincount(user, weights=right) / np.bincount(user)


# ---- against a plain solution ---------------------------------------------------------------------------


def test_the_head_is_the_minimum_of_its_objective():
    """Against a general solver on explicit products of features, in float64."""
    crowd = World.two_tastes(users=12).sample().population
    pairs = crowd.pairs.take(np.arange(0, len(crowd.pairs), 5))
    design = Design.of(pairs, crowd.n_users)
    x = np.asarray(embed(crowd.corpus, "style"), np.float64)[design.items]
    told = np.random.default_rng(0).normal(size=(crowd.n_users, 3))[pairs.user]
    w, a = fit_head(x, design, told, 2.0, 5.0, (np.zeros(x.shape[1]), np.zeros((3, x.shape[1]))))
    gap = x[design.winner] - x[design.loser]
    wide = np.concatenate([gap, (told[:, :, None] * gap[:, None, :]).reshape(len(gap), -1)], axis=1)
    precision = np.repeat([2.0, 5.0], [x.shape[1], 3 * x.shape[1]])

    def loss(v):
        f = wide @ v
        return -log_expit(f).sum() + 0.5 * (precision * v * v).sum()

    def slope(v):
        return -wide.T @ (1 / (1 + np.exp(wide @ v))) + precision * v

    plain = minimize(
        loss, np.zeros(wide.shape[1]), jac=slope, method="BFGS", options={"gtol": 1e-8, "maxiter": 2000}
    )
    found = np.concatenate([w, a.ravel()])
    assert loss(found) <= loss(plain.x) + 1e-6 * abs(loss(plain.x))
    np.testing.assert_allclose(found, plain.x, atol=5e-3)


def test_ties_pull_towards_nothing():
    crowd = World.two_tastes(users=6).sample().population
    tied = replace(crowd, chosen=np.full_like(crowd.chosen, -1))
    design = Design.of(tied.pairs, tied.n_users)
    x = np.asarray(embed(crowd.corpus, "style"), np.float64)[design.items]
    told = np.ones((len(tied.pairs), 2))
    w, a = fit_head(x, design, told, 1.0, 1.0, (np.ones(x.shape[1]), np.ones((2, x.shape[1]))))
    np.testing.assert_allclose(w, 0, atol=1e-3)
    np.testing.assert_allclose(a, 0, atol=1e-3)


# ---- worlds ---------------------------------------------------------------------------------------------


def test_personas_that_carry_the_truth_beat_the_pooled_model(task):
    personal = by_user(task, log_odds_of(model(task), task))
    pooled = by_user(task, log_odds_of(build("pooled").fit(task.fit_on), task))
    assert personal.mean() > 0.9
    assert pooled.mean() < 0.6


def test_personas_that_are_noise_leave_the_pooled_model(task):
    gains = []
    for seed in range(3):
        world = World(users=160, pairs=12, targets=8, seed=seed)
        other = new_users("world", world.sample().population, simulated=True)
        noisy = by_user(other, log_odds_of(model(other, writing={"noise": True}), other))
        pooled = by_user(other, log_odds_of(build("pooled").fit(other.fit_on), other))
        gains.append(noisy - pooled)
    gain = np.concatenate(gains)
    assert gain.mean() > -1.96 * gain.std(ddof=1) / np.sqrt(len(gain)) - 1e-9
    noisy = model(task, writing={"noise": True})
    assert noisy.bond_ == 0.0
    np.testing.assert_array_equal(noisy.weights_, build("pooled").fit(task.fit_on).weights_)


def test_words_of_style_do_it_without_a_language_model():
    other = new_users("world", World(users=300).sample().population, simulated=True)
    personal = by_user(other, log_odds_of(model(other, writer="style"), other))
    pooled = by_user(other, log_odds_of(build("pooled").fit(other.fit_on), other))
    gain = personal - pooled
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain))


# ---- the contract -----------------------------------------------------------------------------------------


def test_no_text_is_the_pooled_answer(task):
    method = model(task)
    stranger = method.adapt(History("new"))
    assert stranger.text is None
    assert set(stranger.vector) == {0.0}
    row = task.context.row(0)
    x = np.asarray(embed(task.context.corpus, "lexical"), np.float64)[task.context.options[:2]]
    for persona in (Persona(), stranger):
        scores = method.score(persona, row.conversation, row.responses)
        np.testing.assert_allclose(scores, x @ method.weights_, rtol=1e-4, atol=1e-5)


def test_training_personas_never_saw_the_pair(task):
    model(task)
    train = task.fit_on.with_role("train")
    parts = [p for p in Teller.seen if set(p.users) == set(train.users)]
    assert len(parts) == 2
    ids = [set(p.ids) for p in parts]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == set(train.ids)


def test_an_edited_persona_is_read_again(task):
    method = model(task)
    history = task.context.history(0)
    persona = method.adapt(history)
    assert method.reread(persona).vector == pytest.approx(persona.vector)
    other = SAID["long" if persona.text in SAID["short"] else "short"][0]
    edited = method.reread(replace(persona, text=other))
    row = history.feedback[0]
    before, after = (method.score(p, row.conversation, row.responses) for p in (persona, edited))
    assert np.sign(before[0] - before[1]) == -np.sign(after[0] - after[1])
    assert method.describe(edited) == other
    assert "average" in method.describe(Persona())


def test_it_is_saved_with_its_writer_and_gated(task, tmp_path):
    method = model(task, rank=8)
    few = task.context.take_users(np.arange(10))
    personas = method.adapt_batch(few)
    again = load(method.save(tmp_path / "model"))
    assert again.fingerprint == method.fingerprint
    assert [p.text for p in again.adapt_batch(few)] == [p.text for p in personas]
    queries = Queries.of_pairs(personas, few.corpus, few.pairs)
    np.testing.assert_allclose(again.score_batch(queries), method.score_batch(queries), atol=1e-9)
    gate = Gate(method=method, control=build("pooled"), folds=2).fit(task.fit_on)
    tested = gate.adapt_batch(few)
    assert tested.verdicts.weight.mean() > 0.8
    assert tested[0].text == personas[0].text
    row = few.row(0)
    kept = Persona.from_json(tested[0].to_json())
    np.testing.assert_allclose(
        load(gate.save(tmp_path / "gate")).score_batch([Query(kept, row.conversation, row.responses)]),
        gate.score(tested[0], row.conversation, row.responses),
    )


def test_fields_reach_the_writer_and_wrong_ones_are_refused(task):
    assert model(task, writing={"noise": True})._writer.noise
    assert model(task, writing=(("noise", True),))._writer.noise
    plain, told = (build("rm-persona", {"writing": w})._new_writer() for w in ({}, {"variant": "both"}))
    assert (plain.variant, plain.calibrate, told.variant) == ("personas", 0, "both")
    with pytest.raises(ConfigError, match="teller has no field"):
        model(task, writing={"mood": 3})
    with pytest.raises(ConfigError, match="writer='mute', which puts nobody into words"):
        model(task, writer="mute")
    with pytest.raises(ConfigError, match="rank=0, folds=2: expected 1 or more"):
        build("rm-persona", {"rank": 0})


def test_one_persona_for_all_is_the_pooled_model(task, monkeypatch):
    monkeypatch.setitem(SAID, "short", ("The same.",))
    monkeypatch.setitem(SAID, "long", ("The same.",))
    method = model(task)
    assert method.axes_.shape[1] == 0
    assert np.isfinite(log_odds_of(method, task)).all()


def test_a_persona_that_is_corrected_is_read_anew():
    crowd = World.two_tastes(users=60, seed=2).sample().population
    model = build("rm-persona", {"writer": "style"}).fit(crowd.take_users(crowd.role < 2))
    persona = next(p for p in model.adapt_batch(crowd.with_role("test").with_split("context")) if p.claims)
    claim = persona.claims[0]
    plain = model.revise(persona, {claim.about: 0.0})
    assert claim.text not in (plain.text or "")
    assert plain.vector == model.reread(plain).vector
    assert model.shift_of(plain, claim.about) == 0.0
    added = model.revise(persona, {"Wants it brief.": 1.0})
    assert added.text.endswith("Wants it brief. (As the person said.)")
    assert added.vector == model.reread(added).vector
    assert model.revise(persona, {claim.about: 1.0}) == persona
