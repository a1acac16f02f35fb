"""palate generate: write an answer for a user. The answer alone is on standard output, all else beside it."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palate.cli.asking import asks
from palate.cli.shared import Seed, app
from palate.core.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    from palate.core import Conversation, Method, Persona
    from palate.generate import Applied, Ranked
    from palate.models.llm.client import Client
    from palate.workshop import Workshop

__all__ = ["generate"]


@dataclass(frozen=True)
class _Draw:
    """How words are drawn."""

    temperature: float
    longest: int
    seed: int


@dataclass(frozen=True)
class _Made:
    """What was made, for whom, and by whom."""

    ranked: "Ranked"
    use: "Applied"
    writer: str
    fake: bool
    rank_by: str = ""
    without: str = ""


@app.command()
@asks
def generate(
    model: Annotated[Path, typer.Argument(help="Folder that `palate fit` wrote.")],
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="What the user asks.")] = "",
    conversation: Annotated[
        Path | None, typer.Option(help='Turns before it: a JSON list, or lines, of {"role", "content"}.')
    ] = None,
    user: Annotated[str, typer.Option("--user", "-u", help="Whose; the average user by default.")] = "",
    personas: Annotated[Path | None, typer.Option(help="File that `palate adapt` wrote.")] = None,
    history: Annotated[str | None, typer.Option(help="Or feedback, to adapt the user from.")] = None,
    lm: Annotated[
        str, typer.Option("--lm", help="Model that writes; without it a method that writes itself does.")
    ] = "",
    best_of: Annotated[int, typer.Option(min=1, max=1000, help="Answers to choose the best of.")] = 1,
    rank_by: Annotated[Path | None, typer.Option(help="Another model's folder, whose score chooses.")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Print all answers with probabilities.")] = False,
    stream: Annotated[bool | None, typer.Option(help="Print as it comes; at a terminal by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object with everything.")] = False,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0: the likeliest words.")] = 1.0,
    longest: Annotated[int, typer.Option(min=0, help="Most tokens of an answer; 0: the writer's own.")] = 0,
    seed: Seed = 0,
) -> None:
    """Write an answer for a user: by a tuned model, or by any language model that is told the persona."""
    from palate.workshop import Workshop

    one = best_of == 1 and not (show_all or as_json)
    _check(one, best_of, rank_by, stream, temperature)
    talk = _talk(prompt, conversation)
    shop = Workshop.load(model)
    whole = shop.persona_of(user, personas, history)
    writer, client = _writer(shop, lm)
    persona = whole if client is None else _in_words(shop, whole, history)
    use = _tell(shop, persona, client)
    draw = _Draw(temperature, longest, seed)
    if one and (sys.stdout.isatty() if stream is None else stream):
        _aloud(persona, talk, writer, draw)
        return
    judge, theirs = (shop, whole) if rank_by is None else _other(rank_by, user, history)
    name, fake = (client.name, client.fake) if client else (f"{shop.method.label} itself", False)
    ranked, without = _best(judge.method, theirs, talk, _drafts(persona, talk, writer, best_of, draw))
    _print(
        _Made(ranked, use, name, fake, judge.method.label if best_of > 1 else "", without), show_all, as_json
    )


def _check(one: bool, best_of: int, rank_by: Path | None, stream: bool | None, temperature: float) -> None:
    """Refuse options that contradict each other."""
    if stream and not one:
        raise ConfigError("--stream prints one answer as it comes; leave out --best-of, --all and --json")
    if best_of > 1 and temperature == 0:
        raise ConfigError(f"--best-of {best_of} at --temperature 0 is one answer {best_of} times: raise it")
    if rank_by and best_of == 1:
        raise ConfigError("--rank-by chooses among several answers: give --best-of N too")


def _talk(prompt: str, file: Path | None) -> "Conversation":
    """Read what is to be answered."""
    from palate.core import Turn

    turns = [] if file is None else [Turn(t["role"], t["content"]) for t in _turns(file)]
    turns += [Turn("user", prompt)] if prompt else []
    if not turns:
        raise ConfigError("there is nothing to answer: give --prompt TEXT, or --conversation FILE")
    if turns[-1].role != "user":
        raise DataError(
            f"{file} ends with a turn of the {turns[-1].role}; the last turn must be the user's: add one, or "
            "give it as --prompt"
        )
    return tuple(turns)


def _turns(file: Path) -> Iterator[dict[str, str]]:
    """Read turns from a list, or from lines."""
    form = 'expected a JSON list, or lines, of {"role": "user", "content": "..."}'
    try:
        text = file.read_text(encoding="utf-8").strip()
        found = json.loads(text) if text.startswith("[") else [json.loads(x) for x in text.splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{file} holds no conversation that can be read ({error}): {form}") from error
    for number, turn in enumerate(found, 1):
        role, words = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if role not in ("system", "user", "assistant") or not isinstance(words, str):
            raise DataError(
                f"turn {number} of {file} is {json.dumps(turn)[:80]}: {form}; or system, assistant"
            )
        yield {"role": role, "content": words}


def _writer(shop: "Workshop", lm: str) -> "tuple[str | Method, Client | None]":
    """Return who writes, and its client where that is a language model."""
    from palate.generate import writes
    from palate.models.llm.session import connect

    if not lm and writes(shop.method):
        return shop.method, None
    try:
        client = connect(lm)
    except ConfigError as error:
        if lm:
            raise
        raise ConfigError(f"{shop.method.label} does not write answers itself; {error}") from None
    return client.spec, client


def _in_words(shop: "Workshop", persona: "Persona", history: str | None) -> "Persona":
    """Return what a language model can be told: for a persona without words, what `style` finds."""
    from palate.generate import WEIGHT
    from palate.workshop import Workshop

    aside = persona.verdict is not None and persona.verdict.weight < WEIGHT
    if aside or persona.text or persona.examples or not persona.user or history is None:
        return persona
    found = Workshop(shop.words, shop.words).persona_of(persona.user, None, history)
    return found if found.claims else persona


def _tell(shop: "Workshop", persona: "Persona", client: "Client | None") -> "Applied":
    """Say on standard error which persona is used, what was left out of it, and who writes."""
    from palate.generate import applied
    from palate.models.llm.engine import is_fake

    use = applied(persona, words=client is not None)
    _say(use.told)
    for line in use.left_out:
        _say(f"left out of the persona, for it asks for harm: {line}")
    maker: Any = getattr(shop.method, "method", shop.method)
    by = getattr(maker, "lm_", "")
    if use.used and is_fake(by):
        _say(f"{by} is a fake: no language model wrote this persona.")
    if client is not None and client.fake:
        _say(f"{client.spec} is a fake: no language model was asked.")
    return use


def _say(line: str) -> None:
    from palate.terminal import errors

    errors.print(line, highlight=False, markup=False, soft_wrap=True)


def _aloud(persona: "Persona", talk: "Conversation", writer: "str | Method", draw: _Draw) -> None:
    """Print an answer as it comes."""
    from palate.generate import stream

    pieces = stream(persona, talk, writer, temperature=draw.temperature, longest=draw.longest, seed=draw.seed)
    came = False
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
            came = True
    finally:
        if came:
            print(flush=True)


def _drafts(
    persona: "Persona", talk: "Conversation", writer: "str | Method", samples: int, draw: _Draw
) -> tuple[list[str], str]:
    """Return answers, and in words why some of them did not come."""
    from palate.generate import answers
    from palate.models.llm.session import current_session

    before = current_session().ledger.snapshot()
    (texts,) = answers(
        [persona], [talk], writer, samples,
        temperature=draw.temperature, longest=draw.longest, seed=draw.seed,
    )  # fmt: skip
    faults = current_session().ledger.since(before).total["faults"]
    why = (
        ", ".join(f"{count:,} {kind}" for kind, count in faults.items()) or f"{samples - len(texts):,} empty"
    )
    if not texts:
        raise ModelError(
            f"no answer that can be used came: {why}. `palate trace --faults` shows what was said; ask again "
            "with another --seed, or another model"
        )
    missing = samples - len(texts)
    return texts, f"{missing:,} of {samples:,} answers did not come: {why}" if missing else ""


def _other(folder: Path, user: str, history: str | None) -> "tuple[Workshop, Persona]":
    """Return the model that ranks, and its own persona of the user."""
    from palate.workshop import Workshop

    if user and history is None:
        raise ConfigError("--rank-by needs --history FILE: the model that ranks makes its own persona")
    shop = Workshop.load(folder)
    return shop, shop.persona_of(user, None, history)


def _best(
    method: "Method", persona: "Persona", talk: "Conversation", drafts: tuple[list[str], str]
) -> "tuple[Ranked, str]":
    """Rank drafts, and say on standard error by what, and how many there were."""
    from palate.generate import best_of

    texts, without = drafts
    if without:
        _say(without)
    ranked = best_of(method, persona, talk, texts)
    if len(texts) > 1:
        _say(f"best of {len(texts):,} answers, {len(ranked.texts):,} of them distinct, by {method.label}")
    return ranked, without


def _print(made: _Made, show_all: bool, as_json: bool) -> None:
    """Print the best answer, or all, or everything."""
    from palate.models.llm.session import current_session

    pairs = list(zip(made.ranked.texts, made.ranked.probabilities, strict=True))
    if as_json:
        told = {
            "answer": made.ranked.texts[0],
            "answers": [{"text": text, "probability": share} for text, share in pairs],
            "user": made.use.persona.user,
            "persona": {
                "used": made.use.used,
                "told": made.use.told,
                "left_out": list(made.use.left_out),
                "text": made.use.persona.text,
            },
            "writer": made.writer,
            "fake": made.fake,
            "ranked_by": made.rank_by or None,
            "missing": made.without or None,
            "notes": list(current_session().ledger.notes),
        }
        print(json.dumps(told, ensure_ascii=False))
    elif show_all:
        for place, (text, share) in enumerate(pairs, 1):
            print(f"{place}. {share:6.1%}  {text}")
    else:
        print(made.ranked.texts[0])
