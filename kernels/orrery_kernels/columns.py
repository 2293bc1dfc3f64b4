"""The columns of a tick: one row of a batch, a trade, a quote or a market quote.

Columns that do not apply to a row are null; a kernel sees only rows of its kind.
"""

import pyarrow as pa

KIND_TRADE = 0
KIND_QUOTE = 1
KIND_MARKET_QUOTE = 2
KIND_NAMES = ("trade", "quote", "market_quote")

BUY = 1
SELL = -1
SIDE_UNKNOWN = 0

# Source columns say where a row came from: its place in a row topic. They are null in a batch that
# a user produced straight to `ticks`; such a row is known by its place there.
SOURCE_COLUMNS = ("source_topic", "source_partition", "source_offset")

TICK_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.int8(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("ts_event_ns", pa.int64()),  # UTC nanoseconds, by the venue's clock
        pa.field("ts_recv_ns", pa.int64()),  # UTC nanoseconds, by the receiver's clock
        pa.field("price", pa.float64()),  # quote currency per unit
        pa.field("size", pa.float64()),  # units
        pa.field("side", pa.int8()),  # of the aggressor: +1 buy, -1 sell, 0 unknown
        pa.field("trade_id", pa.string()),
        pa.field("bid", pa.float64()),
        pa.field("ask", pa.float64()),
        pa.field("bid_size", pa.float64()),
        pa.field("ask_size", pa.float64()),
        pa.field("value", pa.float64()),  # of a market quote
        pa.field("source_topic", pa.string()),
        pa.field("source_partition", pa.int32()),
        pa.field("source_offset", pa.int64()),
    ]
)

# Names people use for the same thing; the lab's own name is on the right.
ALIASES = {
    "volume": "size",
    "qty": "size",
    "quantity": "size",
    "timestamp": "ts_event_ns",
    "timestamp_ns": "ts_event_ns",
    "ts_ns": "ts_event_ns",
    "bid_price": "bid",
    "ask_price": "ask",
    "bid_volume": "bid_size",
    "ask_volume": "ask_size",
}

# On which kind of row a column of a tick is filled; a kernel of `any` rows follows its column.
ROWS_OF_COLUMN = {
    "price": "trade",
    "size": "trade",
    "side": "trade",
    "trade_id": "trade",
    "bid": "quote",
    "ask": "quote",
    "bid_size": "quote",
    "ask_size": "quote",
    "value": "market_quote",
}
SOURCE_KINDS = {"kind", "symbol", "ts_event_ns", "ts_recv_ns", *ROWS_OF_COLUMN, *SOURCE_COLUMNS}
