"""Five minutes of a market, generated and the same for the same seed: for replays and benchmarks.

14,000 trades and 45,000 quotes of twenty symbols, and the rates of twenty swaps: all of them first,
then two a second.
"""

import random
from typing import Any, NamedTuple

SECONDS, CUT_SECONDS = 300, 5
TRADES, QUOTES = 14_000, 45_000
START_NS = 1_764_165_600_000_000_000  # 2025-11-26 14:00 UTC
SECOND_NS = 1_000_000_000
SYMBOLS = [f"S{number:02d}.XNAS" for number in range(20)]
TENORS = (
    "1M", "2M", "3M", "6M", "9M", "1Y", "18M", "2Y", "3Y", "4Y", "5Y", "6Y", "7Y", "8Y", "9Y",
    "10Y", "12Y", "15Y", "20Y", "30Y",
)  # fmt: skip
SWAPS = [f"USD-SOFR-OIS-{tenor}" for tenor in TENORS]


class Row(NamedTuple):
    """One row of a row topic; `fields` as a venue sends them."""

    at_ns: int
    topic: str
    symbol: str
    fields: dict[str, Any]

    def message(self) -> dict[str, Any]:
        return {"symbol": self.symbol, "ts_event_ns": self.at_ns, **self.fields}


def rows(seed: int = 1) -> list[Row]:
    """Return every row in the order of its time."""
    rng = random.Random(seed)
    found = [*_ticks(rng, "trades", TRADES), *_ticks(rng, "quotes", QUOTES), *_swaps(rng)]
    return sorted(found, key=lambda row: (row.at_ns, row.topic, row.symbol))


def cut_times() -> list[int]:
    return [START_NS + at * SECOND_NS for at in range(CUT_SECONDS, SECONDS + 1, CUT_SECONDS)]


def _ticks(rng: random.Random, topic: str, count: int) -> list[Row]:
    found = []
    for _ in range(count):
        at_ns = START_NS + rng.randrange(SECONDS * SECOND_NS - 1)
        price, size = 100 + rng.randrange(-200, 200) / 100, float(rng.randrange(1, 500))
        fields = {"price": price, "size": size} if topic == "trades" else {
            "bid": price, "ask": price + 0.01, "bid_size": size, "ask_size": size,
        }  # fmt: skip
        found.append(Row(at_ns, topic, rng.choice(SYMBOLS), fields))
    return found


def _swaps(rng: random.Random) -> list[Row]:
    rates = {name: 4_300 - 20 * at for at, name in enumerate(SWAPS)}  # in thousandths of a percent
    found = [_swap(START_NS, name, rate) for name, rate in rates.items()]
    for second in range(1, SECONDS):
        for name in rng.sample(SWAPS, 2):
            rates[name] += rng.randrange(-3, 4)
            found.append(_swap(START_NS + second * SECOND_NS, name, rates[name]))
    return found


def _swap(at_ns: int, name: str, rate: int) -> Row:
    return Row(at_ns, "market_quotes", name, {"value": rate / 100_000})
