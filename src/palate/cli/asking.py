"""Options of the verbs that ask a language model: which one, how fast, and what it may cost."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from palate.cli.shared import pairs
from palate.core.errors import ConfigError

if TYPE_CHECKING:
    from palate.models.llm.session import Session

__all__ = [
    "LM",
    "Agreed",
    "Budget",
    "Concurrency",
    "Context",
    "Judge",
    "Prices",
    "agree",
    "asking",
]

LM = Annotated[
    str,
    typer.Option(
        "--lm",
        envvar="PALATE_LM",
        help="Language model: openai/gpt-4o-mini, openai/NAME@http://HOST/v1, any LiteLLM name.",
    ),
]
Judge = Annotated[str, typer.Option("--judge-lm", help="The model that judges, if it is another.")]
Budget = Annotated[
    str, typer.Option(help="Hard cap: 500calls, 2e6tokens, $3.50, or several; the same command goes on.")
]
Concurrency = Annotated[int, typer.Option(help="Calls under way at a time.")]
Prices = Annotated[
    list[str] | None, typer.Option("--price", help="MODEL=IN,OUT dollars a million tokens; may be repeated.")
]
Context = Annotated[int, typer.Option(help="Tokens the model reads; 0: what is known of it, else 8192.")]
Agreed = Annotated[bool, typer.Option("--yes", "-y", help="Agree to the expected cost without being asked.")]


@contextmanager
def asking(
    budget: str = "",
    concurrency: int = 16,
    price: list[str] | None = None,
    context: int = 0,
    silent: bool = False,
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
            if not silent:
                _tell(session)


def _tell(session: "Session") -> None:
    """Say what was asked, and what it cost."""
    from palate.terminal import cost_table, errors

    rows = session.ledger.table(by="method")
    if rows:
        errors.print(cost_table(rows))


def agree(expected: str, calls: int, agreed: bool, budget: str) -> None:
    """Go on only where the cost was agreed to.

    Raises:
        ConfigError: If nobody can be asked.
        Abort: If the answer is no.
    """
    if not calls or agreed or budget:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{expected} Say --yes to agree, or set a hard cap with --budget")
    typer.confirm("Ask the language model?", abort=True)
