"""The source tree that is analysed."""

import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

# fmt: off
STANDARD_PACKAGES = (
    "asyncio", "collections", "concurrent", "ctypes", "curses", "dbm", "email", "html", "http", "importlib",
    "json", "logging", "multiprocessing", "re", "sqlite3", "tomllib", "unittest", "urllib", "venv", "wsgiref",
    "xml", "xmlrpc", "zoneinfo",
)
# fmt: on
"""Packages of the standard library that every installation brings."""
PACKAGE_FILES_MAX = 500
"""A larger folder is taken in parts, since a task can depend on a thousand others only."""
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages"})


@dataclass(frozen=True, slots=True)
class Package:
    """The Python files of one folder."""

    name: str
    files: tuple[Path, ...]


def standard_library() -> list[Package]:
    """Several packages of the running Python's standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    return [package for name in STANDARD_PACKAGES for package in packages(library / name, name)]


def packages(root: Path, name: str) -> list[Package]:
    """Every folder below `root` that has Python files, `name` being the root's own."""
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(each for each in subfolders if each not in _LEFT_OUT and not each.startswith("."))
        sources = [Path(folder, file) for file in sorted(files) if file.endswith(".py")]
        sources = [file for file in sources if file.is_file()]
        parts = Path(name, Path(folder).relative_to(root)).parts
        found += _in_parts("/".join(parts), sources)
    return found


def _in_parts(name: str, files: list[Path]) -> list[Package]:
    parts = [tuple(files[start : start + PACKAGE_FILES_MAX]) for start in range(0, len(files), PACKAGE_FILES_MAX)]
    if len(parts) <= 1:
        return [Package(name, part) for part in parts]
    return [Package(f"{name} ({number})", part) for number, part in enumerate(parts, start=1)]
