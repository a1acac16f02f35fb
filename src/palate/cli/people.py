"""palate fit, adapt, rank, explain: the parts of the main job by themselves."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from palate.cli.asking import LM, Judge, Tuned, asks
from palate.cli.shared import Encoder, Fields, File, Seed, Settings, app, pairs, read_settings, write_out

__all__ = ["adapt", "explain", "fit", "rank", "recipes"]

Model = Annotated[Path, typer.Argument(help="Folder that `palate fit` wrote.")]


@app.command()
@asks
def fit(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    method: Annotated[str, typer.Option("--method", "-m")] = "mixed",
    recipe: Annotated[str, typer.Option(help="A setting of a paper: see `palate recipes`; or a file.")] = "",
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
    from palate.catalogue import find
    from palate.core.job import job
    from palate.terminal import progress_bar
    from palate.tune.running import is_first
    from palate.workshop import fit_model

    values: dict[str, Any] = {}
    if recipe:
        from palate.tune.recipe import load_recipe

        found = load_recipe(recipe)
        method, values = found.method, dict(found.fields)
    values |= read_settings(settings or []).get(method, {})
    folder = out / "training" if find(method).tunes else None  # where a run that was cut goes on
    with progress_bar() as tell, job(folder, tell):
        tell(f"learning {method}", 0, 0)
        model = fit_model(
            file,
            method,
            encoder,
            seed,
            values,
            pairs(field or [], "--field"),
            gate,
            {"lm": lm, "judge_lm": judge_lm, **({"model": base} if base else {})},
        )
    if not is_first():  # under a launcher one process writes
        return
    model.save(out)
    print(f"{model.summary}")
    print(out)


@app.command()
def recipes(
    name: Annotated[str, typer.Argument(help="One recipe, told whole; without, all are listed.")] = "",
) -> None:
    """List settings of the papers that `palate fit --recipe` runs, with what each needs."""
    from rich.markup import escape
    from rich.table import Table

    from palate.terminal import console
    from palate.tune.recipe import load_recipe
    from palate.tune.recipe import recipes as known

    if name:
        told = load_recipe(name)
        for key in ("title", "source", "method", "data", "needs", "hours", "published"):
            console.print(f"{key + ':':<11}{getattr(told, key)}", highlight=False, markup=False)
        console.print("fields:", *(f"  {key}: {value}" for key, value in told.fields.items()), sep="\n")
        return
    table = Table("recipe", "what it does", "source", "hours", title="recipes", title_justify="left")
    for each in known().values():
        table.add_row(*map(escape, (each.name, each.title, each.source, each.hours.partition(":")[0])))
    console.print(table)


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
