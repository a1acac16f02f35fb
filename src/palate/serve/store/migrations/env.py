"""What alembic runs: the revisions, on the connection and in the transaction that the store gives it."""

from alembic import context

__all__ = ["run"]


def run() -> None:
    """Run the revisions on ``config.attributes["connection"]``, whose owner commits."""
    context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
    context.run_migrations()


if __name__ == "env_py":  # the name under which alembic runs this file
    run()
