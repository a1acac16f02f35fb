"""Curate a benchmark out of any feedback: pairs about which people differ, of users who have enough of them.

    curate        a source -> a folder with rows, roles and splits, and an account of every decision
    plan          what that will ask of models, before anything is asked

Source: "SynthesizeMe!", section 4 and appendix C, where PRISM and Chatbot Arena become PersonalRewardBench.
The way of a pair: ``table`` (choices and ratings to pairs) -> ``decide`` (the steps of ``recipe``, with the
models' part in ``taste`` and ``judges``) -> ``result`` (roles and splits) -> ``write``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from palate.core import Population
from palate.core.job import Tell
from palate.curate.decide import Asks, decide, first_steps
from palate.curate.judges import AnyJudge, Scores, as_judges
from palate.curate.plan import Plan, Planned, plan_of
from palate.curate.recipe import REASONS, STEPS, Recipe
from palate.curate.result import PARTS, finish
from palate.curate.summary import PUBLISHED, Step, Summary
from palate.curate.table import Table, read_table
from palate.curate.taste import TASTE, Taste
from palate.curate.write import check_folder, write_outputs
from palate.feedback import ReadResult

__all__ = [
    "PARTS",
    "PUBLISHED",
    "REASONS",
    "STEPS",
    "TASTE",
    "AnyJudge",
    "Asks",
    "Plan",
    "Planned",
    "Recipe",
    "Scores",
    "Step",
    "Summary",
    "Table",
    "Taste",
    "curate",
    "plan",
]


def curate(
    source: str | Path | Population | ReadResult,
    out: str | Path,
    judges: Sequence[AnyJudge] = (),
    filter_lm: str = "",
    min_pairs: int = 5,
    min_gap: float = 0.1,
    seed: int = 0,
    tell: Tell | None = None,
    *,
    recipe: Recipe | None = None,
    fields: Mapping[str, str] | None = None,
    format: str = "jsonl",
    client: Asks | None = None,
) -> Summary:
    """Curate a source into a folder.

    Answers of models are kept by their store: a run that stopped, or the same run again, asks only what it
    has no answer to, and equal inputs give equal files.

    Args:
        source: What :func:`palate.feedback.read` reads, or feedback that was read already.
        out: The folder.
        judges: Models, judges or scores for the consensus filter; none leaves the step out.
        filter_lm: The model of the personalizable filter; empty leaves the step out.
        min_pairs: Fewest pairs of a user.
        min_gap: Smallest difference of two ratings, as a share of the scale.
        seed: Of every draw.
        tell: Told what is being done, how much of it is done, and how much there is (0: not known).
        recipe: All parameters; in the place of ``min_pairs``, ``min_gap`` and ``seed``.
        fields: Field to column, for reading.
        format: Of the rows: jsonl or parquet.
        client: What asks the models; None connects to each by its name.

    Raises:
        ConfigError: If a parameter cannot work.
        DataError: If there is nothing to read.
        ModelError: If a model cannot be asked, or gave no answer that could be read; a budget that is spent
            is one. Nothing is written then, and an earlier curation in the folder is left as it was.
        StorageError: If the folder cannot be written.

    >>> import tempfile
    >>> from palate import World, read
    >>> people = World(users=20, pairs=6, targets=2, episodes=2).sample().population
    >>> folder = tempfile.mkdtemp()
    >>> print(curate(people, folder, min_pairs=8))
    step                          pairs  users
    as read                         160     20
    ties and close ratings out      160     20
    users with enough pairs         160     20
    users with enough pairs left    160     20
    >>> read(f"personalrewardbench:{folder}").population.n_rows
    160
    """
    made = recipe or Recipe(min_pairs=min_pairs, min_gap=min_gap, seed=seed)
    heard = as_judges(judges)
    check_folder(out, format)
    table = _read(source, made, fields, tell)
    decisions = decide(table, made, filter_lm, heard, client, tell)
    return write_outputs(finish(decisions), out, format)


def plan(
    source: str | Path | Population | ReadResult,
    judges: Sequence[AnyJudge] = (),
    filter_lm: str = "",
    min_pairs: int = 5,
    min_gap: float = 0.1,
    seed: int = 0,
    tell: Tell | None = None,
    *,
    recipe: Recipe | None = None,
    fields: Mapping[str, str] | None = None,
) -> Plan:
    """Say what :func:`curate` will ask of models; nothing is asked.

    The arguments are those of :func:`curate`. A filter takes pairs away, so the judges' calls are a bound.

    Raises:
        ConfigError: If a parameter cannot work.
        DataError: If there is nothing to read.

    >>> from palate import World
    >>> people = World(users=20, pairs=6, targets=2, episodes=2).sample().population
    >>> [(step.step, step.calls) for step in plan(people, ["fake:world"], "fake:world").asked]
    [('personalizable', 159), ('consensus', 318)]
    """
    made = recipe or Recipe(min_pairs=min_pairs, min_gap=min_gap, seed=seed)
    heard = as_judges(judges)
    return plan_of(first_steps(_read(source, made, fields, tell), made), filter_lm, heard)


def _read(
    source: str | Path | Population | ReadResult,
    recipe: Recipe,
    fields: Mapping[str, str] | None,
    tell: Tell | None,
) -> Table:
    """Read the source, and tell of it."""

    def progress(rows: int, share: float | None) -> None:
        if tell is not None:
            tell("reading", rows, 0)

    return read_table(source, recipe, fields, progress)
