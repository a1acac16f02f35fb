"""The gate: evidence on held-back choices, a prior by EM, and a weight a user."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.special import log_expit

from palate.catalogue import build, load
from palate.checks import people
from palate.core import Feedback, History, Method, MethodError, Persona, Population, Query, as_conversation
from palate.gate import Gate, Held, fold_rows, held_margins, hold_back
from palate.gate.gate import mixture
from palate.gate.held import WEIGHTS, evidence


@dataclass(kw_only=True, eq=False)
class Knows(Method):
    """Prefers, for each user, what it was told about that user: by ``sign`` of the user's first letter."""

    name = "knows"
    strength: float = 3.0
    noise: float = 0.0

    def _learn(self, population):
        self.strength_ = self.strength

    def _condense(self, population):
        likes = [{"s": -1.0, "l": 1.0}.get(str(user)[:1], 0.0) for user in population.users]
        return np.array(likes)[:, None] * self.strength_

    def _log_odds(self, vectors, queries):
        texts = [queries.corpus.response(item) for item in queries.options]
        scores = vectors[queries.who[queries.option_query], 0] * [np.log10(len(t) + 1) for t in texts]
        # noise that belongs to a text, so that the method stays a function of its input
        return scores + self.noise * np.array([np.sin(1e3 * sum(map(ord, t))) for t in texts])


@dataclass(kw_only=True, eq=False)
class Flat(Method):
    name = "flat"
    personal = False

    def _learn(self, population):
        pass

    def _condense(self, population):
        return np.zeros((population.n_users, 0))

    def _log_odds(self, vectors, queries):
        return np.zeros(len(queries.options))


def lovers(users=20, rows=12, seed=0, noise=0.0):
    """Users whose name tells their taste: s... choose the short answer, l... the long one."""
    rng = np.random.default_rng(seed)
    histories = []
    for number in range(users):
        name, made = f"{'sl'[number % 2]}{seed}-{number}", []
        for row in range(rows):
            short = f"No {rng.integers(10**6)}."
            texts = (short, f"Yes, and here is why, at some length: {rng.integers(10**6)} reasons. " * 3)
            wanted = number % 2 if rng.random() >= noise else int(rng.integers(2))
            made.append(Feedback(name, as_conversation("Well?"), texts, wanted, f"{name}-{row}"))
        histories.append(History(name, tuple(made)))
    return Population.of(histories)


def gate_of(method, population=None, folds=10):
    return Gate(method=method, control=Flat(), folds=folds).fit(population or lovers(users=80))


# ---- weights ------------------------------------------------------------------------------------------


def test_a_perfect_persona_is_applied_whole():
    weights = gate_of(Knows()).adapt_batch(lovers(seed=1)).verdicts.weight
    assert weights.min() > 0.97


def test_noise_is_set_aside():
    weights = gate_of(Knows(strength=0.0, noise=8.0)).adapt_batch(lovers(seed=1)).verdicts.weight
    assert np.mean(weights) < 0.02
    assert weights.max() < 0.15


def test_a_persona_that_fails_one_user_is_set_aside_for_that_user_alone():
    gate = gate_of(Knows())
    wrong = list(lovers(users=4, seed=2))
    swapped = History(
        "sx", tuple(Feedback("sx", f.conversation, f.responses, 1, f"x{f.id}") for f in wrong[0].feedback)
    )
    verdicts = gate.adapt_batch([wrong[0], wrong[1], swapped]).verdicts
    assert verdicts.weight[0] > 0.9
    assert verdicts.weight[1] > 0.9
    assert verdicts.weight[2] < 0.05
    assert verdicts.accuracy.tolist() == [1.0, 1.0, 0.0]


def test_a_weight_of_zero_gives_the_control_and_of_one_the_method():
    gate = gate_of(Knows())
    vector = gate.adapt(lovers(seed=1).history(0)).vector
    assert vector[0] == -3.0
    question = "Well?", ["Short.", "A long answer. " * 9]
    for weight in (0.0, 0.25, 1.0):
        scores = gate.score(Persona("s", vector=(*vector[:-1], weight)), *question)
        full = gate.method.score(Persona("s", vector=vector[:1]), *question)
        assert scores[0] - scores[1] == pytest.approx(weight * (full[0] - full[1]))


def test_a_user_without_choices_has_the_priors_weight_and_no_verdict():
    gate = gate_of(Knows())
    persona = gate.adapt(History("s-new"))
    assert persona.vector[-1] == pytest.approx(gate.prior_ @ WEIGHTS)
    assert persona.verdict is None


def test_a_user_with_ties_alone_has_a_verdict_in_numbers():
    tied = [Feedback("s", as_conversation("Hi"), (f"a{i}", f"bb{i}"), None, f"t{i}") for i in range(3)]
    verdict = gate_of(Knows()).adapt(History("s", tuple(tied))).verdict
    assert (verdict.choices, verdict.accuracy, verdict.control_accuracy) == (3, 0.5, 0.5)
    assert verdict.control_log_loss == pytest.approx(np.log(2))


# ---- held-back choices --------------------------------------------------------------------------------


class Remembers(Knows):
    """Prefers exactly the texts that the user chose before: perfect on what it has seen, blind elsewhere."""

    name = "remembers"

    def _condense(self, population):
        self_seen = np.zeros((population.n_users, 1))
        for row in range(population.n_rows):
            history = population.row(row)
            self_seen[population.row_user[row], 0] += len(history.chosen_response or "")
        type(self).seen.append([population.ids[slice(*population.offsets[u : u + 2])].tolist()
                                for u in range(population.n_users)])  # fmt: skip
        return self_seen


def test_every_choice_is_predicted_from_the_others_only():
    Remembers.seen = []
    crowd = lovers(users=3, rows=4)
    method, flat = Remembers().fit(crowd), Flat().fit(crowd)
    held = hold_back(method, flat, crowd)
    assert len(held.pairs) == len(crowd.pairs)
    np.testing.assert_array_equal(held.pairs.row, crowd.pairs.row)
    (seen,) = Remembers.seen  # leave one out: all folds side by side in one batch
    assert len(seen) == 4 * 3
    for place, kept in enumerate(seen):
        fold, user = divmod(place, 3)
        ids = crowd.ids[slice(*crowd.offsets[user : user + 2])].tolist()
        assert kept == ids[:fold] + ids[fold + 1 :]


def test_folds_together_or_one_by_one_predict_alike(monkeypatch):
    crowd = people(users=5, rows=9, seed=2)
    single, flat = build("individual", {"ridges": (1.0,)}).fit(people()), Flat().fit(people())
    together = hold_back(single, flat, crowd)
    monkeypatch.setattr("palate.gate.held._AT_ONCE", 1)
    alone = hold_back(single, flat, crowd)
    np.testing.assert_allclose(together.personal, alone.personal, atol=1e-5)
    assert np.abs(together.personal).max() > 0.1


def test_folds_are_even_and_number_as_asked():
    crowd = lovers(users=2, rows=25)
    fold = fold_rows(crowd, 10)
    for user in range(2):
        assert sorted(np.bincount(fold[crowd.row_user == user]).tolist()) == [2] * 5 + [3] * 5
    assert fold_rows(lovers(users=2, rows=3), 10).tolist() == [0, 1, 2, 0, 1, 2]
    assert len(fold_rows(Population.of([History("a")]), 10)) == 0


def test_rows_that_offer_the_same_options_share_a_fold_in_any_order():
    rng = np.random.default_rng(0)
    offers = [("a", "b"), ("a", "b", "c"), ("d", "e", "f", "g"), ("a", "c"), ("b", "c", "d")]
    rows = []
    for number in range(60):
        which = int(rng.integers(len(offers)))
        shown = tuple(rng.permutation(offers[which]).tolist())
        rows.append(Feedback(f"u{number % 3}", as_conversation("Q"), shown, 0, f"{number}"))
    crowd = Population.of(rows)
    fold, home = fold_rows(crowd, 10), {}
    for row in range(crowd.n_rows):
        feedback = crowd.row(row)
        key = feedback.user, frozenset(feedback.responses)
        assert home.setdefault(key, fold[row]) == fold[row]
    for user in ("u0", "u1", "u2"):
        folds = [fold for (owner, _), fold in home.items() if owner == user]
        assert len(set(folds)) == len(folds) > 3


def test_a_repeated_choice_cannot_tell_its_own_answer():
    """Individual models learn a repeated row by heart; held back together, they cannot."""
    text = as_conversation("Q")
    rows = [
        Feedback("u", text, (f"apple {n}", f"pear {n}"), n % 2, f"{n}-{k}")
        for n in range(6)
        for k in range(3)
    ]
    crowd = Population.of([*rows, *(f for h in lovers(users=6, rows=4) for f in h.feedback)])
    single = build("individual", {"ridges": (0.1,)}).fit(crowd)
    held = hold_back(single, build("pooled").fit(crowd), Population.of(rows))
    assert (held.personal > 0).mean() < 0.9
    learned = single.adapt_batch(Population.of(rows))
    scores = single.score_batch([Query(learned[0], text, row.responses) for row in rows]).reshape(-1, 2)
    assert all(np.argmax(scores, axis=1) == [row.chosen for row in rows])


# ---- prior and verdict --------------------------------------------------------------------------------


def log_posterior(prior, likelihood):
    return np.log(np.exp(likelihood) @ prior).sum() + np.log(prior).sum() / len(prior)


def test_the_prior_maximises_the_validation_users_likelihood():
    rng = np.random.default_rng(1)
    likelihood = rng.normal(size=(30, 5)) * 2
    prior = mixture(likelihood)
    assert prior.sum() == pytest.approx(1.0)
    best = log_posterior(prior, likelihood)
    for _ in range(200):
        near = np.clip(prior + rng.normal(size=5) * 0.03, 1e-6, None)
        assert log_posterior(near / near.sum(), likelihood) <= best + 1e-4


def test_the_prior_of_nobody_is_even_and_of_the_unanimous_is_sharp():
    np.testing.assert_allclose(mixture(np.zeros((0, 5))), 0.2)
    unanimous = np.tile(np.array([-9.0, -9.0, -9.0, -9.0, 0.0]), (40, 1))
    assert mixture(unanimous)[-1] > 0.95


def test_evidence_is_the_log_likelihood_at_each_weight():
    crowd = people(users=3, rows=5)
    rng = np.random.default_rng(2)
    personal, control = rng.normal(size=(2, len(crowd.pairs)))
    got = evidence(Held(crowd.pairs, personal, control), crowd.n_users)
    for user in range(crowd.n_users):
        for column, weight in enumerate(WEIGHTS):
            expected = 0.0
            for i in np.flatnonzero(crowd.pairs.user == user):
                odds = control[i] + weight * (personal[i] - control[i])
                tie = crowd.pairs.target[i] == 0.5
                expected += 0.5 * (log_expit(odds) + log_expit(-odds)) if tie else log_expit(odds)
            assert got[user, column] == pytest.approx(expected)


def test_a_verdict_by_hand():
    gate = gate_of(Knows(strength=1.0), lovers(users=10, rows=6))
    rows = (("a" * 9, "b" * 99, 0), ("c" * 9, "d" * 99, 0), ("e" * 99, "f" * 9, 0), ("g" * 9, "h" * 99, None))
    ann = History(
        "s", tuple(Feedback("s", as_conversation("Q"), r[:2], r[2], f"s{i}") for i, r in enumerate(rows))
    )
    persona = gate.adapt(ann)
    d = np.array([1.0, 1.0, -1.0, 1.0])  # log10(100) - log10(10), in favour of the short answer
    loss = -log_expit(d)
    loss[3] = -0.5 * (log_expit(1.0) + log_expit(-1.0))
    at_weights = np.array(
        [-(-log_expit(a * d[:3])).sum() + 0.5 * (log_expit(a) + log_expit(-a)) for a in WEIGHTS]
    )
    share = gate.prior_ * np.exp(at_weights)
    verdict = persona.verdict
    assert verdict.choices == 4
    assert verdict.accuracy == pytest.approx(2 / 3)
    assert verdict.control_accuracy == 0.5
    assert verdict.log_loss == pytest.approx(loss.mean())
    assert verdict.control_log_loss == pytest.approx(np.log(2))
    assert verdict.weight == pytest.approx(share @ WEIGHTS / share.sum())
    assert persona.vector[-1] == verdict.weight
    assert "predicted 67% of 4 held-back choices, 50% without it" in str(verdict)


def test_the_prior_rests_on_validation_targets():
    """What the prior is learned from: validation users' targets, predicted from their context alone."""
    crowd = lovers(users=80)
    gate = gate_of(Knows(), crowd)
    assert gate.prior_[-1] == gate.prior_.max()
    useless = gate_of(Knows(strength=0.0, noise=8.0), crowd)
    assert useless.prior_[0] == useless.prior_.max()


# ---- fitting, copying, saving ---------------------------------------------------------------------------


def test_methods_that_come_fitted_are_taken_as_they_are():
    crowd = people()
    method, control = build("individual").fit(crowd), build("pooled").fit(crowd)
    prints = method.fingerprint, control.fingerprint
    Gate(method=method, control=control).fit(people(seed=3))
    assert (method.fingerprint, control.fingerprint) == prints


def test_a_gates_clone_has_methods_of_its_own():
    gate = Gate(method=build("individual"), control=build("pooled")).fit(people())
    copy = gate.clone(folds=5)
    assert copy.folds == 5
    assert copy.method is not gate.method
    assert not hasattr(copy.method, "fitted_")
    assert gate.method.fitted_


def test_a_saved_gate_is_loaded_by_the_catalogue(tmp_path):
    gate = Gate(method=build("individual"), control=build("pooled"), folds=4).fit(people())
    readers = people(users=4, seed=1)
    back = load(gate.save(tmp_path / "gate"))
    assert back.fingerprint == gate.fingerprint
    assert back.folds == 4
    assert list(back.adapt_batch(readers)) == list(gate.adapt_batch(readers))
    assert back.label == "individual+gate"


def test_words_pass_through_the_gate():
    gate = Gate(method=build("style"), control=build("pooled")).fit(people(users=40, rows=12))
    persona = gate.adapt(people(users=2, rows=12, seed=1).history(0))
    assert persona.text
    assert persona.verdict is not None
    assert persona.provenance.method == "style+gate"


# ---- one more choice, and a person's word ---------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken():
    """A gate over style, and a reader with twelve choices."""
    gate = Gate(method=build("style"), control=build("pooled")).fit(people(users=40, rows=12))
    return gate, people(users=2, rows=12, seed=1).history(0)


def test_a_verdict_goes_on_as_its_means_do(spoken):
    gate, reader = spoken
    persona = gate.adapt(replace(reader, feedback=reader.feedback[:6]))
    odds, target = [], []
    for row in reader.feedback[6:]:
        inner = gate.inner_persona(persona)
        scores = gate.method.score(inner, row.conversation, row.responses)
        if row.chosen is None:
            odds += [scores[i] - scores[j] for i in range(len(scores)) for j in range(i)]
            target += [0.5] * (len(odds) - len(target))
        else:
            odds += [scores[row.chosen] - s for i, s in enumerate(scores) if i != row.chosen]
            target += [1.0] * (len(odds) - len(target))
        persona = gate.update(persona, row)
    start = gate.adapt(replace(reader, feedback=reader.feedback[:6])).verdict
    first = Population.of(reader.feedback[:6]).pairs
    n, decided = len(first), int((first.target == 1.0).sum())
    odds, target = np.array(odds), np.array(target)
    told = persona.verdict
    assert told.choices == n + len(odds)
    right = decided * start.accuracy + (odds[target == 1.0] > 0).sum()
    assert told.accuracy == pytest.approx(right / (decided + (target == 1.0).sum()))
    loss = -log_expit(odds) + (1 - target) * odds
    assert told.log_loss == pytest.approx((n * start.log_loss + loss.sum()) / (n + len(odds)), rel=1e-4)


def test_updates_and_adapting_agree_on_how_far_to_apply_it(spoken):
    gate, reader = spoken
    persona = Persona(reader.user)
    for row in reader.feedback:
        persona = gate.update(persona, row)
    whole = gate.adapt(reader)
    assert persona.verdict.choices == whole.verdict.choices
    assert persona.verdict.weight == pytest.approx(whole.verdict.weight, abs=0.1)
    assert persona.provenance == whole.provenance


def test_a_person_may_say_how_far_to_apply_it_and_choices_do_not_move_that(spoken):
    gate, reader = spoken
    persona = gate.adapt(replace(reader, feedback=reader.feedback[:8]))
    question = "Well?", ["Short.", "A long answer, with much to say. " * 9]
    plain = gate.control.score(Persona(), *question)
    for weight in (0.0, 0.4, 1.0):
        told = gate.with_weight(persona, weight)
        assert told.verdict.weight == weight
        own = gate.method.score(gate.inner_persona(persona), *question)
        mixed = (1 - weight) * (plain[0] - plain[1]) + weight * (own[0] - own[1])
        assert np.subtract(*gate.score(told, *question)) == pytest.approx(mixed)
        assert gate.update(told, reader.feedback[8]).vector[-1] == weight
    with pytest.raises(MethodError, match=r"from 0 \(never\) to 1 \(always\)"):
        gate.with_weight(persona, 1.2)
    assert gate.with_weight(Persona("new"), 1.0).verdict is None


def test_a_corrections_effect_on_held_back_choices_is_told(spoken):
    gate, reader = spoken
    mine = Population.of([reader])
    held = hold_back(gate.method, gate.control, mine, gate.folds)
    shift = gate.shift_of(gate.adapt(reader), "length")
    told = held_margins(gate.method, mine, {"length": -4.0 * np.sign(shift)})
    np.testing.assert_allclose(told.before, held.personal, atol=1e-6)
    assert told.worse > told.better
    assert told.changed == told.better + told.worse <= (mine.pairs.target == 1.0).sum()
    none = held_margins(gate, mine, {})
    assert none.changed == 0
    np.testing.assert_array_equal(none.before, none.after)
    applied = held_margins(gate, mine, {"length": 0.0}, weight=0.25)
    np.testing.assert_allclose(
        applied.before, held.control + 0.25 * (held.personal - held.control), atol=1e-6
    )
    with pytest.raises(MethodError, match="it cannot revise"):
        held_margins(gate_of(Knows()), mine, {})
