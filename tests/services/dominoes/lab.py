"""Dominoes for tests: plain, slow, and failing ones."""

from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from orrery_kernels.domino.domino import domino
from orrery_kernels.domino.views import Leaves, Rows


@domino(version=1)
def mean(quotes: Annotated[Leaves, "quotes/USD-SOFR-OIS-*"]) -> float:
    return sum(quotes.values()) / len(quotes)


@domino(version=1)
def in_basis_points(
    rows: Annotated[Rows, "quotes/USD-SOFR-OIS-*", pa.schema({"rate": pa.float64()})],
) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pc.multiply(rows.column("rate"), 1e4)], ["bps"])


@domino(version=1)
def scaled(x: float, *, by: float = 2.0) -> float:
    return x * by


@domino(version=1)
def refuses_high(x: float, *, above: float = 0.0) -> float:
    if x > above:
        raise ValueError(f"must be <= {above}, was high")
    return x


@domino(version=1)
def slow(x: float, *, rounds: int = 1) -> float:
    for _ in range(rounds):
        x = x + 1.0 - 1.0
    return x
