"""palate persona, optimize, judge, trace, attack: personas in words, and the models behind them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from palate.cli.asking import LM, Agreed, Judge, agree, asks
from palate.cli.shared import Fields, File, Seed, app, pairs
from palate.core.errors import ConfigError

if TYPE_CHECKING:
    from palate.models.llm.records import Call

__all__ = ["attack", "diff", "export", "judge", "optimize", "trace"]

persona = typer.Typer(help="Compare personas and export them.", no_args_is_help=True)
app.add_typer(persona, name="persona")
User = Annotated[str, typer.Option("--user", "-u", help="Whose; needed where a file holds several.")]


@persona.command()
def diff(
    before: Annotated[str, typer.Argument(help="File that `palate adapt` wrote, or a line of one.")],
    after: Annotated[str, typer.Argument(help="Another; left out: the first two versions in BEFORE.")] = "",
    user: User = "",
) -> None:
    """Compare two versions of a persona: statements, evidence, verdict."""
    from palate.cli.told import diff_view
    from palate.persona.diff import persona_diff
    from palate.terminal import console
    from palate.workshop import persona_versions

    console.print(diff_view(persona_diff(*persona_versions(before, after, user))), highlight=False)


@persona.command()
def export(
    personas: Annotated[Path, typer.Argument(help="File that `palate adapt` wrote.")],
    kind: Annotated[
        str,
        typer.Option("--as", help="prompt, json; with --history preference, implicit, sft."),
    ] = "prompt",
    user: User = "",
    history: Annotated[str, typer.Option(help="Feedback: the choices that become rows.")] = "",
    layout: Annotated[
        str, typer.Option(help="Columns of the rows: trl, openrlhf, openrlhf-text, icai (a CSV).")
    ] = "trl",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File; default stdout.")] = None,
    longest: Annotated[int, typer.Option(help="Most characters of a system prompt.")] = 4000,
) -> None:
    """Turn personas into a system prompt, JSON, or training rows with personas in them."""
    from palate.export import Exported, as_csv, as_lines, system_prompt, to_json, training_rows
    from palate.feedback import read
    from palate.harm import screen_persona
    from palate.terminal import errors
    from palate.workshop import persona_versions, read_personas, write_lines

    if kind not in ("prompt", "json"):
        if not history:
            raise ConfigError(f"--as {kind} needs --history FILE: the choices that become rows")
        made, people, done = read_personas(str(personas)), read(history).population, Exported()
        rows = training_rows(
            people, made, cast(Any, kind), layout=cast(Any, layout), longest=longest, done=done
        )
        lines = as_csv(rows) if layout == "icai" else as_lines(rows)
        told = done.lines()  # is read when all rows are
    else:
        found, refused = screen_persona(persona_versions(str(personas), str(personas), user)[1])
        lines = iter([system_prompt(found, longest) if kind == "prompt" else to_json(found)])
        told = iter(f"left out, for it asks for harm: {each.statement!r} ({each.kind})" for each in refused)
    if out is None:
        for line in lines:
            print(line)
    else:
        write_lines(lines, out)
    for line in told:
        errors.print(line, highlight=False, markup=False)


@app.command()
@asks
def optimize(
    file: File,
    out: Annotated[str, typer.Option("--out", "-o", help="Name or path under which the prompt is saved.")],
    lm: LM = "",
    judge_lm: Judge = "",
    proposer: Annotated[
        str, typer.Option(help="Model that proposes instructions; the writer by default.")
    ] = "",
    start: Annotated[
        str, typer.Option(help="Prompt that the search begins with: a name or a file.")
    ] = "starting",
    candidates: Annotated[int, typer.Option(help="Instructions, and sets of demonstrations.")] = 20,
    trials: Annotated[int, typer.Option(help="Combinations that are tried.")] = 30,
    users: Annotated[int, typer.Option(help="Most training users.")] = 40,
    validation: Annotated[int, typer.Option(help="Most validation users; half of them have no say.")] = 60,
    keep: Annotated[str, typer.Option(help="gained: only a shown gain; best: the best found.")] = "gained",
    seed: Seed = 0,
    field: Fields = None,
) -> None:
    """Search for a better prompt for writing personas (MIPROv2), and test it on users that had no say."""
    from palate.catalogue import build
    from palate.feedback import read, split_new_users
    from palate.persona.optimize import Optimisation, optimise_and_save
    from palate.persona.theta import load_theta
    from palate.terminal import console

    how = Optimisation(
        candidates=candidates,
        trials=trials,
        users=users,
        validation=validation,
        proposer=proposer,
        start=load_theta(start),
        keep=keep,  # type: ignore[arg-type] # checked by the search, with the names it knows
        seed=seed,
    )
    people = split_new_users(read(file, fields=pairs(field or [], "--field")).population, seed)
    method = build("synthesizeme", lm=lm, judge_lm=judge_lm, seed=seed)
    for line in optimise_and_save(people, method, how, out):  # type: ignore[arg-type]
        console.print(line, highlight=False, markup=False)


@app.command()
@asks
def judge(
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="The conversation so far.")],
    response: Annotated[list[str], typer.Option("--response", "-r", help="An answer; give two.")],
    words: Annotated[
        str, typer.Option("--persona", help="A persona in words; none asks for people's taste.")
    ] = "",
    lm: LM = "",
) -> None:
    """Ask a model which of two answers a person would prefer: both orders, with its reasons."""
    from palate.core import as_conversation
    from palate.judge import Comparison, Judge
    from palate.models.llm.client import Task
    from palate.models.llm.session import connect
    from palate.terminal import console

    if len(response) != 2:
        raise ConfigError(f"{len(response)} responses given; a judge compares two")
    pair = Comparison(as_conversation(prompt), (response[0], response[1]), words or None)
    client = connect(lm)
    if client.fake:
        console.print(f"{client.spec} is a fake: no language model was asked.", highlight=False)
    (found,) = next(iter(client.run([Task(Judge().compare([pair]), method="judge")])))
    for number, opinion in enumerate(found.opinions):
        order = "as given" if number == 0 else "exchanged"
        said = opinion.fault.message if opinion.fault else f"{opinion.log_odds:+.2f}  {opinion.reason}"
        console.print(f"{order:>9}: {said}", highlight=False, markup=False)
    verdict = "no opinion" if found.silent else f"{found.log_odds:+.2f} log-odds for the first response"
    torn = "; the orders contradict each other" if found.torn else ""
    console.print(f"together: {verdict}{torn}", highlight=False, markup=False)


@app.command()
def trace(
    key: Annotated[str, typer.Argument(help="Beginning of a call's key: show it whole.")] = "",
    user: Annotated[str | None, typer.Option("--user", "-u", help="Calls that served this user.")] = None,
    method: Annotated[str | None, typer.Option("--method", "-m")] = None,
    program: Annotated[str | None, typer.Option(help="judge, persona, insights ...")] = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="Those alone whose answer could not be used.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Most calls that are listed.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines with everything.")] = False,
    forget_user: Annotated[
        str, typer.Option("--forget", help="Erase the calls that served this user alone.")
    ] = "",
) -> None:
    """Read what language models were asked and what they answered."""
    from dataclasses import asdict

    from palate.models.llm.session import language_models
    from palate.terminal import calls_table, console

    with language_models() as session:
        if forget_user:
            print(f"{session.store.forget(forget_user):,} calls erased that served {forget_user} alone")
            return
        kept = session.store.calls(
            user=user, method=method, program=program, key=key, faults=faults, limit=limit
        )
        found = list(kept)
    if as_json:
        for call in found:
            print(json.dumps(asdict(call), ensure_ascii=False))
    elif key and len(found) == 1:
        _whole(found[0])
    elif found:
        console.print(calls_table(found))
    else:
        console.print("No such call is kept.")


def _whole(call: "Call") -> None:
    """Print a call: who it served, its prompt, its answer."""
    from palate.terminal import console, pairs_table

    served = ", ".join(sorted({f"{use.user or '-'} ({use.method})" for use in call.uses}))
    facts = [("model", call.model), ("program", call.program), ("served", served or "-")]
    facts += [
        ("tokens", f"{call.tokens_in:,} in, {call.tokens_out:,} out"),
        ("seconds", f"{call.seconds:.2f}"),
    ]
    facts += [(name, str(value)) for name, value in call.settings.items()]
    console.print(pairs_table(call.key, iter(facts)))
    for message in (*call.messages, ("answer" + (f" ({call.fault})" if call.fault else ""), call.text)):
        console.rule(str(message[0]), align="left")
        console.print(message[1], highlight=False, markup=False)


@app.command()
@asks
def attack(
    file: File,
    lm: LM = "",
    most: Annotated[int, typer.Option(help="Comparisons that are attacked, one a user.")] = 50,
    quick: Annotated[bool, typer.Option("--quick", help="The judge answers without reasoning.")] = False,
    seed: Seed = 0,
    field: Fields = None,
    yes: Agreed = False,
) -> None:
    """Try to steer the judge by words in answers, personas and examples, and say how often it works."""
    from palate.evaluate.attacks import ATTACKS, comparisons_of
    from palate.evaluate.attacks import attack as try_out
    from palate.feedback import read
    from palate.judge import Judge
    from palate.models.llm.session import connect
    from palate.terminal import attack_table, console

    people = read(file, fields=pairs(field or [], "--field")).population
    client, asked = connect(lm), comparisons_of(people, most, seed)
    calls = 2 * len(asked) * (1 + len(ATTACKS))
    agree(f"{calls:,} calls of {client.spec}.", 0 if client.fake else calls, yes)
    found = list(try_out(client, Judge(reason=not quick), asked))
    console.print(attack_table(found, client.spec, fake=client.fake))
