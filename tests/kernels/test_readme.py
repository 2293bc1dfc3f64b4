"""What is written about the lab is what the lab has."""

from __future__ import annotations

import pydoc

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

    assert "Formula:" in page
    assert "Columns written:" in page
    assert getattr(orrery_kernels, f"create_{name}_operator").__name__ == f"create_{name}_operator"
