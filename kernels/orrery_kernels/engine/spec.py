"""What a kernel is made of: layout of its state, parameters with their rules, columns."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, SimpleNamespace
from typing import Any

from orrery_kernels.errors import ParameterError, StepError

i64 = "i64"  # exact integers: counters, positions, nanoseconds
f64 = "f64"
text = "text"  # a name, as a whole number made of its letters; whole numbers as they are
optional = "optional"  # a number that may be missing: the step sees nan
SCALARS = (i64, f64)
OUTPUT_TYPES = (f64, "i8", "i32", i64)
ROWS = ("trade", "quote", "market_quote", "any")

Size = int | str | Callable[[Any], int]  # a number, the name of a parameter, or a function of them


@dataclass(frozen=True)
class Ring:
    """A fixed run of numbers inside the state, indexed from 0."""

    size: Size
    kind: str = f64

    def length(self, p: SimpleNamespace) -> int:
        if callable(self.size):
            return int(self.size(p))
        return int(getattr(p, self.size)) if isinstance(self.size, str) else self.size


@dataclass(frozen=True)
class Struct:
    """Named fields: i64, f64, a Ring or another Struct."""

    fields: tuple[tuple[str, Any], ...]

    def scalars(self, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
        found = []
        for name, spec in self.fields:
            if isinstance(spec, Struct):
                found += spec.scalars((*path, name))
            elif spec in SCALARS:
                found.append(((*path, name), spec))
        return found

    def rings(self, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Ring]]:
        found = []
        for name, spec in self.fields:
            if isinstance(spec, Struct):
                found += spec.rings((*path, name))
            elif isinstance(spec, Ring):
                found.append(((*path, name), spec))
        return found


def ring(size: Size, kind: str = f64) -> Ring:
    """Return a ring of `size` numbers; `size` may name a parameter: ring("window")."""
    return Ring(size, kind)


def struct(**fields: Any) -> Struct:
    """Return a layout of named fields, each i64, f64, a ring or a struct."""
    for name, spec in fields.items():
        if not (isinstance(spec, Ring | Struct) or spec in SCALARS):
            raise StepError(
                f"state field {name!r} must be i64, f64, ring(...) or struct(...), was {spec!r}"
            )
    return Struct(tuple(fields.items()))


@dataclass(frozen=True)
class Param:
    """A parameter: its default, the interval it must lie in, and what it means."""

    default: Any
    interval: str = "(-inf, inf)"
    doc: str = ""
    choices: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()  # what another library calls the choices, in their order

    @property
    def whole(self) -> bool:
        return isinstance(self.default, int) or (isinstance(self.default, str) and not self.choices)

    def check(self, name: str, value: Any, place: str) -> float | int:
        if self.choices:
            return self._choice(name, value, place)
        wanted = "a whole number" if self.whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int | float):
            try:
                value = value.item()  # a numpy scalar
            except (AttributeError, ValueError):
                raise ParameterError(f"{name} must be {wanted}, was {value!r} ({place})") from None
        if value != value or (self.whole and value != value // 1):
            raise ParameterError(f"{name} must be {wanted}, was {value!r} ({place})")
        try:
            value = int(value) if self.whole else float(value)
        except OverflowError:
            raise ParameterError(
                f"{name} must be {wanted} of 64 bits, was {value!r} ({place})"
            ) from None
        if not _inside(value, self.interval):
            raise ParameterError(f"{name} must be in {self.interval}, was {value!r} ({place})")
        return value

    def _choice(self, name: str, value: Any, place: str) -> int:
        """Return the place of a choice, which is the same by name and by number."""
        word = value if isinstance(value, str) else _whole(value)
        known: tuple[Any, ...] = self.choices if isinstance(word, str) else self.numbers
        if word not in known:
            names = ", ".join(map(repr, self.choices))
            names += f", or {', '.join(map(str, self.numbers))}" if self.numbers else ""
            raise ParameterError(f"{name} must be one of {names}, was {value!r} ({place})")
        return known.index(word)


def param(default: Any, interval: str = "(-inf, inf)", doc: str = "") -> Param:
    """Return a parameter; an int default makes it whole, a str default is the value of another one.

    >>> param(0.06, "(0, 1]").check("alpha", 1.7, "ewma")
    Traceback (most recent call last):
    orrery_kernels.errors.ParameterError: alpha must be in (0, 1], was 1.7 (ewma)
    """
    return Param(default, interval, doc)


def choice(default: str, *others: str, doc: str = "") -> Param:
    """Return a parameter that is one of a few words; in a step it is 0 for the first, 1, 2, ..."""
    return Param(default, "", doc, (default, *others))


def at_least_one(name: str, value: Any, place: str = "") -> int:
    """Return a count as Python's whole number; ParameterError for what is none."""
    count = _whole(value)
    if count is None or count < 1:
        where = f" ({place})" if place else ""
        raise ParameterError(f"{name} must be a whole number in [1, inf), was {value!r}{where}")
    return count


def _whole(value: Any) -> int | None:
    """Return a whole number of any library as Python's, None for what is none."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _inside(value: float, interval: str) -> bool:
    low, high = (math.inf if t.strip() == "inf" else float(t) for t in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below


@dataclass(frozen=True)
class Input:
    """An argument of the step, the column it reads by default, and how it is loaded."""

    name: str
    column: str
    kind: str = f64
    optional: bool = False
    text: bool = False

    @property
    def read_as(self) -> str:
        """How its column is turned into numbers."""
        return text if self.text else self.kind


@dataclass(frozen=True)
class Output:
    """A column written; `name` may hold {column} and parameters in braces."""

    name: str
    kind: str = f64


# Further parameters, and with them (p, name, *columns) -> the steps that stand in for the kernel,
# the last for its outputs; none where its own step does. Columns between begin with the name.
Composed = tuple[Mapping[str, Param], Callable[..., Sequence[Mapping[str, Any]]]]


@dataclass(frozen=True, eq=False)
class Kernel:
    """One definition, from which everything else is made."""

    name: str
    function: FunctionType
    rows: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    state: Struct
    params: Mapping[str, Param]
    let: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    rules: tuple[tuple[str, Callable[[Any], bool]], ...] = ()
    memory: Size | None = (
        None  # after so many ticks the past no longer matters; None: it always does
    )
    scale: tuple[Mapping[str, float], Any] | None = None
    shift: tuple[Mapping[str, float], Any] | None = None
    composed: Composed | None = None

    @property
    def whole_outputs(self) -> list[int]:
        """The outputs that are exact 64-bit integers."""
        return [k for k, output in enumerate(self.outputs) if output.kind == i64]

    @property
    def given(self) -> dict[str, Param]:
        """The parameters a call may give: those of the step, and those of its compositions."""
        return {**self.params, **(self.composed[0] if self.composed else {})}

    def bind(self, given: Mapping[str, Any], place: str = "") -> SimpleNamespace:
        """Return checked parameters plus the constants derived from them, in declared order."""
        place = place or self.name
        for name in given:
            if name not in self.params:
                known = ", ".join(self.given) or "none"
                raise ParameterError(
                    f"{name!r} is not a parameter of {self.name}; it has: {known} ({place})"
                )
        p = SimpleNamespace()
        for name, spec in self.params.items():
            value = given.get(name)
            if value is None:
                value = spec.default
                if isinstance(value, str) and not spec.choices:
                    value = getattr(p, value)
            setattr(p, name, spec.check(name, value, place))
        for text, rule in self.rules:
            if not rule(p):
                was = ", ".join(f"{k}={v}" for k, v in vars(p).items())
                raise ParameterError(f"{self.name} needs {text}; was {was} ({place})")
        for name, make in self.let.items():
            setattr(p, name, make(p))
        return p
