"""Cuts under faults: no snapshot is lost or doubled, and every node makes the same one."""

import os
from collections import Counter

from tests.simulation.cuts import play

SEEDS = 1000 if os.environ.get("ORRERY_TEST_SOAK") == "1" else 25
EXPECTED = (
    "a marker is sent", "crash of cutter", "a packer is overtaken",
    "a worker goes back to its node's mark", "stored input is computed", "a disk is lost",
    "snapshots verified",
)  # fmt: skip


def test_every_node_makes_the_same_snapshot_of_every_cut_whatever_happens():
    fired: Counter[str] = Counter()

    for seed in range(SEEDS):
        why, counts = play(seed)
        fired += counts
        assert why is None, f"seed {seed}: {why}"

    silent = [name for name in EXPECTED if not fired[name]]
    assert not silent, f"of {SEEDS} seeds none had: {silent}"
