"""What a service does not load: memory and seconds at every start."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("service", ["packer", "replication", "gateway"])
def test_a_service_that_computes_nothing_loads_neither_numba_nor_pandas(service):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"orrery_services.{service}"],
        env={**os.environ, "ORRERY_NODE": "nosuch"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}

    assert done.returncode == 2  # it came as far as its settings
    assert "pyarrow.lib" in loaded or service == "gateway"
    assert not {"numba.core", "pandas.core"} & loaded


def test_the_collector_does_not_walk_what_was_imported():
    done = subprocess.run(
        [sys.executable, "-c", _FROZEN], capture_output=True, text=True, timeout=120, check=True
    )

    frozen, left, young = map(int, done.stdout.split())
    assert frozen > 10_000 and left < frozen / 20
    assert young > 700, "Python's own bound"


_FROZEN = """
import gc
import orrery_services.packer.app
from orrery_services import process
process.look_for_cycles_seldom()
print(gc.get_freeze_count(), len(gc.get_objects()), gc.get_threshold()[0])
"""
