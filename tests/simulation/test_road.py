"""Whatever is stopped, repeated, reordered or lost: every row counts once, and the nodes agree.

Each seed is one schedule of faults. ORRERY_TEST_SOAK=1 plays thousands. To look at one:
`python -c "from tests.simulation.play import play; print(play(SEED))"` at the root.
"""

import os
from collections import Counter

import pytest

from tests.simulation.play import play

SOAK = os.environ.get("ORRERY_TEST_SOAK") == "1"
SEEDS = 6000 if SOAK else 200
DISK_SEEDS = 2000 if SOAK else 40  # of worlds where disks fail most
SHARES = 2
# A run in which one of these never happened proves nothing about it, and fails.
EXPECTED = (
    "a backup, new timeline", "a backup, same timeline", "a disk is lost",
    "a batch is produced straight to ticks", "a chunk is held already", "a fact arrives damaged",
    "a fact arrives that is held", "a fact expires from the topic", "a fact is delivered again",
    "a gap: the peers are asked", "a gap: the topic is read again", "an ask is answered",
    "a message of ticks is ignored: not next", "a message of ticks is ignored: refused",
    "a node waits to be refilled", "a packer is overtaken", "a rebalance",
    "a rebalance, two owners at once", "a restored disk is known by what others saw",
    "a row on the wrong partition", "a second packer begins or ends",
    "a send is reported failed and lands later", "a send lands twice", "a send overtakes a send",
    "a worker goes back to its node's mark", "a worker meets another disk",
    "the committed offset is ahead of the node", "two tasks of one source",
    "repeated_captured", "repeated_moved", "stored input is computed", "facts verified",
    "crash of facts_source", "crash of trades_source", "crash of packer after packing",
    "crash of packer after a fold", "crash of packer after sending a label",
    "crash of packer after sending a moved row", "crash of packer after sending a dead letter",
    "crash of replicator after reading", "crash of replicator after writing",
    "crash of worker after recovery", "crash of worker after computing",
    "crash of worker after writing", "pause of packer", "pause of replicator", "pause of worker",
)  # fmt: skip
EXPECTED_OF_DISKS = (
    "one backup is restored twice", "a send outlives its disk", "an old disk after all has expired",
)  # fmt: skip


@pytest.mark.parametrize("share", range(SHARES))
def test_every_row_counts_once_and_the_nodes_agree_whatever_happens(share):
    fired: Counter[str] = Counter()

    for seed in range(share, SEEDS, SHARES):
        why, counts = play(seed)
        fired += counts
        assert why is None, f"seed {seed}: {why}"

    silent = [name for name in EXPECTED if not fired[name]]
    assert not silent, f"of {SEEDS // SHARES} seeds none had: {silent}"


def test_whatever_happens_to_the_disks_every_row_counts_once_and_the_nodes_agree():
    fired: Counter[str] = Counter()

    for seed in range(DISK_SEEDS):
        why, counts = play(seed, disks=True)
        fired += counts
        assert why is None, f"seed {seed}: {why}"

    assert not [name for name in EXPECTED_OF_DISKS if not fired[name]]
