"""The only clocks of the services: pass one in where time matters, so that tests can hold it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], int]  # nanoseconds


def wall_ns() -> int:
    """Return UTC now, in nanoseconds since 1970. It may jump: never measure with it."""
    return time.time_ns()


def monotonic_ns() -> int:
    """Return nanoseconds since some moment; only differences mean anything."""
    return time.monotonic_ns()


def iso(ts_ns: int) -> str:
    """Return a UTC time as people read it, to the nanosecond.

    >>> iso(1_700_000_000_123_456_789)
    '2023-11-14T22:13:20.123456789Z'
    """
    seconds, rest_ns = divmod(ts_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"


def seconds_since(start_ns: int, clock: Clock = monotonic_ns) -> float:
    """Return the seconds since a moment of the same clock."""
    return (clock() - start_ns) / 1e9
