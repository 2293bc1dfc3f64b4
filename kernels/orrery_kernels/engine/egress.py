"""Columns out: numbers with NaN for null as Arrow arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

TYPES = {"f64": pa.float64(), "i8": pa.int8(), "i32": pa.int32(), "i64": pa.int64()}


def arrow_array(values: np.ndarray, nulls: int, kind: str) -> pa.Array:
    """Return `values`, of which `nulls` are NaN, as an array of `kind`."""
    wanted = TYPES[kind]
    bits = None
    if nulls:
        there = values == values
        bits = pa.py_buffer(np.packbits(there, bitorder="little"))
        if kind != "f64":
            values = np.where(there, values, 0.0)
    if kind != "f64":
        values = values.astype(wanted.to_pandas_dtype())
    return pa.Array.from_buffers(wanted, len(values), [bits, pa.py_buffer(values)], nulls)
