"""Executes the files in `sql/` inside a revision."""

from importlib.resources import files
from typing import cast

from alembic import op
from sqlalchemy.engine import AdaptedConnection


def execute_file(name: str) -> None:
    """Execute the statements of `sql/<name>`; names without a schema are those of the hive."""
    script = files(__package__).joinpath("sql", name).read_text()
    # The driver's own `execute` takes a script; SQLAlchemy would prepare it, and only a single statement can be.
    connection = op.get_bind().connection.dbapi_connection
    cast(AdaptedConnection, connection).run_async(lambda driver: driver.execute(script))
