"""A curve as canonical bytes: equal curves, equal bytes, on every machine.

Layout, little-endian: magic, then fields in a fixed order. Text and arrays carry their length as
u64; arrays are float64 or int64 as they lie in memory, with -0.0 written as 0.0.
"""

from struct import Struct

import numpy as np

from orrery_kernels.curves.config import CurveConfig, Turn
from orrery_kernels.curves.curve import Curve, Frame
from orrery_kernels.curves.dates import as_date
from orrery_kernels.errors import StateError

MAGIC = b"ORRCURV1"
_LENGTH = Struct("<Q")
_PAIR = Struct("<dd")


def to_bytes(curve: Curve) -> bytes:
    """Return the canonical bytes of a curve, with its jacobian if it has one."""
    frame, config = curve.frame, curve.frame.config
    texts = [
        config.name,
        config.interpolation,
        config.extrapolation,
        config.pillar,
        config.forwards,
    ]
    parts = [MAGIC, *map(_text, [*texts, config.discount])]
    parts += [
        _text("\n".join(frame.quote_ids)),
        _blob(frame.plan_digest),
        _PAIR.pack(*config.quote_band),
    ]
    parts.append(_array(np.array([frame.as_of, *frame.node_dates], np.int64)))
    parts.append(_array(np.array([date for date, _ in frame.turns], np.int64)))
    parts.append(_array(np.array([t.factor for t in _sorted_turns(config)], np.float64)))
    parts += [_array(curve.log_discounts), _array(curve.quotes)]
    parts.append(_array(np.empty(0) if curve.jacobian is None else curve.jacobian))
    parts.append(_LENGTH.pack(len(curve.others)))
    parts += [_blob(to_bytes(other)) for other in curve.others]
    return b"".join(parts)


def from_bytes(data: bytes) -> Curve:
    """Return the curve of `to_bytes`.

    Raises:
        StateError: the bytes are not those of a curve, or are cut.
    """
    reader = _Reader(data)
    if reader.take(len(MAGIC)) != MAGIC:
        raise StateError(f"bytes of a curve begin with {MAGIC!r}, were {data[:8]!r}")
    names = [reader.blob().decode() for _ in range(6)]
    ids = tuple(reader.blob().decode().split("\n"))
    digest, band = reader.blob(), _PAIR.unpack(reader.take(16))
    as_of, *nodes = (int(day) for day in reader.array(np.int64))
    days, factors = reader.array(np.int64), reader.array(np.float64)
    turns = tuple(Turn(int(day), float(factor)) for day, factor in zip(days, factors, strict=True))
    config = CurveConfig(*names, turns, band)
    logs, quotes, slopes = (reader.array(np.float64) for _ in range(3))
    others = tuple(from_bytes(reader.blob()) for _ in range(reader.length()))
    if reader.left() or len(logs) != len(nodes) or len(quotes) != len(ids):
        raise StateError(f"bytes of curve {config.name} do not fit together: refetch them")
    jacobian = slopes.reshape(len(ids), len(ids)) if slopes.size else None
    return Curve(Frame(as_of, config, tuple(nodes), ids, digest), logs, quotes, jacobian, others)


def _sorted_turns(config: CurveConfig) -> list[Turn]:
    return sorted(config.turns, key=lambda turn: (as_date(turn.date), turn.factor))


def _blob(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _text(value: str) -> bytes:
    return _blob(value.encode())


def _array(values: np.ndarray) -> bytes:
    canonical = values + 0.0 if values.dtype.kind == "f" else values
    return _blob(canonical.astype(canonical.dtype.newbyteorder("<")).tobytes())


class _Reader:
    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def take(self, size: int) -> bytes:
        found = self.data[self.position : self.position + size]
        if len(found) < size:
            raise StateError(
                f"bytes of a curve are cut: {len(self.data)} of at least {self.position + size}"
            )
        self.position += size
        return found

    def length(self) -> int:
        return _LENGTH.unpack(self.take(8))[0]

    def blob(self) -> bytes:
        return self.take(self.length())

    def array(self, kind: type) -> np.ndarray:
        return np.frombuffer(self.blob(), np.dtype(kind).newbyteorder("<")).astype(kind)

    def left(self) -> int:
        return len(self.data) - self.position
