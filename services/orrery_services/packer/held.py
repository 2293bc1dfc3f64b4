"""How long what was packed takes until its node holds it: what a packer knows of the hops behind.

One stretch of the log is watched at a time: from where the lanes stood until the node's marks are
there. The pace between batches is a share of what that took, so that few are on their way at a
time: where the hops behind are busy, batches grow, and larger ones cost them no more than small
ones.
"""

from collections.abc import Mapping

import psycopg

from .. import clock

LOOK_MS = 15  # between two looks at the marks, while there is something to look for
ON_THEIR_WAY = 2  # groups of batches that are packed and not yet held
PACE_MS_MIN = 20
SMOOTHING = 0.3  # how much the last stretch counts
AWAY_SECONDS = 1.0  # nobody asks a Postgres that did not answer for so long


class Held:
    def __init__(self, conninfo: str, log_id: str, pace_ms_max: float):
        self._took_ms, self._pace_ms_max = 0.0, pace_ms_max
        self._conninfo, self._log_id = conninfo, log_id
        self._connection: psycopg.Connection | None = None
        self._wanted: dict[int, int] = {}  # partition -> the offset that its mark must reach
        self._reached: dict[int, int] = {}
        self._since_ns = self._look_ns = 0

    def look(self, positions: Mapping[int, int]) -> None:
        """Take note of where the lanes stand, and ask the node how far it is, but not too often."""
        now_ns = clock.monotonic_ns()
        if now_ns < self._look_ns:
            return
        if not self._wanted:
            if self._reached == positions:
                return  # all is held: nothing to look for
            self._wanted, self._since_ns = dict(positions), now_ns
        self._look_ns = now_ns + LOOK_MS * 1_000_000 + (now_ns - self._since_ns) // 4
        marks = self._marks(now_ns)
        self._wanted = {
            p: offset
            for p, offset in self._wanted.items()
            if p in positions and marks.get(p, 0) < offset
        }
        if not self._wanted:
            self._took_ms += SMOOTHING * ((now_ns - self._since_ns) / 1e6 - self._took_ms)
            self._reached = {p: at for p, at in positions.items() if marks.get(p, 0) >= at}

    def watches(self) -> bool:
        """Whether something is on its way."""
        return bool(self._wanted)

    def pace_ms(self) -> float:
        """Return how long to wait between two batches that are not full."""
        waits_ms = (clock.monotonic_ns() - self._since_ns) / 1e6 if self._wanted else 0.0
        share_ms = max(self._took_ms, waits_ms) / ON_THEIR_WAY
        return max(min(share_ms, self._pace_ms_max), PACE_MS_MIN)

    def _marks(self, now_ns: int) -> dict[int, int]:
        """Return how far the node is, by partition; nothing while it does not answer."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(
                    self._conninfo, autocommit=True, prepare_threshold=1, connect_timeout=1
                )
            return dict(self._connection.execute(_MARKS, (self._log_id,)).fetchall())
        except psycopg.Error:
            self.close()
            self._look_ns = now_ns + int(AWAY_SECONDS * 1e9)
            return {}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


_MARKS = "SELECT partition, max(ticks_offset) FROM marks WHERE log_id = %s GROUP BY partition"
