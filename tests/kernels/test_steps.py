"""What a step may not say: it is refused with the line, and what to write instead."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from orrery_kernels.engine import catalog, nan
from orrery_kernels.engine.lint import lint
from orrery_kernels.errors import StepError


def takes_a_power(x):
    return x**2


def loops_without_bound(x):
    while x > 0.0:
        x = x - 1.0
    return x


def loops_over_values(x):
    for y in (x, x):
        x = y
    return x


def asks_the_clock(x):
    return x + time.time()


def asks_libm(x):
    return math.log(x)


def asks_numpy(x):
    return np.exp(x)


def opens_a_file(x):
    return open(x)  # noqa: PTH123


def prints(x):
    print(x)
    return x


def calls_itself(x):
    return calls_itself(x)


def knows_text(x):
    return x if x > 0.0 else "no"


def formats_text(x):
    return f"{x}"


def keeps_a_list(x):
    return [x, x]


def catches(x):
    try:
        return x
    except ZeroDivisionError:
        return nan


def imports(x):
    import os

    return os and x


def renames_nan(x):
    nan = x + 1.0
    return nan - x


def adds_three(x):
    return max(x, 1.0, 2.0)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (takes_a_power, "Pow is not allowed in a step: use a product, sqrt or power"),
        (loops_without_bound, r"While .*use `for _ in range\(bound\)` with break"),
        (loops_over_values, "a loop must be `for i in range"),
        (asks_the_clock, "only plain calls"),
        (asks_libm, "only plain calls"),
        (asks_numpy, "only plain calls"),
        (opens_a_file, "open is neither a helper"),
        (prints, "print is neither a helper"),
        (calls_itself, "calls_itself is neither a helper"),
        (knows_text, "a constant must be a number, was 'no'"),
        (formats_text, "JoinedStr .*steps know no text"),
        (keeps_a_list, "List is not allowed"),
        (catches, "Try .*steps raise nothing"),
        (imports, "Import .*import at the top"),
        (renames_nan, "nan has its meaning in a step"),
        (adds_three, "max takes two numbers here"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_step_that_is_not_sealed_is_refused(step: Callable, said: str) -> None:
    place = rf"test_steps.py:{step.__code__.co_firstlineno + 1}\)"

    with pytest.raises(StepError, match=f"{step.__name__}: .*{said}.*{place}"):
        lint(step)


@pytest.mark.parametrize("name", catalog.kernels())
def test_every_step_of_the_catalog_is_sealed(name: str) -> None:
    lint(catalog.kernels()[name].definition.function)
