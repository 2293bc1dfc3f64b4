"""The digest of everything a domino runs: its own code, and that of all it calls.

The code is read from bytecode: the same on every machine with the same Python, untouched by
comments, docstrings, line numbers and file names. What it calls is followed by name: functions,
compiled functions, classes, constants. On the way everything is judged by the seal. Libraries are
not walked: their versions stand for them.
"""

import dis
import enum
import platform
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, get_args

import numba
import numpy as np
import pyarrow as pa

from orrery_kernels.domino import seal
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.canonical import encode

NUMERICS = "orrery-numerics-1"
_SILENT = {"CACHE", "RESUME", "NOP", "PRECALL", "EXTENDED_ARG", "MAKE_CELL", "COPY_FREE_VARS"}
_SET_ORDER = "a set has an order of its own: use dict.fromkeys or sorted"
_SET_MAKERS = {"BUILD_SET", "SET_ADD", "SET_UPDATE"}
_WRITERS = {"STORE_GLOBAL", "DELETE_GLOBAL"}
_UNSAFE_OPTIONS = ("fastmath", "parallel")
_ALL_FUNCTIONS_MAX = 10_000


def lab_version() -> str:
    """Return what decides the bits besides code: versions of Python, of libraries, of the lab."""
    python = ".".join(platform.python_version_tuple()[:2])
    libraries = f"numpy{np.__version__} numba{numba.__version__} arrow{pa.__version__}"
    return f"{NUMERICS} python{python} {libraries}"


def code_bytes(name: str, function: Callable, classes: tuple[type, ...] = ()) -> bytes:
    """Return what a function and all it calls are made of; classes: of its inputs and its output.

    Raises SealError when something on the way may change under it.
    """
    walk = _Walk(name)
    walk.reference(name, function)
    for cls in classes:
        walk.reference(cls.__name__, cls)
    walk.finish()
    return encode([lab_version(), walk.parts])


class _Walk:
    """Everything reached so far, in the order it was reached."""

    def __init__(self, domino: str) -> None:
        self.domino = domino
        self.parts: list[Any] = []
        self._places: dict[int, int] = {}
        self._waiting: list[Any] = []

    def finish(self) -> None:
        while self._waiting:
            place, thing = self._waiting.pop()
            self.parts[place] = thing()
            if len(self.parts) > _ALL_FUNCTIONS_MAX:
                raise seal.refuse(self.domino, "", f"it calls over {_ALL_FUNCTIONS_MAX} functions")

    def reference(
        self, name: str, value: Any, inside_lab: bool = False, reached_by: ModuleType | None = None
    ) -> Any:
        """Describe a value that code refers to by name."""
        if isinstance(value, MethodType) and not isinstance(value.__self__, type):
            raise seal.refuse(self.domino, name, "it calls a method of an object that may change")
        function = _python_function(value)
        if function is not None and not seal.is_library(function.__module__ or ""):
            self._check_options(name, value)
            self._check(seal.judge_home(function.__module__ or ""), name)
            return self._place(function, lambda: self._function(function))
        if isinstance(value, ModuleType):
            self._check(seal.judge_module(value.__name__), name)
            return ["module", value.__name__]
        if isinstance(value, type) or callable(value):
            return self._callable(name, value, inside_lab, reached_by)
        return self._constant(name, value, inside_lab)

    def _place(self, key: Any, make: Callable[[], Any]) -> list:
        """Describe a thing by its place among the parts, so that recursion ends."""
        if id(key) not in self._places:
            self._places[id(key)] = len(self.parts)
            self.parts.append(None)
            self._waiting.append((self._places[id(key)], make))
        return ["part", self._places[id(key)]]

    def _check(self, why: str | None, where: str) -> None:
        if why:
            raise seal.refuse(self.domino, where, why)

    def _check_options(self, name: str, value: Any) -> None:
        options = getattr(value, "targetoptions", {})
        for option in _UNSAFE_OPTIONS:
            self._check(f"compiled with {option}" if options.get(option) else None, name)

    def _callable(
        self, name: str, value: Any, inside_lab: bool, reached_by: ModuleType | None
    ) -> Any:
        module = seal.member_module(value, reached_by)
        short = getattr(value, "__name__", name)
        self._check(seal.judge_home(module), name)
        written_in_python = isinstance(value, type) and bool(value.__flags__ & _HEAP_TYPE)
        if written_in_python and not seal.is_library(module):
            return self._place(value, lambda: self._class(value))
        self._check(seal.judge_member(module, short, inside_lab), name)
        if module != "builtins" and module:
            self._check(seal.judge_module(module), name)
        if not module and not isinstance(value, BuiltinFunctionType | np.ufunc):
            return self._constant(name, value)
        return ["library", module, short]

    def _constant(self, name: str, value: Any, inside_lab: bool = False) -> Any:
        """Describe a value that cannot change; refuse one that can."""
        if isinstance(value, enum.Enum):
            return ["enum", type(value).__name__, value.name, self._constant(name, value.value)]
        self._check_fixed(name, value, inside_lab)
        if isinstance(value, tuple | list):
            return [type(value).__name__, *(self.reference(name, v, inside_lab) for v in value)]
        if isinstance(value, set | frozenset):
            parts = [self.reference(name, v, inside_lab) for v in value]
            return ["set", *sorted(parts, key=encode)]
        if isinstance(value, Mapping):
            pairs = [
                [self.reference(name, part, inside_lab) for part in pair] for pair in value.items()
            ]
            return ["mapping", *sorted(pairs, key=encode)]
        if is_dataclass(value):
            members = [[f.name, getattr(value, f.name)] for f in fields(value)]
            parts = [[n, self.reference(n, v, inside_lab)] for n, v in members]
            return ["object", self.reference(type(value).__name__, type(value)), parts]
        try:
            return ["value", encode(value)]
        except SnapshotError:
            pass
        if value is Ellipsis or value is NotImplemented or isinstance(value, complex):
            return ["value", repr(value).encode()]
        if type(value).__module__ in ("typing", "types") or get_args(value):
            return ["type", str(value)]
        raise seal.refuse(self.domino, name, f"it reads a {type(value).__name__} that may change")

    def _check_fixed(self, name: str, value: Any, inside_lab: bool) -> None:
        """Refuse what can change. Inside the lab a constant's name is written large."""
        changes = isinstance(value, list | dict | set | bytearray)
        if changes and inside_lab and name.strip("_").isupper():
            return
        if is_dataclass(value) and not type(value).__dataclass_params__.frozen:
            changes = True
        if isinstance(value, np.ndarray) and value.flags.writeable:
            changes = not (inside_lab and name.strip("_").isupper())
        if changes:
            why = f"it reads a {type(value).__name__} that can change"
            raise seal.refuse(self.domino, name, why)

    def _class(self, cls: type) -> Any:
        """Describe a class of the lab by its methods and constants."""
        members = []
        for name, value in sorted(vars(cls).items()):
            function = _python_function(getattr(value, "fget", value))
            if function is not None and _is_written(cls, name, function):
                members.append([name, self.reference(name, function)])
            elif not name.startswith("__") and _is_plain(value):
                members.append([name, encode(value)])
        noted = [[f, str(t)] for f, t in vars(cls).get("__annotations__", {}).items()]
        bases = [self.reference(base.__name__, base) for base in cls.__bases__]
        return ["class", cls.__name__, noted, bases, members]

    def _function(self, function: FunctionType) -> Any:
        inside_lab = function.__module__.split(".")[0] == "orrery_kernels"
        free = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        names = {name: cell for name, cell in free.items() if _filled(cell)}
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
        described = [self._constant(function.__name__, value) for value in defaults]
        scope = _Scope(function.__globals__, names, inside_lab)
        return ["function", described, self._code(function.__code__, scope)]

    def _code(self, code: CodeType, scope: "_Scope") -> Any:
        head = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
        head += [list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])]
        lines = [i for i in dis.get_instructions(code) if i.opname not in _SILENT]
        places = {i.offset: at for at, i in enumerate(lines)}
        body: list[Any] = []
        reached: Any = None  # the module or class the code holds, while it goes from name to name
        for i, following in zip(lines, [*lines[1:], None], strict=True):
            if isinstance(i.argval, frozenset) and following.opname != "CONTAINS_OP":
                self._check(_SET_ORDER, f"{code.co_name}, line {i.positions.lineno}")
            body.append(self._instruction(i, code, scope, places))
            reached = self._follow(i, reached, scope, body)
        return [*head, body, code.co_exceptiontable]

    def _instruction(
        self, i: dis.Instruction, code: CodeType, scope: "_Scope", places: dict
    ) -> Any:
        where = f"{code.co_name}, line {i.positions.lineno if i.positions else '?'}"
        if i.opname in _WRITERS:
            raise seal.refuse(self.domino, where, f"it changes the global {i.argval!r}")
        if i.opname in _SET_MAKERS and not scope.inside_lab:
            raise seal.refuse(self.domino, where, _SET_ORDER)
        if i.opname == "BINARY_OP" and not scope.inside_lab:
            self._check(seal.judge_operator(i.argrepr), where)
        if i.opname == "LOAD_CONST":
            for value in i.argval if isinstance(i.argval, tuple) else (i.argval,):
                self._check(seal.judge_literal(value), where)
        if i.opname == "IMPORT_NAME":
            self._check(seal.judge_module(i.argval), where)
        if i.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            if i.argval in seal.ATTRIBUTES_REFUSED:
                raise seal.refuse(self.domino, where, f"it uses .{i.argval}")
            self._check(None if scope.inside_lab else seal.judge_method(i.argval), where)
        if isinstance(i.argval, CodeType):
            return [i.opname, self._code(i.argval, scope)]
        if i.opcode in dis.hasconst:
            return [i.opname, self._constant(where, code.co_consts[i.arg or 0])]
        if i.opcode in dis.hasjrel or i.opcode in dis.hasjabs:
            return [i.opname, places.get(i.argval, len(places))]
        return [i.opname, i.arg if i.arg is None or i.opcode not in _NAMED else str(i.argval)]

    def _follow(self, i: dis.Instruction, reached: Any, scope: "_Scope", body: list) -> Any:
        """Find what a name stands for, describe it, and return it if its members may be asked."""
        if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found, value = scope.find(i.argval)
            if not found:
                return None
            if seal.is_builtin(i.argval, value):
                self._check(seal.judge_member("builtins", i.argval, scope.inside_lab), i.argval)
                return None
        elif i.opname in ("LOAD_DEREF", "LOAD_CLASSDEREF") and i.argval in scope.free:
            value = scope.free[i.argval].cell_contents
        elif i.opname == "IMPORT_NAME":
            return import_module(i.argval)
        elif i.opname in _MEMBER and isinstance(reached, ModuleType):
            self._check(seal.judge_member(reached.__name__, i.argval, scope.inside_lab), i.argval)
            value = getattr(reached, i.argval, None)
            if value is None:
                return None
        else:
            return None
        module = reached if isinstance(reached, ModuleType) else None
        body.append(self.reference(i.argval, value, scope.inside_lab, module))
        return value


class _Scope:
    """What names stand for inside one function."""

    def __init__(self, names: dict[str, Any], free: dict[str, Any], inside_lab: bool) -> None:
        self.names, self.free, self.inside_lab = names, free, inside_lab

    def find(self, name: str) -> tuple[bool, Any]:
        if name in self.names:
            return True, self.names[name]
        builtins = self.names.get("__builtins__", {})
        known = builtins if isinstance(builtins, dict) else vars(builtins)
        return name in known, known.get(name)


# Methods that the standard library writes into a class are known by the fields of the class.
_WRITERS_OF_METHODS = ("reprlib", "collections", "dataclasses", "enum", "typing", "functools")
_MEMBER = ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
_HEAP_TYPE = 1 << 9
_NAMED = {*dis.hasname, *dis.hasfree, *dis.haslocal, *dis.hascompare}


def _python_function(value: Any) -> FunctionType | None:
    """Return the Python function behind a function, method, compiled or cached function."""
    for attribute in ("py_func", "_defn", "__wrapped__", "function"):
        inner = getattr(value, attribute, None)
        if isinstance(inner, FunctionType) and not isinstance(value, FunctionType):
            return inner
    if isinstance(value, classmethod | staticmethod | MethodType):
        return _python_function(value.__func__)
    return value if isinstance(value, FunctionType) else None


def _is_written(cls: type, name: str, function: FunctionType) -> bool:
    """Return whether a method was written by somebody, not made by dataclass or NamedTuple."""
    home = function.__globals__.get("__name__", "")
    made = home in _WRITERS_OF_METHODS or home.startswith("namedtuple_")
    by_dataclass = is_dataclass(cls) and name.startswith("__")
    return not made and not (by_dataclass and function.__code__.co_filename == "<string>")


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str | bytes | tuple | bool | type(None))
