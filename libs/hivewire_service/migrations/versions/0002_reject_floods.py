"""What a flood of messages had refused is counted in one row."""

from hivewire_service.migrations.sql_files import execute_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the count to the rejects; those that are there count one each."""
    execute_file("0002_reject_floods.sql")
