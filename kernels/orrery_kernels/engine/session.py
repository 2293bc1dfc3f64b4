"""Running batches: one control block per state, filled once, and one native call per batch."""

from __future__ import annotations

from collections import Counter
from ctypes import c_int64, c_void_p
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orrery_kernels.columns import KIND_NAMES
from orrery_kernels.engine import blocks, ingress, layout, loader, parallel, words
from orrery_kernels.engine.evicting import fold_evicting
from orrery_kernels.engine.plan import Instance, find_column
from orrery_kernels.engine.program import native_address, native_call, program_of
from orrery_kernels.engine.spec import f64, i64
from orrery_kernels.engine.symbols import SYMBOLS_MAX
from orrery_kernels.engine.ticker import AHEAD, Ticker
from orrery_kernels.engine.words import Word
from orrery_kernels.errors import StateError

if TYPE_CHECKING:
    from orrery_kernels.engine.chain import Chain
    from orrery_kernels.engine.state import ChainState

QUICK_ROWS = 256  # up to so many rows the interpreter's lock is kept: giving it up costs more
_FIRST_ROWS = 1_024
RUN_ROWS_MIN = 4_096  # batches from which loops over runs of one symbol are worth loading
_SAMPLE_ROWS = 64
_import = pa.RecordBatch._import_from_c
_BLOCK, _SYMBOLS = int(Word.BLOCK), int(Word.SYMBOLS)


class Session:
    """What runs a chain over a state."""

    def __init__(self, chain: Chain, state: ChainState):
        self.chain, self.state = chain, state
        self.control = state.control
        self.words = memoryview(self.control)
        self.address = self.control.ctypes.data
        self.kernels = chain.unique
        self.reads = chain.reads
        self.keep: list[Any] = []  # arrays whose addresses are in the control block
        self.array = np.zeros(words.ARRAY_BYTES // 8, np.int64)
        self.zero = np.zeros(8, np.int8)
        self.schema: pa.Schema | None = None
        self.version = -1
        self.rows, self.block_rows = 0, -1
        self.own: blocks.Own | None = None
        self.few: tuple[object, ...] | None = None  # arguments of `quick` for few rows
        self.place = c_void_p(self.address)
        self._results()
        self._wire()
        self._point_at_code()
        self._make_room(_FIRST_ROWS)
        self.whole, self.quick = native_call("whole"), native_call("whole", quick=True)
        self.output_schema = chain.output_schema
        self._ticker: Ticker | None = None
        self.run_plan: np.ndarray | None = None

    # What is filled in once.

    def _results(self) -> None:
        """Number the results: every output of every kernel, in order."""
        counts = [len(k.layout.outputs) for k in self.kernels]
        self.first = np.cumsum([0, *counts]).astype(np.int64)
        self.results = int(self.first[-1])
        table = []
        for instance in self.chain.shown:
            for name, spec in zip(instance.outputs, instance.kernel.outputs, strict=True):
                at, output = self.chain.made[name]
                result = int(self.first[at]) + output
                table.append((result, words.OUT_KINDS[spec.kind], self._exact(at, output)))
        self.columns_out = np.array(table, np.int64)
        c = self.control
        c[Word.COLUMNS_OUT], c[Word.COLUMN_OUT_COUNT] = self.columns_out.ctypes.data, len(table)
        c[Word.RESULTS], c[Word.FIRST_RESULTS] = self.results, self._array(self.first)
        c[Word.NULLS] = self._array(np.zeros(len(self.kernels) + self.results, np.int64))
        self.array_address = self.array.ctypes.data
        c[Word.ARRAY], c[Word.ZERO] = self.array_address, self.zero.ctypes.data

    def _exact(self, at: int, output: int) -> int:
        """Return the result with an output of kernel `at` as exact integers, -1 for none."""
        kernel = self.kernels[at].kernel
        if output not in kernel.whole_outputs:
            return -1
        return int(self.first[at]) + len(kernel.outputs) + kernel.whole_outputs.index(output)

    def _result(self, read: tuple[int, int], kind: str) -> int:
        """Return the result of an earlier kernel that an input of `kind` reads."""
        return self._exact(*read) if kind == i64 else int(self.first[read[0]]) + read[1]

    def _wire(self) -> None:
        """Lay out each kernel's arguments, and say where its inputs come from."""
        self.columns: dict[tuple[str, str], int] = {}
        wiring: list[int] = []
        plan: list[int] = []
        self.arguments = []
        for instance, reads, address in zip(
            self.kernels, self.reads, self.chain.addresses, strict=True
        ):
            args = self._arguments(instance)
            self.arguments.append(args)
            plan += [address, args.ctypes.data]
            kind = KIND_NAMES.index(instance.rows) if instance.rows != "any" else -1
            wiring += [args.ctypes.data, kind, len(reads), len(instance.layout.outputs)]
            for item, read in zip(instance.kernel.inputs, reads, strict=True):
                if isinstance(read, str):
                    wiring.append(self.columns.setdefault((read, item.read_as), len(self.columns)))
                else:
                    wiring.append(-self._result(read, item.kind) - 1)
        self.column_table = np.zeros((len(self.columns), 4), np.int64)
        self.bases = np.zeros(len(self.kernels), np.int64)
        self.plan = np.array(plan, np.int64)
        c = self.control
        c[Word.WIRING], c[Word.KERNELS], c[Word.PLAN] = (
            self._array(wiring),
            len(self.kernels),
            self.plan.ctypes.data,
        )
        c[Word.COLUMNS], c[Word.COLUMN_COUNT] = self.column_table.ctypes.data, len(self.columns)
        c[Word.BASES] = self.bases.ctypes.data

    def _arguments(self, instance: Instance) -> np.ndarray:
        args = np.zeros(instance.layout.words, np.int64)
        args[layout.STRIDE] = instance.size[1]
        args[layout.ROWS] = program_of(instance.kernel).address
        tables = iter(instance.tables)
        for name, (word, kind) in instance.layout.constants.items():
            value = getattr(instance.p, name)
            if kind == "table":
                args[word] = next(tables).ctypes.data
            elif kind == f64:
                args.view(np.float64)[word] = value
            else:
                args[word] = value
        for (word, _), offset in zip(instance.layout.rings.values(), instance.size[2], strict=True):
            args[word] = offset
        return args

    def _array(self, values: Any) -> int:
        array = np.array(values, np.int64)
        self.keep.append(array)
        return array.ctypes.data

    def _point_at_code(self) -> None:
        c = self.control
        for word in (Word.RELEASE, Word.ENCODE, Word.PREPARE, Word.RUN, Word.FINISH):
            c[word] = native_address(word.name.lower())

    def _make_room(self, rows: int) -> None:
        """Make room for batches of `rows`: ids, and a place to convert each column."""
        self.rows = max(rows, 2 * self.rows)
        self.ids = np.zeros(self.rows + AHEAD, np.int32)
        self.scratch = np.empty((len(self.columns), self.rows), np.int64)
        for k, row in enumerate(self.scratch):
            self.column_table[k, 2] = row.ctypes.data
        self.control[Word.ROW_IDS] = self.ids.ctypes.data

    # What is done when the schema changes.

    def _bind(self, schema: pa.Schema) -> None:
        """Find the columns in `schema`; say what native code can read as it is."""
        self.schema = None  # where this is refused, the next batch is looked at anew
        names = schema.names
        self.sources: list[int] = []
        self.converted = False
        for (column, kind), k in self.columns.items():
            at = names.index(find_column(names, column, self._reader_of(column)))
            code = ingress.code_of(kind, schema.types[at])
            self.converted |= code is None
            self.sources.append(at)
            self.column_table[k, :2] = at, words.F64 if code is None else code
        key = self.chain.symbol_column
        named = key not in (None, "symbol") and any(i.kernel.state.fields for i in self.kernels)
        self.key = self._place_of(key, names, named)
        self.kind = self._place_of("kind", names, False)
        mode = 0 if self.key < 0 else ingress.key_mode(schema.types[self.key])
        self.converted |= mode is None
        if self.kind >= 0:
            self.converted |= schema.types[self.kind] != pa.int8()
        self.may_lack_kind = self.kind >= 0 and schema.field(self.kind).nullable
        self.converted |= self.may_lack_kind and self.kind in (*self.sources, self.key)
        self.mode = 1 if mode is None else mode
        c = self.control
        c[Word.KEY_CHILD], c[Word.KIND_CHILD], c[Word.KEY_MODE] = self.key, self.kind, self.mode
        self.schema = schema

    def _place_of(self, column: str, names: list[str], needed: bool) -> int:
        """Return which of `names` is `column`, -1 where it is not there and not needed."""
        if not needed and column not in names:
            return -1
        return names.index(find_column(names, column, self.chain.place))

    def _reader_of(self, column: str) -> str:
        for instance, reads in zip(self.kernels, self.reads, strict=True):
            if column in reads:
                return instance.part_of or instance.kernel.name
        return ""

    def _convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return `batch` with the columns that are read converted to what native code knows."""
        arrays, names = list(batch.columns), batch.schema.names
        readers = Counter([*self.sources, self.key, self.kind])

        def put(at: int, converted: pa.Array) -> int:
            if readers[at] == 1:
                arrays[at] = converted
                return at
            arrays.append(converted)  # the same column is read another way too
            return len(arrays) - 1

        for ((_, kind), k), at in zip(self.columns.items(), self.sources, strict=True):
            if ingress.code_of(kind, batch.schema.types[at]) is None:
                numbers = ingress.numbers(batch.column(at), kind, names[at])
                self.column_table[k, 0] = put(at, numbers)
                self.column_table[k, 1] = words.F64 if kind == f64 else words.I64_RAW
        c = self.control
        if self.key >= 0 and ingress.key_mode(batch.schema.types[self.key]) is None:
            c[Word.KEY_CHILD] = put(self.key, ingress.keys(batch.column(self.key), names[self.key]))
        if self.kind >= 0:
            c[Word.KIND_CHILD] = put(self.kind, ingress.kinds(batch.column(self.kind)))
        return pa.RecordBatch.from_arrays(arrays, [str(k) for k in range(len(arrays))])

    # What is done for each batch.

    def run(self, batch: pa.RecordBatch, threads: int | None) -> pa.RecordBatch:
        """Fold `batch` into the state and return the outputs; None threads: all processors."""
        schema, rows = batch.schema, batch.num_rows
        if schema is not self.schema:
            if self.schema is None or not schema.equals(self.schema):
                self._bind(schema)
            self.schema = schema
        if self.converted or (self.may_lack_kind and batch.column(self.kind).null_count):
            batch = self._convert(batch)
        if rows > self.rows:
            self._make_room(rows)
        if self.version != self.state.version:
            self._follow_records()
        if self.mode:
            if self.mode == 2:
                self._remap(batch)
        elif rows:
            self.control[Word.ONE] = self.state.id_of("")
        if rows >= RUN_ROWS_MIN and self.run_plan is None and self._has_long_runs(batch):
            self._load_run_plan()
        if rows != self.block_rows:
            self._lay_out_block(rows)
        block = self.own.take()
        address = self.words[_BLOCK] = block.address
        batch._export_to_c(self.array_address)
        try:
            if self.few is None:
                self._fold(rows, threads)
            else:
                before = self.words[_SYMBOLS]
                reached = self.quick(*self.few)
                if reached < rows:
                    self._fold_on(before, reached, rows)
        except BaseException:
            _import(self.array_address, batch.schema)  # let go of it
            block.words[0] = 0
            raise
        return _import(address + 64, self.output_schema)

    def _has_long_runs(self, batch: pa.RecordBatch) -> bool:
        if self.mode == 0:
            return True
        keys = batch.column(self.key).slice(0, _SAMPLE_ROWS).to_pylist()
        return sum(a != b for a, b in pairwise(keys)) < _SAMPLE_ROWS // 8

    def _load_run_plan(self) -> None:
        """Load the second form of every kernel; native code chooses between them by the rows."""
        self.run_plan = self.plan.copy()
        self.run_plan[::2] = [program_of(i.kernel, runs=True).address for i in self.kernels]
        self.control[Word.RUN_PLAN] = self.run_plan.ctypes.data

    def _fold(self, rows: int, threads: int | None) -> None:
        if self.state.evicts:
            fold_evicting(self, rows)
            return
        threads = threads or loader.processors()
        if self.state.table.symbols_max < SYMBOLS_MAX:
            threads = 1  # so that a batch with one symbol too many can be refused as a whole
        if parallel.worth_it(rows, len(self.kernels), threads):
            self._fold_on_threads(rows, threads)
            return
        before = self.words[_SYMBOLS]
        self._fold_on(before, self.whole(self.address, 0, rows), rows)

    def _fold_on(self, before: int, reached: int, rows: int) -> None:
        """Fold the rows from `reached`, where there was no room for a symbol; `before` there were.

        Raises:
            StateError: there may be no more symbols; then nothing of the batch is folded.
        """
        while reached < rows:
            try:
                self._grow()
            except StateError:
                self.take_back(before, self.ids[:reached])
                raise
            reached = self.whole(self.address, reached, rows)

    def grow_meanwhile(self) -> None:
        """Make room in the middle of a batch: kernels must know where the records are now."""
        self._grow()
        for args, records in zip(self.arguments, self.state.records, strict=True):
            args[layout.STATE] = records.address

    def take_back(self, before: int, ids: np.ndarray) -> None:
        """Forget the rows just encoded, and the symbols that came after the first `before`."""
        table = self.state.table
        counts = np.bincount(ids[ids >= 0], minlength=len(table))
        for number in np.flatnonzero(counts).tolist():
            table.set_ticks(number, table.rows_of(number) - int(counts[number]))
        self.state.drop(table.names[before:])

    def _grow(self) -> None:
        self.state.make_room()
        self._follow_records()
        if self.mode == 2:
            self.remap[:] = -2

    def _fold_on_threads(self, rows: int, threads: int) -> None:
        encode, one = native_call("encode"), native_call("run_one")
        native_call("prepare")(self.address, 0, rows)
        parallel.Wavefront(
            rows,
            [[read[0] for read in reads if not isinstance(read, str)] for reads in self.reads],
            lambda low, high: encode(self.address, low, high),
            self.grow_meanwhile,
            lambda k, low, high: one(self.address, k, low << 32 | high),
        ).run(threads)
        native_call("finish")(self.address, 0, rows)

    def _follow_records(self) -> None:
        for k, records in enumerate(self.state.records):
            self.bases[k] = records.address
        self.version = self.state.version

    def _remap(self, batch: pa.RecordBatch) -> None:
        self.remap = np.full(len(batch.column(self.key).dictionary), -2, np.int32)
        self.control[Word.REMAP] = self.remap.ctypes.data

    def _lay_out_block(self, rows: int) -> None:
        """Say where a block for `rows` has its results, validity bits and small integers."""
        count = len(self.chain.output_schema)
        head = _line(64 + words.ARRAY_BYTES * (1 + count) + 24 * count + 8)
        step, bits = _line(8 * rows), _line((rows + 63) // 64 * 8)
        whole = step * count if self.chain.has_whole_outputs else 0
        size = head + self.results * (step + bits) + whole
        if self.own is None or not self.own.fits(size):
            self.own = blocks.Own(size)
        few = rows <= QUICK_ROWS and not self.state.evicts
        self.few = (self.place, c_int64(0), c_int64(rows)) if few else None
        self.block_rows = rows
        c = self.control
        c[Word.ROWS], c[Word.DATA_OFFSET], c[Word.DATA_STEP], c[Word.BITS_STEP] = (
            rows,
            head,
            step,
            bits,
        )

    def skipped(self) -> np.ndarray:
        """Return the rows skipped so far for a null, NaN or infinite input, per kernel."""
        counted = [args[layout.SKIPPED] for args in self.arguments]
        ticked = [args[layout.SKIPPED] for args in self._ticker.arguments] if self._ticker else 0
        return np.array(counted, np.int64) + ticked

    @property
    def ticker(self) -> Ticker:
        """What folds one row, without Arrow."""
        if self._ticker is None:
            self._ticker = Ticker(self)
        return self._ticker


def _line(size: int) -> int:
    return (size + 63) // 64 * 64
