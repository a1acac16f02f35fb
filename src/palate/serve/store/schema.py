"""The tables: what is kept of whom, and nothing that could not be erased by tenant and user.

Every table that holds anything of a user has the columns ``tenant`` and ``user``: erasing a user is one
deletion a table (:mod:`palate.serve.store.erase`), and a test reads this file to see that none is left out.
Times are seconds since 1970. JSON is text, written by orjson, which escapes what a database cannot hold;
names, keys and other plain strings (:class:`String`) are refused with NUL or half a surrogate pair in them,
by both backends alike. Strings are compared byte by byte, so that both sort alike.

    users      one row a user that wrote or was written of; ``head`` is the number of their last choice
    choices    what they chose, numbered 1, 2, ... a user; ``key`` is the client's name for it
    personas   what is believed now: ``made`` by the method, ``body`` with the person's edits applied
    versions   what was believed before, and why it changed
    edits      what the person corrected, by what it is about
    jobs       users whose persona is to be made anew, from the whole history
    keys       who may call: hashes of API keys, and of users' own tokens
    pool       pairs that may be shown to users to learn from
    models     fitted models that were served, the active one last
    audit      who read or changed what
    receipts   what was erased, without a word of it
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.exc import DontWrapMixin

from palate.core import DataError

__all__ = [
    "METADATA",
    "OF_USERS",
    "String",
    "audit",
    "choices",
    "edits",
    "jobs",
    "keys",
    "models",
    "personas",
    "plain",
    "pool",
    "receipts",
    "users",
    "versions",
]

METADATA = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by INTEGER alone
_Json = Text().with_variant(Text(collation="C"), "postgresql")


class _Unkept(DataError, DontWrapMixin):
    """What no database is asked to keep; SQLAlchemy lets it through as it is."""


def plain(value: str | None) -> str | None:
    """Return a name, key or line as it is.

    Raises:
        DataError: If it holds what not every database can keep.
    """
    if value is None or (value.isascii() and "\x00" not in value):
        return value
    if "\x00" in value:
        raise _Unkept("a name or line holds the character NUL, which cannot be kept: leave it out")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Unkept(
            "a name or line holds half of a surrogate pair, which is no text: leave it out"
        ) from None
    return value


class String(TypeDecorator[str]):
    """A name, key or line: any characters but NUL and halves of surrogate pairs.

    Raises:
        DataError: On the way in, for what not every database can keep.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return text that is compared byte by byte."""
        return Text(collation="C") if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the value as it is, or refuse it."""
        return plain(value)


def _whose() -> tuple[Column[str], Column[str]]:
    return Column("tenant", String, primary_key=True), Column("user", String, primary_key=True)


users = Table(
    "users",
    METADATA,
    *_whose(),
    Column("born", BigInteger, nullable=False),  # random: a user erased and come back is another
    Column("head", _Number, nullable=False, default=0),
    Column("total", _Number, nullable=False, default=0),  # choices that are kept now
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False),  # when they last wrote
    Column("profile", _Json),  # JSON object of what is known of them, or NULL
)

choices = Table(
    "choices",
    METADATA,
    *_whose(),
    Column("number", _Number, primary_key=True),
    Column("key", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # of the body: a replay is told from another choice
    Column("time", Float, nullable=False),  # the client's, or when it came where that cannot be
    Column("received", Float, nullable=False),
    Column("body", _Json, nullable=False),  # JSON: conversation, responses, chosen, ratings, reason, source
    UniqueConstraint("tenant", "user", "key", name="choices_key"),
)

personas = Table(
    "personas",
    METADATA,
    *_whose(),
    Column("rev", _Number, nullable=False),  # grows with every write: caches and writers compare it
    Column("version", _Number, nullable=False),  # grows with every edit and full adaptation
    Column("edited", _Number, nullable=False, default=0),  # the version that the last edit made
    Column("model", String, nullable=False),  # fingerprint of the model that made it
    Column("upto", _Number, nullable=False),  # number of the last choice it reflects
    Column("exact", Boolean, nullable=False),  # False: brought up to date by steps, to be made anew
    Column("made", _Json, nullable=False),  # JSON of the persona as the method made it
    Column("body", _Json, nullable=False),  # JSON of the persona as it is used
    Column("words", _Json),  # JSON of the persona in words, where another method finds them; or NULL
    Column("time", Float, nullable=False),
    Index("personas_model", "model", "tenant", "user"),
)

versions = Table(
    "versions",
    METADATA,
    *_whose(),
    Column("version", _Number, primary_key=True),
    Column("cause", String, nullable=False),  # adapted, edited, reverted, model
    Column("told", String, nullable=False),  # in a line, for people
    Column("model", String, nullable=False),
    Column("upto", _Number, nullable=False),
    Column("body", _Json, nullable=False),
    Column("words", _Json),
    Column("edits", _Json, nullable=False),  # JSON list: the edits that stood
    Column("time", Float, nullable=False),
)

edits = Table(
    "edits",
    METADATA,
    *_whose(),
    Column("about", String, primary_key=True),  # of a statement; "" for how far the persona is applied
    Column("do", String, nullable=False),  # lock, forget, set, say, apply
    Column("shift", Float),
    Column("own", Float),  # the same in the served method's terms, where words and ranking may differ
    Column("text", String),
    Column("time", Float, nullable=False),
)

jobs = Table(
    "jobs",
    METADATA,
    *_whose(),
    Column("due", Float, nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("lease", Float, nullable=False, default=0.0),  # until when a worker has it
    Column("fault", String),  # why the last try failed
    Index("jobs_due", "due"),
)

keys = Table(
    "keys",
    METADATA,
    Column("id", String, primary_key=True),
    Column("tenant", String, nullable=False),
    Column("user", String),  # NULL for an API key; else the token reaches this user alone
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the secret
    Column("label", String, nullable=False, default=""),
    Column("scopes", String, nullable=False),  # words with a blank between
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Index("keys_user", "tenant", "user"),
)

pool = Table(
    "pool",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("body", _Json, nullable=False),  # JSON: conversation, responses
    Column("created", Float, nullable=False),
)

models = Table(
    "models",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("fingerprint", String, nullable=False),
    Column("folder", String, nullable=False),
    Column("label", String, nullable=False),
    Column("activated", Float, nullable=False),
)

audit = Table(
    "audit",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("tenant", String, nullable=False),
    Column("user", String),  # an erased user's name is replaced by the receipt's id
    Column("actor", String, nullable=False),  # id of the key, or "server"
    Column("action", String, nullable=False),
    Column("detail", String, nullable=False, default=""),  # never a text, a name or a statement
    Column("time", Float, nullable=False),
    Index("audit_user", "tenant", "user"),
)

receipts = Table(
    "receipts",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("tenant", String, nullable=False),
    Column("body", _Json, nullable=False),  # JSON: counts by table, what remains and how it goes
    Column("time", Float, nullable=False),
)

OF_USERS = (users, choices, personas, versions, edits, jobs, keys)
"""Tables whose rows of a user are deleted when the user is; ``audit`` keeps them without the name."""
