"""Writes the reference of the services' settings from their fields. `make docs` runs it."""

import ast
import inspect
import itertools
from pathlib import Path

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from hivewire_service.settings import Settings

PAGE = Path(__file__).parent / "reference" / "settings.md"
INTRODUCTION = """\
# Settings of the services

Written by `make docs` from the settings themselves. A flag of `hivewire serve` goes before the environment, that before
`hivewire.yaml` (or the file that `HIVEWIRE_CONFIG` or `--config` names), that before the default. In the file a setting is the
variable's name without `HIVEWIRE_`, in small letters. `up` sets what it needs by itself and passes the rest on.

| variable | default | what |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    said = _docstrings()
    rows = (
        f"| `{_variable(name, field)}` | {_default(field)} | {said.get(name, '')} |"
        for name, field in Settings.model_fields.items()
    )
    return INTRODUCTION + "\n".join(rows) + "\n"


def _variable(name: str, field: FieldInfo) -> str:
    if isinstance(field.validation_alias, AliasChoices):
        return str(field.validation_alias.choices[-1])
    return f"HIVEWIRE_{name.upper()}"


def _default(field: FieldInfo) -> str:
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return "" if value in (None, [], {}) else f"`{value}`"


def _docstrings() -> dict[str, str]:
    """The text under each field, which Python itself forgets."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(Settings)).body if isinstance(node, ast.ClassDef))
    pairs = itertools.pairwise(body)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairs
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


if __name__ == "__main__":
    PAGE.write_text(page())
