"""Everything that the first version keeps."""

from hivewire_service.migrations.sql_files import execute_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables in the empty schema."""
    for name in ("chassis", "broker", "agent_gateway", "conversation", "tick_engine"):
        execute_file(f"0001_{name}.sql")
