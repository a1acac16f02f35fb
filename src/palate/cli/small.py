"""palate small: the small language, its base models, and the study of trained-in methods in it."""

from pathlib import Path
from typing import Annotated

import typer

from palate.cli.shared import app
from palate.core.errors import ConfigError

__all__ = ["base", "small", "study"]

small = typer.Typer(
    help="A language of eighty words in which trained-in methods can be compared in minutes.",
    no_args_is_help=True,
)
app.add_typer(small, name="small")


@small.command()
def base(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    size: Annotated[str, typer.Option(help="small (Llama) or other (OLMo 2).")] = "small",
    steps: Annotated[int, typer.Option(help="Steps of training; 0 is as many as it takes.")] = 0,
    dialects: Annotated[int, typer.Option(help="1, or 2: topics with words of their own.")] = 1,
    seed: Annotated[int, typer.Option(help="Of weights and documents.")] = 0,
) -> None:
    """Make and train a base model of the small language; it is an ordinary Hugging Face folder."""
    from palate.small.base import STEPS, make_base
    from palate.terminal import progress_bar

    total = steps or STEPS
    with progress_bar() as tell:
        make_base(
            out,
            seed=seed,
            size=size,  # type: ignore[arg-type]
            steps=total,
            dialects=dialects,
            tell=lambda now: tell(f"loss {now['loss']:.2f}", int(now["step"]), total),
        )
    print(out)


@small.command()
def study(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; the same one goes on where it was.")],
    arms: Annotated[str, typer.Option(help="Comma-separated; all by default.")] = "",
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0,1,2,3,4",
    users: Annotated[int, typer.Option(help="People of each seed.")] = 600,
    workers: Annotated[int, typer.Option(help="Cells side by side, one thread each.")] = 2,
) -> None:
    """Compare trained-in methods on people never seen, beside the papers' orderings; resumable."""
    from palate.small.report import write_study
    from palate.small.study import Plan, run_study
    from palate.terminal import console, progress_bar, table_of

    try:
        numbers = tuple(int(part) for part in seeds.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"--seeds {seeds}: expected numbers such as 0,1,2") from error
    named = tuple(part.strip() for part in arms.split(",") if part.strip())
    plan = Plan(out, named, numbers, users, workers=workers)
    with progress_bar() as tell:
        cells = run_study(plan, tell)
    for title, rows in write_study(out, cells).items():
        console.print(table_of(title, rows))
    print(out / "study.md")
