"""One module a revision; alembic finds them by their file names."""
