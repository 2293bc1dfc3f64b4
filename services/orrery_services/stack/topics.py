"""The topics of the sky, as schemas/topics.toml declares them. Run again at will."""

import time
import tomllib
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from ..config import Settings
from ..errors import StackError

SECONDS_MAX = 30
PAUSE_SECONDS = 0.1
REPLICATION = -1  # as the brokers say: default.replication.factor
HOUR_MS = 3_600_000
TOPIC, SET = ConfigResource.Type.TOPIC, AlterConfigOpType.SET


def declared(root: Path) -> dict[str, dict[str, Any]]:
    return tomllib.loads((root / "schemas" / "topics.toml").read_text())


def partitions(formula: str, settings: Settings) -> int:
    """Return how many partitions "P", "P+1" or "1" means.

    Raises StackError on any other formula.
    """
    counts = {"P": settings.partitions, "P+1": settings.partitions + 1, "1": 1}
    if formula not in counts:
        raise StackError(f"partitions must be P, P+1 or 1, was {formula!r} (schemas/topics.toml)")
    return counts[formula]


def config(entry: dict[str, Any], settings: Settings) -> dict[str, str]:
    hours = settings.data.log_retention_hours if entry["retention"] == "log" else 0
    return {
        "cleanup.policy": "delete",
        "max.message.bytes": str(entry["message_bytes_max"]),
        "retention.ms": str(hours * HOUR_MS or -1),
        "retention.bytes": str(entry.get("retention_bytes_max", -1)),
        "message.timestamp.type": "CreateTime",
    }


def ensure(settings: Settings) -> str:
    """Create what is missing, set what is kept otherwise than declared, and say what.

    Raises StackError when a topic has other partitions.
    """
    admin = AdminClient({"bootstrap.servers": settings.kafka, "log_level": 0})
    found = admin.list_topics(timeout=SECONDS_MAX).topics
    missing, there = [], {}
    for name, entry in declared(settings.root).items():
        wanted = partitions(entry["partitions"], settings)
        if name not in found:
            missing.append(NewTopic(name, wanted, REPLICATION, config=config(entry, settings)))
            continue
        there[name] = config(entry, settings)
        if len(found[name].partitions) != wanted:
            raise StackError(
                f"topic {name} must have {wanted} partitions, has {len(found[name].partitions)}: "
                "partitions are fixed for life; `make clean` starts anew, or set `partitions` back"
            )
    said = _set(admin, there)
    if not missing:
        return said
    for name, future in admin.create_topics(missing, operation_timeout=SECONDS_MAX).items():
        try:
            future.result(SECONDS_MAX)
        except KafkaException as cause:
            if cause.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise StackError(f"topic {name} must be created, but: {cause.args[0]}") from cause
    made = f"made {', '.join(topic.topic for topic in missing)}"
    return f"{made}; {said}" if said else made


def _set(admin: AdminClient, wanted: dict[str, dict[str, str]]) -> str:
    """Set what topics keep otherwise than declared: a retention that was changed, mostly."""
    places = [ConfigResource(TOPIC, name) for name in wanted]
    changes, said = [], []
    try:
        for place, future in (admin.describe_configs(places) if places else {}).items():
            held = future.result(SECONDS_MAX)
            other = {k: v for k, v in wanted[place.name].items() if held[k].value != v}
            if other:
                entries = [ConfigEntry(k, v, incremental_operation=SET) for k, v in other.items()]
                changes.append(ConfigResource(TOPIC, place.name, incremental_configs=entries))
                said += [f"set {k} of {place.name} to {v}" for k, v in other.items()]
        for future in (admin.incremental_alter_configs(changes) if changes else {}).values():
            future.result(SECONDS_MAX)
    except KafkaException as cause:
        raise StackError(f"topics must be kept as declared, but: {cause.args[0]}") from cause
    return ", ".join(said)


def make_anew(settings: Settings, topic: str) -> None:
    """Delete a topic and make it again, empty, with another identity."""
    admin = AdminClient({"bootstrap.servers": settings.kafka, "log_level": 0})
    try:
        admin.delete_topics([topic])[topic].result(SECONDS_MAX)
    except KafkaException as cause:
        if cause.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise StackError(f"topic {topic} must be deleted, but: {cause.args[0]}") from cause
    deadline = time.monotonic() + SECONDS_MAX
    while topic in admin.list_topics(timeout=SECONDS_MAX).topics:
        if time.monotonic() > deadline:
            raise StackError(f"topic {topic} must be gone within {SECONDS_MAX} s of its deletion")
        time.sleep(PAUSE_SECONDS)
    ensure(settings)


if __name__ == "__main__":
    from .jobs import run

    raise SystemExit(run(ensure))
