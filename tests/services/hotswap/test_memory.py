"""A chain of any length holds one stage in memory, two when overlapped: counted by the kernel."""

import pytest
from orrery_services.hotswap import memory, processes

from .memory_of_chains import all_at_once, swapped

STAGES, MEGABYTES = 4, 48
SIZE_MB = MEGABYTES * (1 << 20) / 1e6
GROUP = memory.make_group("orrery-test-allowed")
if GROUP:
    GROUP.remove()
needs_group = pytest.mark.skipif(GROUP is None, reason="no memory cgroup may be made here")


@needs_group
def test_a_serial_chain_peaks_at_one_stage_and_all_at_once_at_all_of_them():
    serial, every = swapped("serial", STAGES, MEGABYTES), all_at_once(STAGES, MEGABYTES)

    runners_mb = 30  # two small Pythons beside the stage and its own
    assert SIZE_MB < serial["slots_mb"] < SIZE_MB + runners_mb
    assert every["slots_mb"] > STAGES * SIZE_MB


@needs_group
def test_an_overlapped_chain_never_holds_more_than_two_stages():
    found = swapped("overlapped", STAGES, MEGABYTES)

    assert found["slots_mb"] < 2 * SIZE_MB + 40


def test_the_kernel_says_the_peak_of_each_stage_where_no_group_may_be_made():
    found = swapped("serial", 2, MEGABYTES)

    assert SIZE_MB < found["stage_mb"] < SIZE_MB + 30


@needs_group
def test_a_group_that_another_controller_made_goes_with_its_pod():
    group = processes.Processes()._group("test-anew")

    processes.Processes().forget("test-anew")

    there = group.path.exists()
    group.remove()
    assert not there
