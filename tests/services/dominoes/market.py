"""Snapshots by hand, written to a Postgres as the snapshots service writes them."""

import psycopg
from orrery_kernels.snapshot.canonical import encode
from orrery_kernels.snapshot.snapshot import Frozen, Record, freeze
from orrery_kernels.snapshot.tree import CANONICAL, build
from orrery_services.protocol import snapshots as rules
from orrery_services.store import identity, ledger, pieces, snapshots

STREAM, PARTITION = 8, 0
DAY_NS = 1_764_075_600_000_000_000  # 2025-11-25 13:00 UTC
TENORS = ("1M", "3M", "6M", "1Y", "2Y", "3Y", "5Y", "7Y", "10Y", "20Y", "30Y")
RATES = {f"USD-SOFR-OIS-{tenor}": 0.043 - 0.0004 * at for at, tenor in enumerate(TENORS)}
TRADES = [
    ["A1", "pays", "spot", "10Y", 25e6, 0.0385],
    ["B1", "receives", "1Y", "5Y", 40e6, 0.0380],
]
RATES_CHAIN = {
    "tasks": [
        {
            "name": "day/USD-SOFR",
            "domino": "quote_day",
            "reads": {"rows": "quote_rows/USD-SOFR-OIS-*"},
        },
        {
            "name": "curve/USD-SOFR",
            "domino": "ois_curve",
            "reads": {"quotes": "quotes/USD-SOFR-OIS-*", "day": "day/USD-SOFR"},
        },
        {
            "name": "ladder/swaps",
            "domino": "swap_ladder",
            "reads": {"curve": "curve/USD-SOFR"},
            "params": {"trades": TRADES},
        },
        {
            "name": "value/swaps",
            "domino": "swap_value",
            "reads": {"curve": "curve/USD-SOFR"},
            "params": {"trades": TRADES},
        },
    ]
}


def write_snapshot(
    writer: psycopg.Connection, number: int, rates: dict[str, float] | None = None
) -> str:
    """Write the snapshot of a cut; return its id in hex."""
    made = write_leaves(writer, number, rates)
    return write_manifest(writer, number, made)


def write_leaves(
    writer: psycopg.Connection, number: int, rates: dict[str, float] | None = None
) -> Frozen:
    """Write what lies below a snapshot, as workers do; return the snapshot."""
    rates = RATES if rates is None else rates
    names = list(rates)
    rows = [
        {
            "ts_event_ns": DAY_NS + number,
            "topic": "market_quotes",
            "partition": PARTITION,
            "offset": 100 * number + at,
            "ticks_offset": number,
        }
        for at in range(len(names))
    ]
    quotes = build(names, [encode(rate) for rate in rates.values()], CANONICAL)
    origins = build(names, [encode(row) for row in rows], CANONICAL)
    cut = {"number": number, "at_ns": DAY_NS + number, "ticks/0": {"log": "log", "offset": number}}
    made = freeze({"quotes": quotes.root, "quote_rows": origins.root}, cut, {}, {})
    packs = rules.pack_facts({**quotes.pieces, **origins.pieces}, PARTITION, number)
    ledger.commit(writer, packs)
    return made


def write_manifest(writer: psycopg.Connection, number: int, made: Frozen) -> str:
    """Make the snapshot of leaves that are held, as the snapshots service does."""
    pieces.index_cuts(writer, [number], STREAM)  # before anybody hears of the snapshot
    before = next(iter(snapshots.made_before(writer, number)), None)
    parent = before.id if before else None
    found = rules.manifest_fact(made.id, made.manifest, number, STREAM)
    record = Record(made.id, number, parent, "by hand", snapshots.lsn(writer), DAY_NS, "n1")
    meta = {"number": number, "snapshot": made.id.hex(), "trigger": "by hand"}
    found += rules.record_fact(record.to_bytes(), identity.who(writer).origin, meta, STREAM)
    snapshots.keep(writer, found, snapshots.Made(number, made.id, parent, DAY_NS, "by hand"))
    return made.id.hex()


def moved(**by_tenor: float) -> dict[str, float]:
    """Return the rates with some moved: moved(T5Y=0.0001)."""
    steps = {f"USD-SOFR-OIS-{tenor[1:]}": step for tenor, step in by_tenor.items()}
    return {name: rate + steps.get(name, 0.0) for name, rate in RATES.items()}
