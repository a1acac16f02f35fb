"""Checks of adapting, of personas and of scoring."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from palate.checks.subject import (
    ODD,
    TOLERANCE,
    Check,
    Subject,
    check_of,
    close,
    gap,
    people,
    raises,
    same_scores,
    snapshot,
    that,
)
from palate.core import (
    Describes,
    Feedback,
    History,
    Persona,
    PersonaMismatch,
    Provenance,
    Queries,
    Uncertain,
    as_conversation,
)

__all__ = [
    "CHECKS",
    "check_adapt_batch_equals_single",
    "check_adapting_is_pure",
    "check_capabilities",
    "check_empty_history_is_average",
    "check_foreign_persona_is_refused",
    "check_history_order_of_options",
    "check_labels_are_not_seen",
    "check_model_survives_disk",
    "check_order_of_responses",
    "check_other_users_do_not_matter",
    "check_persona_survives_json",
    "check_score_batch_equals_single",
    "check_scores_are_numbers",
]


@check_of("condense each user from their own rows, row by row, whatever the batch")
def check_adapt_batch_equals_single(subject: Subject) -> None:
    """Adapting users together or one by one gives the same scores."""
    alone = [subject.fitted.adapt(history) for history in subject.readers]
    same_scores(subject, alone, "adapting one by one")


@check_of("condense each user from their own rows alone, never from the batch's mean or size")
def check_other_users_do_not_matter(subject: Subject) -> None:
    """Unrelated users in the batch, or another order of users, do not change a persona."""
    crowd = [*people(users=9, rows=14, seed=3), *reversed(list(subject.readers))]
    personas = list(subject.fitted.adapt_batch(crowd))[::-1][: subject.readers.n_users]
    same_scores(subject, personas, "adding unrelated users to the batch")


@check_of("keep nothing while adapting and scoring, and draw nothing at random there")
def check_adapting_is_pure(subject: Subject) -> None:
    """Adapting and scoring change neither the model nor the histories, and are the same each time."""
    method, readers = subject.make().fit(subject.population), people(users=6, rows=9, seed=1)
    model, columns = snapshot(method), snapshot(readers)
    first = list(method.adapt_batch(readers))
    scores = method.score_batch(subject.questions)
    method.adapt_batch(people(users=3, seed=4))
    that(list(method.adapt_batch(readers)) == first, "adapting the same users twice gave other personas")
    that(np.array_equal(scores, method.score_batch(subject.questions)), "scoring twice gave other scores")
    changed = [k for k, v in snapshot(method).items() if model.get(k) != v]
    that(not changed, f"adapting changed the model's {changed}")
    after = snapshot(readers)
    that(all(after[name] == column for name, column in columns.items()), "adapting changed the histories")


@check_of("return the average user's numbers for every user without rows, whoever else is in the batch")
def check_empty_history_is_average(subject: Subject) -> None:
    """A user without choices is the average user, alone or among others."""
    average = [replace(q, persona=Persona()) for q in subject.questions]
    expected = subject.fitted.score_batch(average)
    silent = subject.fitted.adapt(History("nobody-ever"))
    among = subject.fitted.adapt_batch([*subject.readers, History("nobody-ever")])[-1]
    for persona, what in ((silent, "alone"), (among, "among others")):
        scores = subject.fitted.score_batch([replace(q, persona=persona) for q in average])
        that(
            close(scores, expected),
            f"a user without choices, {what}, is {gap(scores, expected)} log-odds off",
        )


@check_of("let a choice be told by the text that was chosen, not by its place among the options")
def check_history_order_of_options(subject: Subject) -> None:
    """The place of the chosen option in a user's history does not matter."""
    turned = [History(h.user, tuple(_turned(f) for f in h.feedback), h.profile) for h in subject.readers]
    same_scores(subject, list(subject.fitted.adapt_batch(turned)), "turning the options of the history round")


@check_of("keep plain finite numbers and strings in a persona; leave out what is not known")
def check_persona_survives_json(subject: Subject) -> None:
    """A persona that went through JSON is equal and scores the same."""
    texts = [json.dumps(persona.to_json(), allow_nan=False) for persona in subject.personas]
    back = [Persona.from_json(json.loads(text)) for text in texts]
    that(back == subject.personas, "a persona changed on its way through JSON")
    same_scores(subject, back, "sending personas through JSON", exact=True)


@check_of("keep all that was learned in attributes that end in _, as arrays or plain JSON values")
def check_model_survives_disk(subject: Subject) -> None:
    """A model that was saved and restored scores, adapts and takes personas as before."""
    with tempfile.TemporaryDirectory() as folder:
        path = subject.fitted.save(Path(folder) / "model")
        head = json.loads((path / "model.json").read_text(encoding="utf-8"))
        back = subject.make().restore(path, head)
    that(back.fingerprint == subject.fitted.fingerprint, "the restored model has another fingerprint")
    expected = subject.fitted.score_batch(subject.questions)
    scores = back.score_batch(subject.questions)
    that(np.array_equal(scores, expected), f"the restored model is {gap(scores, expected)} log-odds off")
    that(list(back.adapt_batch(subject.readers)) == subject.personas, "the restored model adapts otherwise")


@check_of("reach personas only through `score_batch`, which compares fingerprints")
def check_foreign_persona_is_refused(subject: Subject) -> None:
    """A persona of another method or of another fit is refused."""
    vector = subject.personas[0].vector
    stranger = Persona("eve", vector=vector, provenance=Provenance("another-method", "0123456789abcdef"))
    raises(
        PersonaMismatch, lambda: subject.fitted.score(stranger, "Hi", ["a", "b"]), "another method's persona"
    )
    other = subject.make().fit(people(seed=5))
    if other.fingerprint != subject.fitted.fingerprint:
        theirs = other.adapt(subject.readers.history(0))
        raises(
            PersonaMismatch, lambda: subject.fitted.score(theirs, "Hi", ["a", "b"]), "another fit's persona"
        )
    odd = Persona("eve", vector=(*(vector or ()), 1.0))
    raises(PersonaMismatch, lambda: subject.fitted.score(odd, "Hi", ["a", "b"]), "a vector of another length")


@check_of("score each query from its own persona and options, whatever the batch")
def check_score_batch_equals_single(subject: Subject) -> None:
    """Scoring queries together or one by one gives the same differences."""
    queries = subject.questions
    together = np.split(
        subject.fitted.score_batch(queries), np.cumsum([len(q.responses) for q in queries])[:-1]
    )
    for query, scores in zip(queries, together, strict=True):
        alone = subject.fitted.score(query.persona, query.conversation, query.responses)
        off = gap(scores - scores[0], alone - alone[0])
        that(close(scores - scores[0], alone - alone[0]), f"a query alone is {off} log-odds off")


@check_of("score a response by its text, not by its position")
def check_order_of_responses(subject: Subject) -> None:
    """Shuffling the responses shuffles the scores, for two and for more."""
    rng = np.random.default_rng(0)
    for query in subject.questions:
        order = rng.permutation(len(query.responses))[::-1]
        order = order[::-1] if (np.diff(order) == 1).all() else order
        scores = subject.fitted.score_batch([query])
        turned = subject.fitted.score_batch(
            [replace(query, responses=tuple(query.responses[i] for i in order))]
        )
        off = gap(scores[order] - scores[0], turned - turned[list(order).index(0)])
        that(
            off <= TOLERANCE * (1 + np.abs(scores).max()),
            f"shuffled responses score {off} log-odds otherwise",
        )


@check_of("never read which option was chosen while scoring: it is the label")
def check_labels_are_not_seen(subject: Subject) -> None:
    """Which option of a pair was chosen, and so stands first, does not change a score."""
    known, pairs = subject.fitted.adapt_batch(subject.readers), subject.readers.pairs
    asked = Queries.of_pairs(known, subject.readers.corpus, pairs)
    flipped = Queries.of_pairs(
        known, subject.readers.corpus, replace(pairs, winner=pairs.loser, loser=pairs.winner)
    )
    scores, others = (subject.fitted.score_batch(queries) for queries in (asked, flipped))
    ahead, behind = scores[0::2] - scores[1::2], others[1::2] - others[0::2]
    that(
        close(ahead, behind),
        f"with winner and loser exchanged scores move by {gap(ahead, behind)} log-odds",
    )


@check_of("return one finite floating-point number an option; guard divisions and logarithms")
def check_scores_are_numbers(subject: Subject) -> None:
    """Scores are finite floats of the right length for odd texts, many options, no query, and equal texts."""
    method, persona = subject.fitted, subject.personas[0]
    talk = (*as_conversation("Hi"), *as_conversation("And then? 🦜"))
    for prompt in ("", "Hi", "x" * 50_000, talk):
        scores = method.score(persona, prompt, ODD)
        that(scores.dtype.kind == "f", f"scores have type {scores.dtype}")
        that(scores.shape == (len(ODD),), f"{len(ODD)} responses gave scores of shape {scores.shape}")
        that(bool(np.isfinite(scores).all()), f"scores are not finite: {scores}")
    same = method.score(persona, "Hi", ["Yes.", "No, thank you.", "Yes."])
    that(bool(same[0] == same[2]), "the same text twice in a query has two scores")
    that(method.score_batch([]).shape == (0,), "no query did not give an empty array")


@check_of("leave a capability out where it cannot be kept: absent is better than wrong")
def check_capabilities(subject: Subject) -> None:
    """Words are words, variances are finite and not negative, and a claim's evidence is the user's own."""
    method = subject.fitted
    if isinstance(method, Describes):
        for persona in (Persona(), *subject.personas):
            told = method.describe(persona)
            that(bool(str(told).strip()), f"describe gave {told!r}")
    if isinstance(method, Uncertain):
        variance = method.variance_batch(Queries.of(subject.questions))
        that(variance.shape == (len(subject.questions),), f"variances have shape {variance.shape}")
        that(bool((np.isfinite(variance) & (variance >= 0)).all()), f"variances are {variance}")
    for history, persona in zip(subject.readers, subject.personas, strict=True):
        own = {row.id for row in history.feedback}
        for claim in persona.claims:
            strange = {*claim.supports, *claim.contradicts} - own
            that(not strange, f"a claim about {history.user} rests on {sorted(strange)}, which is not theirs")
            that(claim.low <= claim.strength <= claim.high, f"a claim's interval leaves it out: {claim}")


CHECKS: tuple[Check, ...] = (
    check_adapt_batch_equals_single,
    check_other_users_do_not_matter,
    check_adapting_is_pure,
    check_empty_history_is_average,
    check_history_order_of_options,
    check_persona_survives_json,
    check_model_survives_disk,
    check_foreign_persona_is_refused,
    check_score_batch_equals_single,
    check_order_of_responses,
    check_labels_are_not_seen,
    check_scores_are_numbers,
    check_capabilities,
)


def _turned(row: Feedback) -> Feedback:
    chosen = None if row.chosen is None else len(row.responses) - 1 - row.chosen
    return replace(row, responses=row.responses[::-1], chosen=chosen)
