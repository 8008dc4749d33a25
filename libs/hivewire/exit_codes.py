"""What a process of hivewire ends with."""

from hivewire.errors import BadUsage, HivewireError, NotReachable, RefusedError

DONE = 0
WORK_FAILED = 1
BAD_USAGE = 2
NOT_REACHABLE = 3
REFUSED = 4


def of(error: HivewireError) -> int:
    """The exit code that an error stands for."""
    match error:
        case BadUsage():
            return BAD_USAGE
        case NotReachable():
            return NOT_REACHABLE
        case RefusedError():
            return REFUSED
    return WORK_FAILED
