"""Dominoes over the states of analytics, by symbol: after a cut only symbols that ticked are read.

A state is the record of a symbol in a chain of kernels (see engine/state.py): the rows seen as an
int64, then what each kernel remembers.
"""

from typing import Annotated

import numpy as np
import pyarrow as pa

from orrery_kernels.domino.domino import domino
from orrery_kernels.domino.views import Rows
from orrery_kernels.errors import DominoError

_SEEN_BYTES = 8
_STATES = pa.schema({"state": pa.binary()})


@domino(version=1)
def rows_seen(states: Annotated[Rows, "state/default/*", _STATES]) -> pa.RecordBatch:
    """Return how many rows of the log the state of each symbol has in it."""
    records = states.column("state")
    _, offsets, data = records.buffers()
    ends = np.frombuffer(offsets, np.int32)[records.offset : records.offset + len(records) + 1]
    if (ends[1:] - ends[:-1] < _SEEN_BYTES).any():
        raise DominoError("the state of a symbol must begin with the rows seen: 8 bytes")
    places = ends[:-1, None] + np.arange(_SEEN_BYTES)
    seen = np.frombuffer(data, np.uint8)[places].view("<i8")[:, 0]
    return pa.RecordBatch.from_arrays([pa.array(seen)], ["rows"])
