"""The gateway over chunks that cannot be shown: it says so, goes on with what can, and never ends.

It is looked at where a node has expired rows.
"""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from orrery_services import store
from orrery_services.gateway import app, projections
from structlog.testing import capture_logs

from .partition import LOG
from .test_expiring import NAME, expire, filled

__all__ = ["filled"]
PLACE = (projections.ROWS, NAME, 0)


@pytest.fixture
def gateway(server, database) -> Iterator[app.Gateway]:
    conninfo = server.conninfo(database, "orrery_writer")
    made = app.Gateway(SimpleNamespace(tsdb=None, node="n1", postgres=lambda _: conninfo))
    yield made
    made.close()


def test_a_projection_waits_for_a_chunk_in_quarantine_and_says_so_once(
    gateway, filled, server, database
):
    key = f"out/{NAME}/{LOG}/0/000000000004"
    filled.execute("INSERT INTO divergences VALUES (%s, '', '', 'out', 'n2.x', 0, 1, '')", (key,))

    with capture_logs() as told:
        for _ in range(2):
            gateway.step(lambda: None)

    (line,) = told
    assert line["event"] == "a projection stands still" and "orrery settle" in line["reason"]
    assert PLACE not in projections.places(filled)
    with store.connect(server.conninfo(database)) as admin:
        admin.execute("DELETE FROM divergences")  # somebody settled it
    gateway.step(lambda: None)
    assert projections.places(filled)[PLACE] == store.marks(filled)[NAME, 0].offset


def test_a_projection_that_begins_anew_begins_where_rows_are_held(
    gateway, filled, server, database
):
    """Projections are unlogged: after a crash they begin at nothing."""
    gone = expire(filled, server, database, 2.0)

    for _ in range(2):
        gateway.step(lambda: None)

    assert projections.places(filled)[PLACE] == store.marks(filled)[NAME, 0].offset
    (first,) = filled.execute("SELECT min(tick_offset) FROM result_rows").fetchone()
    assert first >= gone.below.offset
