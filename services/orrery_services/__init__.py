"""The weather outside: everything that touches Kafka, Postgres, files and time."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Node"]


def __getattr__(name: str) -> Any:
    """Return Node when it is asked for: who needs a corner of the services loads no more."""
    if name != "Node":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .node import Node

    return Node
