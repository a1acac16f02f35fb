"""Which column is which field, and so what kind of row it is.

Names are compared without case and punctuation (``User-ID`` is ``userid``). The option ``fields`` maps
a field to its column and goes first; an empty column name switches a field off.

    field          columns that are recognised
    -----------    ---------------------------------------------------------------------------
    user           user, user_id, username, annotator(_id), worker(_id), rater(_id), voter(_id),
                   participant(_id), person, evaluator, judge, labeler(_id)
    prompt         prompt, user_prompt, question, instruction, query, input, post
    conversation   conversation, messages, history, dialog(ue), chat, context_messages
    chosen         chosen, chosen_response, preferred(_response), accepted, selected, choice, better
    rejected       rejected, rejected_response, dispreferred, not_chosen, worse
    responses      responses, answers, completions, options, candidates, choices
    response_a, b  {response, answer, completion, output, conversation, candidate, human_ref} with
                   the endings a and b, 0 and 1, or 1 and 2
    winner         winner, preference, preferred, choice, chosen, better, better_response_id,
                   label, labels
    response       response, model_response, answer, completion, output, statement, comment,
                   comment_body, text, item
    rating         rating, score, vote, stars, grade, label
    ratings        ratings, scores, votes
    tie            tie, is_tie
    id             id, choice_id, feedback_id, comparison_id, annotation_id, row_id
    time           time, timestamp, created_at, created, date, datetime, tstamp, submitted_at
    reason         reason, rationale, why, explanation, justification
    profile        profile, user_profile, demographics; and every column ``profile.NAME``
    user_split     user_split, user_role
    split          split
    source         source, dataset, origin
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from palate.core import ConfigError

__all__ = ["KINDS_OF_ROWS", "Layout", "RowKind", "check_fields", "missing_columns", "recognise"]


def _two(ending: str) -> tuple[str, ...]:
    stems = ("response", "answer", "completion", "output", "conversation", "candidate", "humanref")
    return tuple(stem + ending for stem in stems)


_PEOPLE = ("annotator", "worker", "rater", "voter", "participant", "labeler")
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "user": (
        *("user", "userid", "username"),
        *(name + end for name in _PEOPLE for end in ("", "id")),
        *("person", "evaluator", "judge"),
    ),
    "prompt": ("prompt", "userprompt", "question", "instruction", "query", "input", "post"),
    "conversation": ("conversation", "messages", "history", "dialog", "dialogue", "chat", "contextmessages"),
    "chosen": (
        *("chosen", "chosenresponse", "preferred", "preferredresponse", "accepted"),
        *("selected", "choice", "better"),
    ),
    "rejected": ("rejected", "rejectedresponse", "dispreferred", "notchosen", "worse"),
    "responses": ("responses", "answers", "completions", "options", "candidates", "choices"),
    "winner": (
        *("winner", "preference", "preferred", "choice", "chosen", "better"),
        *("betterresponseid", "label", "labels"),
    ),
    "response": (
        *("response", "modelresponse", "answer", "completion", "output", "statement"),
        *("comment", "commentbody", "text", "item"),
    ),
    "rating": ("rating", "score", "vote", "stars", "grade", "label"),
    "ratings": ("ratings", "scores", "votes"),
    "tie": ("tie", "istie"),
    "id": ("id", "choiceid", "feedbackid", "comparisonid", "annotationid", "rowid"),
    "time": ("time", "timestamp", "createdat", "created", "date", "datetime", "tstamp", "submittedat"),
    "reason": ("reason", "rationale", "why", "explanation", "justification"),
    "profile": ("profile", "userprofile", "demographics"),
    "user_split": ("usersplit", "userrole"),
    "split": ("split",),
    "source": ("source", "dataset", "origin"),
}
ENDINGS = (("0", "1"), ("a", "b"), ("1", "2"))
FIELDS = (*SYNONYMS, "response_a", "response_b")
PROFILE = "profile."


@dataclass(frozen=True, slots=True)
class RowKind:
    """A kind of row: the fields that make it one, and the optional ones that it reads."""

    name: str
    needs: tuple[str, ...]
    reads: tuple[str, ...] = ()


_ANY = ("id", "time", "source", "split", "user_split", "profile")
_TALK = ("prompt", "conversation")
KINDS_OF_ROWS = (
    RowKind("nway", ("user", "responses", "chosen"), (*_TALK, *_ANY, "tie", "reason")),
    RowKind("nway", ("user", "responses", "tie"), (*_TALK, *_ANY, "reason")),
    RowKind("ratings", ("user", "responses", "ratings"), (*_TALK, *_ANY)),
    RowKind("pair", ("user", "chosen", "rejected"), (*_TALK, *_ANY, "tie", "reason")),
    RowKind("ab", ("user", "response_a", "response_b", "winner"), (*_TALK, *_ANY, "tie", "reason")),
    RowKind("ab", ("user", "response_a", "response_b", "tie"), (*_TALK, *_ANY, "reason")),
    RowKind("rating", ("user", "response", "rating"), (*_TALK, *_ANY)),
)
USER_ROW = RowKind("user", ("user",), ("profile", "user_split"))
EMPTY = (None, "")
MAY_BE_NULL = {"user", "chosen", "tie"}


@dataclass(slots=True)
class Layout:
    """How rows with one set of columns are read.

    Attributes:
        kinds: The kinds of rows these columns can hold; the first whose fields are not null is taken.
        at: Field to column.
        profile: Profile entry to column.
        optional: The fields that may stand beside any row, with their columns.
        unused: Columns that no kind reads.
        columns: All columns.
        flat: Whether the prompt is a column of its own and there is no column for ties.
        rows: How many rows had them.
    """

    kinds: tuple[RowKind, ...]
    at: dict[str, str]
    profile: dict[str, str]
    optional: tuple[tuple[str, str], ...]
    unused: tuple[str, ...]
    columns: tuple[str, ...]
    flat: bool
    rows: int = 0

    def kind_of(self, row: Mapping[str, object]) -> RowKind:
        """Return the kind of a row: among several, the first whose deciding fields are not empty."""
        if len(self.kinds) > 1:
            for kind in self.kinds:
                if all(row[self.at[need]] not in EMPTY for need in kind.needs if need not in MAY_BE_NULL):
                    return kind
        return self.kinds[0]


def squash(name: str) -> str:
    """Return a name as it is compared: lower case, letters and digits only.

    >>> squash("User-ID")
    'userid'
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


def check_fields(fields: Mapping[str, str]) -> None:
    """Refuse fields that do not exist.

    Raises:
        ConfigError: With the nearest field names.
    """
    for name in fields:
        if name not in FIELDS and not name.startswith(PROFILE):
            near = difflib.get_close_matches(name, FIELDS, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ConfigError(
                f"fields names {name!r}, which is no field: {hint}the fields are {', '.join(FIELDS)}, "
                "profile.NAME"
            )


def missing_columns(fields: Mapping[str, str], seen: Sequence[str]) -> str | None:
    """Return a message about mapped columns that are nowhere, or None."""
    known = {squash(column) for column in seen}
    for field, column in fields.items():
        if column and squash(column) not in known:
            near = difflib.get_close_matches(column, seen, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            listed = ", ".join(list(seen)[:40])
            return f"fields maps {field!r} to the column {column!r}, which no row has{hint} Seen: {listed}"
    return None


def recognise(columns: tuple[str, ...], fields: Mapping[str, str]) -> Layout:
    """Return how rows with these columns are read; ``kinds`` is empty where they cannot be."""
    at = _mapped(columns, fields)
    claimed = set(at.values())
    free: dict[str, str] = {}
    for column in columns:
        if column not in claimed:
            free.setdefault(squash(column), column)
    for field, names in SYNONYMS.items():
        if field not in fields:
            column_or_none = next((free[name] for name in names if name in free), None)
            if column_or_none is not None:
                at[field] = column_or_none
    if not {"response_a", "response_b"} & set(fields):
        at.update(_two_columns(free))
    profile = {f[len(PROFILE) :]: c for f, c in at.items() if f.startswith(PROFILE)}
    profile |= {c[len(PROFILE) :]: c for c in columns if c.lower().startswith(PROFILE) and c not in claimed}
    fitting = [kind for kind in reversed(KINDS_OF_ROWS) if all(need in at for need in kind.needs)]
    kinds = tuple(reversed({kind.name: kind for kind in fitting}.values()))
    if not kinds and _only_user(columns, at, profile):
        kinds = (USER_ROW,)
    read = {at[f] for kind in kinds for f in (*kind.needs, *kind.reads) if f in at} | set(profile.values())
    beside = {f for kind in kinds for f in kind.reads if f in at and f not in (*_TALK, "tie")}
    optional = tuple((f, at[f]) for f in sorted(beside))
    unused = tuple(c for c in columns if c not in read)
    flat = "prompt" in at and "conversation" not in at and "tie" not in at
    return Layout(kinds, at, profile, optional, unused, columns, flat)


def _mapped(columns: tuple[str, ...], fields: Mapping[str, str]) -> dict[str, str]:
    """Return field to column for the fields that the caller mapped and this row has."""
    exact, loose = set(columns), {squash(column): column for column in reversed(columns)}
    found = {f: c if c in exact else loose.get(squash(c), "") for f, c in fields.items() if c}
    return {field: column for field, column in found.items() if column}


def _two_columns(free: Mapping[str, str]) -> dict[str, str]:
    """Return the columns of two responses side by side, where there are such."""
    for first, second in ENDINGS:
        for a, b in zip(_two(first), _two(second), strict=True):
            if a in free and b in free:
                return {"response_a": free[a], "response_b": free[b]}
    return {}


def _only_user(columns: tuple[str, ...], at: Mapping[str, str], profile: Mapping[str, str]) -> bool:
    """Tell whether a row holds nothing but a user, their profile and their role."""
    told = {at[f] for f in ("user", "profile", "user_split") if f in at} | set(profile.values())
    return "user" in at and set(columns) <= told
