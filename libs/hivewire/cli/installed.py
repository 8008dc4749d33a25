"""Modules of the services, which the SDK alone does not need."""

import importlib
from typing import Any

from hivewire.errors import BadUsage


def installed(module: str) -> Any:
    """A module of the services.

    Raises:
        BadUsage: it, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise BadUsage(f"{missing} is not installed: pip install 'hivewire[embedded]'") from error
