"""The command line: thin verbs over the library. Heavy modules load only when a verb needs them.

shared    the applications, options and how values are read
data      look at feedback, make a world, curate
bench     run methods on people never seen, and compare reports
people    fit, adapt, rank, explain: the parts of the main job by themselves
generate  write an answer for a user
serve     the service: choices in, personas and rankings out
small     the small language and its study
words     personas in words and the models behind them: diff, export, optimize, judge, trace, attack
asking    options of verbs that ask a language model
told      how a persona is shown
"""

import sys
from typing import Annotated

import typer

from palate import __version__
from palate.cli import bench, data, generate, people, serve, small, words
from palate.cli.shared import app
from palate.core.errors import PalateError

__all__ = ["app", "bench", "data", "generate", "main", "people", "serve", "small", "words"]

UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # typer carries its own copy of click


def main() -> None:
    """Run the command line; errors end with their message and exit code."""
    try:
        code = app(standalone_mode=False) or 0
        if code == 130:  # newer typer turns Ctrl-C into this code itself
            raise KeyboardInterrupt
        sys.exit(code)
    except UsageError as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(2)
    except PalateError as error:
        print(f"palate: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("palate: stopped; what was finished is kept, and the same command goes on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Say the version, or nothing."""
    if version:
        print(f"palate {__version__}")
        raise typer.Exit
