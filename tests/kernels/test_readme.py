"""What is written about the lab is what the lab has."""

from __future__ import annotations

import pydoc
import re

import orrery_kernels
import pytest
from orrery_kernels.engine import catalog

from tests.kernels import table


def test_the_table_of_kernels_is_the_catalog() -> None:
    assert table.written() == table.table(table.measured()), "run: python -m tests.kernels.table"


def test_the_table_of_kernels_says_what_a_row_of_each_costs() -> None:
    missing = set(catalog.kernels()) - set(table.measured())

    assert not missing, "run: python -m tests.benchmarks.kernel_costs"


@pytest.mark.parametrize("name", catalog.kernels())
def test_a_kernel_is_there_by_name_with_a_page_and_an_operator(name: str) -> None:
    kernel = getattr(orrery_kernels, name)

    page = pydoc.render_doc(kernel)

    for part in ("Formula:", "Columns read:", "Columns written:", f"{name}(batch)", "`skipped`"):
        assert part in page
    assert getattr(orrery_kernels, f"create_{name}_operator").__name__ == f"create_{name}_operator"


@pytest.mark.parametrize("name", ["ewma", "ema", "cusum", "vpin", "ofi", "rsi", "asof_join"])
def test_a_name_with_another_meaning_elsewhere_is_in_the_table_of_those(name: str) -> None:
    section = table.README.read_text().split("## If you know the name from elsewhere")[1]

    rows = section.split("## ")[0]

    assert f"| `{name}" in rows


def test_every_name_in_the_table_of_other_meanings_is_one_of_the_lab() -> None:
    section = table.README.read_text().split("## If you know the name from elsewhere")[1]

    rows = [row.split("|")[1] for row in section.split("## ")[0].splitlines() if "| `" in row[:3]]

    names = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    assert len(names) > 15
    assert names <= set(dir(orrery_kernels))
