"""The native half of running a batch: symbols to records, columns to addresses, results to Arrow.

Text for the compiler, in the same pointer style as the generated loops. All take the address of a
control block (see words.py) and a range of rows, and read and write Arrow's C data interface.
"""

from __future__ import annotations

import hashlib

from orrery_kernels.engine import matching
from orrery_kernels.engine.codegen import Source
from orrery_kernels.engine.helpers import HELPERS
from orrery_kernels.engine.layout import VERSION
from orrery_kernels.engine.words import NAMES

_TEXTS = {
    "encode": """
def encode(c, lo, hi):
    ids = ldi(c, W_ROW_IDS)
    mode = ldi(c, W_KEY_MODE)
    slots = ldi(c, W_SLOTS)
    mask = ldi(c, W_SLOTS_MASK)
    if mode == 0:
        one = ldi(c, W_ONE)
        at = slots + ldi(ldi(c, W_PLACES), one * 8)
        for i in range(lo, hi):
            sti32(ids, i * 4, one)
        sti(at, 24, ldi(at, 24) + (hi - lo))
        return hi
    batch = ldi(c, W_ARRAY)
    key = ldi(ldi(batch, A_CHILDREN), ldi(c, W_KEY_CHILD) * 8)
    buffers = ldi(key, A_BUFFERS)
    valid = ldi(buffers, 0) if ldi(key, A_NULLS) != 0 else 0
    base = ldi(batch, A_OFFSET) + ldi(key, A_OFFSET)
    offsets = ldi(buffers, 8) + base * 4
    if mode == 1:
        data = ldi(buffers, 16)
        for chunk in range(lo, hi, 32):
            end = min2(chunk + 32, hi)
            for i in range(chunk, end):
                start = ldi32(offsets, i * 4)
                n = ldi32(offsets, i * 4 + 4) - start
                p = data + start
                if n >= 8 and n <= 16:  # most names: in line, as hash_of does it
                    slot = mixed(ldi(p, 0), ldi(p, n - 8), n) & mask
                else:
                    slot = hash_of(p, n) & mask
                prefetch(slots + slot * 32)
                sti32(ids, i * 4, -2 - slot)  # below 0: others read ids ahead
            for i in range(chunk, end):
                number = -1
                if not is_null(valid, base + i):
                    start = ldi32(offsets, i * 4)
                    n = ldi32(offsets, i * 4 + 4) - start
                    p = data + start
                    slot = -2 - ldi32(ids, i * 4)
                    at = slots + slot * 32
                    # most names are where they are looked for first
                    if not (n >= 8 and n <= 16 and is_entry(at, ldi(p, 0), ldi(p, n - 8), n)):
                        at = find_symbol(c, p, n, slot)
                        if at == NEEDS_ROOM:
                            return i
                    number = ldi32(at, 16) - 1
                    sti(at, 24, ldi(at, 24) + 1)
                sti32(ids, i * 4, number)
        return hi
    remap = ldi(c, W_REMAP)
    places = ldi(c, W_PLACES)
    words = ldi(key, A_DICTIONARY)
    inner = ldi(words, A_BUFFERS)
    word_base = ldi(words, A_OFFSET)
    word_valid = ldi(inner, 0) if ldi(words, A_NULLS) != 0 else 0
    word_offsets = ldi(inner, 8) + word_base * 4
    word_data = ldi(inner, 16)
    for i in range(lo, hi):
        number = -1
        if not is_null(valid, base + i):
            word = ldi32(offsets, i * 4)
            number = ldi32(remap, word * 4)
            if number == -2:
                number = -1
                if not is_null(word_valid, word_base + word):
                    start = ldi32(word_offsets, word * 4)
                    n = ldi32(word_offsets, word * 4 + 4) - start
                    p = word_data + start
                    at = find_symbol(c, p, n, hash_of(p, n) & mask)
                    if at == NEEDS_ROOM:
                        return i
                    number = ldi32(at, 16) - 1
                sti32(remap, word * 4, number)
            if number >= 0:
                at = slots + ldi(places, number * 8)
                sti(at, 24, ldi(at, 24) + 1)
        sti32(ids, i * 4, number)
    return hi
""",
    "rehash": """
def rehash(c, old, count):
    # enter the first `count` symbols again; `old` is where their entries were
    ends = ldi(c, W_NAME_ENDS)
    places = ldi(c, W_PLACES)
    slots = ldi(c, W_SLOTS)
    mask = ldi(c, W_SLOTS_MASK)
    for number in range(count):
        before = old + ldi(places, number * 8)
        start = ldi(ends, number * 8)
        n = ldi(ends, number * 8 + 8) - start
        slot = hash_of(ldi(c, W_ARENA) + start, n) & mask
        for probe in range(mask + 1):
            if ldi32(slots, slot * 32 + 16) == 0:
                break
            slot = (slot + 1) & mask
        for k in range(4):
            sti(slots, slot * 32 + 8 * k, ldi(before, 8 * k))
        sti(places, number * 8, slot * 32)
    return 0
""",
    "prepare": """
def prepare(c, lo, hi):
    rows = ldi(c, W_ROWS)
    batch = ldi(c, W_ARRAY)
    children = ldi(batch, A_CHILDREN)
    columns = ldi(c, W_COLUMNS)
    for k in range(ldi(c, W_COLUMN_COUNT)):
        at = columns + k * 32
        child = ldi(children, ldi(at, 0) * 8)
        base = ldi(batch, A_OFFSET) + ldi(child, A_OFFSET)
        nulls = ldi(child, A_NULLS)
        where = load_column(ldi(child, A_BUFFERS), base, ldi(at, 8), nulls, ldi(at, 16), rows)
        sti(at, 24, where)
    kinds = ldi(c, W_ZERO)
    kinds_step = 0
    if ldi(c, W_KIND_CHILD) >= 0:
        child = ldi(children, ldi(c, W_KIND_CHILD) * 8)
        kinds = ldi(ldi(child, A_BUFFERS), 8) + ldi(batch, A_OFFSET) + ldi(child, A_OFFSET)
        kinds_step = 1
    wire = ldi(c, W_WIRING)
    block = ldi(c, W_BLOCK) + ldi(c, W_DATA_OFFSET)
    step = ldi(c, W_DATA_STEP)
    for k in range(ldi(c, W_KERNELS)):
        args = ldi(wire, 0)
        wanted = ldi(wire, 8)
        sti(args, K_IDS, ldi(c, W_ROW_IDS))
        sti(args, K_STATE, ldi(ldi(c, W_BASES), k * 8))
        restricted = kinds_step == 1 and wanted >= 0
        sti(args, K_KINDS, select(restricted, kinds, ldi(c, W_ZERO)))
        sti(args, K_KINDS_STEP, as_i64(restricted))
        sti(args, K_KIND, select(restricted, wanted, 0))
        inputs = ldi(wire, 16)
        outputs = ldi(wire, 24)
        for j in range(inputs):
            source = ldi(wire, 32 + j * 8)
            where = block + (-source - 1) * step
            if source >= 0:
                where = ldi(columns, source * 32 + 24)
            sti(args, K_FIRST + j * 8, where)
        first = ldi(ldi(c, W_FIRST_RESULTS), k * 8)
        for j in range(outputs):
            sti(args, K_FIRST + (inputs + j) * 8, block + (first + j) * step)
        wire += 32 + inputs * 8
    return 0
""",
    "run": """
def run(c, lo, hi):
    plan = chosen_plan(c, lo, hi)
    nulls = ldi(c, W_NULLS)
    for k in range(ldi(c, W_KERNELS)):
        missing = call_step(ldi(plan, k * 16), ldi(plan, k * 16 + 8), lo, hi)
        sti(nulls, k * 8, ldi(nulls, k * 8) + missing)
    return 0
""",
    "run_one": """
def run_one(c, k, rows):
    # the rows of one kernel; `rows` holds lo in its upper and hi in its lower 32 bits
    nulls = ldi(c, W_NULLS)
    lo = (rows >> 32) & 0xFFFFFFFF
    hi = rows & 0xFFFFFFFF
    plan = chosen_plan(c, lo, hi)
    missing = call_step(ldi(plan, k * 16), ldi(plan, k * 16 + 8), lo, hi)
    sti(nulls, k * 8, ldi(nulls, k * 8) + missing)
    return 0
""",
    "tick": """
def tick(c, number, unused):
    # one row of the symbol whose record is `number` (32 bits); its inputs are in place
    sti32(ldi(c, W_ROW_IDS), 0, number)
    number = ldi32(ldi(c, W_ROW_IDS), 0)
    at = ldi(c, W_SLOTS) + ldi(ldi(c, W_PLACES), number * 8)
    sti(at, 24, ldi(at, 24) + 1)
    plan = ldi(c, W_PLAN)
    for k in range(ldi(c, W_KERNELS)):
        call_step(ldi(plan, k * 16), ldi(plan, k * 16 + 8), 0, 1)
    return 0
""",
    "finish": """
def finish(c, lo, hi):
    rows = ldi(c, W_ROWS)
    block = ldi(c, W_BLOCK)
    release = ldi(c, W_RELEASE)
    count = ldi(c, W_COLUMN_OUT_COUNT)
    results = ldi(c, W_RESULTS)
    table = ldi(c, W_COLUMNS_OUT)
    nulls = ldi(c, W_NULLS)
    data0 = block + ldi(c, W_DATA_OFFSET)
    step = ldi(c, W_DATA_STEP)
    bits_step = ldi(c, W_BITS_STEP)
    bits0 = data0 + results * step
    whole0 = bits0 + results * bits_step
    missing_of = ldi(c, W_KERNELS) * 8 + nulls
    for k in range(ldi(c, W_KERNELS)):
        first = ldi(ldi(c, W_FIRST_RESULTS), k * 8)
        after = ldi(ldi(c, W_FIRST_RESULTS), k * 8 + 8)
        for r in range(first, after):
            missing = 0
            if ldi(nulls, k * 8) != 0:
                missing = validity(data0 + r * step, bits0 + r * bits_step, rows)
            sti(missing_of, r * 8, missing)
        sti(nulls, k * 8, 0)
    parent = block + BLOCK_ARRAY
    arrays = parent + A_BYTES
    pointers = arrays + count * A_BYTES
    buffers = pointers + count * 8
    for k in range(count):
        r = ldi(table, k * 24)
        kind = ldi(table, k * 24 + 8)
        data = data0 + r * step
        missing = ldi(missing_of, r * 8)
        if kind == 3:
            data = data0 + ldi(table, k * 24 + 16) * step
        elif kind != 0:
            whole = whole0 + k * step
            for i in range(rows):
                x = ldf(data, i * 8)
                value = to_int(select(x == x, x, 0.0))
                if kind == 1:
                    sti8(whole, i, value)
                else:
                    sti32(whole, i * 4, value)
            data = whole
        at = arrays + k * A_BYTES
        sti(pointers, k * 8, at)
        sti(buffers, k * 16, select(missing > 0, bits0 + r * bits_step, 0))
        sti(buffers, k * 16 + 8, data)
        sti(at, A_LENGTH, rows)
        sti(at, A_NULLS, missing)
        sti(at, A_OFFSET, 0)
        sti(at, A_N_BUFFERS, 2)
        sti(at, A_N_CHILDREN, 0)
        sti(at, A_BUFFERS, buffers + k * 16)
        sti(at, A_CHILDREN, 0)
        sti(at, A_DICTIONARY, 0)
        sti(at, A_RELEASE, release)
        sti(at, A_PRIVATE, block + 8)
    empty = buffers + count * 16
    sti(empty, 0, 0)
    sti(parent, A_LENGTH, rows)
    sti(parent, A_NULLS, 0)
    sti(parent, A_OFFSET, 0)
    sti(parent, A_N_BUFFERS, 1)
    sti(parent, A_N_CHILDREN, count)
    sti(parent, A_BUFFERS, empty)
    sti(parent, A_CHILDREN, pointers)
    sti(parent, A_DICTIONARY, 0)
    sti(parent, A_RELEASE, release)
    sti(parent, A_PRIVATE, block)
    batch = ldi(c, W_ARRAY)
    if ldi(batch, A_RELEASE) != 0:
        call_step(ldi(batch, A_RELEASE), batch, 0, 0)
    return 0
""",
    "insert": """
def insert(c, data, n):
    at = find_symbol(c, data, n, hash_of(data, n) & ldi(c, W_SLOTS_MASK))
    return NEEDS_ROOM if at == NEEDS_ROOM else ldi32(at, 16) - 1
""",
    "release": """
def release(array, unused, also):
    sti(ldi(array, A_PRIVATE), 0, 0)
    sti(array, A_RELEASE, 0)
    return 0
""",
    "whole": """
def whole(c, lo, hi):
    # one call for a small batch: encode from row lo, then all the rest
    reached = call_step(ldi(c, W_ENCODE), c, lo, hi)
    if reached < hi:
        return reached
    call_step(ldi(c, W_PREPARE), c, 0, hi)
    call_step(ldi(c, W_RUN), c, 0, hi)
    call_step(ldi(c, W_FINISH), c, 0, hi)
    return hi
""",
} | matching.TEXTS


def sources() -> dict[str, Source]:
    """Return the native functions as texts to compile, by name."""
    return {name: _source(name) for name in _TEXTS}


def _source(name: str) -> Source:
    text = _with_numbers(_TEXTS[name]).replace(f"def {name}(", f"def k_{name}(").strip() + "\n"
    helpers = {h: _with_numbers(t).strip() + "\n" for h, t in _needed(name).items()}
    digest = hashlib.blake2b(f"{VERSION}:{text}:{sorted(helpers.items())}".encode(), digest_size=32)
    return Source(f"k_{name}", text, helpers, digest.digest())


def _needed(name: str) -> dict[str, str]:
    """Return the helpers `name` calls, callees first."""
    wanted = [h for h in HELPERS if f"{h}(" in _TEXTS[name]]
    inner = [h for h in HELPERS if any(f"{h}(" in HELPERS[w] for w in wanted if w != h)]
    return {h: HELPERS[h] for h in [*inner, *(w for w in wanted if w not in inner)]}


def _with_numbers(text: str) -> str:
    numbers = NAMES | matching.NAMES
    for word in sorted(numbers, key=len, reverse=True):
        text = text.replace(word, str(numbers[word]))
    return text
