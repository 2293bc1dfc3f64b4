"""Chunks as people see them: the last row of a symbol, the last rows, series. Pure."""

import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..protocol.facts import Place

MS = 1_000_000  # nanoseconds


class Shown(NamedTuple):
    """One row of a projection."""

    place: Place
    row: int
    symbol: str
    ts_event_ns: int | None
    outputs: dict[str, Any]  # what is there and finite


class Points(NamedTuple):
    """One output of one symbol, in order of time; no NaN, one value a millisecond."""

    symbol: str
    output: str
    values: list[float]
    times_ms: list[int]


def latest(place: Place, rows: pa.RecordBatch, outputs: pa.RecordBatch) -> dict[str, Shown]:
    """Return the last row of every symbol in a chunk.

    Outputs that this row leaves empty keep an older value of the chunk: a quote does not wipe out
    what the last trade said.
    """
    coded = rows["symbol"].dictionary_encode()
    symbols, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    last = _last(codes, len(symbols), np.arange(len(codes)))
    times = rows["ts_event_ns"].take(pa.array(last)).to_pylist()
    values: list[dict[str, Any]] = [{} for _ in symbols]
    for name in outputs.schema.names:
        for code, value in _newest(outputs[name], codes, last):
            values[code][name] = value
    return {
        symbol: Shown(place, int(last[code]), symbol, times[code], _kept(values[code]))
        for code, symbol in enumerate(symbols)
    }


def _last(codes: np.ndarray, many: int, rows: np.ndarray) -> np.ndarray:
    """Return the last of some ascending rows for each of `many` codes, -1 where there is none."""
    found = np.full(many, -1, np.int64)
    np.maximum.at(found, codes[rows], rows)
    return found


def _newest(column: pa.Array, codes: np.ndarray, last: np.ndarray) -> Iterable[tuple[int, Any]]:
    """Return (code, value) of the last row of every code that holds a value."""
    if column.null_count:
        valid = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        last = _last(codes, len(last), valid)
    there = np.flatnonzero(last >= 0)
    values = column.take(pa.array(last[there])).to_pylist()
    return zip(there.tolist(), values, strict=True)


def last_rows(
    place: Place, rows: pa.RecordBatch, outputs: pa.RecordBatch, many: int
) -> list[Shown]:
    """Return at most the last `many` rows of a chunk."""
    skip = max(0, rows.num_rows - many)
    symbols = rows["symbol"].slice(skip).to_pylist()
    times = rows["ts_event_ns"].slice(skip).to_pylist()
    values = outputs.slice(skip).to_pylist()
    return [
        Shown(place, skip + i, symbol, times[i], _kept(values[i]))
        for i, symbol in enumerate(symbols)
    ]


def points(rows: pa.RecordBatch, outputs: pa.RecordBatch) -> list[Points]:
    """Return the series of a chunk. A row without an event time, or a NaN, is no point."""
    if rows["ts_event_ns"].null_count == rows.num_rows:
        return []
    coded = rows["symbol"].dictionary_encode()
    names, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    timed = rows["ts_event_ns"].is_valid().to_numpy(zero_copy_only=False)
    times = rows["ts_event_ns"].fill_null(0).to_numpy() // MS
    found = []
    for output in outputs.schema.names:
        column = outputs[output]
        if not pa.types.is_floating(column.type) and not pa.types.is_integer(column.type):
            continue
        values = column.cast(pa.float64(), safe=False).fill_null(math.nan).to_numpy()
        good = timed & np.isfinite(values)
        for code, symbol in enumerate(names):
            here = np.flatnonzero(good & (codes == code))
            if len(here):
                found.append(_points(symbol, output, values[here], times[here]))
    return found


def _points(symbol: str, output: str, values: np.ndarray, times: np.ndarray) -> Points:
    order = np.argsort(times, kind="stable")
    values, times = values[order], times[order]
    last = np.append(times[1:] != times[:-1], True)  # the last of each millisecond
    return Points(symbol, output, values[last].tolist(), times[last].tolist())


def merge(shown: Iterable[dict[str, Shown]]) -> list[Shown]:
    """Return the last row of every symbol over several chunks, in order of symbol.

    As in one chunk, outputs that it leaves empty keep their value of an earlier one.
    """
    found: dict[str, Shown] = {}
    for one in shown:
        for symbol, row in one.items():
            before = found[symbol].outputs if symbol in found else {}
            found[symbol] = row._replace(outputs=before | row.outputs)
    return [found[symbol] for symbol in sorted(found)]


def as_json(outputs: dict[str, Any]) -> str:
    return json.dumps(outputs, separators=(",", ":"))


def _kept(values: dict[str, Any]) -> dict[str, Any]:
    """Return the outputs that can be shown; what is not finite is left out."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and (not isinstance(value, float) or math.isfinite(value))
    }
