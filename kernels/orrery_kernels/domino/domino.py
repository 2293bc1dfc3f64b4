"""A domino: a pure function with a name, a version, typed inputs and a digest of all its code.

    @domino(version=1)
    def sofr_curve(quotes: Annotated[Leaves, "quotes/USD-SOFR-*"],
                   calendar: Annotated[Calendar, "calendars/SOFR"], *,
                   interpolation: str = "log_linear") -> Curve: ...

Positional parameters are inputs: a `Leaves` is every leaf that a path pattern means, `Rows` the
same as one record batch (see by_row.py), anything else one leaf or the output of another domino.
What is annotated is where the input comes from unless a
chain says otherwise. Keyword-only parameters are numbers and words from the declaration.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pyarrow as pa

from orrery_kernels.domino.code import code_bytes
from orrery_kernels.domino.views import NAME, Leaves, Rows
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot.digest import digest

_ANY = (Any, inspect.Parameter.empty, object)


@dataclass(frozen=True)
class Input:
    """Where one input comes from when the chain does not say, and of what type it must be."""

    name: str
    type: Any
    path: str | None
    schema: pa.Schema | None = None  # of Rows

    @property
    def many(self) -> bool:
        return self.type in (Leaves, Rows)


@dataclass(frozen=True)
class Parameter:
    name: str
    type: Any
    default: Any  # inspect.Parameter.empty when it must be given


@dataclass(frozen=True)
class Domino:
    """A registered domino. Calling it calls its function."""

    name: str
    version: int
    function: Callable
    inputs: tuple[Input, ...]
    parameters: tuple[Parameter, ...]
    output: Any
    code_bytes: bytes
    tolerance: float | None
    classes: tuple[type, ...]

    @cached_property
    def code(self) -> bytes:
        """The digest of all its code, worked out when first asked for: an import hashes nothing."""
        return digest(self.code_bytes)

    @property
    def by_row(self) -> int | None:
        """Return which input it maps over, None when its answer is not one row for each leaf."""
        return next((at for at, i in enumerate(self.inputs) if i.type is Rows), None)

    def __call__(self, *args: Any, **parameters: Any) -> Any:
        return self.function(*args, **parameters)


def domino(
    version: int, name: str = "", tolerance: float | None = None
) -> Callable[[Callable], Domino]:
    """Register a function as a domino. Raises SealError when it depends on more than its inputs.

    tolerance: outputs whose numbers agree after rounding to multiples of it stop the wave, e.g.
    1e-10 in rate; off in audit mode.
    """
    if tolerance is not None and not tolerance > 0:
        raise DominoError(f"a tolerance must be above 0, was {tolerance}")
    if type(version) is not int or version < 1:
        raise DominoError(f"the version of a domino must be a whole number from 1, was {version!r}")

    def register(function: Callable) -> Domino:
        called = name or function.__name__
        inputs, parameters, output = read_signature(called, function)
        types = [output, *(i.type for i in inputs)]
        classes = tuple(dict.fromkeys(c for t in types for c in _classes_in(t)))
        code = code_bytes(called, function, classes)
        return Domino(
            called, version, function, inputs, parameters, output, code, tolerance, classes
        )

    return register


def read_signature(
    called: str, function: Callable
) -> tuple[tuple[Input, ...], tuple[Parameter, ...], Any]:
    """Return the inputs, the parameters and the type of the output."""
    hints = get_type_hints(function, include_extras=True)
    inputs, parameters = [], []
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name, inspect.Parameter.empty)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DominoError(f"the inputs of domino {called!r} must be named, *{name} is not")
        if parameter.kind is parameter.KEYWORD_ONLY:
            parameters.append(Parameter(name, hint, parameter.default))
        elif parameter.default is not inspect.Parameter.empty:
            raise DominoError(
                f"input {name!r} of domino {called!r} must not have a default: put parameters "
                f"behind a '*'"
            )
        else:
            inputs.append(_input(name, hint))
    if hints.get("return") is None:
        raise DominoError(f"domino {called!r} must say what it returns: '-> float', '-> Curve'")
    _check_rows(called, inputs, hints["return"])
    return tuple(inputs), tuple(parameters), hints["return"]


def check_parameters(
    called: str, declared: tuple[Parameter, ...], given: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return all parameters with their values. Raises DominoError with the nearest name."""
    known = {p.name: p for p in declared}
    for name in given:
        if name not in known:
            raise DominoError(
                f"{where}: domino {called!r} has no parameter {name!r}{near(name, known)}"
            )
    values = {}
    for name, parameter in sorted(known.items()):
        if name not in given and parameter.default is inspect.Parameter.empty:
            raise DominoError(f"{where}: parameter {name!r} of domino {called!r} must be given")
        value = given.get(name, parameter.default)
        if isinstance(parameter.type, type) and not _fits(value, parameter.type):
            raise DominoError(
                f"{where}: parameter {name!r} of domino {called!r} must be "
                f"{parameter.type.__name__}, was {value!r}"
            )
        values[name] = float(value) if parameter.type is float else value
    return values


def near(name: str, known: Any) -> str:
    """Return the end of a message that names what may have been meant."""
    found = get_close_matches(name, list(known), 3, 0.4)
    if found:
        return f"; nearest: {', '.join(found)}"
    return f"; known: {', '.join(sorted(known)[:20]) or 'none'}"


def fits_input(output: Any, wanted: Any) -> bool:
    """Return whether what one domino returns may be given to an input of this type."""
    if wanted in _ANY or output in _ANY or output == wanted:
        return True
    output, wanted = get_origin(output) or output, get_origin(wanted) or wanted
    if isinstance(output, type) and isinstance(wanted, type):
        return issubclass(output, wanted) or (output is int and wanted is float)
    return False


def _fits(value: Any, wanted: type) -> bool:
    if wanted in (float, int):
        return isinstance(value, (int, float) if wanted is float else int) and value is not True
    return isinstance(value, wanted)


def _input(name: str, hint: Any) -> Input:
    if get_origin(hint) is not Annotated:
        return Input(name, hint, None)
    kind, *notes = get_args(hint)
    path = next((note for note in notes if isinstance(note, str)), None)
    return Input(name, kind, path, next((n for n in notes if isinstance(n, pa.Schema)), None))


def _check_rows(called: str, inputs: list[Input], output: Any) -> None:
    rows = [i for i in inputs if i.type is Rows]
    if len(rows) > 1:
        raise DominoError(f"domino {called!r} must map over one input, was {len(rows)} of Rows")
    for i in rows:
        if not i.schema or NAME in i.schema.names:
            raise DominoError(
                f"input {i.name!r} of domino {called!r} must declare columns beside {NAME!r}: "
                f'Annotated[Rows, "quotes/*", pa.schema({{"value": pa.float64()}})]'
            )
        if output is not pa.RecordBatch:
            raise DominoError(f"domino {called!r} has rows in: it must return a pa.RecordBatch")


def _classes_in(hint: Any) -> list[type]:
    """Return the classes of objects that a type may hold, for reading them back."""
    if get_args(hint):
        return [found for part in get_args(hint) for found in _classes_in(part)]
    if isinstance(hint, type) and hint not in (Leaves, Rows):
        made = hasattr(hint, "to_bytes") and hasattr(hint, "from_bytes") and hint is not int
        if made or is_dataclass(hint):
            inner = get_type_hints(hint) if is_dataclass(hint) and not made else {}
            return [hint, *(c for t in inner.values() for c in _classes_in(t))]
    return []
