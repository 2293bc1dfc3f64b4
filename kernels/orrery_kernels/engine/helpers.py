"""Native helpers: what the functions of native.py call, as text for the compiler."""

from __future__ import annotations

HELPERS = {
    "mixed": """
def mixed(first, rest, n):
    h = (first ^ (n * 0x1F83D9ABFB41BD6B)) * 0x2545F4914F6CDD1D
    h = h ^ ((h >> 29) & 0x7FFFFFFFF)
    h = (h ^ rest) * 0x5851F42D4C957F2D
    return h ^ ((h >> 32) & 0xFFFFFFFF)
""",
    "hash_of": """
def hash_of(p, n):
    first = 0
    last = 0
    middle = 0
    if n >= 8:
        first = ldi(p, 0)
        last = ldi(p, n - 8)
        for k in range(8, n - 8, 8):
            middle = (middle ^ ldi(p, k)) * 0x2545F4914F6CDD1D
            middle = middle ^ ((middle >> 29) & 0x7FFFFFFFF)
    elif n >= 4:
        first = ldu32(p, 0) | (ldu32(p, n - 4) << 32)
    elif n > 0:
        first = ldu8(p, 0) | (ldu8(p, n >> 1) << 8) | (ldu8(p, n - 1) << 16)
    return mixed(first, last ^ middle, n)
""",
    "is_entry": """
def is_entry(at, first, last, n):
    return (ldi(at, 0) == first) & (ldi(at, 8) == last) & (ldi32(at, 20) == n)
""",
    "find_symbol": """
def find_symbol(c, p, n, slot):
    first = 0
    last = 0
    if n >= 8:
        first = ldi(p, 0)
        last = ldi(p, n - 8)
    elif n >= 4:
        first = ldu32(p, 0) | (ldu32(p, n - 4) << 32)
    elif n > 0:
        first = ldu8(p, 0) | (ldu8(p, n >> 1) << 8) | (ldu8(p, n - 1) << 16)
    slots = ldi(c, W_SLOTS)
    mask = ldi(c, W_SLOTS_MASK)
    at = slots + slot * 32
    for probe in range(mask + 1):
        number = ldi32(at, 16) - 1
        if number < 0:
            break
        if is_entry(at, first, last, n):
            same = True
            if n > 16:
                arena = ldi(c, W_ARENA) + ldi(ldi(c, W_NAME_ENDS), number * 8)
                for k in range(8, n - 8):
                    same = same and ldu8(arena, k) == ldu8(p, k)
            if same:
                return at
        slot = (slot + 1) & mask
        at = slots + slot * 32
    number = ldi(c, W_SYMBOLS)
    ends = ldi(c, W_NAME_ENDS)
    end = ldi(ends, number * 8)
    if number >= ldi(c, W_CAPACITY) or end + n > ldi(c, W_ARENA_SIZE):
        return NEEDS_ROOM
    arena = ldi(c, W_ARENA) + end
    for k in range(n):
        sti8(arena, k, ldu8(p, k))
    sti(ends, number * 8 + 8, end + n)
    sti(at, 0, first)
    sti(at, 8, last)
    sti32(at, 16, number + 1)
    sti32(at, 20, n)
    sti(at, 24, 0)
    sti(ldi(c, W_PLACES), number * 8, at - slots)
    sti(c, W_SYMBOLS, number + 1)
    return at
""",
    "is_null": """
def is_null(valid, row):
    return valid != 0 and (ldu8(valid, row >> 3) >> (row & 7)) & 1 == 0
""",
    "load_column": """
def load_column(buffers, base, code, nulls, scratch, rows):
    valid = ldi(buffers, 0) if nulls != 0 else 0
    data = ldi(buffers, 8)
    if valid == 0 and (code == 0 or code == 5):
        return data + base * 8
    if code == 0:
        for i in range(rows):
            missing = is_null(valid, base + i)
            stf(scratch, i * 8, select(missing, NAN, ldf(data, (base + i) * 8)))
    elif code == 1:
        for i in range(rows):
            missing = is_null(valid, base + i)
            stf(scratch, i * 8, select(missing, NAN, as_f64(ldi(data, (base + i) * 8))))
    elif code == 2:
        for i in range(rows):
            missing = is_null(valid, base + i)
            stf(scratch, i * 8, select(missing, NAN, as_f64(ldi32(data, (base + i) * 4))))
    elif code == 3:
        for i in range(rows):
            missing = is_null(valid, base + i)
            stf(scratch, i * 8, select(missing, NAN, as_f64(ldi8(data, base + i))))
    elif code == 4:
        for i in range(rows):
            missing = is_null(valid, base + i)
            stf(scratch, i * 8, select(missing, NAN, ldf32(data, (base + i) * 4)))
    elif code == 5:
        for i in range(rows):
            missing = is_null(valid, base + i)
            sti(scratch, i * 8, select(missing, NULL_I64, ldi(data, (base + i) * 8)))
    elif code == 6:
        for i in range(rows):
            missing = is_null(valid, base + i)
            sti(scratch, i * 8, select(missing, NULL_I64, ldi32(data, (base + i) * 4)))
    else:
        for i in range(rows):
            missing = is_null(valid, base + i)
            sti(scratch, i * 8, select(missing, NULL_I64, ldi8(data, base + i)))
    return scratch
""",
    "chosen_plan": """
def chosen_plan(c, lo, hi):
    # long runs of one symbol: the loops that keep state in registers
    runs = ldi(c, W_RUN_PLAN)
    if runs == 0 or hi - lo < 1024:
        return ldi(c, W_PLAN)
    ids = ldi(c, W_ROW_IDS)
    changes = 0
    for i in range(lo + 1, lo + 512):
        changes += ldi32(ids, i * 4) != ldi32(ids, i * 4 - 4)
    return runs if changes < 64 else ldi(c, W_PLAN)
""",
    "validity": """
def validity(data, bits, rows):
    nulls = 0
    for word in range((rows + 63) // 64):
        first = word * 64
        count = min2(rows - first, 64)
        missing = 0
        for k in range(count):
            x = ldf(data, (first + k) * 8)
            missing += x != x
        pattern = 0
        if missing == 0 and count == 64:
            pattern = -1
        else:
            for k in range(count):
                x = ldf(data, (first + k) * 8)
                pattern |= as_i64(x == x) << k
        sti(bits, word * 8, pattern)
        nulls += missing
    return nulls
""",
}
