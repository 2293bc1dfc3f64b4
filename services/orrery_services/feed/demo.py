"""A generated market: seeded, endless, the same for the same seed, start and rate."""

import random
from collections.abc import Iterator

from . import steps

# Name, first mid price in ticks, tick size as decimals.
SYMBOLS = (
    ("BTCUSDT", 6_165_010, 2), ("ETHUSDT", 342_498, 2), ("SOLUSDT", 15_120, 2),
    ("XRPUSDT", 5_812, 4), ("ADAUSDT", 4_427, 4), ("DOGEUSDT", 12_345, 5),
    ("LINKUSDT", 13_870, 3), ("AVAXUSDT", 27_640, 3), ("LTCUSDT", 7_150, 2),
    ("EURUSD", 108_512, 5), ("GBPUSD", 127_233, 5), ("USDJPY", 156_871, 3),
    ("AUDUSD", 66_120, 5), ("USDCHF", 89_410, 5), ("AAPL", 22_431, 2), ("MSFT", 43_720, 2),
    ("NVDA", 11_846, 2), ("AMZN", 18_333, 2), ("TSLA", 24_820, 2), ("SPY", 55_417, 2),
)  # fmt: skip
VENUE = "DEMO"
# Swaps on SOFR: tenor and first rate in hundred-thousandths of a percent.
SWAPS = (
    ("1M", 433_100), ("2M", 432_600), ("3M", 431_800), ("6M", 427_400), ("9M", 421_300),
    ("1Y", 414_900), ("18M", 402_700), ("2Y", 394_200), ("3Y", 384_600), ("4Y", 380_500),
    ("5Y", 379_300), ("6Y", 379_900), ("7Y", 381_000), ("8Y", 382_400), ("9Y", 383_900),
    ("10Y", 385_500), ("12Y", 388_200), ("15Y", 390_700), ("20Y", 389_600), ("30Y", 379_800),
)  # fmt: skip
RATE_PLACES = 7
SWAPS_EVERY_NS = 1_000_000_000  # between two moves of some swap
QUOTES_OF_TEN = 6  # rows of ten that are quotes; the others are trades


def market(seed: int, start_ns: int, rows_per_second: float) -> Iterator[steps.Row]:
    """Yield trades and quotes of twenty symbols, at even times from `start_ns` on.

    Between them the rates of swaps: all of them first, then two a second, moved.
    """
    swaps = _swaps(seed, start_ns)
    swap = next(swaps)
    rng = random.Random(seed)
    mids = [mid for _, mid, _ in SYMBOLS]
    session = start_ns // 1_000_000_000
    number = 0
    while True:
        at_ns = start_ns + int(number * 1e9 / rows_per_second)
        while swap.recv_ns <= at_ns:
            yield swap
            swap = next(swaps)
        which = rng.randrange(len(SYMBOLS))
        name, first, places = SYMBOLS[which]
        mids[which] = max(first // 4, mids[which] + round(rng.gauss(0, first / 40_000)))
        make = _quote if rng.randrange(10) < QUOTES_OF_TEN else _trade
        fields = make(rng, mids[which], places)
        if make is _trade:
            fields["trade_id"] = f"{session}-{number}"
        times = {"ts_event_ns": at_ns - rng.randrange(500_000, 5_000_000), "ts_recv_ns": at_ns}
        topic = steps.TRADES if make is _trade else steps.QUOTES
        yield steps.row(topic, {"symbol": f"{name}.{VENUE}", **fields, **times})
        number += 1


def _swaps(seed: int, start_ns: int) -> Iterator[steps.Row]:
    rng = random.Random(seed + 1)
    rates = [first for _, first in SWAPS]
    for which in range(len(SWAPS)):
        yield _swap(which, rates[which], start_ns)
    at_ns = start_ns
    while True:
        at_ns += SWAPS_EVERY_NS
        for which in rng.sample(range(len(SWAPS)), 2):
            rates[which] += round(rng.gauss(0, 150))
            yield _swap(which, rates[which], at_ns)


def _swap(which: int, rate: int, at_ns: int) -> steps.Row:
    value = decimal_text(rate, RATE_PLACES)
    fields = {"symbol": f"USD-SOFR-OIS-{SWAPS[which][0]}", "value": value}
    return steps.row(steps.MARKET_QUOTES, {**fields, "ts_event_ns": at_ns, "ts_recv_ns": at_ns})


def decimal_text(ticks: int, places: int) -> str:
    """Return ticks as decimal text.

    >>> decimal_text(6165010, 2)
    '61650.10'
    """
    whole, rest = divmod(ticks, 10**places)
    return f"{whole}.{rest:0{places}d}"


def _size(rng: random.Random) -> str:
    return decimal_text(max(1, round(rng.lognormvariate(4, 1.2))), 2)


def _quote(rng: random.Random, mid: int, places: int) -> dict[str, str]:
    below, above = rng.randrange(1, 4), rng.randrange(1, 4)
    return {
        "bid": decimal_text(mid - below, places),
        "ask": decimal_text(mid + above, places),
        "bid_size": _size(rng),
        "ask_size": _size(rng),
    }


def _trade(rng: random.Random, mid: int, places: int) -> dict[str, str]:
    buys = rng.random() < 0.5
    return {
        "price": decimal_text(mid + (1 if buys else -1), places),
        "size": _size(rng),
        "side": "buy" if buys else "sell",
    }
