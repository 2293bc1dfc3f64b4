"""Dominoes over the states of analytics, by symbol: after a cut only symbols that ticked are read.

A state is the record of a symbol in a chain of kernels (see engine/state.py): the rows seen as an
int64, then what each kernel remembers.
"""

from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc

from orrery_kernels.domino.domino import domino
from orrery_kernels.domino.views import Rows
from orrery_kernels.errors import DominoError

_SEEN_BYTES = 8
_STATES = pa.schema({"state": pa.binary()})


@domino(version=1)
def rows_seen(states: Annotated[Rows, "state/default/*", _STATES]) -> pa.RecordBatch:
    """Return how many rows of the log the state of each symbol has in it."""
    records = states.column("state")
    if pc.min(pc.binary_length(records)).as_py() < _SEEN_BYTES:
        raise DominoError("the state of a symbol must begin with the rows seen: 8 bytes")
    seen = pc.binary_slice(records, 0, _SEEN_BYTES).cast(pa.binary(_SEEN_BYTES)).view(pa.int64())
    return pa.RecordBatch.from_arrays([seen], ["rows"])
