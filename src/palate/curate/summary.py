"""What a curation came to: pairs and users after every step, what models said, roles and splits.

Beside the counts stand those of "SynthesizeMe!" (appendix C), where the input is PRISM or Chatbot Arena. Its
first count for PRISM is the number of rated answers, 68,371; ours is the number of pairs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from palate.core import ROLES
from palate.curate.decide import Decisions
from palate.curate.recipe import REASONS
from palate.curate.result import PARTS, Result
from palate.models.llm.engine import is_fake
from palate.models.llm.wire import Fault

__all__ = ["PUBLISHED", "SCHEMA", "Step", "Summary", "summarise"]

SCHEMA = "palate.curate/1"
PUBLISHED: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "arena": {
        "original": (33_000, 13_383),
        "users": (10_092, 1_004),
        "personalizable": (3_927, 353),
        "consensus": (1_338, 131),
    },
    "prism": {
        "original": (68_371, 1_396),
        "users": (52_580, 1_294),
        "personalizable": (26_663, 734),
        "consensus": (16_705, 720),
    },
}
"""Pairs and users after the paper's steps; after a filter, of users with enough pairs: our "users left"."""
_TITLES = {
    "original": "as read",
    "pairs": "ties and close ratings out",
    "users": "users with enough pairs",
    "personalizable": "matters of taste",
    "consensus": "judges differ",
    "users left": "users with enough pairs left",
}
_COLUMNS = ("step", "pairs", "users", "paper: pairs", "paper: users")


class Step(NamedTuple):
    """What was left after a step.

    Attributes:
        step: Its name, or ``original``.
        pairs: Pairs left.
        users: Users with a pair left.
        paper: The paper's pairs and users, where the input is one of its two data sets.
    """

    step: str
    pairs: int
    users: int
    paper: tuple[int, int] | None = None


@dataclass(frozen=True)
class Summary:
    """What a curation came to.

    Attributes:
        source: What was curated.
        adapter: The published data set that it was read as, or nothing.
        pairs: Pairs that stay.
        users: Users that stay.
        steps: What was left after each step.
        gone: Pairs that went, by why.
        rules: What was done, in sentences, with what was seen.
        taste: What the personalizable filter said; None where it was not taken.
        judges: For each judge, how it judged.
        strata: Pairs by how many judgments named the chosen answer, and how many of them went.
        roles: Users and pairs by role.
        parts: Pairs by ``split``.
        untested: Users without a target: all their pairs hang together.
        faults: Calls that gave no answer that could be read, by kind.
        recipe: The parameters.
        read: What reading found.
        files: What was written, by what it is; paths below the folder.
    """

    source: str
    adapter: str
    pairs: int
    users: int
    steps: tuple[Step, ...]
    gone: Mapping[str, int]
    rules: tuple[str, ...]
    taste: Mapping[str, Any] | None
    judges: tuple[Mapping[str, Any], ...]
    strata: tuple[Mapping[str, Any], ...]
    roles: Mapping[str, Mapping[str, int]]
    parts: Mapping[str, int]
    untested: int
    faults: Mapping[str, int]
    recipe: Mapping[str, Any]
    read: Mapping[str, Any]
    files: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON: equal inputs give equal values."""
        plain = asdict(self)
        steps = [step._asdict() | {"paper": list(step.paper) if step.paper else None} for step in self.steps]
        return {"schema": SCHEMA, **plain, "steps": steps}

    def table(self) -> list[tuple[str, ...]]:
        """Return the table of steps as text, its head first; with the paper's counts where there are any."""
        published = any(step.paper for step in self.steps)
        lines: list[tuple[str, ...]] = [_COLUMNS if published else _COLUMNS[:3]]
        for step in self.steps:
            paper = (f"{step.paper[0]:,}", f"{step.paper[1]:,}") if step.paper else ("", "")
            cells = (_TITLES[step.step], f"{step.pairs:,}", f"{step.users:,}")
            lines.append(cells + paper if published else cells)
        return lines

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield what and value, for people."""
        for number, rule in enumerate(self.rules):
            yield ("" if number else "rules", rule)
        if self.read.get("set_aside"):
            kinds = ", ".join(f"{kind} {n:,}" for kind, n in self.read["set_aside"].items())
            yield "set aside by reading", kinds
        for number, (why, pairs) in enumerate(self.gone.items()):
            yield ("" if number else "gone", f"{pairs:,}: {why}")
        for judge in self.judges:
            yield f"judge {judge['name']}", _of_judge(judge)
        if self.strata:
            yield "judgments for the chosen answer", "; ".join(map(_of_stratum, self.strata))
        yield "users", ", ".join(f"{name} {n['users']:,}" for name, n in self.roles.items())
        yield "pairs", ", ".join(f"{name} {n:,}" for name, n in self.parts.items())
        if self.untested:
            yield "users without a target", f"{self.untested:,}: all their pairs hang together"
        if self.faults:
            kinds = ", ".join(f"{kind} {n:,}" for kind, n in self.faults.items())
            yield "calls without an answer that could be read", f"{kinds}; their pairs stay, marked"

    def __str__(self) -> str:
        """Return the table of steps with aligned columns."""
        lines = self.table()
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        padded = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
        return "\n".join("  ".join(cells).rstrip() for cells in padded)


def summarise(result: Result, files: Mapping[str, str]) -> Summary:
    """Return what a curation came to."""
    made, people, table = result.made, result.people, result.made.table
    owner = people.row_user
    roles = {
        name: {
            "users": int((people.role == code).sum()),
            "pairs": int((people.role[owner] == code).sum()),
        }
        for code, name in enumerate(ROLES)
    }
    tested = np.bincount(owner[result.part == 2], minlength=people.n_users) > 0
    gone = {reason.words: int((made.reason == code).sum()) for code, reason in enumerate(REASONS)}
    report = table.report
    return Summary(
        source=table.source,
        adapter=table.adapter,
        pairs=people.n_rows,
        users=people.n_users,
        steps=tuple(_steps(made)),
        gone={why: n for why, n in gone.items() if n},
        rules=tuple(_rules(result)),
        taste=_taste(made),
        judges=tuple(_judges(result)),
        strata=tuple(_strata(result)),
        roles=roles,
        parts={name: int((result.part == code).sum()) for code, name in enumerate(PARTS)},
        untested=int((~tested).sum()),
        faults=dict(sorted(_faults(made).items())),
        recipe=asdict(made.recipe),
        read={} if report is None else {k: v for k, v in report.to_json().items() if k != "details"},
        files=dict(files),
    )


def _steps(made: Decisions) -> Iterator[Step]:
    """Yield the counts; the paper's stand where it counted: it looked at users again after each filter."""
    paper, before = PUBLISHED.get(made.table.adapter, {}), ""
    for count in made.counts:
        filtered = before if before in ("personalizable", "consensus") else ""
        where = {"original": "original", "users": "users", "users left": filtered}.get(count.step, "")
        yield Step(*count, paper.get(where))
        before = count.step


def _rules(result: Result) -> Iterator[str]:
    """Yield what was done, in sentences."""
    made = result.made
    recipe, table = made.recipe, made.table
    if table.scale is not None:
        low, high = table.scale
        yield (
            f"ratings from {low:g} to {high:g} were seen in pairs; a gap is a share of that scale, and under "
            f"{recipe.min_gap:.0%} of it ({recipe.min_gap * (high - low):g}) a pair goes"
        )
    yield f"a user needs {recipe.min_pairs} pairs at the start and {recipe.least} at the end"
    shares = " / ".join(f"{share:.0%}" for share in recipe.fractions)
    yield (
        f"users were dealt into train, val and test, {shares}, stratified on their pairs, after the first "
        f"look at users and before any model was asked (seed {recipe.seed})"
    )
    first = 1 - recipe.target - recipe.validation
    yield (
        f"a user's pairs, in time order: the first {first:.0%} train, the next {recipe.validation:.0%} val, "
        f"the last {recipe.target:.0%} test; a conversation is never on two sides"
    )
    if (table.people.role >= 0).any() or (table.people.split >= 0).any():
        yield "roles of users and splits of pairs that the source gave were kept"
    if result.people.n_rows and np.isnan(result.people.times).all():
        yield "no pair has a time: the order of the rows was taken for it"
    yield from _rules_of_models(made)


def _rules_of_models(made: Decisions) -> Iterator[str]:
    """Yield what models were asked, in sentences."""
    if made.taste_of is not None:
        yield (
            f"{made.filter_lm} was asked once about each of {len(made.taste_of):,} distinct conversations "
            "with two answers; a pair stays where the answer could not be read"
        )
    if made.votes_of is not None:
        yield (
            f"{', '.join(made.votes.names)} judged each of {len(made.votes_of):,} distinct conversations "
            "with two answers, language models in both orders; a pair goes where every judgment was read and "
            "all agree"
        )
    fakes = [name for name in dict.fromkeys((made.filter_lm, *made.votes.names)) if is_fake(name)]
    if fakes:
        yield f"no language model, but a fake that shows the way and no quality: {', '.join(fakes)}"


def _taste(made: Decisions) -> dict[str, Any] | None:
    if made.taste_of is None:
        return None
    said = Counter("unread" if isinstance(a, Fault) else "yes" if a.value.yes else "no" for a in made.tastes)
    return {"lm": made.filter_lm, "asked": len(made.tastes), **{k: said[k] for k in ("yes", "no", "unread")}}


def _judges(result: Result) -> Iterator[dict[str, Any]]:
    """Yield how each judge judged: agreement with users over pairs, place and orders over questions."""
    votes = result.made.votes
    for judge, name in enumerate(votes.names):
        toward, mine = result.toward[:, judge], votes.toward[:, judge]
        read = toward[~np.isnan(toward)]
        both = ~np.isnan(mine).any(axis=1) & votes.asked[judge].all()
        first = np.stack([mine[both, 0] > 0, mine[both, 1] < 0])
        yield {
            "name": name,
            "judgments": len(read),
            "agree": _share(read > 0),
            "asked": len(mine) * int(votes.asked[judge].sum()),
            "first": _share(first),
            "torn": _share(first[0] == first[1]),
            "unread": int(np.isnan(mine)[:, votes.asked[judge]].sum()),
        }


def _strata(result: Result) -> Iterator[dict[str, Any]]:
    """Yield pairs by the number of judgments that name the chosen answer; those not all read come last."""
    made = result.made
    if made.votes_of is None:
        return
    of, asked = int(made.votes.asked.sum()), made.votes_of.of_row >= 0
    read = (~np.isnan(result.toward)).sum(axis=(1, 2))
    agree = (result.toward > 0).sum(axis=(1, 2))
    went = np.isin(made.reason, [code for code, r in enumerate(REASONS) if r.step == "consensus"])
    for count in range(of + 1):
        rows = asked & (read == of) & (agree == count)
        if rows.any():
            yield {
                "agree": count,
                "of": of,
                "share": count / of,
                "pairs": int(rows.sum()),
                "gone": int((rows & went).sum()),
            }
    rows = asked & (read < of)
    if rows.any():
        yield {"agree": None, "of": of, "share": None, "pairs": int(rows.sum()), "gone": 0}


def _faults(made: Decisions) -> Counter[str]:
    """Count what could not be read, by kind."""
    kinds = Counter(answer.kind for answer in made.tastes if isinstance(answer, Fault))
    for said in made.votes.opinions:
        kinds.update(o.fault.kind for opinions in said for o in opinions if o.fault is not None)
    return kinds


def _share(values: Any) -> float | None:
    return float(np.mean(values)) if np.size(values) else None


def _of_judge(judge: Mapping[str, Any]) -> str:
    """Return how a judge judged, in words."""
    if judge["agree"] is None:
        return "was asked nothing"
    told = [f"{judge['agree']:.1%} of {judge['judgments']:,} judgments agree with the user"]
    if judge["first"] is not None:
        told.append(f"names the first answer in {judge['first']:.1%}")
        told.append(f"contradicts itself in the other order in {judge['torn']:.1%}")
    if judge["unread"]:
        told.append(f"{judge['unread']:,} of {judge['asked']:,} could not be read")
    return "; ".join(told)


def _of_stratum(stratum: Mapping[str, Any]) -> str:
    if stratum["agree"] is None:
        return f"not all read: {stratum['pairs']:,} pairs"
    went = f" ({stratum['gone']:,} gone)" if stratum["gone"] else ""
    return f"{stratum['agree']} of {stratum['of']}: {stratum['pairs']:,}{went}"
