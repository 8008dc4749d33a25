"""How large a run is to be."""

import msgspec


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for. None: as the benchmark has it."""

    quick: bool = False
    """Shorter runs, whose figures are rough."""
    tasks: int | None = None
    agents: int | None = None
    minutes: float | None = None
