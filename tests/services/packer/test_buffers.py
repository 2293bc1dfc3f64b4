"""What a packer holds of a partition is bounded in rows and in bytes."""

import pytest
from orrery_services.packer import buffers

from .fetched import Fetched


def filled(count: int, size: int) -> buffers.Buffer:
    made = buffers.Buffer({"trades": "log"})
    made.add("trades", [Fetched(at, bytes(size)) for at in range(count)])
    return made


@pytest.mark.parametrize(("count", "size"), [(40_001, 1), (40, 1_000_000)])
def test_many_rows_or_many_bytes_fill_it(count, size):
    assert filled(count, size).full()
    assert not filled(count // 2, size).full()


def test_what_is_taken_makes_room():
    buffer = filled(40, 1_000_000)

    taken = []
    for _ in range(40):
        taken += buffer.next_runs(5_000)
        buffer.drop()

    assert [run.offsets for run in taken] == [[at] for at in range(40)], "one a batch"
    assert (buffer.rows, buffer.bytes, buffer.full()) == (0, 0, False)


def test_what_did_not_fit_is_there_when_less_is_asked_for():
    buffer = filled(40, 1_000)

    (many,) = buffer.next_runs(5_000, 20_000)
    (few,) = buffer.next_runs(5_000, 10_000)
    buffer.drop()
    (rest,) = buffer.next_runs(5_000)

    assert (len(many.offsets), len(few.offsets), len(rest.offsets)) == (20, 10, 30)
    assert rest.offsets[0] == few.offsets[-1] + 1
    assert (buffer.rows, buffer.bytes) == (30, 30_000)


def test_a_buffer_that_is_thrown_away_is_empty():
    buffer = filled(40, 1_000_000)

    buffer.next_runs(5_000)
    buffer.clear()
    buffer.drop()

    assert (buffer.rows, buffer.bytes, buffer.full()) == (0, 0, False)
