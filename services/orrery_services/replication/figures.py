"""What a replicator counts."""

from prometheus_client import Counter

FACTS = Counter(
    "orrery_facts",
    "Facts of other nodes: inserted, delivered again, held already, answered.",
    ["what"],
)
BAD_FACTS = Counter("orrery_bad_facts", "Messages of facts whose content is not what they say.")
INCARNATIONS = Counter("orrery_incarnations", "Incarnations begun by this process.")
