"""The connectors of a node as parts: registered from connectors/*.json, ready when they run."""

from .. import connect
from ..errors import OutsideError
from . import plan, postgres
from .part import NotReady, Tell


def register(stack: plan.Plan, node: str, name: str, tell: Tell) -> None:
    settings = postgres.settings(stack, node)
    connect.put(settings, name, connect.connector_config(settings, name))


def running(stack: plan.Plan, node: str, name: str) -> None:
    try:
        state, why = connect.state(postgres.settings(stack, node), name)
    except OutsideError as cause:
        raise NotReady(str(cause)) from cause
    if state != "RUNNING":
        raise NotReady(f"{node}-{name} is {state}: {why}")
