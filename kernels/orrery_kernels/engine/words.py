"""The control block of a native call, word by word, and the numbers its texts are written with."""

from __future__ import annotations

from enum import IntEnum

from orrery_kernels.engine.layout import (
    FIRST,
    IDS,
    KIND,
    KINDS,
    KINDS_STEP,
    NULL_I64,
    SKIPPED,
    STATE,
)


class Word(IntEnum):
    """Words of the control block."""

    ROWS = 0
    ARRAY = 1  # the exported batch, an ArrowArray
    KEY_CHILD = 2
    KEY_MODE = 3  # 0 one series, 1 utf8, 2 dictionary of utf8 with int32 indices
    KIND_CHILD = 4  # -1: none
    ROW_IDS = 5
    SLOTS = (
        6  # hash table, per slot: first and last 8 bytes of the name, number + 1, length, rows seen
    )
    SLOTS_MASK = 7
    PLACES = 8  # per record: byte offset of its slot
    NAME_ENDS = 9  # per record: where its name ends in the arena; one more in front
    ARENA = 10
    ARENA_SIZE = 11
    CAPACITY = 12
    SYMBOLS = 13
    REMAP = 14  # dictionary index -> record number, -2 unknown
    ONE = 15  # record number of the only series
    COLUMNS = 16  # per column: child, code, scratch, address
    COLUMN_COUNT = 17
    WIRING = 18
    KERNELS = 19
    PLAN = 20  # pairs of function, arguments
    BLOCK = 21
    COLUMNS_OUT = 22  # per column: result, kind, result as exact integers
    COLUMN_OUT_COUNT = 23
    RESULTS = 24
    NULLS = 25  # per result
    ZERO = 26  # address of a zero byte
    BASES = 27  # per kernel: address of its records
    RELEASE = 28
    ENCODE = 29
    PREPARE = 30
    RUN = 31
    FINISH = 32
    DATA_OFFSET = 33  # in the block
    DATA_STEP = 34
    BITS_STEP = 35
    FIRST_RESULTS = 36  # per kernel: its first result
    RUN_PLAN = 37  # the plan for long runs of one symbol; 0: there is none


WORDS = len(Word)

# How a column is loaded.
F64, I64_F64, I32_F64, I8_F64, F32_F64, I64_RAW, I32_RAW, I8_RAW = range(8)
# Offsets in struct ArrowArray.
(
    LENGTH,
    NULL_COUNT,
    OFFSET,
    N_BUFFERS,
    N_CHILDREN,
    BUFFERS,
    CHILDREN,
    DICTIONARY,
    RELEASE,
    PRIVATE,
) = range(0, 80, 8)
ARRAY_BYTES = 80
OUT_KINDS = {"f64": 0, "i8": 1, "i32": 2, "i64": 3}
NEEDS_ROOM = -3

NAMES = {f"W_{w.name}": 8 * w for w in Word} | {
    "A_LENGTH": LENGTH, "A_NULLS": NULL_COUNT, "A_OFFSET": OFFSET, "A_N_BUFFERS": N_BUFFERS,
    "A_N_CHILDREN": N_CHILDREN, "A_BUFFERS": BUFFERS, "A_CHILDREN": CHILDREN,
    "A_DICTIONARY": DICTIONARY,
    "A_RELEASE": RELEASE, "A_PRIVATE": PRIVATE, "A_BYTES": ARRAY_BYTES, "NULL_I64": NULL_I64,
    "K_IDS": 8 * IDS, "K_STATE": 8 * STATE, "K_KINDS": 8 * KINDS, "K_KINDS_STEP": 8 * KINDS_STEP,
    "K_KIND": 8 * KIND, "K_SKIPPED": 8 * SKIPPED, "K_FIRST": 8 * FIRST, "NEEDS_ROOM": NEEDS_ROOM,
    "BLOCK_ARRAY": 64,
}  # fmt: skip
