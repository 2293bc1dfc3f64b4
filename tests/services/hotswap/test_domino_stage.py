"""A domino of the lab as a stage gives the bytes that the lab gives."""

from pathlib import Path

import pytest
from orrery_kernels.domino.chain import read_chain
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import Memo
from orrery_kernels.domino.run import run
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot.canonical import encode
from orrery_kernels.snapshot.snapshot import freeze, thaw
from orrery_kernels.snapshot.tree import CANONICAL, build
from orrery_services.hotswap import chain as swapped
from orrery_services.hotswap import domino_stage

from .pool import Pool

MODULE = "tests.services.hotswap.lab"
DECLARED = {
    "run_in": "container",
    "tasks": [
        {"name": "sum", "domino": "total"},
        {"name": "double", "domino": "scaled", "reads": {"value": "sum"}, "params": {"by": 3.0}},
    ],
}


@pytest.fixture
def frozen():
    names = ["USD-1Y", "USD-2Y", "USD-5Y"]
    tree = build(names, [encode(x) for x in (0.25, 0.5, 1.0)], CANONICAL)
    return freeze({"quotes": tree.root}, {"number": 1}, {}, {}), dict(tree.pieces)


def by_the_lab(frozen) -> list[bytes]:
    made, pieces = frozen
    chain = read_chain("rates", DECLARED, domino_stage.find_dominoes([MODULE]))
    memo = Memo()
    steps = run(chain, Market(thaw(made.manifest), pieces.__getitem__), memo)
    return [memo.bodies[step.row.output] for step in steps]


def capsule_of(frozen) -> bytes:
    made, pieces = frozen
    return domino_stage.pack(made.manifest, pieces, "rates", DECLARED, [MODULE])


def test_each_task_gives_the_bytes_that_the_lab_gives(frozen):
    first, second = by_the_lab(frozen)

    assert domino_stage.run_task(capsule_of(frozen), "sum", {}) == first == encode(1.75)
    assert domino_stage.run_task(capsule_of(frozen), "double", {"sum": first}) == second


def test_a_task_that_is_not_in_the_chain_is_named(frozen):
    with pytest.raises(DominoError, match="has no task 'sums'"):
        domino_stage.run_task(capsule_of(frozen), "sums", {})


def test_a_chain_of_dominoes_goes_through_the_slots_without_writing_anything(
    frozen, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    pool = Pool(tmp_path)
    pool.start()
    read = swapped.read_chain("rates", DECLARED)

    event = pool.end_of(pool.ask(read, "r1", capsule_of(frozen)))
    pool.stop()

    assert event["kind"] == "completed", event["result"]
    assert pool.output(event) == by_the_lab(frozen)[1]
