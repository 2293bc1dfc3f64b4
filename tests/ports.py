"""Ports for servers of tests, below those that the kernel gives to outgoing connections.

One that the kernel chose is free now, and may be some client's a moment later.
"""

import random
import socket

FREE = range(10_000, 20_000)  # stacks have theirs above
_DICE = random.SystemRandom()


def free_port() -> int:
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port := _DICE.choice(FREE)))
                return port
            except OSError:
                continue
