"""Migrations: they make the tables that the schema says, on both databases, and keep rows."""

import shutil
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
import serve_stores
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from serve_stores import add, kept
from sqlalchemy import inspect, text

from palate.core import StorageError
from palate.serve.store import Store, choices
from palate.serve.store.migrate import MIGRATIONS, migrate, revisions
from palate.serve.store.schema import METADATA, OF_USERS, String, audit

url, store = serve_stores.url, serve_stores.store

SAMPLES = """SELECT tablename, attname, most_common_vals::text, histogram_bounds::text
FROM pg_stats WHERE schemaname = 'public'"""
SECOND = '''
"""A second revision, for this test."""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None


def upgrade():
    op.add_column("users", sa.Column("mood", sa.Text(), nullable=False, server_default="calm"))
    op.create_table("moods", sa.Column("name", sa.Text(), primary_key=True))
    {fault}
'''


def differences(c):
    """Return how the tables that are there differ from the schema's."""

    def other_type(context, column, wanted, there, type_):
        if isinstance(
            type_, String
        ):  # alembic looks at what a decorated type stands for without its collation
            return there.compile(c.dialect) != type_.compile(c.dialect)
        return None

    context = MigrationContext.configure(c, opts={"compare_type": other_type, "compare_server_default": True})
    return compare_metadata(context, METADATA)


def test_migrations_make_the_tables_that_the_schema_says(store):
    with store.read() as c:
        assert differences(c) == []
        for table in METADATA.tables.values():
            made = {tuple(index["column_names"]) for index in inspect(c).get_indexes(table.name)}
            assert {tuple(i.columns.keys()) for i in table.indexes} <= made


def test_the_comparison_sees_a_difference(store):
    store.write(lambda c: c.execute(text("ALTER TABLE pool ADD COLUMN extra TEXT")))
    with store.read() as c:
        assert [each[0] for each in differences(c)] == ["remove_column"]


def with_second(tmp_path, fault="pass"):
    """Return a folder of the revisions and one more."""
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    (folder / "versions" / "0002_moods.py").write_text(textwrap.dedent(SECOND).format(fault=fault))
    return folder


def test_an_upgrade_keeps_rows(url, tmp_path):
    with Store.open(url) as store:
        add(store, kept(key="k1"))
        with store.alone() as c:
            assert migrate(c, folder=with_second(tmp_path)) == ["0002"]
        with store.read() as c:
            assert choices.page(c, "t", "ann").choices[0].key == "k1"
            assert c.execute(text("SELECT mood FROM users")).scalar() == "calm"


def test_an_upgrade_that_fails_changes_nothing(url, tmp_path):
    with Store.open(url) as store:
        add(store, kept(key="k1"))
        with store.alone() as c:
            with pytest.raises(ZeroDivisionError):
                migrate(c, folder=with_second(tmp_path, fault="1 / 0"))
            assert revisions(c) == ["0001"]
            assert "moods" not in inspect(c).get_table_names()
        assert add(store, kept(key="k2"))[0].number == 2


def test_many_that_upgrade_at_once_do_it_once(url, tmp_path):
    folder = with_second(tmp_path)
    with Store.open(url) as store, ThreadPoolExecutor(6) as pool:

        def upgrade(_):
            with store.alone() as c:
                return migrate(c, folder=folder)

        assert list(pool.map(upgrade, range(6))) == [["0002"]] * 6


def test_a_database_of_a_later_version_is_not_touched(url, tmp_path):
    with Store.open(url) as store, store.alone() as c:
        migrate(c, folder=with_second(tmp_path))
    with pytest.raises(StorageError, match="later version"):
        Store.open(url)


def test_without_migrating_missing_tables_are_told(url):
    with pytest.raises(StorageError, match="palate serve migrate"):
        Store.open(url, migrate=False)
    Store.open(url).close()
    Store.open(url, migrate=False).close()


def test_postgresql_keeps_no_samples_of_what_users_wrote(tmp_path):
    with Store.open(serve_stores.fresh("postgresql", tmp_path)) as store:
        for n in range(200):
            add(store, kept(user=f"someone-{n}", key=f"key-{n}", said=f"words {n}"))
        with store.alone() as c:
            c.exec_driver_sql("ANALYZE")
            seen = c.execute(text(SAMPLES)).all()
            shown = {(table, column): f"{common} {bounds}" for table, column, common, bounds in seen}
    assert ("users", "tenant") in shown  # the rest was sampled
    assert not [place for place, values in shown.items() if "someone" in values or "words" in values]
    assert not [place for place, values in shown.items() if "key-" in values]


def test_every_table_with_a_user_is_among_those_that_are_erased():
    of_users = {table.name for table in METADATA.tables.values() if "user" in table.columns}
    assert of_users == {table.name for table in OF_USERS} | {audit.name}
    assert all("tenant" in table.columns for table in OF_USERS)
