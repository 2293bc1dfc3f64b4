"""One row through a chain, as plain numbers: no Arrow, a microsecond."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from orrery_kernels.engine import ingress, layout, words
from orrery_kernels.engine.program import native_address, native_call
from orrery_kernels.engine.spec import f64, text
from orrery_kernels.engine.words import Word
from orrery_kernels.errors import ParameterError

if TYPE_CHECKING:
    from orrery_kernels.engine.session import Session

AHEAD = 64  # spare ids behind a batch, so that fetching ahead reads something
_NAN = float("nan")
_NOT_GIVEN: Any = object()
_NO_NUMBER = (TypeError, ValueError, OverflowError)  # also of a whole one that is too large
_NO_SYMBOL = -1
_BARE = ctypes.PYFUNCTYPE(None)  # arguments as they are: checking them costs as much as the kernel


class Ticker:
    """The same kernels over one row held in scratch memory."""

    def __init__(self, session: Session):
        self.session, self.state = session, session.state
        kernels, columns = session.kernels, session.columns
        self.values = np.zeros(len(columns) + session.results, np.float64)
        self.ids = np.zeros(1 + AHEAD, np.int32)
        self.control = np.zeros(words.WORDS, np.int64)
        self.nulls = np.zeros(len(kernels), np.int64)
        self.arguments = [args.copy() for args in session.arguments]
        self._wire(session)
        self.floats, self.numbers = memoryview(self.values), self.state.table.index
        self.wholes = memoryview(self.values.view(np.int64))
        self.is_whole = [kind != f64 for _, kind in columns]
        self.is_text = [kind == text for _, kind in columns]
        self.names, self.count = session.chain.inputs, len(session.chain.inputs)
        self.inputs = [session.chain.inputs.index(name) for name, _ in columns]
        self.simple = not any(self.is_whole) and self.inputs == list(
            range(len(session.chain.inputs))
        )
        n, table = len(columns), session.columns_out.tolist()
        self.outputs = [(n + r, kind != 0, n + x if x >= 0 else 0) for r, kind, x in table]
        place, whole, _ = self.outputs[0]
        self.only = place if len(self.outputs) == 1 and not whole else None
        self.fold, self.place = _BARE(native_address("tick")), ctypes.c_void_p(self.address)
        self.version = -1

    def _wire(self, session: Session) -> None:
        at, n = self.values.ctypes.data, len(session.columns)
        plan = session.plan.copy()
        for k, (args, instance) in enumerate(zip(self.arguments, session.kernels, strict=True)):
            plan[2 * k + 1] = args.ctypes.data
            args[layout.IDS], args[layout.KINDS] = self.ids.ctypes.data, session.zero.ctypes.data
            args[layout.SKIPPED] = 0
            for j, (item, read) in enumerate(
                zip(instance.kernel.inputs, session.reads[k], strict=True)
            ):
                if isinstance(read, str):
                    place = session.columns[read, item.read_as]
                else:
                    place = n + session._result(read, item.kind)
                args[layout.FIRST + j] = at + 8 * place
            for o, word in enumerate(instance.layout.outputs):
                args[word] = at + 8 * (n + int(session.first[k]) + o)
        self.plan = plan
        self.control[Word.PLAN], self.control[Word.KERNELS] = plan.ctypes.data, len(plan) // 2
        self.control[Word.NULLS] = self.nulls.ctypes.data
        self.control[Word.ROW_IDS], self.address = self.ids.ctypes.data, self.control.ctypes.data

    def tick(self, symbol: str | None, values: Sequence[float | None]) -> Any:
        if len(values) != self.count:
            raise self._refused(values)
        try:
            if self.simple:
                floats = self.floats
                for k, value in enumerate(values):
                    floats[k] = _NAN if value is None else value
            else:
                self._load(values)
        except _NO_NUMBER:
            self._load_words(values)
        if symbol is None:
            return self._without_symbol()
        number = self.numbers.get(symbol)
        if number is None:
            number = self._entered(symbol)
        if self.version != self.state.version:
            self._follow_records()
        self.fold(self.place, number, 0)
        if self.state.evicts:
            self.state.saw(np.array([number]))
        if self.only is not None:
            value = self.floats[self.only]
            return None if value != value else value
        return self._results()

    def _entered(self, symbol: Any) -> int:
        """Return the number of a symbol that is new."""
        try:
            if not isinstance(symbol, str):
                raise TypeError
            symbol.encode()
        except (TypeError, UnicodeEncodeError):
            raise ParameterError(
                f"symbol must be text or None, was {symbol!r} ({self.session.chain.place})"
            ) from None
        number = self.state.id_of(symbol)
        self.state.table.sync()
        return number

    def _without_symbol(self) -> Any:
        """Return what a row without a symbol gives: null, save from kernels without a state."""
        if self.version != self.state.version:
            self._follow_records()
        self.ids[0] = _NO_SYMBOL
        native_call("run")(self.address, 0, 1)
        return self._results()

    def spread(self) -> Callable[..., Any]:
        """Return `tick` with the values as arguments; one in and one out is the short way."""
        short = self.simple and self.only is not None and len(self.inputs) == 1
        if not short or self.state.evicts:
            return lambda symbol, *values: self.tick(symbol, values)
        fold, place, floats, only = self.fold, self.place, self.floats, self.only
        numbers, state = self.numbers, self.state

        def tick(
            symbol: str | None, value: float | None = _NOT_GIVEN, *more: float | None
        ) -> float | None:
            number = numbers.get(symbol)
            if number is None or more or self.version != state.version or value is None:
                return self.tick(symbol, more if value is _NOT_GIVEN else (value, *more))
            try:
                floats[0] = value
            except _NO_NUMBER:  # which says what was wrong
                return self.tick(symbol, more if value is _NOT_GIVEN else (value, *more))
            fold(place, number, 0)
            value = floats[only]
            return None if value != value else value

        return tick

    def _results(self) -> Any:
        found = []
        for place, whole, exact in self.outputs:
            value = self.floats[place]
            if value != value:
                value = None
            elif whole:
                value = self.wholes[exact] if exact else int(value)
            found.append(value)
        return found[0] if len(found) == 1 else tuple(found)

    def _follow_records(self) -> None:
        for args, records in zip(self.arguments, self.state.records, strict=True):
            args[layout.STATE] = records.address
        for word in (Word.SLOTS, Word.PLACES):
            self.control[word] = self.state.control[word]
        self.version = self.state.version

    def _load_words(self, values: Sequence[Any]) -> None:
        """Load a tick that is not all numbers: sides may be words, as in a batch."""
        try:
            self._load(values)
        except _NO_NUMBER:
            raise self._refused(values) from None

    def _load(self, values: Sequence[Any]) -> None:
        for k, (source, whole) in enumerate(zip(self.inputs, self.is_whole, strict=True)):
            value = values[source]
            if self.is_text[k] and isinstance(value, str):
                self.wholes[k] = ingress.number_of(value)
            elif whole:
                self.wholes[k] = self._exact(value)
            elif isinstance(value, str):
                self.floats[k] = ingress.side_of(value)
            else:
                self.floats[k] = _NAN if value is None else value

    def _exact(self, value: float | None) -> int:
        """Return a whole number as kernels read it; NaN and infinities are null."""
        if value is None or (isinstance(value, float) and value - value != 0):
            return layout.NULL_I64
        if int(value) != value:
            raise TypeError
        return int(value)

    def _refused(self, values: Sequence[object]) -> ParameterError:
        whole = {self.names[k] for k, w in zip(self.inputs, self.is_whole, strict=True) if w}
        return ParameterError(
            f"a tick must be {len(self.names)} numbers or None ({', '.join(self.names)})"
            + (f", whole ones for {', '.join(sorted(whole))}" if whole else "")
            + f", was {', '.join(map(repr, values))} ({self.session.chain.place})"
        )
