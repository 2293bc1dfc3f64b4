"""Code is compiled for the processor at hand, and read only where it runs."""

from __future__ import annotations

from typing import Any

import pytest
from orrery_kernels.engine import loader
from orrery_kernels.engine.build import compile_kernel


@pytest.mark.parametrize(
    ("made_for", "runs_here", "found"),
    [
        ("better", ("better", "plain"), True),
        ("plain", ("better", "plain"), True),  # an image built on an older processor
        ("better", ("plain",), False),
    ],
)
def test_code_is_read_where_it_runs_and_nowhere_else(
    made_for: str,
    runs_here: tuple[str, ...],
    found: bool,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, digest, code = compile_kernel("midprice")
    monkeypatch.setenv("ORRERY_CACHE", str(tmp_path))
    monkeypatch.setattr(loader, "targets", lambda: (made_for,))
    loader.install({name: (digest, code)}, "some")
    monkeypatch.setattr(loader, "targets", lambda: runs_here)

    assert (name in loader.catalog.__wrapped__()) == found
    assert bool(loader.find(digest)) == found
    assert loader.adopt({name: digest}) == ({name} if made_for == runs_here[0] else set())


def test_one_kernel_that_was_kept_is_read_only_where_it_runs(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, digest, code = compile_kernel("midprice")
    monkeypatch.setenv("ORRERY_CACHE", str(tmp_path))
    monkeypatch.setattr(loader, "targets", lambda: ("better", "plain"))
    loader.keep(digest, code)

    assert loader.find(digest)
    monkeypatch.setattr(loader, "targets", lambda: ("plain",))
    assert loader.find(digest) is None
