"""The pages walk over one hive."""

from e2e.conftest import up

__all__ = ["up"]
