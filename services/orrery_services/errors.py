"""What can go wrong outside the lab, as a tree.

ServiceError
├── ConfigError         a setting is unknown, of the wrong type or out of its range
├── StackError          a real server cannot be installed, started or stopped
│   ├── PortTaken       a port that a part needs is held by another program
│   └── PartFailed      a part started and did not become healthy
├── OutsideError        broker, Postgres, Connect or the time-series store refuses or is away
│   └── LogLost         a partition's log ends before, or begins behind, what was read of it
└── DivergenceError     one natural key, or one number of an origin, has two contents: an alarm

A message says what must hold, what was, where, and what to do about it. The commands of `orrery`
print a ServiceError as one line; anything else is a defect and shows its traceback.
"""


class ServiceError(Exception):
    """Anything that the services refuse or cannot do."""


class ConfigError(ServiceError, ValueError):
    pass


class StackError(ServiceError):
    pass


class PortTaken(StackError):
    pass


class PartFailed(StackError):
    pass


class OutsideError(ServiceError):
    pass


class LogLost(OutsideError):
    pass


class DivergenceError(ServiceError):
    pass


def ends_early(topic: str, partition: int, known: int, end: int) -> LogLost:
    """Offsets below `known` would be given a second time: such a log cannot be gone on with."""
    return LogLost(
        f"the end of {topic}/{partition} must not lie below {known}, was {end}: the log lost "
        f"messages that were read; `orrery log renew {topic}` makes the topic anew"
    )


def made_anew(topic: str, known: str, found: str) -> OutsideError:
    return OutsideError(
        f"topic {topic!r} must be the log {known}, was {found}: it was made anew; "
        f"`orrery log adopt {topic}` goes on with the new one"
    )
