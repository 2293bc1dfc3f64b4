"""orrery history RESULT: how the numbers of a result went over time."""

import json
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from ..config import Settings
from ..errors import ConfigError, OutsideError
from . import common

HOUR_NS = 3_600_000_000_000
MS = 1_000_000


def register(app: typer.Typer) -> None:
    app.command()(history)


def history(
    result: Annotated[str, typer.Argument(help="A task: curve/USD-SOFR, value/swaps, ….")],
    tenor: Annotated[
        str | None, typer.Option("--tenor", help="Only points that end so, e.g. 10Y.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="ISO or ns; default: an hour ago.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="ISO or ns; default: now.")] = None,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Print the samples of a result from this node's time-series store, oldest first."""
    from .. import clock
    from .read import nanoseconds

    settings = common.settings_of(node)
    to_ns = clock.wall_ns() if to is None else nanoseconds(to)
    from_ns = to_ns - HOUR_NS if from_ is None else nanoseconds(from_)
    if from_ns > to_ns:
        raise ConfigError(f"--from must not lie behind --to, was {from_} and {to or 'now'}")
    samples = read(settings, result, tenor, from_ns, to_ns)
    document = {"node": settings.node, "result": result, "samples": samples}
    common.show(document, as_json, _print)


def read(
    settings: Settings, task: str, tenor: str | None, from_ns: int, to_ns: int
) -> list[dict[str, Any]]:
    """Return the samples of a result. Raises OutsideError when nothing of that name is held,
    ConfigError when it has no such point."""
    from .. import tsdb
    from ..gateway.domino_series import METRIC

    if settings.tsdb is None:
        raise OutsideError(f"{settings.node} has no time-series store; set tsdb in universe.toml")
    selector = f"{METRIC}{{node={json.dumps(settings.node)},task={json.dumps(task)}}}"
    found = tsdb.read(settings.tsdb, selector, from_ns // MS, to_ns // MS)
    points = sorted({one.labels.get("point", "") for one in found})
    kept = [one for one in found if tenor is None or is_tenor(one.labels.get("point", ""), tenor)]
    if not points:
        raise OutsideError(
            f"{task!r} must have samples in this time at {settings.tsdb}, has none: "
            "`orrery run --status` lists what ran, --from goes further back"
        )
    if not kept:
        near = get_close_matches(tenor, [point.rpartition("-")[2] for point in points], 5, 0.4)
        there = ", ".join(near or points[:10])
        raise ConfigError(f"{task} must have a point of {tenor!r} in this time, has: {there}")
    samples = {
        (at, one.labels.get("point", "")): value  # one that was sent again is there twice
        for one in kept
        for at, value in zip(one.times_ms, one.values, strict=True)
    }
    return [
        {"at_ms": at, "point": point, "value": value}
        for (at, point), value in sorted(samples.items())
    ]


def is_tenor(point: str, tenor: str) -> bool:
    """Whether a point is the one of a tenor.

    >>> is_tenor("USD-SOFR-OIS-10Y", "10Y"), is_tenor("USD-SOFR-OIS-10Y", "0Y")
    (True, False)
    """
    return point == tenor or point.endswith(f"-{tenor}")


def _print(document: dict[str, Any]) -> None:
    from ..clock import iso

    for sample in document["samples"]:
        at = iso(sample["at_ms"] * MS)[:23]
        typer.echo(f"{at}  {sample['point']:<24} {sample['value']:.10g}")
