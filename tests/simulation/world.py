"""What is outside of every process: logs, a network that is unkind, a clock, the rows' maker.

A process is a generator: between two steps it may be stopped, paused, or forgotten (a crash). What
it sent stays on its way. Row numbers (`ts_event_ns`) belong to the judge: nobody decides by them.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from orrery_kernels import Chain
from orrery_kernels.partition import partition_of
from orrery_services.packer.steps import Run
from orrery_services.protocol import vectors
from orrery_services.protocol.rules import Rules
from orrery_services.replication.steps import HEARTBEAT, Delivery
from orrery_services.store import heartbeats

P = 2  # partitions of every row topic and of `ticks`
TOPICS = ("trades", "quotes")
NODES = ("n1", "n2")
SYMBOLS = ("A.X", "B.X", "C.X", "D.X", "E.X", "F.X")
LOG_ID = {topic: f"{topic}-log" for topic in (*TOPICS, "ticks")}
STEP_NS = 50_000_000  # how long one step takes while faults last
REST = range(500, 1300)  # steps of a world that rests
CHAIN = Chain(
    [
        {"kernel": "ewma", "column": "price", "alpha": 0.06, "output": "price_ewma"},
        {"kernel": "ewma", "column": "bid", "alpha": 0.3, "output": "bid_ewma"},
    ]
)


class Broken(Exception):
    """The protocol does not hold."""


class Message(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int = 0
    about: Any = None  # for the judge and for retention only


@dataclass
class Flight:
    """One send on its way. `report` hears the offset, or None for a failure."""

    log: tuple[str, int]
    message: Message
    sender: str
    report: Callable[[int | None], None] = lambda _: None
    state: str = "flying"


@dataclass
class Process:
    world: "World"
    start: Callable[..., Iterator[None]]
    args: tuple
    asleep: int = 0
    at: str = "start"
    run: Iterator[None] = field(init=False)

    def __post_init__(self) -> None:
        self.kind = self.start.__name__
        self.run = self.start(self, *self.args)

    def crash(self) -> None:
        self.at, self.asleep = "start", 0
        self.run = self.start(self, *self.args)


class World:
    def __init__(self, seed: int, rules: Rules, disks: bool = False):
        self.rng, self.rules = random.Random(seed), rules
        self.disks = disks  # a world in which hardly anything but disks fails
        self.lazy = "n2" if disks and seed % 4 == 1 else None  # a node that computes nothing
        self.rests = disks and seed % 4 == 3  # all arrives and expires before a disk goes back
        self.fired: Counter[str] = Counter()
        self.now = self.now_ns = 0
        self.moves = 0  # grows with whatever happens; the end is when it does not
        self.faults = True
        self.uid = self.beats = self.lives = 0
        self.logs: dict[tuple[str, int], list[Message]] = defaultdict(list)
        self.low: Counter[tuple[str, int]] = Counter()  # retention
        self.flying: list[Flight] = []
        self.numbers: dict[bytes, int] = {}  # value -> number of a row that must count
        self.refused: set[bytes] = set()  # values that must be refused
        self.damaged: list = []  # facts whose copy in the topic is of no use
        self.acknowledged: set[bytes] = set()  # values that a row topic has taken
        self.user_rows: set[int] = set()  # numbers of rows of sound batches straight to `ticks`
        self.committed = [0] * P  # the group's offsets
        self.flushed: Counter[tuple[str, str]] = Counter()  # Connect's stored offsets
        self.heard: Counter[tuple[str, int]] = Counter()  # what heartbeats in the topic name
        self.eager = self.rng.random() < 0.3 and not self.rests  # restored is what is nearly new
        self.idle_table = "n1" if self.rests else self.rng.choice((None, *NODES))
        self.restored: dict[str, Any] = {}  # node -> the backup that it was restored from
        self.db: dict[str, Any] = {}
        self.backup: dict[str, Any] = {}
        self.processes: list[Process] = []

    def end(self, topic: str, partition: int) -> int:
        return len(self.logs[topic, partition])

    def resting(self) -> bool:
        return self.rests and REST.start <= self.now < REST.stop

    def flowing(self) -> bool:
        """Whether rows come."""
        return self.faults and not self.resting()

    def computing(self) -> str:
        """Return a node for the next worker."""
        chosen = self.rng.choice(NODES)
        return next(n for n in NODES if n != chosen) if chosen == self.lazy else chosen

    def incarnation(self) -> str:
        self.lives += 1
        return uuid(self.lives)

    def send(
        self, topic: str, partition: int, message: Message, sender: str, report: Any = None
    ) -> Flight:
        flight = Flight((topic, partition), message, sender, *([report] if report else []))
        self.flying.append(flight)
        self.moves += 1
        return flight

    def append(self, topic: str, partition: int, message: Message) -> None:
        self.logs[topic, partition].append(message)
        if topic in TOPICS:
            self.acknowledged.add(message.value)
        beat = getattr(message.about, "fact", None)
        self.moves += beat is None or beat.kind != HEARTBEAT

    def good(self) -> set[int]:
        """Return the numbers of the rows that must count, each once."""
        taken = {self.numbers[v] for v in self.acknowledged if v in self.numbers}
        return taken | self.user_rows

    def bad(self) -> set[bytes]:
        return self.refused & self.acknowledged

    def hear(self, one: Delivery) -> None:
        """Note what a heartbeat that was sent names: what no peer needs any more may expire."""
        for origin, streams in heartbeats.read(one.fact).items():
            for stream, oseq in streams.items():
                source = origin, int(stream)
                self.heard[source] = max(self.heard[source], oseq)

    def rows(self, topic: str, p: int, vector: vectors.Vector, many: int) -> Run | None:
        """Return the next rows behind a vector as the packer's consumer would hold them."""
        off = vectors.next_offset(vector, topic, LOG_ID[topic])
        found = self.logs[topic, p][off : off + many]
        if not found:
            return None
        return Run(
            topic, LOG_ID[topic], list(range(off, off + len(found))),
            [m.value for m in found], [m.timestamp_ms for m in found], [m.key for m in found],
            {i: m.headers for i, m in enumerate(found) if m.headers},
        )  # fmt: skip

    def row(self, topic: str, more: dict[str, Any] | None = None) -> tuple[str, bytes]:
        """Return symbol and value of a new row; some must be refused."""
        self.uid += 1
        symbol, x = self.rng.choice(SYMBOLS), self.rng.randrange(1, 10**6) / 64
        found: dict[str, Any] = {"symbol": symbol, "ts_event_ns": self.uid, **(more or {})}
        if topic == "trades":
            found |= {"price": x, "size": 1 + self.uid % 3}
        else:
            found |= {"bid": x, "ask": x + 1, "bid_size": 1, "ask_size": 2}
        refused = self.rng.random() < 0.06
        if refused:
            found["price" if topic == "trades" else "bid"] = self.rng.choice((-1, "much", None))
        value = msgspec.json.encode(found)
        if refused:
            self.refused.add(value)
        else:
            self.numbers[value] = self.uid
        return symbol, value


def home(symbol: str) -> int:
    return partition_of(symbol, P)


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def network(self: Process) -> Iterator[None]:
    """What is sent lands in any order, late, twice, and after its sender was told it failed."""
    world, rng = self.world, self.world.rng
    while True:
        for _ in range(1 if world.faults else 4):
            if world.flying:
                _land(world, rng.randrange(len(world.flying)) if rng.random() < 0.3 else 0)
        yield


def _land(world: World, i: int) -> None:
    rng, flight = world.rng, world.flying[i]
    world.fired["a send overtakes a send"] += i > 0
    if world.faults and flight.state == "flying" and rng.random() < 0.06:
        flight.state = "failed"
        world.fired["a send is reported failed and lands later"] += 1
        flight.report(None)
        return
    world.append(*flight.log, flight.message)
    if flight.state == "flying":
        flight.state = "landed"
        flight.report(world.end(*flight.log) - 1)
    if world.faults and rng.random() < 0.08:
        world.fired["a send lands twice"] += 1
    else:
        world.flying.pop(i)
