"""Structured logs: one JSON object a line in services, colour on a terminal.

    log = structlog.get_logger()
    log.info("batch committed", partition=3, rows=1200)

The standard library's loggers (Faust, aiokafka, psycopg) go the same way. What looks like a secret
never gets there.
"""

import logging
import re
import sys
from typing import Any, TextIO

import structlog

SECRET_KEY = re.compile(r"pass(word|wd)?$|secret|token|api_?key", re.IGNORECASE)
SECRET_TEXT = re.compile(
    r"(password\s*=\s*)(?:'[^']*'|[^\s'\"]+)|(://[^/\s:@]+:)[^/\s'\"@]+(?=@)", re.IGNORECASE
)
HIDDEN = "***"
CHATTY = ("httpx", "httpx2")  # a line for every request


def hide_secrets(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Replace values under a secret's name, and passwords inside connection strings."""
    for key, value in event.items():
        if SECRET_KEY.search(key):
            event[key] = HIDDEN
        elif isinstance(value, str):
            event[key] = SECRET_TEXT.sub(rf"\g<1>\g<2>{HIDDEN}", value)
    return event


def set_up(service: str, node: str = "", level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (stderr), with the service's name on it."""
    stream = stream or sys.stderr
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service, **({"node": node} if node else {}))
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    people = stream.isatty()
    render = structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _bound_to(service, node)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _bound_to(service: str, node: str) -> structlog.types.Processor:
    """Name the service on lines of other threads too: context variables do not cross into them."""

    def bind(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        event.setdefault("service", service)
        if node:
            event.setdefault("node", node)
        return event

    return bind
