"""Ports for servers of tests."""

import random

from hivewire_service.embedded.folder import PORTS, port_is_free

_left = iter(random.sample(PORTS, len(PORTS)))


def free_port() -> int:
    """A port that nothing listens on, below those that connections get for themselves: a server that is down is looked for,
    and whoever looks must not take its port. Each is given once."""
    return next(port for port in _left if port_is_free(port))
