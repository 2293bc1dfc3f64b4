"""Which rows count, and their columns: JSON in, Arrow out.

`read_row` is the definition, one row and one field at a time, with a reason in plain words.
`read_rows` reads thousands at once and must agree with it on every row, whatever else is in the
batch: what its fast decoder or its checks do not take, `read_row` decides.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw, Struct
from orrery_kernels.columns import KIND_MARKET_QUOTE, KIND_QUOTE, KIND_TRADE, TICK_SCHEMA

from . import fields

KIND_OF_TOPIC = {"trades": KIND_TRADE, "quotes": KIND_QUOTE, "market_quotes": KIND_MARKET_QUOTE}
ROW_TOPICS = tuple(KIND_OF_TOPIC)
Refused = fields.Refused


class Trade(Struct, gc=False):
    symbol: str
    price: float
    size: float
    side: str | None = None
    ts_event_ns: int | str | None = None
    ts_recv_ns: int | str | None = None
    trade_id: str | int | None = None


class Quote(Struct, gc=False):
    symbol: str
    bid: float
    ask: float
    bid_size: float
    ask_size: float
    ts_event_ns: int | str | None = None
    ts_recv_ns: int | str | None = None


class MarketQuote(Struct, gc=False):
    symbol: str
    value: float
    ts_event_ns: int | str | None = None
    ts_recv_ns: int | str | None = None


Row = Trade | Quote | MarketQuote
ROW_TYPES = {KIND_TRADE: Trade, KIND_QUOTE: Quote, KIND_MARKET_QUOTE: MarketQuote}
# How each field of a row is read, one at a time.
_READERS = {
    "symbol": lambda name, raw: fields.read_symbol(raw),
    "side": lambda name, raw: fields.read_side(raw),
    "trade_id": lambda name, raw: fields.read_trade_id(raw),
    "ts_event_ns": fields.read_time,
    "ts_recv_ns": fields.read_time,
    "bid_size": fields.read_amount,
    "ask_size": fields.read_amount,
    "value": fields.read_signed,
}
# Strict text, lax numbers: decimal text becomes the nearest float64, in one pass.
_FAST = {kind: msgspec.json.Decoder(row, strict=False) for kind, row in ROW_TYPES.items()}
_SLOW = {
    kind: msgspec.json.Decoder(
        msgspec.defstruct(f"Raw{row.__name__}", [(n, Raw, Raw()) for n in row.__struct_fields__])
    )
    for kind, row in ROW_TYPES.items()
}


def read_row(kind: int, value: bytes | None) -> Row:
    """Return one row. Raises Refused with the reason.

    >>> read_row(KIND_TRADE, b'{"symbol": "A.X", "price": "1.50", "size": 2}').price
    1.5
    """
    if value is None:
        raise Refused("the value must be a JSON object, was a tombstone (no value)")
    try:
        raw = _SLOW[kind].decode(value)
    except fields.UNREADABLE as cause:
        raise Refused(
            f"the value must be one JSON object, was {fields.shown(value)}: {cause}"
        ) from None
    names = ROW_TYPES[kind].__struct_fields__
    row = ROW_TYPES[kind](
        **{n: _READERS.get(n, fields.read_positive)(n, bytes(getattr(raw, n))) for n in names}
    )
    if kind == KIND_QUOTE and row.bid_size == 0 and row.ask_size == 0:
        raise Refused("bid_size and ask_size must not both be 0")
    return row


class Rows(NamedTuple):
    """What became of the values of one topic."""

    index: np.ndarray  # int64, into the values, ascending
    columns: dict[str, pa.Array]  # the fields of the kind, one entry per index
    refused: dict[int, str]  # index -> reason


def read_rows(kind: int, values: Sequence[bytes | None]) -> Rows:
    """Return every row of one topic that counts, in columns, and why the others do not."""
    decoded = _decode(kind, values)
    refused: dict[int, str] = {}
    if None in decoded:
        _read_singly(kind, values, decoded, _missing(decoded), refused)
    try:
        index, columns = _columns(kind, decoded)
    except _NOT_PLAIN:
        _read_singly(kind, values, decoded, _not_plain(decoded), refused)
        index, columns = _columns(kind, decoded)
    suspects = _suspects(kind, decoded, index, columns)
    if suspects:
        _read_singly(kind, values, decoded, suspects, refused)
        index, columns = _columns(kind, decoded)
    return Rows(index, columns, refused)


def _decode(kind: int, values: Sequence[bytes | None]) -> list[Row | None]:
    """Decode all at once if that is possible, else each by itself; None where the fast way fails.

    Joined by newlines, n values that each begin with { and end with } and decode to n rows are
    those rows: no text spans a newline, behind a } no JSON goes on with {, and no complete value
    hides in less than one row.
    """
    fast = _FAST[kind]
    try:
        if all(value[0] == 123 and value[-1] == 125 for value in values):
            decoded = fast.decode_lines(b"\n".join(values))
            if len(decoded) == len(values):
                return decoded
    except (TypeError, IndexError, *fields.UNREADABLE):
        pass  # which one it is will show
    return [_decode_one(fast, value) for value in values]


def _decode_one(fast: msgspec.json.Decoder, value: bytes | None) -> Row | None:
    try:
        return fast.decode(value) if value is not None else None
    except fields.UNREADABLE:
        return None


def _missing(decoded: list[Row | None]) -> list[int]:
    return [i for i, row in enumerate(decoded) if row is None]


def _not_plain(decoded: list[Row | None]) -> list[int]:
    """Return the rows whose times are text or do not fit: those make a column fail."""
    times = ((i, row.ts_event_ns, row.ts_recv_ns) for i, row in enumerate(decoded) if row)
    return [i for i, event, received in times if not (_fits(event) and _fits(received))]


def _fits(time_ns: int | str | None) -> bool:
    return time_ns is None or (type(time_ns) is int and -(2**63) <= time_ns < 2**63)


def _read_singly(
    kind: int,
    values: Sequence[bytes | None],
    decoded: list[Row | None],
    which: list[int],
    refused: dict[int, str],
) -> None:
    """Let the definition decide on some: a row replaces the decoded one, a reason empties it."""
    for i in which:
        try:
            decoded[i] = read_row(kind, values[i])
        except Refused as reason:
            decoded[i], refused[i] = None, str(reason)


def _texts(xs: list[str | int | None]) -> pa.Array:
    try:
        return pa.array(xs, pa.string())
    except pa.ArrowTypeError:  # numbers among them
        xs = [x if x is None or type(x) is str else str(x) for x in xs]
        return pa.array(xs, pa.string())


_MAKE = {  # column -> from a list of that field of every row
    "symbol": lambda xs: pa.array(xs, pa.string()),
    "side": lambda xs: pa.array(np.array([fields.SIDES.get(x, _BAD_SIDE) for x in xs], np.int8)),
    "trade_id": _texts,
    "ts_event_ns": lambda xs: pa.array(xs, pa.int64()),
    "ts_recv_ns": lambda xs: pa.array(xs, pa.int64()),
}
_BAD_SIDE = 9
_NOT_PLAIN = (pa.ArrowException, OverflowError, TypeError)


def _numbers(xs: list[float]) -> pa.Array:
    return pa.array(np.array(xs, np.float64) + 0.0)  # no negative zero


def _columns(kind: int, decoded: list[Row | None]) -> tuple[np.ndarray, dict[str, pa.Array]]:
    rows = [row for row in decoded if row is not None]
    index = np.arange(len(rows))
    if len(rows) < len(decoded):
        index = np.array([i for i, row in enumerate(decoded) if row is not None], np.int64)
    names = ROW_TYPES[kind].__struct_fields__
    return index, {n: _MAKE.get(n, _numbers)(list(map(attrgetter(n), rows))) for n in names}


def _suspects(
    kind: int, decoded: list[Row | None], index: np.ndarray, columns: dict[str, pa.Array]
) -> list[int]:
    """Return the rows that a check does not take: row by row while that is cheaper."""
    if len(decoded) > _FEW:
        return index[_suspicious(kind, columns)].tolist()
    return [i for i, row in enumerate(decoded) if row is not None and not _sound(row)]


_FEW = 64


def _sound(row: Row) -> bool:
    """Whether one decoded row passes: what this does not take, the definition reads."""
    if fields.symbol_problem(row.symbol) or not (_time(row.ts_event_ns) and _time(row.ts_recv_ns)):
        return False
    if type(row) is Trade:
        return (
            _positive(row.price)
            and _positive(row.size)
            and row.side in fields.SIDES
            and (row.trade_id is None or len(str(row.trade_id)) <= fields.TRADE_ID_BYTES_MAX // 4)
        )
    if type(row) is Quote:
        sizes = row.bid_size, row.ask_size
        return all(map(_positive, (row.bid, row.ask, *filter(None, sizes)))) and any(sizes)
    return -fields.NUMBER_MAX <= row.value <= fields.NUMBER_MAX


def _positive(x: float) -> bool:
    return fields.NUMBER_MIN <= x <= fields.NUMBER_MAX


def _time(time_ns: int | None) -> bool:
    return time_ns is None or time_ns >= 0


def _suspicious(kind: int, columns: dict[str, pa.Array]) -> np.ndarray:
    """Return a mask of the rows that a check does not take, the same checks as `read_row` makes."""
    bad = bad_symbols(columns["symbol"])
    for name, column in columns.items():
        if name in ("price", "size", "bid", "ask"):
            bad |= ~_within(column, fields.NUMBER_MIN)
        elif name in ("bid_size", "ask_size"):
            bad |= ~(_within(column, fields.NUMBER_MIN) | (column.to_numpy() == 0))
        elif name == "value":
            bad |= ~_within(column, -fields.NUMBER_MAX)
        elif name == "side":
            bad |= column.to_numpy() == _BAD_SIDE
        elif name in ("ts_event_ns", "ts_recv_ns"):
            bad |= pc.fill_null(column, 0).to_numpy() < 0
        elif name == "trade_id":
            bad |= _longer(column, fields.TRADE_ID_BYTES_MAX)
    if kind == KIND_QUOTE:
        bad |= (columns["bid_size"].to_numpy() == 0) & (columns["ask_size"].to_numpy() == 0)
    return bad


def _within(column: pa.Array, low: float) -> np.ndarray:
    x = column.to_numpy()
    return (x >= low) & (x <= fields.NUMBER_MAX)  # not a number: false


def _longer(column: pa.Array, bytes_max: int) -> np.ndarray:
    lengths = pc.fill_null(pc.binary_length(column), 0)
    return lengths.to_numpy() > bytes_max


def by_symbol(symbols: pa.Array, function: object, dtype: type) -> np.ndarray:
    """Return function(symbol) for every row, asked once per distinct symbol."""
    if len(symbols) <= _FEW:
        return np.array([function(s) for s in symbols.to_pylist()], dtype)
    encoded = symbols.dictionary_encode()
    answers = np.array([function(s) for s in encoded.dictionary.to_pylist()], dtype)
    codes = encoded.indices.to_numpy()
    return answers[codes] if len(codes) else np.zeros(0, dtype)


def bad_symbols(symbols: pa.Array) -> np.ndarray:
    return by_symbol(symbols, lambda s: fields.symbol_problem(s) is not None, bool)


NO_ROWS = pa.RecordBatch.from_pylist([], schema=TICK_SCHEMA)
