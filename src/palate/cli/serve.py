"""palate serve: the server, its keys, erasure, back-ups and migrations from the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer

from palate.cli.shared import app
from palate.core.errors import ConfigError, MissingExtra

__all__ = [
    "back_up",
    "compact",
    "erase",
    "keys",
    "list_keys",
    "make_key",
    "migrate",
    "revoke_key",
    "serve",
    "start",
]

serve = typer.Typer(
    help="Serve a fitted model over HTTP: choices in; personas, rankings and answers out.",
    invoke_without_command=True,
)
keys = typer.Typer(help="Make, list and revoke API keys and users' tokens.", no_args_is_help=True)
app.add_typer(serve, name="serve")
serve.add_typer(keys, name="keys")

Database = Annotated[
    str,
    typer.Option(
        "--database", "-d", help="sqlite:///FILE or postgresql+psycopg://...; $PALATE_SERVE_DATABASE."
    ),
]
Tenant = Annotated[str, typer.Option(help="Whose.")]


@serve.callback()
def start(
    context: typer.Context,
    database: Database = "",
    model: Annotated[str, typer.Option("--model", "-m", help="Folder that `palate fit` wrote.")] = "",
    demo: Annotated[bool, typer.Option("--demo", help="A living example from the simulated world.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on; 127.0.0.1 by default.")] = "",
    port: Annotated[int | None, typer.Option("--port", "-p", help="8000 by default; 0: a free one.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", "-w", help="Processes; 1 by default.")] = None,
    upstream: Annotated[str, typer.Option(help="An OpenAI-compatible endpoint, with /v1, for chat.")] = "",
    report: Annotated[str, typer.Option(help="A report.json of `palate bench`, shown on /people.")] = "",
    model_root: Annotated[str, typer.Option(help="Folder of models that may be swapped in.")] = "",
    rate: Annotated[float | None, typer.Option(help="Requests a second of a key; 0: no limit.")] = None,
    cors: Annotated[str, typer.Option(help="Origins whose pages may call, comma-separated.")] = "",
    open_metrics: Annotated[bool, typer.Option("--open-metrics", help="/metrics without a key.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Leave requests out of the log.")] = False,
) -> None:
    """Serve until it is stopped. Secrets and further limits come from $PALATE_SERVE_...: see the docs."""
    if context.invoked_subcommand is not None:
        return
    _need_extra()
    from palate.serve.run import serve as run
    from palate.serve.settings import Settings

    given: dict[str, Any] = {
        "database": database,
        "model": model,
        "host": host,
        "port": port,
        "workers": workers,
        "upstream": upstream,
        "report": report,
        "model_root": model_root,
        "rate": rate,
        "cors": cors,
        "open_metrics": open_metrics or None,
        "quiet": quiet or None,
    }
    settings, told = Settings.of(given), list[str]()
    if demo:
        from palate.serve.demo import prepare

        settings, told = prepare(settings)
    run(settings, told)


@keys.command("make")
def make_key(
    database: Database = "",
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    scopes: Annotated[str, typer.Option(help="feedback read use edit erase admin operator.")] = "",
    tenant: Tenant = "default",
    user: Annotated[str, typer.Option(help="Make a token that reaches this user alone.")] = "",
    days: Annotated[float | None, typer.Option(help="How long it lasts; a token 30 days.")] = None,
) -> None:
    """Make a key, and print its secret, which is not kept."""
    from palate.serve.store import keys as kept
    from palate.serve.wire.rights import NewKey, NewToken

    asked: NewKey | NewToken
    named = scopes.replace(",", " ").split()
    lasts = {} if days is None else {"days": days}
    try:
        if user:
            asked = NewToken.model_validate({"user": user, **lasts, **({"scopes": named} if named else {})})
        else:
            asked = NewKey.model_validate({"label": label or "by hand", "scopes": named, **lasts})
    except ValueError as error:
        raise ConfigError(f"--scopes {scopes!r}, --days {days}: {_first(error)}") from error
    with _open(database) as store:
        _, secret = store.write(
            lambda c: kept.make(c, tenant, user or None, label or "by hand", asked.scopes, asked.days)
        )
    print(secret)


@keys.command("list")
def list_keys(
    database: Database = "",
    tenant: Tenant = "default",
    user: Annotated[str, typer.Option(help="List this user's tokens instead.")] = "",
) -> None:
    """List a tenant's API keys, or a user's tokens."""
    from palate.serve.store import keys as kept

    with _open(database) as store, store.read() as c:
        for key in kept.listed(c, tenant, user or None):
            whose = f"user {key.user}" if key.user else "key"
            print(f"{key.id}  {whose}  {' '.join(key.scopes)}  {key.label}")


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")],
    database: Database = "",
    tenant: Tenant = "default",
) -> None:
    """Revoke a key or a token; running servers follow within seconds."""
    from palate.serve.store import keys as kept

    with _open(database) as store:
        if not store.write(lambda c: kept.revoke(c, tenant, key)):
            raise ConfigError(
                f"the tenant {tenant!r} has no key {key!r}: `palate serve keys list` shows them"
            )
    print("revoked")


@serve.command()
def erase(
    user: Annotated[str, typer.Option("--user", "-u", help="Whose data to delete everywhere.")],
    database: Database = "",
    tenant: Tenant = "default",
    out: Annotated[Path | None, typer.Option(help="File for the receipt; default stdout.")] = None,
) -> None:
    """Delete all that is kept of a user, and print the receipt."""
    from palate.serve.store import erase as erasing

    with _open(database) as store:
        receipt = erasing.erase(store, tenant, user, "command line")
    if receipt is None:
        raise ConfigError(f"nothing is kept of the user {user!r} of the tenant {tenant!r}")
    text = receipt.model_dump_json(indent=2)
    if out is None:
        print(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")
        print(out)


@serve.command()
def migrate(database: Database = "") -> None:
    """Bring the database's tables up to date; the server does so by itself when it starts."""
    with _open(database) as store:
        print(f"{store.backend}: up to date")


@serve.command()
def compact(database: Database = "") -> None:
    """Write the whole database anew, so that not even unused space holds what was deleted; takes a while."""
    from palate.serve.store.traces import compact as written_anew

    with _open(database) as store:
        written_anew(store)
    print("compacted")


@serve.command("backup")
def back_up(
    out: Annotated[Path, typer.Argument(help="The copy: a new file.")], database: Database = ""
) -> None:
    """Copy an SQLite database while it is in use; of PostgreSQL take pg_dump."""
    from palate.serve.store.backup import back_up as copied

    with _open(database) as store:
        size = copied(store, out)
    print(f"{size:,} bytes")
    print(out)


def _open(database: str) -> Any:
    _need_extra()
    from contextlib import closing

    from palate.serve.settings import Settings
    from palate.serve.store.store import Store

    return closing(Store.open(Settings.of({"database": database}).database))


def _need_extra() -> None:
    from importlib.util import find_spec

    for module in ("fastapi", "uvicorn", "sqlalchemy", "alembic", "prometheus_client", "httpx"):
        if find_spec(module) is None:
            raise MissingExtra("palate serve", "serve", module)


def _first(error: ValueError) -> str:
    errors: list[Any] = getattr(error, "errors", list)()
    return str(errors[0]["msg"]) if errors else str(error)
