"""Files of market quotes as rows of the contract: pure functions, one a format.

    curves   CSV with DATE,CURRENCY,TERM,MONTHS,VALUE: yields by tenor, exchange rates without one
    ore      lines `yyyymmdd KEY value`, # begins a comment: the market files of Open Source Risk

A quote is named by what it is, e.g. USD-GOVT-10Y, USD-EUR.FX, IR_SWAP/RATE/USD/2D/3M/10Y; its
event time is the beginning of its day in UTC.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime

from .steps import MARKET_QUOTES, Row, Skipped, row


def curves(
    records: Iterable[Mapping[str, str]], venue: str | None = None
) -> Iterator[Row | Skipped]:
    """Yield one quote a record."""
    for record in records:
        try:
            tenor = record["TERM"]
            name = f"{record['CURRENCY']}-GOVT-{tenor}" if tenor else f"{record['CURRENCY']}.FX"
            yield _quote(name, record["VALUE"], date.fromisoformat(record["DATE"]), venue)
        except (KeyError, ValueError, TypeError) as cause:
            yield Skipped(f"no record of curves: {type(cause).__name__}")


def ore(lines: Iterable[bytes], venue: str | None = None) -> Iterator[Row | Skipped]:
    """Yield one quote a line."""
    for line in lines:
        text = line.split(b"#", 1)[0].decode("ascii", "replace").split()
        if not text:
            continue
        try:
            day, name, value = text
            yield _quote(name, value, datetime.strptime(day, "%Y%m%d").date(), venue)
        except ValueError:
            yield Skipped("no line of a market file")


def _quote(name: str, value: str, day: date, venue: str | None) -> Row:
    at_ns = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9
    symbol = f"{name}.{venue}" if venue else name
    return row(MARKET_QUOTES, {"symbol": symbol, "value": value, "ts_event_ns": at_ns})
