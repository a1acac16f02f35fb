"""palate fit, adapt, rank, explain: the parts of the main job by themselves."""

import json
from pathlib import Path
from typing import Annotated

import typer

from palate.cli.asking import LM, Judge, Tuned, asks
from palate.cli.shared import Encoder, Fields, File, Seed, Settings, app, pairs, read_settings, write_out

__all__ = ["adapt", "explain", "fit", "rank"]

Model = Annotated[Path, typer.Argument(help="Folder that `palate fit` wrote.")]


@app.command()
@asks
def fit(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    method: Annotated[str, typer.Option("--method", "-m")] = "mixed",
    encoder: Encoder = "lexical",
    seed: Seed = 0,
    settings: Settings = None,
    field: Fields = None,
    gate: Annotated[bool, typer.Option(help="Apply personas only as far as they prove right.")] = True,
    lm: LM = "",
    judge_lm: Judge = "",
    base: Tuned = "",
) -> None:
    """Learn from feedback and save a model (with the words of `style` beside it)."""
    from palate.terminal import progress_bar
    from palate.workshop import fit_model

    with progress_bar() as tell:
        tell(f"learning {method}", 0, 0)
        model = fit_model(
            file,
            method,
            encoder,
            seed,
            read_settings(settings or []).get(method, {}),
            pairs(field or [], "--field"),
            gate,
            {"lm": lm, "judge_lm": judge_lm, **({"model": base} if base else {})},
        )
    model.save(out)
    print(f"{model.summary}")
    print(out)


@app.command()
@asks
def adapt(
    model: Model,
    file: File,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File; default stdout.")] = None,
    field: Fields = None,
) -> None:
    """Turn users' feedback into personas, one JSON object a line."""
    from palate.workshop import Workshop

    personas = Workshop.load(model).personas(file, pairs(field or [], "--field"))
    write_out((json.dumps(p.to_json(), ensure_ascii=False) for p in personas), out)


@app.command()
@asks
def rank(
    model: Model,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="The conversation so far.")],
    response: Annotated[list[str], typer.Option("--response", "-r", help="An answer; give two or more.")],
    user: Annotated[str, typer.Option("--user", "-u", help="Whose; the average user by default.")] = "",
    personas: Annotated[Path | None, typer.Option(help="File that `palate adapt` wrote.")] = None,
    history: Annotated[str | None, typer.Option(help="Or feedback, to adapt the user from.")] = None,
) -> None:
    """Put answers in the order in which this user would prefer them."""
    from palate.terminal import console
    from palate.workshop import Workshop

    shop = Workshop.load(model)
    persona = shop.persona_of(user, personas, history)
    for place, (text, probability) in enumerate(shop.rank(persona, prompt, response), 1):
        console.print(f"{place}. {probability:6.1%}  {text}", highlight=False, markup=False)


@app.command()
@asks
def explain(
    model: Model,
    history: Annotated[str, typer.Argument(help="Feedback that holds the user's choices.")],
    user: Annotated[str, typer.Option("--user", "-u")],
    personas: Annotated[Path | None, typer.Option(help="A persona that `palate adapt` wrote.")] = None,
    field: Fields = None,
) -> None:
    """Say what is believed about a user, on which choices it rests, and whether it holds."""
    from palate.cli.told import explanation_view
    from palate.terminal import console
    from palate.workshop import Workshop

    shop = Workshop.load(model)
    persona = None if personas is None else shop.persona_of(user, personas, None)
    told = shop.explain(user, history, pairs(field or [], "--field"), persona)
    console.print(explanation_view(told), highlight=False)
