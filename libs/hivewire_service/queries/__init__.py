"""Named SQL: a `.sql` file holds statements, each under a line `-- name: its_name`."""

import re
from importlib.resources import files
from types import SimpleNamespace

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_queries(package: str, filename: str) -> SimpleNamespace:
    """The statements of a package's `.sql` file as attributes by name."""
    _, *parts = _NAME.split(files(package).joinpath(filename).read_text())
    names, bodies = parts[::2], parts[1::2]
    return SimpleNamespace(**{name: body.strip() for name, body in zip(names, bodies, strict=True)})
