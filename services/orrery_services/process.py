"""What every service's __main__ does: settings, logs, health, signals, and an exit code.

    # packer/__main__.py
    from orrery_services.process import run
    from . import app
    raise SystemExit(run("packer", app.main))

where `main(settings, health, stop)` works until `stop` is set, beats `health`, and returns.
"""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from . import lean_service  # noqa: F401 # isort: skip - before structlog takes rich along
import psycopg
import structlog

from . import failpoints, log, metrics, tables
from .config import Settings, load_settings
from .errors import ServiceError

Main = Callable[[Settings, metrics.Health, threading.Event], int | None]
FAILED, USAGE = 1, 2
STALLS_MAX = 4  # a loop silent for so many times what counts as stalled is not waited for
YOUNG_OBJECTS_MAX = 10_000  # made since the last look for cycles


def run(service: str, main: Main, stalled_after_seconds: float = 30.0) -> int:
    """Run one service to its end and return its exit code. SIGTERM or SIGINT sets `stop`."""
    try:
        settings = load_settings()
    except ServiceError as cause:
        print(f"{service}: {cause}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return USAGE
    log.set_up(service, settings.node, os.environ.get("ORRERY_LOG_LEVEL", "INFO"))
    failpoints.set_up(settings.node, service)
    logger = structlog.get_logger()
    stop = stop_on_signals(settings.limits.shutdown_seconds_max)
    health = metrics.Health(stalled_after_seconds)
    watch(health, stalled_after_seconds * STALLS_MAX)
    try:
        server = metrics.serve(settings.bind_host, settings.metrics_port, health)
        logger.info("started", pid=os.getpid(), metrics_port=server.port)
        if settings.secret_file("writer").exists() and not tables.wait(settings, stop):
            return 0
        look_for_cycles_seldom()
        code = main(settings, health, stop) or 0
    except ServiceError as cause:
        logger.error("stopped", reason=str(cause), error=type(cause).__name__)
        return FAILED
    except psycopg.OperationalError as cause:  # it is away: whoever runs us starts us anew
        logger.error("stopped", reason=f"Postgres went away: {str(cause).strip()}")
        return FAILED
    except Exception:
        logger.exception("stopped by a defect")
        return FAILED
    logger.info("left", code=code)
    return code


def look_for_cycles_seldom() -> None:
    """Leave what was imported out of the collector's rounds: some 100,000 objects that stay for
    good, walked again and again while rows pass by the thousand."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX)


def watch(health: metrics.Health, silent_seconds_max: float) -> None:
    """End this process hard when its loop is silent for so long: whoever runs it starts it anew.

    Silence before the first beat does not count, kernels may be compiled in it.
    """

    def look() -> None:
        while (silent := health.silent_seconds()) is None or silent < silent_seconds_max:
            time.sleep(1.0)
        structlog.get_logger().critical("stalled: the process ends", silent_seconds=silent)
        os._exit(FAILED)

    threading.Thread(target=look, name="watch", daemon=True).start()


def stop_on_signals(seconds_max: float) -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; who stays `seconds_max` longer is ended hard.

    Only the main thread may call this. Ended hard means exit code 1, so that it can be seen.
    """
    stop = threading.Event()

    def on_signal(_: int, __: object) -> None:
        if not stop.is_set():
            last_resort = threading.Timer(seconds_max, os._exit, (FAILED,))
            last_resort.daemon = True
            last_resort.start()
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop
