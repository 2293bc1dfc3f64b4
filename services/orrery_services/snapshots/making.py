"""From cuts and leaves to snapshots: what is missing is waited for, what is done stays done."""

from collections.abc import Mapping
from itertools import islice

import psycopg
import structlog
from orrery_kernels.domino.explain import each_change
from orrery_kernels.snapshot.changes import filter_of
from orrery_kernels.snapshot.snapshot import Snapshot, thaw
from orrery_kernels.snapshot.tree import pieces_below
from prometheus_client import Counter, Gauge

from .. import clock, metrics
from ..config import Settings
from ..errors import DivergenceError, OutsideError
from ..protocol import snapshots as rules
from ..protocol.cuts import Cut
from ..protocol.facts import BadFact
from ..store import ledger, pieces, reading, refs, snapshots
from . import steps

PAUSE_NS_MIN, PAUSE_NS_MAX = 20_000_000, 1_000_000_000  # between two looks for a cut's leaves
FETCHED_BYTES_MAX = 16 * 1024 * 1024  # of pieces, kept for the next comparison
PENDING_MAX = 1000  # cuts that wait for leaves; beyond that the oldest is left to the next start
MADE = Counter("orrery_snapshots_made", "Snapshots completed on this node.")
LATE = Counter("orrery_late_rows", "Rows whose event time lies before the cut before them.")
PENDING = Gauge("orrery_cuts_pending", "Cuts of which there is no snapshot here yet.")
log = structlog.get_logger()


class Making:
    """The cuts of which this node has no snapshot yet."""

    def __init__(self, settings: Settings, connection: psycopg.Connection):
        self._settings, self._connection = settings, connection
        self._fetch = pieces.fetcher(connection, FETCHED_BYTES_MAX)
        self._pending: dict[int, Cut] = {}
        self._looks: dict[int, tuple[int, int]] = {}  # number -> when to look again, pause behind
        self._differing: set[int] = set()  # of those that wait: two workers differ
        for cut in snapshots.cuts_not_made(connection, PENDING_MAX):
            self._wait_for(cut)

    def add(self, cuts: list[Cut]) -> None:
        """Keep what fired as facts, and wait for the leaves."""
        done = snapshots.made_of(self._connection, [cut.number for cut in cuts])
        fresh = [cut for cut in cuts if cut.number not in done]
        for cut in fresh:
            self._wait_for(cut)
        stream = self._settings.partitions
        kept = [fact for cut in fresh for fact in rules.cut_fact(cut, stream)]
        if kept:
            ledger.commit(self._connection, kept)

    def _wait_for(self, cut: Cut) -> None:
        self._pending[cut.number] = cut
        self._looks[cut.number] = 0, PAUSE_NS_MIN
        if len(self._pending) > PENDING_MAX:
            oldest = min(self._pending)
            log.warning("a cut is left alone: too many wait", number=oldest)
            self._forget(oldest)

    def _forget(self, number: int) -> None:
        del self._pending[number], self._looks[number]
        self._differing.discard(number)

    def turn(self) -> list[snapshots.Made]:
        """Make what can be made, in the order of cuts."""
        done = []
        now_ns = clock.monotonic_ns()
        for number in sorted(self._pending):
            due_ns, pause_ns = self._looks[number]
            if now_ns < due_ns:
                continue
            self._looks[number] = now_ns + pause_ns, min(2 * pause_ns, PAUSE_NS_MAX)
            if made := self._try(self._pending[number]):
                self._forget(number)
                done.append(made)
        PENDING.set(len(self._pending))
        metrics.DIVERGED.set(len(self._differing))
        return done

    def _try(self, cut: Cut) -> snapshots.Made | None:
        """Make the snapshot of a cut, if that can be: what is in the way of one is none of the
        others', and is looked at again until it is settled."""
        try:
            made = self._make(cut)
        except BadFact as cause:  # a second copy is on its way
            log.warning("waiting", number=cut.number, reason=str(cause))
            return None
        except DivergenceError as cause:  # nobody can say which one is right, but a person
            if cut.number not in self._differing:
                log.error("no snapshot of this cut", number=cut.number, reason=str(cause))
            self._differing.add(cut.number)
            return None
        except ValueError as cause:  # leaves of another release: the next start looks again
            log.error("a cut is left alone", number=cut.number, reason=str(cause))
            self._forget(cut.number)
            return None
        self._differing.discard(cut.number)
        return made

    def _make(self, cut: Cut) -> snapshots.Made | None:
        connection, partitions = self._connection, self._settings.partitions
        keys = [rules.leaf_key(*slot, cut.number) for slot in rules.wanted(cut, partitions)]
        if len(reading.ids_of(connection, keys)) < len(keys):
            return None
        leaves = snapshots.leaves_of(connection, cut, partitions)
        before = next(iter(snapshots.made_before(connection, cut.number)), None)
        done = steps.complete(cut, leaves, partitions, before and before.at_ns)
        if done is None or not self._has_static(cut):
            return None
        opened = self._opened(before)
        self._keep_calendars(cut.number, opened)
        if not self._has_pieces(cut, done):
            return None
        parent = before.id if before else None
        made = snapshots.Made(cut.number, done.frozen.id, parent, cut.at_ns, cut.trigger)
        changed = self._changes(opened, done) if opened else None
        snapshots.keep(connection, self._facts(cut, done, parent), made, changed)
        MADE.inc()
        LATE.inc(done.late)
        log.info("snapshot", id=made.id.hex()[:12], number=made.number, late=done.late)
        return made

    def _opened(self, before: snapshots.Made | None) -> Snapshot | None:
        if before is None:
            return None
        try:
            return snapshots.open_snapshot(self._connection, before.id, self._fetch)[0]
        except (OutsideError, BadFact) as cause:
            log.info("the snapshot before cannot be read", number=before.number, reason=str(cause))
            return None

    def _changes(self, before: Snapshot, done: steps.Complete) -> bytes | None:
        """Return the filter over the leaves that changed; None: too many, or nobody can say."""
        declared = self._settings.values
        most, rate = declared["data.changes.paths_max"], declared["data.changes.wrong_yes_rate"]
        try:
            changes = each_change(before, thaw(done.frozen.manifest), self._fetch)
            paths = [path for path, _ in islice(changes, most + 1)]
        except (OutsideError, BadFact) as cause:
            log.info("changes are not known", since=before.cut["number"], reason=str(cause))
            return None
        return filter_of(paths, rate).to_bytes() if len(paths) <= most else None

    def _keep_calendars(self, number: int, before: Snapshot | None) -> None:
        """Write the tree of the calendars with the first cut that has it: snapshots share it."""
        tree = steps.calendar_tree()
        same = before is not None and list(before.sections.get(rules.CALENDARS, ())) == [tree.root]
        if not same or not pieces.is_held(self._connection, tree.root):
            self._keep_tree(tree.pieces, number)

    def _has_static(self, cut: Cut) -> bool:
        """Whether the static data that a cut names are held: declared here, or come from a node
        that declares them. The first cut that names them brings them again."""
        root = bytes.fromhex(cut.static)
        if not root:
            return True
        before = snapshots.cut_of(self._connection, cut.number - 1)
        same = before is not None and before.static == cut.static
        if not same or not pieces.is_held(self._connection, root):
            self._keep_tree(self._static_pieces(root), cut.number)
        return pieces.are_held(self._connection, [root])

    def _static_pieces(self, root: bytes) -> Mapping[bytes, bytes]:
        """Return the tree of static data, declared here or held; nothing if it is neither."""
        tree = steps.static_tree(self._settings.values["data.static"])
        if tree is not None and tree.root == root:
            return tree.pieces
        try:
            return tree_pieces(self._fetch, root)
        except (OutsideError, BadFact):
            return {}

    def _keep_tree(self, tree: Mapping[bytes, bytes], number: int) -> None:
        """Write the pieces of a tree that came with a cut and was not in the one before it. Also
        of a tree that is held: gc may be removing the packs of then."""
        streams = self._settings.partitions
        if tree:
            ledger.commit(self._connection, rules.pack_facts(tree, streams, number))
            pieces.index_cuts(self._connection, [number], streams + 1)

    def _has_pieces(self, cut: Cut, done: steps.Complete) -> bool:
        """Whether the trees are held. Their pieces came with this cut or with one before it, of
        which another leaf may still be on its way: those are not waited for."""
        before = [number for number in self._pending if number <= cut.number]
        pieces.index_cuts(self._connection, before, self._settings.partitions + 1)
        sections = thaw(done.frozen.manifest).sections
        return pieces.are_held(self._connection, [r for roots in sections.values() for r in roots])

    def _facts(self, cut: Cut, done: steps.Complete, parent: bytes | None) -> list[rules.Fact]:
        """Return manifest and record; the record is written once, whatever happens after."""
        connection, stream = self._connection, self._settings.partitions
        found = rules.manifest_fact(done.frozen.id, done.frozen.manifest, cut.number, stream)
        origin = refs.origin(connection)
        if reading.ids_of(connection, [rules.record_key(origin, cut.number)]):
            return found
        record = steps.record_of(
            done, cut, parent, self._settings.node, snapshots.lsn(connection), clock.wall_ns()
        )
        meta = {
            "number": cut.number, "snapshot": done.frozen.id.hex(), "trigger": cut.trigger,
            "late": done.late,
        }  # fmt: skip
        return found + rules.record_fact(record.to_bytes(), origin, meta, stream)


def tree_pieces(fetch: pieces.Fetch, root: bytes) -> dict[bytes, bytes]:
    """Return all pieces of a tree by name. Raises as `fetch` does."""
    found: dict[bytes, bytes] = {}
    level = [root]
    while level:
        found |= {name: fetch(name) for name in level}
        below = [name for above in level for name in pieces_below(found[above])]
        level = [name for name in dict.fromkeys(below) if name not in found]
    return found
