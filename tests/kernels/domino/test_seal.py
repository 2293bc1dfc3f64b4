"""A domino that depends on anything but its inputs is refused when it is registered."""

import datetime
import functools
import math
import operator
import os
import random
import re
import time
import zlib
from dataclasses import dataclass
from decimal import Decimal
from random import choice
from time import time as now_s
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest
from numba import njit
from orrery_kernels.domino import arithmetic
from orrery_kernels.domino.code import code_bytes
from orrery_kernels.domino.domino import domino
from orrery_kernels.errors import DominoError, SealError

COUNTER = [0]
TABLE = {"a": 1}
FIXED = MappingProxyType({"a": 1})
WRITABLE = np.arange(3.0)
SEALED = np.arange(3.0)
SEALED.setflags(write=False)
total = 0


@dataclass
class Open:
    x: int = 1


@dataclass(frozen=True)
class Closed:
    x: int = 1

    def twice(self) -> int:
        return 2 * self.x


class Late:
    def when(self) -> float:
        return time.time()


OPEN, CLOSED = Open(), Closed()


def clock(x: float) -> float:
    return x + time.time()


def clock_by_name(x: float) -> float:
    return x + now_s()


def date(x: float) -> float:
    return x + datetime.datetime.now().year


def dice(x: float) -> float:
    return x + random.random()


def dice_by_name(x: float) -> float:
    return choice([x])


def dice_of_numpy(x: float) -> float:
    return x + np.random.default_rng(1).random()


def environment(x: float) -> float:
    return x + len(os.environ)


def local_import(x: float) -> float:
    import socket

    return x + len(socket.gethostname())


def from_import(x: float) -> float:
    from time import monotonic

    return x + monotonic()


def file(x: float) -> float:
    return x + len(open("/etc/hostname").read())  # noqa: PTH123


def printing(x: float) -> float:
    print(x)
    return x


def hashing(x: float) -> float:
    return x + hash("a")


def evaluating(x: float) -> float:
    return x + eval("1")


def list_global(x: float) -> float:
    return x + COUNTER[0]


def dict_global(x: float) -> float:
    return x + TABLE["a"]


def array_global(x: float) -> float:
    return x + WRITABLE[0]


def object_global(x: float) -> float:
    return x + OPEN.x


def writes_global(x: float) -> float:
    global total
    total = x
    return x


def makes_set(x: float) -> float:
    return sum({x, 1.0})


def makes_set_by_name(x: float) -> float:
    return sum(set([x]))  # noqa: C405


def set_comprehension(x: float) -> float:
    return sum({i * x for i in range(3)})


def libm(x: float) -> float:
    return math.exp(x)


def libm_of_numpy(x: float) -> float:
    return float(np.log(x))


def blas(x: float) -> float:
    return float(np.dot([x], [x]))


def writes_file(x: float) -> float:
    np.arange(3).tofile("/tmp/x")
    return x


def through_a_class(x: float) -> float:
    return Late().when() + x


def through_a_lambda(x: float) -> float:
    return (lambda: time.time())() + x


def through_a_comprehension(x: float) -> float:
    return sum([time.time() for _ in range(3)]) + x


def through_default(x: float, *, f: float = 1.0, box: list = [0]) -> float:  # noqa: B006
    return x + f + len(box)


def deep(x: float) -> float:
    return deeper(x)


def deeper(x: float) -> float:
    return deepest(x)


def deepest(x: float) -> float:
    return x + time.perf_counter()


def wrapped(f):
    @functools.wraps(f)
    def inner(x: float) -> float:
        return f(x)

    return inner


@wrapped
def behind_a_decorator(x: float) -> float:
    return x + time.time()


@functools.lru_cache
def behind_a_cache(x: float) -> float:
    return x + time.time()


@njit(fastmath=True)
def _fast(x):
    return x + 1.0


def fastmath(x: float) -> float:
    return _fast(x)


@njit(parallel=True)
def _parallel(x):
    return x + 1.0


def parallel(x: float) -> float:
    return _parallel(x)


def by_attribute(x: float) -> float:
    return len(x.__class__.__subclasses__())


def make_counter():
    seen = []

    def count(x: float) -> float:
        seen.append(x)
        return len(seen)

    return count


def clock_of_numpy(x: float) -> float:
    return x + float(np.datetime64("now").astype(np.int64))


def clock_by_type(x: float) -> float:
    return x + float(np.array(["now"], "M8[s]").astype(np.int64)[0])


def clock_by_type_in_a_tuple(x: float) -> float:
    return x + len([kind for kind in ("<M8[s]", "f8") if np.dtype(kind)])


def dice_by_text(x: float) -> float:
    return x + getattr(np, "random").random()  # noqa: B009


def dice_by_path(x: float) -> float:
    return operator.attrgetter("random.random")(np)()


def hash_by_method(x: float) -> float:
    return x + "x".__hash__()


def product_of_matrices(x: float) -> float:
    return float(np.array([x, 2.0]) @ np.array([1.0, 2.0]))


def power_of_two(x: float) -> float:
    return x**2


def power_in_place(x: float) -> float:
    x **= 0.5
    return x


def power_by_name(x: float) -> float:
    return pow(x, 0.5)


@njit
def _root(x):
    return x**0.5


def power_in_a_loop(x: float) -> float:
    return _root(x)


def product_by_method(x: float) -> float:
    return float(np.array([x, 2.0]).dot(np.array([1.0, 2.0])))


def product_of_columns(x: float) -> float:
    return float(np.einsum("i,i", np.array([x]), np.array([x])))


def mean_between(x: float) -> float:
    return float(np.interp(x, [0.0, 1.0], [0.0, 3.0]))


def memory_of_before(x: float) -> float:
    return float(np.empty(1)[0]) + x


def memory_of_before_alike(x: float) -> float:
    return float(np.empty_like(np.zeros(1))[0]) + x


def buffer_of_before(x: float) -> float:
    return x + pa.allocate_buffer(8).to_pybytes()[0]


def order_of_equals(x: float) -> float:
    return float(np.argsort(np.array([x, x]))[0])


def order_of_equals_by_method(x: float) -> float:
    return float(np.array([x, x]).argsort()[0])


def set_of_constants(x: float) -> float:
    for name in {"a", "b"}:
        x = x * 2.0 + len(name)
    return x


def set_of_keys(x: float) -> float:
    return sum(len(key) for key in {"a": x}.keys() & {"a": x}.keys()) + x


def set_by_method(x: float) -> float:
    return x + len([*frozenset.union(*())])


def groups_of_arrow(x: float) -> float:
    table = pa.table({"a": [x]})
    return float(table.group_by("a").aggregate([]).num_rows)


def squeezed(x: float) -> float:
    return float(len(zlib.compress(b"a"))) + x


def library_of_c(x: float) -> float:
    return x + len(np.ctypeslib.as_array([1.0]))


def complex_product(x: float) -> float:
    return (x * 1j * 1j).real


def complex_by_name(x: float) -> float:
    return complex(x, x).real


def complex_columns(x: float) -> float:
    return float(np.zeros(2, np.complex128).real[0]) + x


def complex_by_type(x: float) -> float:
    return float(np.zeros(2, "complex128").real[0]) + x


def widest(x: float) -> float:
    return float(np.longdouble(x))


INSTEAD = "use exp, log and power of orrery_kernels.domino.arithmetic, or a loop"
REFUSED = [
    (power_of_two, r"a power \(\*\*\) rounds differently .*" + INSTEAD),
    (power_in_place, r"a power \(\*\*=\) rounds differently"),
    (power_by_name, r"pow\(\) rounds differently"), (power_in_a_loop, "a power .* rounds"),
    (product_by_method, rf"\.dot rounds differently .*{INSTEAD}"),
    (product_of_columns, "numpy.einsum rounds differently"),
    (mean_between, "numpy.interp rounds differently"),
    (memory_of_before, "numpy.empty holds what was in memory before: use zeros, or full"),
    (memory_of_before_alike, "numpy.empty_like holds what was in memory before"),
    (buffer_of_before, "pyarrow.allocate_buffer holds what was in memory before"),
    (order_of_equals, r".argsort orders equals .*: use numpy.lexsort\(\(values,\)\)"),
    (order_of_equals_by_method, r"\.argsort orders equals differently"),
    (set_of_constants, "a set has an order of its own: use dict.fromkeys or sorted"),
    (set_of_keys, r"\.keys makes what has an order of its own: use the mapping itself, or sorted"),
    (set_by_method, "order of its own"), (groups_of_arrow, "groups of .group_by come in any order"),
    (complex_product, "a complex number .1j. rounds differently"),
    (complex_by_name, r"complex\(\) rounds differently"),
    (complex_columns, "numpy.complex128 rounds differently"),
    (complex_by_type, "a type .'complex128'. rounds differently"),
    (widest, "numpy.longdouble rounds differently"),
    (squeezed, "zlib.compress gives other bytes with another build"),
    (library_of_c, "outside .numpy.ctypeslib"),
    (clock_of_numpy, "reaches for the outside .numpy.datetime64"),
    (clock_by_type, "reaches for clock: 'M8.s.' may mean now"),
    (clock_by_type_in_a_tuple, "reaches for clock"),
    (dice_by_text, "getattr.. reaches what nobody can see"),
    (dice_by_path, "reaches for the outside .operator.attrgetter"),
    (hash_by_method, "uses .__hash__"),
    (product_of_matrices, "product of matrices .@. rounds differently"),
    (clock, "clock"), (clock_by_name, "clock"), (date, "clock"), (dice, "chance"),
    (dice_by_name, "method of an object"), (dice_of_numpy, "chance"), (environment, "outside"),
    (local_import, "outside"), (from_import, "clock"), (file, r"open\(\)"),
    (printing, r"print\(\)"),
    (hashing, r"hash\(\)"), (evaluating, r"eval\(\)"), (list_global, "list that can change"),
    (dict_global, "dict that can change"), (array_global, "ndarray that can change"),
    (object_global, "Open that can change"), (writes_global, "changes the global 'total'"),
    (makes_set, "order of its own"), (makes_set_by_name, "order of its own"),
    (set_comprehension, "order of its own"), (libm, "rounds differently"),
    (libm_of_numpy, "rounds differently"), (blas, "rounds differently"), (writes_file, ".tofile"),
    (through_a_class, "clock"), (through_a_lambda, "clock"), (through_a_comprehension, "clock"),
    (through_default, "list that can change"), (deep, "clock"), (behind_a_decorator, "clock"),
    (behind_a_cache, "clock"), (fastmath, "fastmath"), (parallel, "parallel"),
    (by_attribute, "__subclasses__|__class__"), (make_counter(), "list that can change"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "why"), REFUSED, ids=lambda f: getattr(f, "__name__", None))
def test_it_is_refused_and_told_why_and_where(function, why):
    with pytest.raises(SealError, match=why) as refused:
        domino(version=1)(function)

    assert "must depend on its inputs alone" in str(refused.value)
    assert re.search(": use |Give it as an input or a parameter", str(refused.value))


@njit
def _compiled(x):
    return x * 2.0


def pure(x: float) -> float:
    """Uses much, and nothing that changes."""
    parts = [math.sqrt(abs(i)) for i in range(3)]
    found = {"a": _compiled(x), "b": CLOSED.twice(), "c": FIXED["a"], "d": SEALED[1]}
    if x in {1.0, 2.0}:  # asking whether something is in a set needs no order of it
        x = arithmetic.power(arithmetic.exp(arithmetic.log(x)), 3)
    found["e"] = np.array([x, 1.0])[np.lexsort((np.array([x, 1.0]),))].sum()
    return sum(parts) + sum(found[key] for key in sorted(found)) + float(np.sqrt(np.float64(x)))


@pytest.mark.parametrize("x", [-3.5, -1.0, 0.0, 0.03, 1.0, 2.0, 1e5])
@pytest.mark.parametrize("y", [-3, 0, 1, 2, 7.0, 30, 0.5, -1.5, 2.25, 1e-9])
def test_powers_are_those_of_a_program_with_more_digits(x, y):
    if (x == 0 and y < 0) or (x <= 0 and y != int(y)):
        with pytest.raises((DominoError, ZeroDivisionError)):
            arithmetic.power(x, y)
        return

    exact = float(Decimal(x) ** Decimal(y)) if x or y else 1.0

    units = 2 + abs(y if y == int(y) else y * math.log(x))
    assert abs(arithmetic.power(x, y) - exact) <= units * math.ulp(exact)


@pytest.mark.parametrize(
    ("function", "values"),
    [
        ("exp", [700.1]), ("exp", [math.nan]), ("log", [0.0]), ("log", [-1.0]),
        ("log", [math.inf]), ("log", [5e-324]), ("power", [1e10, 40.5]), ("power", [2.0, math.nan]),
    ],
)  # fmt: skip
def test_what_has_no_answer_is_told_so(function, values):
    with pytest.raises(DominoError, match="must be"):
        getattr(arithmetic, function)(*values)


def recursive(x: float) -> float:
    return 0.0 if x <= 0 else 1.0 + mutual(x - 1.0)


def mutual(x: float) -> float:
    return recursive(x)


@pytest.mark.parametrize("function", [pure, recursive])
def test_what_is_pure_is_registered(function):
    assert len(domino(version=1)(function).code) == 32


def source(body, helper="return x", name="f"):
    names = {"__name__": "somewhere", "math": math}
    exec(f"def helper(x):\n    {helper}\ndef {name}(x, y=1):\n    {body}\n", names)
    return names[name]


def code(body, helper="return x"):
    return code_bytes("f", source(body, helper))


def test_a_change_anywhere_below_changes_the_digest():
    before = code("return helper(x) + 1", "return x * 2.0")

    assert code("return helper(x) + 2", "return x * 2.0") != before
    assert code("return helper(x) + 1", "return x * 2.5") != before
    assert code("return helper(x) - 1", "return x * 2.0") != before
    assert code("return helper(x) + 1", "return math.floor(x)") != before


def test_comments_docstrings_lines_and_file_names_change_nothing():
    plain = code("return helper(x) + 1")

    assert code("'''Say so.'''\n    # why\n\n    return helper(x) + 1") == plain
    assert code("return (helper(x) +\n        1)") == plain


def test_one_and_true_and_one_point_nought_are_different_code():
    assert len({code(f"return {one}") for one in ("1", "1.0", "True", "'1'", "-0.0", "0.0")}) == 6


def test_constants_that_are_reached_by_name_are_code():
    def with_scale(scale):
        names = {"__name__": "somewhere", "SCALE": scale}
        exec("def f(x):\n    return x * SCALE\n", names)
        return code_bytes("f", names["f"])

    assert with_scale(2.0) != with_scale(3.0)
    assert with_scale((1, 2)) != with_scale((1, 3))
    assert with_scale(2.0) == with_scale(2.0)


def test_methods_of_classes_that_are_reached_are_code():
    def with_method(body):
        names = {"__name__": "somewhere"}
        exec(
            f"class C:\n    def m(self):\n        return {body}\ndef f(x):\n    return C().m()\n",
            names,
        )
        return code_bytes("f", names["f"])

    assert with_method("1") != with_method("2")


def test_the_digest_is_the_same_in_another_process():
    import subprocess
    import sys

    program = (
        "import math\nfrom orrery_kernels.domino.code import code_bytes\n"
        "names = {'__name__': 'somewhere', 'math': math}\n"
        "exec('def helper(x):\\n    return {\"b\": 1, \"a\": (2, x)}\\n"
        "def f(x, y=1):\\n    return [helper(x) for _ in range(math.floor(x))]\\n', names)\n"
        "print(code_bytes('f', names['f']).hex())"
    )  # fmt: skip

    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(found) == 1
