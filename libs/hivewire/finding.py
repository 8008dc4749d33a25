"""What was looked at when something seems wrong, and what to do about it."""

import msgspec


class Finding(msgspec.Struct, omit_defaults=True):
    """One thing that was looked at. `advice` says what to do where it is not well, unless `says` does."""

    well: bool
    says: str
    advice: str | None = None
