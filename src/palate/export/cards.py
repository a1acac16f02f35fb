"""A model card, the README.md of a Hugging Face repository: what was given to it, and no other claim.

Data, method, figures with intervals and counts, unseen test users, limits, use, and what may leak each have a
section. What was not given is said to be missing, or left out. Paths are cut to their last part: a card names
no machine. The front matter is YAML with JSON strings. Without a license it says ``unknown``: whoever
publishes the weights chooses it.

Source: the Hub's page on model cards, for the names in the front matter.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palate.core import ConfigError

__all__ = ["Data", "Figure", "Trained", "Unseen", "card"]

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_USE = (
    "To judge, rank or write answers for people whose choices are given in the form of the training data. "
    "Not to decide about people, and not to guess who somebody is."
)
_LEAK = (
    "The weights were trained on people's choices. What somebody wrote, was shown, and chose may come out "
    "again, word for word or as a leaning, above all of texts that stood in the data often. A persona, a "
    "summary of a history and a user's embedding are personal data. To forget a person, train again without "
    "them."
)


@dataclass(frozen=True)
class Data:
    """What a model was trained on.

    Attributes:
        file: Name of the file or data set; of a path the last part is told.
        users: Training users.
        choices: Their choices.
        digest: Fingerprint of the data.
        license: Of the data, where it is known.
        note: Anything else, in a sentence.
    """

    file: str
    users: int
    choices: int
    digest: str
    license: str = ""
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A measured figure.

    Attributes:
        name: Of what, such as ``accuracy``; it stands among the front matter's metrics.
        value: The figure, in the unit that it is told in.
        low: Lower end of its interval, or None where there is none.
        high: Upper end.
        level: Of the interval.
        n: What it was measured on, with its unit, such as ``900 pairs of 60 users``.
        of: On whom and how, in a few words.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: str = ""
    of: str = ""


@dataclass(frozen=True)
class Trained:
    """What was trained, and how.

    Attributes:
        name: Of the model.
        base: Name on the Hub, or a folder, of the model that it was made from.
        method: Which method trained it.
        library: What loads it, such as ``peft`` or ``transformers``.
        weights: What the files hold, such as ``LoRA adapter`` or ``merged weights``.
        settings: Fields of the method, in their order.
        tags: For the Hub, besides ``palate`` and the method.
    """

    name: str
    base: str
    method: str
    library: str
    weights: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unseen:
    """Test users of whom training saw nothing.

    Attributes:
        users: How many.
        names: Who, as the data calls them; () leaves them out.
        how: How they were drawn, such as ``split by user, seed 0``.
    """

    users: int
    names: tuple[str, ...] = ()
    how: str = ""


def card(
    model: Trained,
    data: Sequence[Data],
    figures: Sequence[Figure] = (),
    *,
    unseen: Unseen | None = None,
    limits: Sequence[str] = (),
    use: str = _USE,
    leaks: str = "",
    refused: str = "",
    license: str = "",
) -> str:
    """Return the text of a model card.

    Args:
        model: What was trained.
        data: What it was trained on.
        figures: What was measured.
        unseen: Test users of whom training saw nothing; None says that none are known.
        limits: What it cannot do, a sentence each.
        use: What it is for.
        leaks: What was measured of leaking; "" says that nothing was.
        refused: What was left out of personas because it asks for harm, in words; "" says nothing of it.
        license: Of the weights, as the Hub names it.

    Returns:
        Markdown with YAML front matter.

    Raises:
        ConfigError: If no data are given, a count is negative, or names and their number differ.

    >>> text = card(Trained("ann-rm", "org/base", "reward-lm", "peft"), [Data("c.jsonl", 2, 9, "ab12")])
    >>> print("\\n".join(text.splitlines()[1:4]))
    license: "unknown"
    base_model: "org/base"
    library_name: "peft"
    """
    _check(data, unseen)
    parts = [
        _front(model, figures, license),
        f"# {_inline(model.name)}",
        _intro(model),
        "## Data",
        *_data(data, refused),
        "## Method",
        *_method(model),
        "## Figures",
        *_figures(figures),
        "## Unseen test users",
        _unseen(unseen),
        "## Intended use",
        use,
        "## Trained on people's choices: what may leak",
        _LEAK,
        leaks or "Whether these weights give anything away was not measured, or is not told here.",
        "## Limits",
        _list(limits) if limits else "None were stated. That does not mean that there are none.",
        "## License",
        _inline(license)
        if license
        else "None is stated. Whoever publishes these weights chooses one that the "
        "licenses of the base model and of the data allow.",
    ]
    return "\n\n".join(parts) + "\n"


def _check(data: Sequence[Data], unseen: Unseen | None) -> None:
    if not data:
        raise ConfigError("a model card states the data: give at least one Data")
    for each in data:
        if each.users < 0 or each.choices < 0:
            raise ConfigError(f"{each.users} users and {each.choices} choices of {each.file}: count from 0")
    if unseen and unseen.names and len(unseen.names) != unseen.users:
        raise ConfigError(f"{len(unseen.names)} names of {unseen.users} unseen users: give all or none")


def _front(model: Trained, figures: Sequence[Figure], license: str) -> str:
    """Return the front matter; a base model that is a folder is no name on the Hub and is left out."""
    values: dict[str, Any] = {"license": license or "unknown"}
    if _HUB.fullmatch(model.base) and not Path(model.base).exists():
        values["base_model"] = model.base
    values["library_name"] = model.library
    values["tags"] = list(dict.fromkeys(("palate", model.method, *model.tags)))
    if figures:
        values["metrics"] = list(dict.fromkeys(figure.name for figure in figures))
    lines = []
    for key, value in values.items():
        if isinstance(value, list):
            lines += [f"{key}:", *(f"- {_quoted(each)}" for each in value)]
        else:
            lines.append(f"{key}: {_quoted(value)}")
    return "\n".join(["---", *lines, "---"])


def _intro(model: Trained) -> str:
    weights = f" The files hold: {_inline(model.weights)}." if model.weights else ""
    return (
        f"Made from {_inline(_last(model.base))} by the method `{_inline(model.method)}` of Palate.{weights}"
    )


def _data(data: Sequence[Data], refused: str) -> Iterator[str]:
    rows = [
        (
            _last(each.file),
            f"{each.users:,}",
            f"{each.choices:,}",
            f"`{each.digest}`",
            each.license,
            each.note,
        )
        for each in data
    ]
    yield _table(("File", "Users", "Choices", "Digest", "License", "Note"), rows)
    if refused:
        yield f"Statements of personas that ask for harm were left out: {_inline(refused)}"


def _method(model: Trained) -> Iterator[str]:
    yield f"`{_inline(model.method)}`, loaded by {_inline(model.library)}."
    if model.settings:
        yield _table(("Field", "Value"), [(name, _setting(value)) for name, value in model.settings.items()])


def _figures(figures: Sequence[Figure]) -> Iterator[str]:
    if not figures:
        yield "None were given."
        return
    rows = [(f.name, _number(f.value), _interval(f), f.n or "not given", f.of) for f in figures]
    yield _table(("Figure", "Value", "Interval", "n", "On"), rows)


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return "not given"
    return f"[{_number(figure.low)}, {_number(figure.high)}] ({100 * figure.level:.3g} %)"


def _unseen(unseen: Unseen | None) -> str:
    if unseen is None:
        return "None are known. Read the figures as figures about people whom the model may have seen."
    how = f" ({_inline(unseen.how)})" if unseen.how else ""
    names = f": {', '.join(map(_inline, unseen.names))}" if unseen.names else ""
    return f"Training saw nothing of {unseen.users:,} test users{how}{names}."


def _number(value: float) -> str:
    """Return a figure as it was given, to six digits."""
    return f"{value:.6g}"


def _setting(value: Any) -> str:
    """Return the value of a field as text: words as they are, all else as JSON."""
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | float) or value is None else _last(str(value))


def _last(name: str) -> str:
    """Return the last part of a path or address; names on the Hub and other words stay."""
    path = re.match(r"(/|~|\.{1,2}[/\\]|[A-Za-z]:[/\\])", name)
    if path or (len(name.split()) == 1 and len(re.findall(r"[/\\]", name)) > 1):
        return re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return name


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table without the columns that are empty in every row."""
    rows = list(rows)
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([_inline(row[i]) for i in kept] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


def _inline(text: str) -> str:
    """Return a text that stays in its line and its cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
