"""One partition of `ticks`, one chain: fold, compute, and say what to write. Nothing outside is
touched.

A Work is where the fold is and the state behind it. Every accepted message passes through the
state, also when its result is held already: the node's mark is moved by the replicator too and says
nothing about what *this* state has seen.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..protocol import facts, fold, marks, ticks, vectors
from ..protocol.facts import Fact, Place
from ..protocol.fold import Accepted, Ignored, Position, RowCheck
from ..protocol.marks import Mark
from ..protocol.rules import ALL_RULES, Rules
from .market import Market, cut_facts, restored

BUCKETS = 256


class Checkpoint(NamedTuple):
    """The state behind one message, as it was stored."""

    position: Position
    rows: int
    pieces: dict[int, list[bytes]]  # bucket -> ids of its pieces
    buckets: dict[int, bytes]
    market: Market


@dataclass
class Work:
    """Where one chain stands in one partition."""

    chain: Any  # orrery_kernels.Chain
    chain_id: str
    log_id: str
    partition: int
    position: Position
    state: Any
    rows: int = 0  # of the log, up to here
    pieces: dict[int, list[bytes]] = field(default_factory=dict)  # of the last checkpoint
    market: Market = field(default_factory=Market)


class Stretch(NamedTuple):
    """Offsets [start, stop) to be taken next."""

    start: int
    stop: int


def begin(chain: Any, log_id: str, partition: int, checkpoint: Checkpoint | None) -> Work:
    """Return the work of a partition at its last checkpoint, or at the beginning of the log."""
    name = facts.chain_id(chain.digest)
    if checkpoint is None:
        return Work(chain, name, log_id, partition, Position(), chain.new_state())
    state = chain.restore(checkpoint.buckets)
    state.clear_dirty()
    return Work(
        chain, name, log_id, partition, checkpoint.position, state, checkpoint.rows,
        dict(checkpoint.pieces), checkpoint.market,
    )  # fmt: skip


def replay(work: Work, link: marks.Link, rows: pa.RecordBatch) -> list[Fact]:
    """Bring the state past one stored input chunk; return the facts of a cut, if it is one."""
    work.chain.run(work.state, rows)
    before = work.position.vector
    _move(work, link, rows)
    return _see(work, link.place, before, rows)


def replay_many(
    work: Work, found: Sequence[marks.Link], counts: Sequence[int], rows: pa.RecordBatch
) -> pa.RecordBatch:
    """Bring the state past stored input chunks of which none is a cut; rows: of all, end to end.

    Return the outputs, end to end too. The same as `replay` of each: states do not depend on how
    rows are cut into batches.
    """
    outputs = work.chain.run(work.state, rows)
    offsets = np.repeat([link.place.offset for link in found], counts)
    work.market.see(rows, work.position.vector, offsets)
    vector = dict(work.position.vector)
    for link in found:
        vector.update(link.changed)
    work.position = Position(found[-1].place.offset + 1, found[-1].ordinal + 1, vector)
    work.rows += rows.num_rows
    return outputs


def recompute_many(
    work: Work, found: Sequence[marks.Link], counts: Sequence[int], rows: pa.RecordBatch
) -> list[list[Fact]]:
    """Compute stored input chunks of which none is a cut and none makes a checkpoint."""
    outputs = replay_many(work, found, counts, rows)
    begins = np.cumsum([0, *counts]).tolist()
    return [
        facts.result_chunk(link.place, work.chain_id, outputs.slice(begin, count))
        for link, begin, count in zip(found, begins, counts, strict=False)
    ]


def stands_alone(
    work: Work, found: Sequence[marks.Link], counts: Sequence[int], every_rows: int
) -> list[bool]:
    """Say of each of the next chunks whether it is a cut or makes a checkpoint."""
    ends = work.rows + np.cumsum(counts)
    due = (ends - counts) // every_rows != ends // every_rows
    return [is_cut(link) or bool(makes) for link, makes in zip(found, due, strict=True)]


def is_cut(link: marks.Link) -> bool:
    return vectors.CUT in link.changed


def recompute(work: Work, link: marks.Link, rows: pa.RecordBatch, every_rows: int) -> list[Fact]:
    """Compute one stored input chunk: as if it came from the log."""
    outputs = work.chain.run(work.state, rows)
    before, base = work.rows, work.position.vector
    _move(work, link, rows)
    found = facts.result_chunk(link.place, work.chain_id, outputs)
    found += _see(work, link.place, base, rows)
    return found + _checkpoint(work, link.place, before, every_rows)


def start(work: Work, mark: Mark, log_id: str) -> None:
    """Stand where the log goes on: at the mark, or at the beginning of a log that followed it."""
    offset = mark.offset if mark.log_id == log_id else 0
    work.log_id = log_id
    work.position = Position(offset, mark.ordinal, mark.vector)


def take(
    work: Work, offset: int, message: ticks.TickMessage | ticks.BadTicks, check: RowCheck,
    every_rows: int, rules: Rules = ALL_RULES,
) -> tuple[list[Fact], Accepted | Ignored]:  # fmt: skip
    """Fold one message and compute it; return the facts to write, none when it does not count."""
    if not rules.accept_only_what_continues and getattr(message, "base", None) is not None:
        message = message._replace(base=work.position.vector)
    if not rules.validate_user_batches:
        check = _accept_all
    work.position, what = fold.take(work.position, offset, message, check)
    if isinstance(what, Ignored):
        return [], what
    place = Place(work.log_id, work.partition, what.offset)
    changed = facts.changed_entries(what.base, what.next)
    found = facts.input_chunk(place, what.ordinal, changed, what.rows)
    outputs = work.chain.run(work.state, what.rows)
    found += facts.result_chunk(place, work.chain_id, outputs)
    before, work.rows = work.rows, work.rows + what.rows.num_rows
    found += _see(work, place, what.base, what.rows)
    return found + _checkpoint(work, place, before, every_rows), what


def stretch(position: Position, delivered: int, rules: Rules = ALL_RULES) -> Stretch | None:
    """Return what to take when a message is delivered; None: it has been folded already.

    A delivery beyond the fold is not the next one: what lies between is read first.
    """
    if delivered < position.offset:
        return None
    if not rules.read_what_lies_between:
        return Stretch(delivered, delivered + 1)
    return Stretch(position.offset, delivered + 1)


def may_start(mark: Mark, low: int, log_id: str, rules: Rules = ALL_RULES) -> bool:
    """Whether the log still reaches back to the mark; else replicated facts must move it first."""
    offset = mark.offset if mark.log_id == log_id else 0
    return offset >= low or not rules.wait_below_the_low_end


def must_start_over(position: Position, mark: Mark, rules: Rules = ALL_RULES) -> bool:
    """Whether a commit left the node's mark short of the fold: the node has a hole behind us."""
    return mark.ordinal < position.ordinal and rules.start_over_behind_a_hole


def checkpoint_of(
    payload: bytes, data: bytes
) -> tuple[Position, int, dict[int, list[bytes]], Market]:
    """Return position, rows, piece ids by bucket and market of a stored checkpoint."""
    meta, held = facts.meta_of(payload), json.loads(data)
    position = Position(meta["offset"], meta["ordinal"], held["vector"])
    pieces = {int(b): [bytes.fromhex(i) for i in ids] for b, ids in held["buckets"].items()}
    return position, meta["rows"], pieces, restored(held.get("market"))


def chain_fact(chain: Any, steps: list[dict[str, Any]], stream: int) -> list[Fact]:
    """Return the fact that says what a chain is, so that its results can be read without it."""
    name = facts.chain_id(chain.digest)
    fields = [[f.name, str(f.type)] for f in chain.output_schema]
    data = {"digest": chain.digest.hex(), "steps": steps, "inputs": chain.inputs, "outputs": fields}
    packed = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    return facts.plain_fact(facts.CHAIN, stream, f"{facts.CHAIN}/{name}", {}, packed)


def links(given: Iterable[Fact]) -> list[marks.Link]:
    """Return the links of the input chunks among facts; the worker writes both chunks at once."""
    return [marks.link_of(f.key, f.payload) for f in given if f.kind == facts.INPUT]


def _move(work: Work, link: marks.Link, rows: pa.RecordBatch) -> None:
    vector = {**work.position.vector, **link.changed}
    work.position = Position(link.place.offset + 1, link.ordinal + 1, vector)
    work.rows += rows.num_rows


def _see(work: Work, place: Place, base: vectors.Vector, rows: pa.RecordBatch) -> list[Fact]:
    """Let the market see the rows behind which the work stands; return a cut's facts, if it is one.

    Every accepted message passes here, so every worker cuts at the same place of the log.
    """
    work.market.see(rows, base, place.offset)
    following = work.position.vector
    if following.get(vectors.CUT) == base.get(vectors.CUT):
        return []
    return cut_facts(work.market, work.state, place, work.chain_id, following, work.rows)


def _checkpoint(work: Work, place: Place, before: int, every_rows: int) -> list[Fact]:
    """Return a checkpoint behind the message in which the row count passes a multiple.

    So every node cuts at the same place of the log. Only buckets that changed make new pieces.
    """
    if before // every_rows == work.rows // every_rows:
        return []
    made: list[Fact] = []
    for bucket, data in sorted(work.state.dirty_buckets(BUCKETS).items()):
        size = facts.BODY_BYTES_MAX
        parts = [facts.piece(work.partition, data[i : i + size]) for i in range(0, len(data), size)]
        work.pieces[bucket] = [part.id for part in parts]
        made += parts
    work.state.clear_dirty()
    listed = {str(b): [i.hex() for i in ids] for b, ids in sorted(work.pieces.items())}
    at = work.position
    meta = {"offset": at.offset, "ordinal": at.ordinal, "rows": work.rows}
    held = {"buckets": listed, "vector": at.vector, "market": work.market.stored()}
    key = facts.place_key(facts.CHECKPOINT, place, work.chain_id)
    data = json.dumps(held, sort_keys=True, separators=(",", ":")).encode()
    return made + facts.plain_fact(facts.CHECKPOINT, work.partition, key, meta, data)


def _accept_all(_: pa.RecordBatch) -> None:
    return None
