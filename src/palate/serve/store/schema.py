"""The tables: what is kept of whom, and nothing that could not be erased by tenant and user.

Every table that holds anything of a user has the columns ``tenant`` and ``user``: erasing a user is one
deletion a table (:mod:`palate.serve.store.erase`), and a test reads this file to see that none is left out.
Times are seconds since 1970. JSON is text, written by orjson. Texts hold no NUL: PostgreSQL keeps none.

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

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "METADATA",
    "OF_USERS",
    "audit",
    "choices",
    "edits",
    "jobs",
    "keys",
    "models",
    "personas",
    "pool",
    "receipts",
    "users",
    "versions",
]

METADATA = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by INTEGER alone


def _whose() -> tuple[Column[str], Column[str]]:
    return Column("tenant", Text, primary_key=True), Column("user", Text, primary_key=True)


users = Table(
    "users",
    METADATA,
    *_whose(),
    Column("born", BigInteger, nullable=False),  # random: a user erased and come back is another
    Column("head", _Number, nullable=False, default=0),
    Column("total", _Number, nullable=False, default=0),  # choices that are kept now
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False),  # when they last wrote
    Column("profile", Text),  # JSON object of what is known of them, or NULL
)

choices = Table(
    "choices",
    METADATA,
    *_whose(),
    Column("number", _Number, primary_key=True),
    Column("key", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # of the body: a replay is told from another choice
    Column("time", Float, nullable=False),  # the client's, or when it came where that cannot be
    Column("received", Float, nullable=False),
    Column("body", Text, nullable=False),  # JSON: conversation, responses, chosen, ratings, reason, source
    UniqueConstraint("tenant", "user", "key", name="choices_key"),
)

personas = Table(
    "personas",
    METADATA,
    *_whose(),
    Column("rev", _Number, nullable=False),  # grows with every write: caches and writers compare it
    Column("version", _Number, nullable=False),  # grows with every edit and full adaptation
    Column("edited", _Number, nullable=False, default=0),  # the version that the last edit made
    Column("model", Text, nullable=False),  # fingerprint of the model that made it
    Column("upto", _Number, nullable=False),  # number of the last choice it reflects
    Column("exact", Boolean, nullable=False),  # False: brought up to date by steps, to be made anew
    Column("made", Text, nullable=False),  # JSON of the persona as the method made it
    Column("body", Text, nullable=False),  # JSON of the persona as it is used
    Column("words", Text),  # JSON of the persona in words, where another method finds them; or NULL
    Column("time", Float, nullable=False),
)

versions = Table(
    "versions",
    METADATA,
    *_whose(),
    Column("version", _Number, primary_key=True),
    Column("cause", Text, nullable=False),  # adapted, edited, reverted, model
    Column("told", Text, nullable=False),  # in a line, for people
    Column("model", Text, nullable=False),
    Column("upto", _Number, nullable=False),
    Column("body", Text, nullable=False),
    Column("words", Text),
    Column("edits", Text, nullable=False),  # JSON list: the edits that stood
    Column("time", Float, nullable=False),
)

edits = Table(
    "edits",
    METADATA,
    *_whose(),
    Column("about", Text, primary_key=True),  # of a statement; "" for how far the persona is applied
    Column("do", Text, nullable=False),  # lock, forget, set, say, apply
    Column("shift", Float),
    Column("text", Text),
    Column("time", Float, nullable=False),
)

jobs = Table(
    "jobs",
    METADATA,
    *_whose(),
    Column("due", Float, nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("lease", Float, nullable=False, default=0.0),  # until when a worker has it
    Column("fault", Text),  # why the last try failed
    Index("jobs_due", "due"),
)

keys = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("user", Text),  # NULL for an API key; else the token reaches this user alone
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the secret
    Column("label", Text, nullable=False, default=""),
    Column("scopes", Text, nullable=False),  # words with a blank between
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Index("keys_user", "tenant", "user"),
)

pool = Table(
    "pool",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("body", Text, nullable=False),  # JSON: conversation, responses
    Column("created", Float, nullable=False),
)

models = Table(
    "models",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("fingerprint", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("activated", Float, nullable=False),
)

audit = Table(
    "audit",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("tenant", Text, nullable=False),
    Column("user", Text),  # an erased user's name is replaced by the receipt's id
    Column("actor", Text, nullable=False),  # id of the key, or "server"
    Column("action", Text, nullable=False),
    Column("detail", Text, nullable=False, default=""),  # never a text, a name or a statement
    Column("time", Float, nullable=False),
    Index("audit_user", "tenant", "user"),
)

receipts = Table(
    "receipts",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("body", Text, nullable=False),  # JSON: counts by table, what remains and how it goes
    Column("time", Float, nullable=False),
)

OF_USERS = (users, choices, personas, versions, edits, jobs, keys)
"""Tables whose rows of a user are deleted when the user is; ``audit`` keeps them without the name."""
