"""The native half of as-of joins, as text for the compiler: see native.py, and ticks/joins.py."""

from __future__ import annotations

from enum import IntEnum


class Join(IntEnum):
    """Words of the block that `asof` and `gather` read."""

    LEFT = 0  # times, int64
    LEFT_IDS = 1  # keys, int32
    RIGHT = 2
    RIGHT_IDS = 3
    RIGHT_ROWS = 4
    CURSOR = 5  # right rows taken in so far
    LAST = 6  # per key: row + 1, time
    FOUND = 7  # per left row: the right row, -1 for none
    STRICT = 8  # 1: a right row of the same time does not count
    TOLERANCE = 9
    SIGN = (
        10  # 1: from the first row on, the last before; -1: from the last row back, the first after
    )
    SOURCE = 11  # of gather: eight bytes a row
    TARGET = 12


TEXTS = {
    "asof": """
def asof(c, lo, hi):
    left = ldi(c, J_LEFT)
    left_ids = ldi(c, J_LEFT_IDS)
    right = ldi(c, J_RIGHT)
    right_ids = ldi(c, J_RIGHT_IDS)
    rights = ldi(c, J_RIGHT_ROWS)
    last = ldi(c, J_LAST)
    found = ldi(c, J_FOUND)
    strict = ldi(c, J_STRICT)
    tolerance = ldi(c, J_TOLERANCE)
    sign = ldi(c, J_SIGN)
    start_left = 0 if sign > 0 else hi - 1
    start_right = 0 if sign > 0 else rights - 1
    j = ldi(c, J_CURSOR)
    for k in range(lo, hi):
        i = start_left + sign * k
        t = sign * ldi(left, i * 8)
        while j < rights:
            row = start_right + sign * j
            moment = sign * ldi(right, row * 8)
            if moment > t - strict:
                break
            at = last + ldi32(right_ids, row * 4) * 16
            sti(at, 0, row + 1)
            sti(at, 8, moment)
            j += 1
        at = last + ldi32(left_ids, i * 4) * 16
        near = t - ldi(at, 8) <= tolerance
        sti(found, i * 8, select(near, ldi(at, 0), 0) - 1)
    sti(c, J_CURSOR, j)
    return hi
""",
    "gather": """
def gather(c, lo, hi):
    found = ldi(c, J_FOUND)
    source = ldi(c, J_SOURCE)
    target = ldi(c, J_TARGET)
    for i in range(lo, hi):
        row = ldi(found, i * 8)
        sti(target, i * 8, ldi(source, select(row < 0, 0, row) * 8))
    return hi
""",
    "bitmap": """
def bitmap(c, lo, hi):
    # one bit for each left row that has found a right one; returns how many have not
    found = ldi(c, J_FOUND)
    target = ldi(c, J_TARGET)
    missing = 0
    for word in range((hi + 63) // 64):
        pattern = 0
        count = min2(hi - word * 64, 64)
        for k in range(count):
            there = as_i64(ldi(found, (word * 64 + k) * 8) >= 0)
            pattern |= there << k
            missing += 1 - there
        sti(target, word * 8, pattern)
    return missing
""",
}
NAMES = {f"J_{w.name}": 8 * w for w in Join}
