"""The set-up of a node as one-shot jobs, for Compose and Kubernetes; each may be run again.

    python -m orrery_services.stack.secrets | migrations | topics | connectors

for the node of ORRERY_NODE. Exit code 0, or 1 and one line that says what is wrong.
"""

import sys
import time
from collections.abc import Callable

import psycopg
from confluent_kafka import KafkaException

from ..config import Settings, load_settings
from ..errors import OutsideError, ServiceError
from .part import NotReady

SECONDS_MAX = 180.0
PAUSE_SECONDS = 1.0


def run(job: Callable[[Settings], object]) -> int:
    """Run one job, waiting for what it needs: a server may come up after us. Bounded in time."""
    deadline = time.monotonic() + SECONDS_MAX
    try:
        settings = load_settings()
        while True:
            try:
                print(f"{settings.node}: {job(settings) or 'nothing to do'}")  # noqa: T201
                return 0
            except (OutsideError, NotReady, psycopg.OperationalError, KafkaException) as cause:
                if time.monotonic() > deadline:
                    raise OutsideError(
                        f"what it needs must answer within {SECONDS_MAX:.0f} s, but: {cause}"
                    ) from cause
                time.sleep(PAUSE_SECONDS)
    except ServiceError as cause:
        print(cause, file=sys.stderr)  # noqa: T201
        return 1
