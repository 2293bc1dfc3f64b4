"""The data of a column of a few values, value by value: the bytes that `body` makes of it, sooner.

For a few values the calls into numpy and Arrow cost more than the values do.
"""

import struct
from collections.abc import Sequence
from itertools import pairwise

CONSTANT, DIFFERENCES, PLANES, WORDS, DICTIONARY = range(5)
VALUES_MAX = 16  # up to which values one by one are sooner written, and read, than columns
_NAN = struct.pack("<d", float("nan"))
_WIDTHS = (1, 2, 4, 8)


def varint(value: int) -> bytes:
    """Return a non-negative integer in 7-bit groups, least first.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(values: Sequence[float | int | str], bits: int) -> tuple[int, bytes]:
    """Return form and data of values of one kind, none of them null; integers have `bits`."""
    if isinstance(values[0], str):
        return _encode_strings(values)
    return (
        _encode_floats(values) if isinstance(values[0], float) else _encode_integers(values, bits)
    )


def _encode_floats(values: Sequence[float]) -> tuple[int, bytes]:
    count = len(values)
    packed = struct.pack(f"<{count}d", *values)
    if any(value != value for value in values):
        packed = b"".join(_NAN if x != x else struct.pack("<d", x) for x in values)
    if packed == packed[:8] * count:
        return CONSTANT, packed[:8]
    return PLANES, _planes(packed, 8)


def _encode_integers(values: Sequence[int], bits: int) -> tuple[int, bytes]:
    first = values[0].to_bytes(8, "little", signed=True)
    if values.count(values[0]) == len(values):
        return CONSTANT, first
    half = 1 << (max(bits, 16) - 1)
    steps = [(after - before + half) % (2 * half) - half for before, after in pairwise(values)]
    width = _narrowest(min(steps), max(steps))
    packed = b"".join(step.to_bytes(width, "little", signed=True) for step in steps)
    return DIFFERENCES, first + bytes((width,)) + _planes(packed, width)


def _encode_strings(texts: Sequence[str]) -> tuple[int, bytes]:
    words = list(dict.fromkeys(texts))
    if len(words) == 1:
        return CONSTANT, words[0].encode()
    if len(words) * 2 > len(texts):
        return WORDS, _encode_words(texts)
    number = {word: i for i, word in enumerate(words)}
    listed = _encode_words(words)
    width = _narrowest(0, len(words))
    head = varint(len(words)) + varint(len(listed)) + bytes((width,))
    packed = b"".join(number[text].to_bytes(width, "little") for text in texts)
    return DICTIONARY, head + listed + _planes(packed, width)


def _encode_words(words: Sequence[str]) -> bytes:
    texts = [word.encode() for word in words]
    form, lengths = _encode_integers([len(text) for text in texts], 32)
    return bytes((form,)) + varint(len(lengths)) + lengths + b"".join(texts)


def _narrowest(low: int, high: int) -> int:
    return next(w for w in _WIDTHS if -(1 << (8 * w - 1)) <= low and high < 1 << (8 * w - 1))


def _planes(packed: bytes, width: int) -> bytes:
    return b"".join(packed[byte::width] for byte in range(width))
