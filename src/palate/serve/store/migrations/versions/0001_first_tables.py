"""The first tables."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

__all__ = ["branch_labels", "depends_on", "down_revision", "revision", "upgrade"]

revision = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# PostgreSQL keeps samples of columns for its planner, in which a deleted user would live on
_PRIVATE = {
    "users": (
        "user",
        "profile",
    ),
    "choices": (
        "user",
        "key",
        "digest",
        "body",
    ),
    "personas": (
        "user",
        "made",
        "body",
        "words",
    ),
    "versions": (
        "user",
        "told",
        "body",
        "words",
        "edits",
    ),
    "edits": (
        "user",
        "about",
        "text",
    ),
    "jobs": ("user",),
    "keys": (
        "id",
        "user",
        "hash",
        "label",
    ),
    "audit": ("user",),
}


def upgrade() -> None:
    """Make the tables."""
    _of_users()
    _of_beliefs()
    _of_corrections()
    _of_access()
    _of_the_server()
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in _PRIVATE.items():
            for column in columns:
                op.execute(f'ALTER TABLE {table} ALTER COLUMN "{column}" SET STATISTICS 0')


def _of_users() -> None:
    op.create_table(
        "users",
        sa.Column("tenant", _text, primary_key=True),
        sa.Column("user", _text, primary_key=True),
        sa.Column("born", sa.BigInteger(), nullable=False),
        sa.Column("head", _number, nullable=False),
        sa.Column("total", _number, nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.Column("profile", _text),
    )
    op.create_table(
        "choices",
        sa.Column("tenant", _text, primary_key=True),
        sa.Column("user", _text, primary_key=True),
        sa.Column("number", _number, primary_key=True),
        sa.Column("key", _text, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("received", sa.Float(), nullable=False),
        sa.Column("body", _text, nullable=False),
        sa.UniqueConstraint("tenant", "user", "key", name="choices_key"),
    )


def _of_beliefs() -> None:
    op.create_table(
        "personas",
        sa.Column("tenant", _text, primary_key=True),
        sa.Column("user", _text, primary_key=True),
        sa.Column("rev", _number, nullable=False),
        sa.Column("version", _number, nullable=False),
        sa.Column("edited", _number, nullable=False),
        sa.Column("model", _text, nullable=False),
        sa.Column("upto", _number, nullable=False),
        sa.Column("exact", sa.Boolean(), nullable=False),
        sa.Column("made", _text, nullable=False),
        sa.Column("body", _text, nullable=False),
        sa.Column("words", _text),
        sa.Column("time", sa.Float(), nullable=False),
    )
    op.create_index("personas_model", "personas", ["model", "tenant", "user"])
    op.create_table(
        "versions",
        sa.Column("tenant", _text, primary_key=True),
        sa.Column("user", _text, primary_key=True),
        sa.Column("version", _number, primary_key=True),
        sa.Column("cause", _text, nullable=False),
        sa.Column("told", _text, nullable=False),
        sa.Column("model", _text, nullable=False),
        sa.Column("upto", _number, nullable=False),
        sa.Column("body", _text, nullable=False),
        sa.Column("words", _text),
        sa.Column("edits", _text, nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
    )


def _of_corrections() -> None:
    op.create_table(
        "edits",
        sa.Column("tenant", _text, primary_key=True),
        sa.Column("user", _text, primary_key=True),
        sa.Column("about", _text, primary_key=True),
        sa.Column("do", _text, nullable=False),
        sa.Column("shift", sa.Float()),
        sa.Column("own", sa.Float()),
        sa.Column("text", _text),
        sa.Column("time", sa.Float(), nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("tenant", _text, primary_key=True),
        sa.Column("user", _text, primary_key=True),
        sa.Column("due", sa.Float(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("lease", sa.Float(), nullable=False),
        sa.Column("fault", _text),
    )
    op.create_index("jobs_due", "jobs", ["due"])


def _of_access() -> None:
    op.create_table(
        "keys",
        sa.Column("id", _text, primary_key=True),
        sa.Column("tenant", _text, nullable=False),
        sa.Column("user", _text),
        sa.Column("hash", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("label", _text, nullable=False),
        sa.Column("scopes", _text, nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float()),
    )
    op.create_index("keys_user", "keys", ["tenant", "user"])
    op.create_table(
        "audit",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("tenant", _text, nullable=False),
        sa.Column("user", _text),
        sa.Column("actor", _text, nullable=False),
        sa.Column("action", _text, nullable=False),
        sa.Column("detail", _text, nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
    )
    op.create_index("audit_user", "audit", ["tenant", "user"])
    op.create_table(
        "receipts",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("id", _text, nullable=False, unique=True),
        sa.Column("tenant", _text, nullable=False),
        sa.Column("body", _text, nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
    )


def _of_the_server() -> None:
    op.create_table(
        "pool",
        sa.Column("tenant", _text, primary_key=True),
        sa.Column("id", _text, primary_key=True),
        sa.Column("body", _text, nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
    )
    op.create_table(
        "models",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("fingerprint", _text, nullable=False),
        sa.Column("folder", _text, nullable=False),
        sa.Column("label", _text, nullable=False),
        sa.Column("activated", sa.Float(), nullable=False),
    )
