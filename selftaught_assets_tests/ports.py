"""Ports for servers that are told theirs before they start: no tests here.

A port that the kernel chose is one of those that it also gives to connections, so another process may have it by the
time that the server binds it. These lie below that range.
"""

import random
import socket
from contextlib import suppress

_BELOW_EPHEMERAL = range(20_000, 32_000)


def unused_port() -> int:
    """A port of loopback that nobody listens on."""
    choice = random.SystemRandom()  # Not that of tests, which may be seeded alike in several processes.
    while True:
        port = choice.choice(_BELOW_EPHEMERAL)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
