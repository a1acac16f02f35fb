"""Options of the verbs that ask a language model: which one, how fast, and what it may cost."""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from palate.cli.shared import pairs
from palate.core.errors import ConfigError

if TYPE_CHECKING:
    from palate.models.llm.session import Session

__all__ = ["LM", "Agreed", "Judge", "Tuned", "agree", "asking", "asks"]

LM = Annotated[
    str,
    typer.Option(
        "--lm",
        envvar="PALATE_LM",
        help="Language model: openai/gpt-4o-mini, openai/NAME@http://HOST/v1, any LiteLLM name.",
    ),
]
Judge = Annotated[str, typer.Option("--judge-lm", help="The model that judges, if it is another.")]
Tuned = Annotated[
    str,
    typer.Option(
        "--model",
        envvar="PALATE_MODEL",
        help="Causal model that trained-in methods tune: a folder, or ORGANISATION/NAME on the hub.",
    ),
]
Agreed = Annotated[bool, typer.Option("--yes", "-y", help="Agree to the expected cost without being asked.")]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "budget": (
        Annotated[str, typer.Option(help="Hard cap: 500calls, 2e6tokens, $3.50, or several.")],
        "",
    ),
    "concurrency": (Annotated[int, typer.Option(help="Calls under way at a time.")], 16),
    "price": (
        Annotated[list[str] | None, typer.Option(help="MODEL=IN,OUT dollars a million tokens; repeatable.")],
        None,
    ),
    "context": (
        Annotated[int, typer.Option(help="Tokens the model reads; 0: what is known of it, else 8192.")],
        0,
    ),
}
"""What every verb that asks a language model takes besides: its annotation and its default."""
Verb = TypeVar("Verb", bound=Callable[..., None])


def asks(verb: Verb) -> Verb:
    """Give a verb the options of a session with language models, and run it inside one."""
    own = inspect.signature(verb, eval_str=True)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _OPTIONS.items()
    ]

    @wraps(verb)
    def run(**given: Any) -> None:
        with asking(**{name: given.pop(name) for name in _OPTIONS}):
            verb(**given)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.parameters.values()]
    signature = own.replace(parameters=[*parameters, *more])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return cast(Verb, run)


@contextmanager
def asking(
    budget: str = "", concurrency: int = 16, price: list[str] | None = None, context: int = 0
) -> Iterator["Session"]:
    """Open a session with these settings; at its end say on standard error what it cost."""
    from palate.models.llm.budget import Budget, Price
    from palate.models.llm.session import language_models

    prices = {}
    for model, text in pairs(price or [], "--price", "MODEL=IN,OUT, such as openai/NAME=0.15,0.60").items():
        try:
            inward, outward = (float(part) for part in text.split(","))
        except ValueError as error:
            raise ConfigError(f"--price {model}={text}: expected two numbers, IN,OUT") from error
        prices[model] = Price(inward, outward)
    cap = Budget.parse(budget) if budget else None
    with language_models(budget=cap, concurrency=concurrency, prices=prices, context=context) as session:
        try:
            yield session
        finally:
            _tell(session)


def _tell(session: "Session") -> None:
    """Say what was asked, and what it cost."""
    from palate.terminal import cost_table, errors

    rows = session.ledger.table(by="method")
    if any(row["requests"] for row in rows):
        errors.print(cost_table(rows))
        for note in session.ledger.notes:
            errors.print(note, highlight=False, markup=False)


def agree(expected: str, calls: int, agreed: bool) -> None:
    """Go on only where the cost was agreed to, or is capped.

    Raises:
        ConfigError: If nobody can be asked.
        Abort: If the answer is no.
    """
    from palate.models.llm.session import current_session

    if not calls or agreed or current_session().settings.budget is not None:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{expected} Say --yes to agree, or set a hard cap with --budget")
    typer.confirm(f"{expected} Ask the language model?", abort=True)
