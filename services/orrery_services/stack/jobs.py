"""The set-up of a node as one-shot jobs, for Compose and Kubernetes; each may be run again."""

import time
from collections.abc import Callable

import psycopg
from confluent_kafka import KafkaException

from .. import connect
from ..config import Settings, load_settings
from ..errors import OutsideError, ServiceError
from . import database, secret_files, topics

SECONDS_MAX = 180.0
PAUSE_SECONDS = 1.0


def make_secrets(settings: Settings) -> None:
    host, port = settings.values["postgres.host"], settings.values["postgres.port"]
    folder = settings.secret_file("cdc").parent
    secret_files.ensure(folder, host, port, settings.values["postgres.database"])


def make_tables(settings: Settings) -> None:
    database.make_roles(settings)
    database.apply_tables(settings)


def make_topics(settings: Settings) -> None:
    topics.ensure(settings)


def register_connectors(settings: Settings) -> None:
    for name in connect.NAMES:
        connect.put(settings, name, connect.connector_config(settings, name))


JOBS: dict[str, Callable[[Settings], None]] = {
    "secrets": make_secrets,
    "tables": make_tables,
    "topics": make_topics,
    "connectors": register_connectors,
}


def run(name: str) -> int:
    """Run one job, waiting for what it needs: a server may come up after us. Bounded in time."""
    settings = load_settings()
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        try:
            JOBS[name](settings)
        except (OutsideError, psycopg.OperationalError, KafkaException) as cause:
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"what it needs must answer within {SECONDS_MAX:.0f} s: {cause}"
                ) from cause
            time.sleep(PAUSE_SECONDS)
        else:
            return 0
