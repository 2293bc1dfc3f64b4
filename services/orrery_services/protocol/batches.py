"""The same validation for a batch that a user produced straight to `ticks`.

One bad row refuses the whole batch: it has no place in the log of its own to be refused by. Such
rows are known by their place in `ticks`, so their source columns are null.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from orrery_kernels.columns import KIND_NAMES, SOURCE_COLUMNS
from orrery_kernels.partition import partition_of

from . import fields
from .rows import bad_symbols, by_symbol

# Which columns a row of each kind fills beside kind, symbol and the times, and their bounds.
_POSITIVE = (fields.NUMBER_MIN, fields.NUMBER_MAX)
_SIGNED = (-fields.NUMBER_MAX, fields.NUMBER_MAX)
_BOUNDS = {
    "price": (0, _POSITIVE),
    "size": (0, _POSITIVE),
    "bid": (1, _POSITIVE),
    "ask": (1, _POSITIVE),
    "bid_size": (1, _POSITIVE),
    "ask_size": (1, _POSITIVE),
    "value": (2, _SIGNED),
}
_SIZES = ("bid_size", "ask_size")


def check_batch(batch: pa.RecordBatch, partition: int, partitions: int) -> str | None:
    """Return why a user's batch of ticks is refused, or None. It must have the tick schema."""
    if not batch.num_rows:
        return "a batch must have at least one row"
    kind = batch["kind"].to_numpy()
    if reason := _at((kind < 0) | (kind >= len(KIND_NAMES)), batch, "kind", "must be 0, 1 or 2"):
        return reason
    return (
        _check_symbols(batch, partition, partitions)
        or _check_numbers(batch, kind)
        or _check_texts(batch, kind)
        or _check_times(batch)
        or _check_sources(batch)
    )


def _at(bad: np.ndarray, batch: pa.RecordBatch, name: str, rule: str) -> str | None:
    """Return the reason for the first bad row, with its number and what it has."""
    if not bad.any():
        return None
    row = int(bad.argmax())
    return f"row {row}: {name} {rule}, was {fields.shown(batch[name][row].as_py())}"


def _check_symbols(batch: pa.RecordBatch, partition: int, partitions: int) -> str | None:
    symbols = batch["symbol"]
    bad = bad_symbols(symbols)
    if bad.any():
        row = int(bad.argmax())
        return f"row {row}: {fields.symbol_problem(symbols[row].as_py())}"
    home = by_symbol(symbols, lambda symbol: partition_of(symbol, partitions), np.int32)
    return _at(
        home != partition, batch, "symbol", f"must be one of partition {partition} (murmur2 mod P)"
    )


def _check_numbers(batch: pa.RecordBatch, kind: np.ndarray) -> str | None:
    for name, (its_kind, (low, high)) in _BOUNDS.items():
        applies, there = kind == its_kind, batch[name].is_valid().to_numpy(zero_copy_only=False)
        if reason := _at(
            there & ~applies, batch, name, f"belongs only to a {KIND_NAMES[its_kind]}"
        ):
            return reason
        if not applies.any():
            continue
        x = batch[name].to_numpy(zero_copy_only=False)  # null: not a number, and so out of bounds
        good = (x >= low) & (x <= high)
        if name in _SIZES:
            good |= x == 0
        if reason := _at(applies & ~good, batch, name, f"must be from {low:g} to {high:g}"):
            return reason
    return _check_both_sizes(batch, kind)


def _check_both_sizes(batch: pa.RecordBatch, kind: np.ndarray) -> str | None:
    if not (kind == 1).any():
        return None
    empty = (batch["bid_size"].to_numpy(zero_copy_only=False) == 0) & (
        batch["ask_size"].to_numpy(zero_copy_only=False) == 0
    )
    return _at((kind == 1) & empty, batch, "bid_size", "and ask_size must not both be 0")


def _check_texts(batch: pa.RecordBatch, kind: np.ndarray) -> str | None:
    side = pc.fill_null(batch["side"], 9).to_numpy()
    trade = kind == 0
    if reason := _at(trade & ((side < -1) | (side > 1)), batch, "side", "must be 1, -1 or 0"):
        return reason
    if reason := _at(~trade & (side != 9), batch, "side", "belongs only to a trade"):
        return reason
    there = batch["trade_id"].is_valid().to_numpy(zero_copy_only=False)
    if reason := _at(~trade & there, batch, "trade_id", "belongs only to a trade"):
        return reason
    length = pc.fill_null(pc.binary_length(batch["trade_id"]), 0).to_numpy()
    limit = fields.TRADE_ID_BYTES_MAX
    return _at(length > limit, batch, "trade_id", f"must have at most {limit} bytes")


def _check_times(batch: pa.RecordBatch) -> str | None:
    for name in ("ts_event_ns", "ts_recv_ns"):
        time_ns = pc.fill_null(batch[name], 0).to_numpy()
        if reason := _at(time_ns < 0, batch, name, "must be nanoseconds since 1970"):
            return reason
    return None


def _check_sources(batch: pa.RecordBatch) -> str | None:
    for name in SOURCE_COLUMNS:
        if batch[name].null_count < batch.num_rows:
            there = batch[name].is_valid().to_numpy(zero_copy_only=False)
            return _at(there, batch, name, "must be null: the row's place in ticks is its source")
    return None
