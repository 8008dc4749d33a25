"""Files that only their owner may read: credentials, keys, and where a hive is."""

import os
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Write `text` to `file`, mode 0600, in one step: a reader finds the old text or the new one.

    Raises:
        OSError: the file cannot be written.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    part.replace(file)
