"""Who may write the next batch of one partition: the log decides, and this follows it.

A packer chains batch to batch without waiting: each says where it begins (`base`) and ends
(`next`). When a delivery report shows that somebody else's message came between, or a send failed
and may still land, it folds the log again and goes on from there. Everything happens in calls: the
shell, or a simulation, tells what happened and does what it is told; there is no clock, no thread
and no outside here.

    head is None    must fold: `saw` every message from `position` to the end of the log, then
    `caught_up` unread          must read: `saw` every message below that offset wants_rows
    `pack` may be called
"""

from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from ..protocol import dead_letters, rows, ticks, vectors
from ..protocol.rules import ALL_RULES, Rules
from . import steps

TICKS = ticks.TOPIC
LABELS_IN_FLIGHT_MAX = 8


class Send(NamedTuple):
    """One message to produce. Its report comes back under `token`: `delivered` or `failed`."""

    token: int
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class _Claim(NamedTuple):
    """A batch that is ready to go: what it claims, and its bytes."""

    base: vectors.Vector
    next: vectors.Vector
    value: bytes


class _Label(NamedTuple):
    token: int
    base: vectors.Vector
    next: vectors.Vector


class Sequencer:
    """The sequencer of one partition."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        offset: int = 0,
        vector: vectors.Vector | None = None,
        rules: Rules = ALL_RULES,
    ):
        """Begin at a stored mark: the offset of `ticks` to read next, and the vector there."""
        self.partition, self.partitions, self.rules = partition, partitions, rules
        self.position, self.vector = offset, dict(vector or {})
        self.head: vectors.Vector | None = None
        self.unread: int | None = None
        self.counts: Counter[str] = Counter()
        self._tokens = 0
        self._waiting: deque[_Label] = deque()
        self._landed: dict[int, int] = {}  # token of a label -> its offset
        self._forget()

    def _forget(self) -> None:
        self.unread = None
        self._waiting.clear()
        self._landed.clear()
        self._before: dict[int, deque[Send]] = {}  # token -> what may follow it
        self._label: _Claim | None = None  # waits until `_before` is acknowledged

    # ---- reading the log ----

    def saw(self, offset: int, message: ticks.TickMessage | ticks.BadTicks) -> None:
        """Take the message of `ticks` at `offset`; gaps in the offsets are no messages."""
        if offset < self.position:
            return
        self.position = offset + 1
        if not isinstance(message, ticks.BadTicks) and message.base is not None:
            self._accept(message.base, message.next)
        self._settle()

    def read_to(self, offset: int) -> None:
        """Take note that nothing more lies below `offset`."""
        self.position = max(self.position, offset)
        self._settle()

    def _accept(self, base: vectors.Vector, following: vectors.Vector) -> bool:
        accepted = base == self.vector or not self.rules.accept_only_what_continues
        if accepted:
            self.vector = following
        return accepted

    def caught_up(self) -> None:
        """Begin anew where the log stands now: all of it has been seen."""
        self._forget()
        self.head = dict(self.vector)

    def must_fold(self) -> bool:
        return self.head is None

    # ---- writing it ----

    def wants_rows(self) -> bool:
        return (
            self.head is not None
            and self._label is None
            and self.unread is None
            and len(self._waiting) < LABELS_IN_FLIGHT_MAX
        )

    def waits_for_reports(self) -> bool:
        """Whether nothing can go before something on its way is acknowledged."""
        return bool(self._before) or len(self._waiting) >= LABELS_IN_FLIGHT_MAX

    def idle(self) -> bool:
        """Whether nothing of this partition is on its way."""
        return not self._waiting and not self._before

    def pack(self, runs: Sequence[steps.Run]) -> list[Send]:
        """Return what to send for these rows. Only when `wants_rows`.

        Raises ticks.TooLarge, and then nothing has happened: less has to be packed.
        """
        packed = steps.pack(self.head, runs, self.partition, self.partitions, self.rules)
        if packed.next == packed.base:
            return []
        claim = _Claim(packed.base, packed.next, ticks.encode(packed.rows))
        self._count(packed)
        early, late = [], []
        moved = [self._send_moved(row) for row in packed.moved]
        dead = [self._send_dead(letter) for letter in packed.dead]
        (early if self.rules.moved_rows_before_label else late).extend(moved)
        (early if self.rules.dead_letters_before_label else late).extend(dead)
        if early:
            self._label = claim
            return self._in_order(early) + late
        return [self._send_label(claim), *late]

    def cut(self, number: int, at_ns: int) -> list[Send]:
        """Return the marker of a cut (no rows, but the vector moves), unless it is in the log.

        Only when `wants_rows`.
        """
        if number <= self.head.get(vectors.CUT, 0):
            return []
        self.counts["cuts"] += 1
        following = {**self.head, vectors.CUT: number, vectors.CUT_NS: at_ns}
        return [self._send_label(_Claim(self.head, following, ticks.encode(rows.NO_ROWS)))]

    def _count(self, packed: steps.Packed) -> None:
        self.counts["batches"] += 1
        self.counts["rows"] += packed.rows.num_rows
        self.counts["moved"] += len(packed.moved)
        for letter in packed.dead:
            self.counts[f"dead {letter.reason.split(maxsplit=1)[0]}"] += 1
        self.counts["repeated_captured"] += packed.repeated_captured
        self.counts["repeated_moved"] += packed.repeated_moved

    def _in_order(self, sends: list[Send]) -> list[Send]:
        """Return what may go at once; the rest follows what it must not overtake.

        Order matters to who compares positions: the rows moved from here to one partition of one
        topic. Rows for different partitions, and dead letters, go side by side.
        """
        chains: dict[object, deque[Send]] = {}
        for send in sends:
            free = send.topic == dead_letters.TOPIC or not self.rules.moved_rows_in_order
            chains.setdefault(send.token if free else (send.topic, send.partition), deque()).append(
                send
            )
        return [self._start(chain) for chain in chains.values()]

    def _start(self, chain: deque[Send]) -> Send:
        send = chain.popleft()
        self._before[send.token] = chain
        return send

    def _token(self) -> int:
        self._tokens += 1
        return self._tokens

    def _send_moved(self, row: steps.Moved) -> Send:
        return Send(self._token(), row.topic, row.partition, row.key, row.value, row.headers)

    def _send_dead(self, letter: dead_letters.DeadLetter) -> Send:
        sealed = dead_letters.seal(letter)
        return Send(self._token(), dead_letters.TOPIC, 0, sealed.key, sealed.value, [])

    def _send_label(self, claim: _Claim) -> Send:
        label = _Label(self._token(), claim.base, claim.next)
        self._waiting.append(label)
        self.head, self._label = claim.next, None
        headers = ticks.headers(label.base, label.next)
        return Send(label.token, TICKS, self.partition, None, claim.value, headers)

    # ---- reports ----

    def delivered(self, token: int, offset: int) -> list[Send]:
        """Take a report; return what may be sent now. One from before the last fold is nothing."""
        if token in self._before:
            chain = self._before.pop(token)
            if chain:
                return [self._start(chain)]
            return [] if self._before else [self._send_label(self._label)]
        if any(label.token == token for label in self._waiting):
            self._landed[token] = offset
            self._settle()
        return []

    def failed(self, token: int) -> None:
        """Take a report of a send that may or may not land: the log will say."""
        if token in self._before or any(label.token == token for label in self._waiting):
            self._overtaken("failed_sends")

    def lost_sight(self) -> None:
        """Nobody will tell what became of what is on its way: the log will say."""
        if not self.idle():
            self._overtaken("failed_sends")

    def _settle(self) -> None:
        """Pass over our own labels in the order in which they were sent."""
        while self.head is not None and self._waiting and self._waiting[0].token in self._landed:
            label = self._waiting[0]
            offset = self._landed[label.token]
            if offset > self.position:
                self.unread = offset
                return
            if offset == self.position:
                self.position += 1
                accepted = self._accept(label.base, label.next)
            else:
                accepted = self.vector == label.next
            self.unread = None
            self._landed.pop(self._waiting.popleft().token)
            if not accepted or (not self._waiting and self.vector != self.head):
                self._overtaken("overtaken")

    def _overtaken(self, why: str) -> None:
        self.counts[why] += 1
        self._forget()
        self.head = None
