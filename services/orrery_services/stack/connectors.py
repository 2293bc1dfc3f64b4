"""The connectors of a node as parts: registered from connectors/*.json, ready when they run."""

from .. import cdc, connect
from ..config import Settings
from ..errors import OutsideError
from . import plan, postgres
from .part import NotReady, Tell


def register(stack: plan.Plan, node: str, name: str, tell: Tell) -> None:
    settings = postgres.settings(stack, node)
    tell(cdc.register(settings, name) or "")


def running(stack: plan.Plan, node: str, name: str) -> None:
    check(postgres.settings(stack, node), name)


def check(settings: Settings, name: str) -> None:
    """Raise NotReady unless the connector and its task run."""
    try:
        state, why = connect.state(settings, name)
    except OutsideError as cause:
        raise NotReady(str(cause)) from cause
    if state != "RUNNING":
        raise NotReady(f"{settings.node}-{name} is {state}: {why}")


def ensure(settings: Settings) -> str:
    """Register the connectors of this node and wait until they run."""
    for name in connect.NAMES:
        cdc.register(settings, name)
    for name in connect.NAMES:
        check(settings, name)
    return f"{', '.join(connect.NAMES)} run"


if __name__ == "__main__":
    from .jobs import run

    raise SystemExit(run(ensure))
