"""When a row's facts are committed, as the nodes' marks tell.

A mark moves in the transaction that makes a message's input and result facts complete in a node.
It is asked for again and again, so every time here is late by up to one interval.
"""

import json
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from typing import NamedTuple

import psycopg
from orrery_services import bus
from orrery_services.protocol import facts, vectors
from orrery_services.stack import Stack

EVERY_SECONDS = 0.02
Places = dict[int, int]  # partition -> the next offset


class Look(NamedTuple):
    at: float  # time.perf_counter() when the answer was there
    next: int


class Watch:
    """Follows one chain's marks in every node from a thread; `rows` says of which topic."""

    def __init__(self, stack: Stack, chain_digest: bytes, every: float = EVERY_SECONDS):
        self._chain, self._every = facts.chain_id(chain_digest), every
        settings = stack.settings(stack.plan.nodes[0])
        self._kafka = settings.kafka
        log_id = bus.log_ids(bus.admin(settings.kafka), ["trades"])["trades"]
        self._key = vectors.row_key("trades", log_id)
        self._conninfo = {n: stack.settings(n).postgres("reader") for n in stack.plan.nodes}
        self.trades: dict[str, dict[int, list[Look]]]
        self.trades = {node: defaultdict(list) for node in self._conninfo}
        self.ticks = {node: defaultdict(list) for node in self._conninfo}
        self._stop = threading.Event()

    def __enter__(self) -> "Watch":
        self._threads = [threading.Thread(target=self._follow, args=(n,)) for n in self._conninfo]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _follow(self, node: str) -> None:
        trades, ticks = self.trades[node], self.ticks[node]
        was: dict[int, tuple[int, str]] = {}
        with psycopg.connect(
            self._conninfo[node], autocommit=True, prepare_threshold=0
        ) as connection:
            while not self._stop.wait(self._every):
                rows = connection.execute(_MARKS, (self._chain,)).fetchall()
                at = time.perf_counter()
                for partition, offset, vector in rows:
                    if was.get(partition) == (offset, vector):
                        continue
                    was[partition] = offset, vector
                    ticks[partition].append(Look(at, offset))
                    trades[partition].append(Look(at, json.loads(vector).get(self._key, 0)))

    def level(self, topic: str, end: Places, seconds_max: float, anywhere: bool = False) -> bool:
        """Wait until all nodes (`anywhere`: any node a partition) hold everything before `end`."""
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline:
            if all(self._held(topic, p, anywhere) >= offset for p, offset in end.items()):
                return True
            time.sleep(0.01)
        return False

    def _held(self, topic: str, partition: int, anywhere: bool) -> int:
        looks = [node.get(partition) for node in list(getattr(self, topic).values())]
        found = [held[-1].next if held else 0 for held in looks]
        return (max if anywhere else min)(found, default=0)

    def done(self, topic: str, end: Places) -> tuple[float, float]:
        """Return when everything before `end` was held by an owner, and when by every node."""
        nodes = list(getattr(self, topic).values())
        times = [
            sorted(_when(node[p], offset - 1) or float("inf") for node in nodes)
            for p, offset in end.items()
        ]
        return max(t[0] for t in times), max(t[-1] for t in times)

    def behind(self, topic: str, end: Places, at: float) -> int:
        """Return how many messages before `end` no node was seen to hold at that time."""
        nodes = getattr(self, topic).values()
        held = {
            p: max((x.next for node in nodes for x in node[p] if x.at <= at), default=0)
            for p in end
        }
        return sum(max(0, offset - held[p]) for p, offset in end.items())


_MARKS = "SELECT partition, ticks_offset, vector FROM marks WHERE chain = %s"


def _when(looks: list[Look], offset: int) -> float | None:
    """Return when a mark was first seen behind `offset`. Marks only grow."""
    found = bisect_right(looks, offset, key=lambda look: look.next)
    return looks[found].at if found < len(looks) else None


def ends(kafka: str, topic: str, partitions: int) -> Places:
    """Return the end of every partition that holds anything."""
    reader = bus.LogReader(kafka, "bench")
    try:
        found = {p: reader.ends(topic, p)[1] for p in range(partitions)}
    finally:
        reader.close()
    return {p: end for p, end in found.items() if end}
