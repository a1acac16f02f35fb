"""Every registered method, the gate, and an outsider's method keep the contract; broken ones are caught."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from palate.catalogue import build, find, names
from palate.checks import CHECKS, CheckFailed, Subject, check_method, correcting, people
from palate.core import (
    ConfigError,
    Method,
    PalateError,
    Population,
    Query,
    Revises,
    Updates,
    axis_shifts,
)
from palate.gate import Gate

# fewer candidates of the same kind: the checks fit each method some twenty times
QUICK = {
    "mixed": {"ranks": (1,), "shareds": (1.0,), "personals": (1.0,), "groups": (2,)},
    "lore": {"ranks": (2,), "ridges": (1.0,)},
    "style": {"shareds": (1.0,), "rounds": 4},
    **{name: {"steps": 60, "every": 20} for name in ("prm", "pal", "vpl", "gpo", "epipersona-b")},
}
BY_NAME = {check.__name__: check for check in CHECKS}
# methods that tune a model are checked beside their own tests (tests/tune), on models made there
CHECKED = [name for name in names() if not find(name).tunes]
SUBJECTS = {name: Subject(lambda name=name: build(name, QUICK.get(name))) for name in CHECKED}
GATED = Subject(lambda: Gate(method=build("lore", QUICK["lore"]), control=build("pooled")))
CORRECTED = Subject(lambda: Gate(method=build("style", QUICK["style"]), control=build("pooled")))
GATE_SKIPS = {"check_config_rebuilds": "its fields are methods: palate.catalogue.load makes it anew"}


@pytest.fixture(scope="module", autouse=True)
def _a_fake_model():
    """Methods that ask a language model ask the one that is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALATE_LM", "fake:world?error=0.2")
        yield


def name_of(check):
    return check.__name__.removeprefix("check_")


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("method", CHECKED)
def test_every_registered_method_keeps_the_contract(method, check):
    check(SUBJECTS[method])


@pytest.mark.parametrize("check", [c for c in CHECKS if c.__name__ not in GATE_SKIPS], ids=name_of)
def test_the_gate_keeps_the_contract(check):
    check(GATED)


@pytest.mark.parametrize("check", correcting.CHECKS, ids=name_of)
def test_a_gate_over_a_method_that_updates_and_revises_does_so_too(check):
    assert isinstance(CORRECTED.fitted, Updates)
    assert isinstance(CORRECTED.fitted, Revises)
    check(CORRECTED)


def test_a_gate_over_a_method_that_does_neither_does_neither():
    assert not isinstance(GATED.fitted, Updates)
    assert not isinstance(GATED.fitted, Revises)


def test_default_fields_of_mixed_are_sound():
    """The registered methods are checked with fewer candidates; the defaults differ in those fields only."""
    subject = Subject(lambda: build("mixed"))
    for name in ("check_config_is_json", "check_no_mutable_defaults", "check_empty_history_is_average"):
        BY_NAME[name](subject)


# ---- an outsider's method -----------------------------------------------------------------------------


def lengths(queries):
    return np.log1p([len(queries.corpus.response(item)) for item in queries.options])


@dataclass(kw_only=True, eq=False)
class LengthTaste(Method):
    """How much longer, in logarithms, a user's chosen answers are than the others, shrunk."""

    name = "length-taste"
    shrink: float = 4.0
    seed: int = 0

    def _learn(self, population):
        self.average_ = self._slopes(population).sum(0) / max(1, population.n_users)

    def _slopes(self, population):
        corpus, pairs = population.corpus, population.pairs
        length = np.log1p([len(corpus.response(item)) for item in range(len(corpus))])
        gap = (length[pairs.winner] - length[pairs.loser]) * (pairs.target - 0.5) * 2
        total = np.bincount(pairs.user, weights=gap, minlength=population.n_users)
        return (total / (self.shrink + np.bincount(pairs.user, minlength=population.n_users)))[:, None]

    def _condense(self, population):
        return self.average_ + self._slopes(population)

    def _log_odds(self, vectors, queries):
        return lengths(queries) * vectors[queries.who[queries.option_query], 0]

    def describe(self, persona):
        taste = self.average_[0] if persona.vector is None else persona.vector[0]
        return "prefers longer answers" if taste > 0 else "prefers shorter answers"


def test_a_one_file_method_of_an_outsider_passes():
    check_method(LengthTaste)


def test_the_made_up_people_can_be_learned():
    model = LengthTaste().fit(people(users=24, rows=12))
    readers = people(users=12, rows=12, seed=1)
    tastes = [model.adapt(history).vector[0] for history in readers]
    assert max(tastes[0:12:2]) < min(tastes[1:12:2])


# ---- broken methods: each must fail the check that is about it --------------------------------------------


@dataclass(kw_only=True, eq=False)
class FirstIsBest(LengthTaste):
    def _log_odds(self, vectors, queries):
        first = np.isin(np.arange(len(queries.options)), queries.offsets[:-1])
        return super()._log_odds(vectors, queries) + 0.3 * first


@dataclass(kw_only=True, eq=False)
class CountsUsers(LengthTaste):
    def _condense(self, population):
        self.seen_ = getattr(self, "seen_", 0) + population.n_users
        return super()._condense(population)


@dataclass(kw_only=True, eq=False)
class SecretMemory(LengthTaste):
    """Drifts with each call, without an attribute that ends in an underscore."""

    def _condense(self, population):
        self._calls = getattr(self, "_calls", 0) + 1
        return super()._condense(population) + 0.01 * self._calls


@dataclass(kw_only=True, eq=False)
class ChangesHistories(LengthTaste):
    def _condense(self, population):
        out = super()._condense(population)
        population.chosen[:] = 0
        return out


@dataclass(kw_only=True, eq=False)
class Dice(LengthTaste):
    def _learn(self, population):
        super()._learn(population)
        self.average_ = self.average_ + np.random.default_rng().normal()


@dataclass(kw_only=True, eq=False)
class NoisyScores(LengthTaste):
    def _log_odds(self, vectors, queries):
        scores = super()._log_odds(vectors, queries)
        return scores + np.random.default_rng().normal(size=len(scores))


@dataclass(kw_only=True, eq=False)
class EmptyIsBatchMean(LengthTaste):
    def _condense(self, population):
        out = super()._condense(population)
        out[np.diff(population.offsets) == 0] = out.mean()
        return out


@dataclass(kw_only=True, eq=False)
class CentresTheBatch(LengthTaste):
    def _condense(self, population):
        out = super()._condense(population)
        return out - out.mean() if len(out) > 1 else out


@dataclass(kw_only=True, eq=False)
class WritesItsFields(LengthTaste):
    def _learn(self, population):
        super()._learn(population)
        self.shrink = 5.0


@dataclass(kw_only=True, eq=False)
class KeepsItsFirstFit(LengthTaste):
    def _learn(self, population):
        if not hasattr(self, "_first"):
            super()._learn(population)
            self._first = self.average_
        self.average_ = self._first


@dataclass(kw_only=True, eq=False)
class LosesItsState(LengthTaste):
    def _learn(self, population):
        super()._learn(population)
        self._scale = 2.0

    def _log_odds(self, vectors, queries):
        return super()._log_odds(vectors, queries) * getattr(self, "_scale", 1.0)


@dataclass(kw_only=True, eq=False)
class TakesAnyPersona(LengthTaste):
    def _vectors(self, personas):
        self._check_fitted()
        return self.average_ + np.zeros((len(personas), 1)) if personas.vectors is None else personas.vectors


@dataclass(kw_only=True, eq=False)
class MeanOfNothing(LengthTaste):
    def _slopes(self, population):
        with np.errstate(all="ignore"):
            return super()._slopes(population) * np.sign(np.diff(population.offsets))[:, None] / np.diff(
                population.offsets
            ).clip(0, 1)[:, None]  # fmt: skip


@dataclass(kw_only=True, eq=False)
class TrustsThePlace(LengthTaste):
    """Takes the first option for the chosen one."""

    def _slopes(self, population):
        first = population.options[population.option_offsets[:-1]]
        length = np.log1p([len(population.corpus.response(item)) for item in first])
        return np.bincount(population.row_user, length, minlength=population.n_users)[:, None] / 50


@dataclass(kw_only=True, eq=False)
class HoldsAList(LengthTaste):
    notes: list = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class NeedsTwoUsers(LengthTaste):
    def _learn(self, population):
        super()._learn(population)
        self.spread_ = float(population.take_users(population.role == 1).offsets[1])


@dataclass(kw_only=True, eq=False)
class NegativeVariance(LengthTaste):
    def variance_batch(self, queries):
        return -np.ones(len(queries))


@dataclass(kw_only=True, eq=False)
class Wordless(LengthTaste):
    def describe(self, persona):
        return "" if persona.vector is None else super().describe(persona)


@dataclass(kw_only=True, eq=False)
class Correctable(LengthTaste):
    """Sums and counts are kept, so that an update is exact; a person's word is kept with a count of -1."""

    def _condense(self, population):
        taste = super()._condense(population)
        return np.hstack([taste, np.bincount(population.pairs.user, minlength=population.n_users)[:, None]])

    def update(self, persona, feedback):
        own = self._resume(persona, feedback.user)
        if feedback.id in own.provenance.feedback:
            return own
        taste, count = own.vector
        one = Population.of([feedback])
        pairs = len(one.pairs)
        gap = self._slopes(one)[0, 0] * (self.shrink + pairs)
        vector = (taste, count) if count < 0 else self._moved(taste, count, gap, pairs)
        return replace(own, vector=vector, provenance=own.provenance.after(feedback))

    def _moved(self, taste, count, gap, pairs):
        total = (taste - self.average_[0]) * (self.shrink + count) + gap
        return (float(self.average_[0] + total / (self.shrink + count + pairs)), count + pairs)

    def revise(self, persona, shifts):
        own = self._resume(persona)
        for shift in axis_shifts(shifts, ("length",), self.name).values():
            if not np.isclose(shift, self.shift_of(own, "length")):
                own = replace(own, vector=(float(self.average_[0] + shift), -1.0))
        return own

    def shift_of(self, persona, about):
        return float(self._resume(persona).vector[0] - self.average_[0]) if about == "length" else None


def test_a_method_of_an_outsider_that_updates_and_revises_passes():
    assert isinstance(Correctable(), Updates)
    assert isinstance(Correctable(), Revises)
    check_method(Correctable)


class Deaf(Correctable):
    def _moved(self, taste, count, gap, pairs):
        return (taste, count)


class CountsTwice(Correctable):
    def update(self, persona, feedback):
        known = () if persona.provenance is None else persona.provenance.feedback
        name = f"{feedback.id}+" if feedback.id in known else feedback.id
        return super().update(persona, replace(feedback, id=name))


class LastChoiceOnly(Correctable):
    def _moved(self, taste, count, gap, pairs):
        return (float(self.average_[0] + gap), count + pairs)


class AlwaysSays(Correctable):
    def revise(self, persona, shifts):
        own = super().revise(persona, shifts)
        return replace(own, vector=(own.vector[0], -1.0))


class ForgetsHalf(Correctable):
    def revise(self, persona, shifts):
        halved = {k: self.shift_of(persona, k) / 2 if not v and self.shift_of(persona, k) else v
                  for k, v in shifts.items()}  # fmt: skip
        return super().revise(persona, halved if self.shift_of(persona, "length") > 1e-3 else shifts)


class SaysLess(Correctable):
    def revise(self, persona, shifts):
        return super().revise(persona, {k: min(v, 0.8) for k, v in shifts.items()})


class LearnsOn(Correctable):
    def revise(self, persona, shifts):
        own = super().revise(persona, shifts)
        return replace(own, vector=(own.vector[0], abs(own.vector[1])))


class TakesAnyShift(Correctable):
    def revise(self, persona, shifts):
        return super().revise(persona, {k: v for k, v in shifts.items() if np.isfinite(v)})


BROKEN = [
    (Deaf, "check_update_close_to_adapting"),
    (CountsTwice, "check_updating_is_pure"),
    (LastChoiceOnly, "check_update_order"),
    (AlwaysSays, "check_revising_is_pure"),
    (ForgetsHalf, "check_forgetting_is_like_everyone"),
    (SaysLess, "check_what_is_said_stands"),
    (LearnsOn, "check_revised_stays_revised"),
    (TakesAnyShift, "check_wrong_corrections"),
    (FirstIsBest, "check_order_of_responses"),
    (FirstIsBest, "check_labels_are_not_seen"),
    (CountsUsers, "check_adapting_is_pure"),
    (SecretMemory, "check_adapting_is_pure"),
    (ChangesHistories, "check_adapting_is_pure"),
    (NoisyScores, "check_adapting_is_pure"),
    (Dice, "check_seeded"),
    (Dice, "check_config_rebuilds"),
    (NoisyScores, "check_score_batch_equals_single"),
    (EmptyIsBatchMean, "check_empty_history_is_average"),
    (EmptyIsBatchMean, "check_other_users_do_not_matter"),
    (CentresTheBatch, "check_adapt_batch_equals_single"),
    (CentresTheBatch, "check_other_users_do_not_matter"),
    (WritesItsFields, "check_fit_leaves_fields"),
    (KeepsItsFirstFit, "check_refit"),
    (LosesItsState, "check_model_survives_disk"),
    (TakesAnyPersona, "check_foreign_persona_is_refused"),
    (MeanOfNothing, "check_persona_survives_json"),
    (MeanOfNothing, "check_scores_are_numbers"),
    (TrustsThePlace, "check_history_order_of_options"),
    (HoldsAList, "check_no_mutable_defaults"),
    (NeedsTwoUsers, "check_small_populations"),
    (NegativeVariance, "check_capabilities"),
    (Wordless, "check_capabilities"),
]


@pytest.mark.parametrize(("broken", "check"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_broken_methods_fail_the_matching_check(broken, check):
    with pytest.raises(CheckFailed, match=rf"(?s)^{check}: .*\. Cure: "):
        BY_NAME[check](Subject(broken))


def test_overrides_that_forget_to_ask_whether_it_is_fitted_are_caught():
    class Eager(LengthTaste):
        average_ = np.zeros(1)

        def _check_fitted(self):
            return

    with pytest.raises(CheckFailed, match="check_not_fitted: adapting before fit was accepted"):
        BY_NAME["check_not_fitted"](Subject(Eager))


def test_fitting_on_nothing_is_caught():
    class Lenient(LengthTaste):
        def fit(self, population):
            self._learn(population)
            self.fitted_ = True
            return self

    with pytest.raises(
        CheckFailed, match=r"check_nothing_to_learn: .* was accepted; MethodError was expected"
    ):
        BY_NAME["check_nothing_to_learn"](Subject(Lenient))


def test_a_clone_that_stays_fitted_is_caught():
    class Shallow(LengthTaste):
        def clone(self, **changes):
            copy = super().clone(**changes)
            copy.__dict__.update(vars(self))
            return copy

    with pytest.raises(CheckFailed, match=r"check_clone: .* was accepted; NotFitted was expected"):
        BY_NAME["check_clone"](Subject(Shallow))


def test_every_check_has_a_method_that_fails_it():
    caught = {check for _, check in BROKEN}
    caught |= {"check_not_fitted", "check_nothing_to_learn", "check_clone", "check_config_is_json"}
    assert caught == set(BY_NAME)


def test_a_config_that_is_not_json_is_caught():
    @dataclass(kw_only=True, eq=False)
    class Complex(LengthTaste):
        shrink: complex = 4j

    with pytest.raises(CheckFailed, match="check_config_is_json: TypeError"):
        BY_NAME["check_config_is_json"](Subject(Complex))


# ---- running and skipping -----------------------------------------------------------------------------


def test_check_method_stops_at_what_is_wrong_and_says_what_mends_it():
    with pytest.raises(CheckFailed) as caught:
        check_method(TakesAnyPersona)
    assert "check_foreign_persona_is_refused: another method's persona was accepted" in str(caught.value)
    assert "Cure: reach personas only through `score_batch`" in str(caught.value)
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value, PalateError)


def test_a_check_is_left_out_only_by_name_and_with_a_reason():
    check_method(TakesAnyPersona, skip={"check_foreign_persona_is_refused": "one model only, by design"})
    with pytest.raises(ConfigError, match="give each check a reason"):
        check_method(LengthTaste, skip={"check_clone": " "})
    with pytest.raises(ConfigError, match="no_such_check"):
        check_method(LengthTaste, skip={"no_such_check": "because"})


def test_a_subject_fits_its_shared_method_once():
    fits = []

    class Counted(LengthTaste):
        def _learn(self, population):
            fits.append(population.n_users)
            super()._learn(population)

    subject = Subject(Counted)
    for name in ("check_order_of_responses", "check_labels_are_not_seen", "check_scores_are_numbers"):
        BY_NAME[name](subject)
    assert fits == [subject.population.n_users]
    assert all(isinstance(question, Query) for question in subject.questions)
