"""What a line of a capture says, as rows of the contract: pure functions, one a wire format.

Each adapter takes lines (or records) and yields Row, or Skipped with the reason, one or more a
line. Prices and sizes stay the decimal text that the venue sent; times become nanoseconds, whatever
unit the file has this year; a symbol is SYMBOL.VENUE, because one ticker trades on several venues.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from .book import Book

_WHOLE = re.compile(r"[0-9]{1,30}")
TRADES, QUOTES, MARKET_QUOTES = "trades", "quotes", "market_quotes"


class Row(NamedTuple):
    """One row for a topic. `value` is sent as it is; `recv_ns` paces the replay."""

    topic: str
    key: str
    value: bytes
    recv_ns: int | None


class Skipped(NamedTuple):
    """A line that is no trade and no quote, and why."""

    reason: str


Lines = Iterable[bytes]
Adapter = Callable[[Lines, str | None], Iterator[Row | Skipped]]
_UNREADABLE = (
    msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
)  # fmt: skip


def nanoseconds(time: int) -> int:
    """Return UTC nanoseconds of a time whose unit shows in its size, for the years 2001 to 2286.

    >>> nanoseconds(1680652800004107) == nanoseconds(1680652800004107000)
    True
    """
    for limit, factor in ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3)):
        if time < limit:
            return time * factor
    return time


def seconds_text_ns(text: str) -> int:
    """Return nanoseconds of decimal seconds without a detour over floats.

    >>> seconds_text_ns("1618677817.08")
    1618677817080000000
    """
    whole, _, rest = text.partition(".")
    return int(whole) * 10**9 + int(rest[:9].ljust(9, "0") or 0)


def row(topic: str, fields: Mapping[str, Any]) -> Row:
    """Return one row; fields without a value are left out."""
    held = {name: value for name, value in fields.items() if value is not None}
    recv_ns = held.get("ts_recv_ns") or held.get("ts_event_ns")
    return Row(
        topic,
        str(held.get("symbol", "")),
        msgspec.json.encode(held),
        recv_ns if isinstance(recv_ns, int) else None,
    )


# ---- Binance: `<receive time> <message of the combined stream>` ----


def binance(lines: Lines, venue: str | None = None) -> Iterator[Row | Skipped]:
    """Yield trades and best quotes of Binance's websocket, spot and USD-M futures."""
    for line in lines:
        received, _, text = line.strip().partition(b" ")
        if not received:
            continue
        try:
            message = msgspec.json.decode(text)
            recv_ns = nanoseconds(int(received))
            data = message.get("data", message)
            yield _binance(data, str(message.get("stream", "")), recv_ns, venue)
        except _UNREADABLE as cause:
            yield Skipped(f"no message of Binance: {type(cause).__name__}")


def _binance(data: dict, stream: str, recv_ns: int, venue: str | None) -> Row | Skipped:
    if stream.endswith("@trade"):
        if data.get("X", "MARKET") != "MARKET":
            return Skipped(f"trade outside the market: {data['X']}")
        place = venue or ("BINANCE" if "M" in data else "BINANCE_USDM")
        return row(
            TRADES,
            {
                "symbol": f"{data['s']}.{place}",
                "price": data["p"],
                "size": data["q"],
                "side": "sell" if data["m"] else "buy",  # m: the buyer was the maker
                "ts_event_ns": nanoseconds(data["T"]),
                "ts_recv_ns": recv_ns,
                "trade_id": data["t"],
            },
        )
    if stream.endswith("@bookTicker"):
        place = venue or ("BINANCE_USDM" if "e" in data else "BINANCE")
        return row(
            QUOTES,
            {
                "symbol": f"{data['s']}.{place}",
                "bid": data["b"],
                "ask": data["a"],
                "bid_size": data["B"],
                "ask_size": data["A"],
                "ts_event_ns": nanoseconds(data["T"]) if "T" in data else None,
                "ts_recv_ns": recv_ns,
            },
        )
    return Skipped(stream.partition("@")[2].partition("@")[0] or "book snapshot")


# ---- Coinbase: `<seconds>: <message>`; lines of the recorder begin with wss:// ----


def coinbase(lines: Lines, venue: str | None = None) -> Iterator[Row | Skipped]:
    """Yield trades, and best quotes as the level-2 book shows them, of Coinbase's websocket."""
    books: dict[str, Book] = {}
    for line in lines:
        received, _, text = line.strip().partition(b": ")
        if not received:
            continue
        if received.startswith(b"wss:"):
            yield Skipped("a line of the recorder")
            continue
        try:
            message = msgspec.json.decode(text)
            recv_ns = seconds_text_ns(received.decode())
            yield _coinbase(message, recv_ns, venue or "COINBASE", books)
        except _UNREADABLE as cause:
            yield Skipped(f"no message of Coinbase: {type(cause).__name__}")


def _coinbase(message: dict, recv_ns: int, venue: str, books: dict[str, Book]) -> Row | Skipped:
    what = message["type"]
    symbol = f"{message['product_id']}.{venue}" if "product_id" in message else ""
    if what == "match":
        return row(
            TRADES,
            {
                "symbol": symbol,
                "price": message["price"],
                "size": message["size"],
                "side": "sell" if message["side"] == "buy" else "buy",  # theirs is the maker's
                "ts_event_ns": iso_ns(message["time"]),
                "ts_recv_ns": recv_ns,
                "trade_id": message["trade_id"],
            },
        )
    if what == "snapshot":
        books[symbol] = Book(message["bids"], message["asks"])
    elif what == "l2update" and symbol in books:
        if not books[symbol].change(message["changes"]):
            return Skipped("l2update below the best")
    else:
        return Skipped(str(what))
    best = books[symbol].best()
    if best is None:
        return Skipped("book with an empty side")
    event_ns = iso_ns(message["time"]) if "time" in message else None
    return row(QUOTES, {"symbol": symbol, **best, "ts_event_ns": event_ns, "ts_recv_ns": recv_ns})


def iso_ns(text: str) -> int:
    """Return UTC nanoseconds of an ISO 8601 time.

    >>> iso_ns("2021-04-17T16:43:30.244075Z")
    1618677810244075000
    """
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000


# ---- rows as they are: JSON lines, and records of a table ----


def topic_of(names: Iterable[str]) -> str:
    """Return the topic to which a row with these fields belongs."""
    names = set(names)
    if "bid" in names or "ask" in names:
        return QUOTES
    return MARKET_QUOTES if "value" in names and "price" not in names else TRADES


def jsonl(lines: Lines, venue: str | None = None) -> Iterator[Row | Skipped]:
    """Yield rows as they stand; what is no JSON object goes to `trades`, to be refused there."""
    for line in lines:
        text = line.strip()
        if not text:
            continue
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            yield Row(TRADES, "", text, None)
            continue
        if venue and isinstance(found.get("symbol"), str):
            yield row(topic_of(found), {**found, "symbol": f"{found['symbol']}.{venue}"})
            continue
        recv_ns = found.get("ts_recv_ns") or found.get("ts_event_ns")
        key = str(found.get("symbol", ""))
        yield Row(topic_of(found), key, text, recv_ns if type(recv_ns) is int else None)


def records(
    found: Iterable[Mapping[str, Any]], venue: str | None = None
) -> Iterator[Row | Skipped]:
    """Yield one row a record: empty cells are absent, times are integers, the rest is as it is."""
    for record in found:
        if any(record.get(None, ())):  # what csv says of cells behind the last column
            yield Skipped("a row with more cells than columns")
            continue
        held = ((n, c) for n, c in record.items() if n is not None and c is not None and c != "")
        fields = {name: _cell(name, cell) for name, cell in held}
        if venue and "symbol" in fields:
            fields["symbol"] = f"{fields['symbol']}.{venue}"
        yield row(topic_of(fields), fields)


def _cell(name: str, cell: Any) -> Any:
    if isinstance(cell, bytes):  # text of a writer that did not call it so
        cell = cell.decode("utf-8", "replace")
    if name.startswith("ts_") and isinstance(cell, str) and _WHOLE.fullmatch(cell.strip()):
        return nanoseconds(int(cell))
    if name.startswith("ts_") and type(cell) is int:
        return nanoseconds(cell)
    if isinstance(cell, datetime):
        return iso_ns(cell.isoformat())
    return cell if isinstance(cell, str | int | float) else str(cell)


def later(found: Row, by_ns: int) -> Row:
    """Return a row of a repeated file: its times moved, so that time goes on."""
    try:
        fields = msgspec.json.decode(found.value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return found
    if not isinstance(fields, dict):
        return found
    for name in ("ts_event_ns", "ts_recv_ns"):
        if type(fields.get(name)) is int:
            fields[name] += by_ns
    recv_ns = None if found.recv_ns is None else found.recv_ns + by_ns
    return found._replace(value=msgspec.json.encode(fields), recv_ns=recv_ns)
