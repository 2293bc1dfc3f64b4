"""Dominoes that map over symbols: a row in, a row out, and of a change only the rows it reaches.

    @domino(version=1)
    def mid(rows: Annotated[Rows, "quotes/*", pa.schema({"bid": pa.float64(), "ask": pa.float64()})]
    ) -> pa.RecordBatch: ...

The function is given one Arrow record batch, `name` and the declared columns, a row for each leaf
in the order of names, and returns a batch of as many rows; its answer is that batch behind `name`.
Each row must come from its own row and the other inputs alone. So after a change the rows that
changed are computed in one call, and the others are those of the answer before: the same bytes as
all of them computed anew, under the same memo key.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from orrery_kernels.domino.chain import Task
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.views import NAME
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot.canonical import encode
from orrery_kernels.snapshot.descent import diff
from orrery_kernels.snapshot.snapshot import Snapshot


class Stale(NamedTuple):
    """Of all rows of a task those to be computed, and one more of which the answer is known."""

    names: list[str]  # all, in order
    rows: list[str]
    witness: str | None

    @property
    def text(self) -> str:
        return f"{len(self.rows):,} of {len(self.names):,} rows"


def names_of(market: Market, pattern: str) -> list[str]:
    """Return the names that a pattern means: below its section, as of leaves."""
    return list(market.leaves(pattern))


def batch_of(
    market: Market, pattern: str, schema: pa.Schema, names: Sequence[str] | None = None
) -> pa.RecordBatch:
    """Return leaves as rows, all or some. Raises DominoError when one does not fit the schema."""
    section = market.section_of(pattern)
    if section and not market.holds_values(section):
        raise DominoError(
            f"a leaf of {pattern!r} must be the record itself, but records over 64 KiB are there by"
            " their digests alone"
        )
    leaves = market.leaves(pattern)
    names = list(leaves) if names is None else list(names)
    values = [leaves[name] for name in names]
    columns = [pa.array(names, pa.string())]
    for field in schema:
        cells = [value.get(field.name) if isinstance(value, Mapping) else value for value in values]
        try:
            columns.append(pa.array(cells, field.type))
        except (pa.ArrowException, OverflowError) as error:
            at = next((n for n, c in zip(names, cells, strict=True) if not _fits(c, field)), "")
            raise DominoError(
                f"the leaves of {pattern!r} must have {field.name!r} as {field.type}, that of "
                f"{at!r} has not: {error}"
            ) from error
    return pa.RecordBatch.from_arrays(columns, [NAME, *schema.names])


def named(task: Task, rows: pa.RecordBatch, value: Any) -> pa.RecordBatch:
    """Return the answer behind the names of its rows. Raises DominoError when it has others."""
    if not isinstance(value, pa.RecordBatch) or value.num_rows != rows.num_rows:
        was = value.num_rows if isinstance(value, pa.RecordBatch) else type(value).__name__
        raise DominoError(
            f"task {task.name!r} must return a record batch of {rows.num_rows} rows, one for each "
            f"it was given, was {was}"
        )
    if NAME in value.schema.names:
        raise DominoError(
            f"task {task.name!r} must return no column {NAME!r}: rows are named for it"
        )
    return pa.RecordBatch.from_arrays([rows.column(0), *value.columns], [NAME, *value.schema.names])


def check_alone(task: Task, answer: pa.RecordBatch, alone: pa.RecordBatch) -> None:
    """Raise DominoError unless a row has the bits that it has among others."""
    name = alone.column(0)[0].as_py()
    at = answer.column(0).to_pylist().index(name)
    if not _same(answer.slice(at, 1), alone):
        raise DominoError(
            f"task {task.name!r} must make each row from its own inputs alone, but that of "
            f"{name!r} depends on which others are there: read them as Leaves instead of Rows"
        )


def stale(before: Snapshot, market: Market, pattern: str, known: pa.RecordBatch) -> Stale | None:
    """Return what changed since a snapshot on which the answer was `known`: by the descent of the
    two trees. None: the two are not laid out alike."""
    section, now = market.section_of(pattern), market.snapshot
    if section is None or before.sections.keys() != now.sections.keys():
        return None
    was, now = before.sections[section], now.sections[section]
    if len(was) != len(now):
        return None
    pairs = zip(was, now, strict=True)
    changed = {c.name: None for old, new in pairs for c in diff(old, new, market.fetch)}
    names, held = names_of(market, pattern), dict.fromkeys(known.column(0).to_pylist())
    rows = [name for name in names if name in changed or name not in held]
    apart = dict.fromkeys(rows)
    witness = next((name for name in reversed(names) if name not in apart), None)
    return Stale(names, rows, witness)


def brought_up(
    task: Task,
    known: pa.RecordBatch,
    found: Stale,
    compute: Callable[[Sequence[str]], pa.RecordBatch],
) -> pa.RecordBatch | None:
    """Return the answer with the stale rows computed anew, in one call with one row that is known.

    compute: the named answer for some names, in order. None: the two cannot be put together.
    """
    if found.witness is None:
        return None
    asked = dict.fromkeys([*found.rows, found.witness])
    fresh = compute([name for name in found.names if name in asked])
    if not fresh.schema.equals(known.schema, check_metadata=True):
        return None
    held = {name: at for at, name in enumerate(known.column(0).to_pylist())}
    check_alone(task, fresh, known.slice(held[found.witness], 1))
    places = {name: fresh.num_rows + at for name, at in held.items()}
    places |= {name: at for at, name in enumerate(fresh.column(0).to_pylist())}
    return pa.concat_batches([fresh, known]).take(pa.array([places[name] for name in found.names]))


def _fits(cell: Any, field: pa.Field) -> bool:
    try:
        pa.array([cell], field.type)
    except (pa.ArrowException, OverflowError):
        return False
    return True


def _same(one: pa.RecordBatch, other: pa.RecordBatch) -> bool:
    return encode(one) == encode(other)
