"""All nodes at once, for the commands that compare them."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .. import store
from ..config import load_settings, node_names
from ..errors import OutsideError, ServiceError
from ..node import Node
from ..protocol.marks import Mark
from ..store.ledger import Slot

LOOK_SECONDS = 0.1

Marks = dict[str, dict[Slot, Mark]]  # by node


@contextmanager
def opened(names: list[str] | None = None) -> Iterator[tuple[list[Node], dict[str, str]]]:
    """Open every node; yield those that answer, and why the others do not."""
    with ExitStack() as stack:
        nodes, away = [], {}
        for name in names or node_names(os.environ):
            try:
                node = stack.enter_context(Node(settings=load_settings(name)))
                assert node.connection
                nodes.append(node)
            except ServiceError as cause:
                away[name] = str(cause)
        if not nodes:
            raise OutsideError("at least one node must answer: " + "; ".join(away.values()))
        yield nodes, away


def marks_of(nodes: list[Node]) -> Marks:
    return {node.name: store.marks(node.connection) for node in nodes}


def furthest(marks: Marks) -> dict[Slot, Mark]:
    """Return the furthest mark of every (chain, partition) over the nodes."""
    found: dict[Slot, Mark] = {}
    for of_node in marks.values():
        for slot, mark in of_node.items():
            if slot not in found or mark.ordinal > found[slot].ordinal:
                found[slot] = mark
    return found


def behind(marks: Marks, goal: dict[Slot, Mark]) -> int:
    """Return how many facts, two a chunk, the nodes lack to a goal."""
    return sum(
        2 * max(0, mark.ordinal - of_node.get(slot, Mark()).ordinal)
        for of_node in marks.values()
        for slot, mark in goal.items()
    )


def level(nodes: list[Node], seconds_max: float) -> tuple[Marks, dict[Slot, Mark], int, float]:
    """Wait until every node holds what any of them held at the start.

    Return the marks now, that goal, how many facts are still lacking, and how long that takes at
    the pace seen. While a feed runs the marks never rest; what was there at one moment does.
    """
    began = time.monotonic()
    marks = marks_of(nodes)
    goal = furthest(marks)
    first = lacking = behind(marks, goal)
    while lacking and time.monotonic() - began < seconds_max:
        time.sleep(LOOK_SECONDS)
        marks = marks_of(nodes)
        lacking = behind(marks, goal)
    pace = (first - lacking) / max(time.monotonic() - began, 1e-3)
    return marks, goal, lacking, lacking / pace if pace else float(bool(lacking)) * 3600
