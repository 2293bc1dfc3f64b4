"""Start the memo of a pod: python -m orrery_services.memo.

ORRERY_SCRATCH is the volume it shares with the slots, ORRERY_MEMO_FOLDER a folder that keeps
answers (without it: the node's Postgres), ORRERY_MEMO_HOST and ORRERY_MEMO_PORT where it listens,
ORRERY_MEMO_PORT_FILE a file to which the port is written once it does.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from .. import scratch
from . import app
from .store import FileMemo, MemoStore

PORT = 8900


def open_store(env: dict[str, str]) -> MemoStore:
    """Return the memo of this node: its folder where one is named, else its Postgres."""
    if folder := env.get("ORRERY_MEMO_FOLDER"):
        return FileMemo(Path(folder))
    from .facts import open_fact_memo

    return open_fact_memo()


def main() -> int:
    """Serve until SIGTERM."""
    env = dict(os.environ)
    gate = env.get("ORRERY_GATE_FD")
    if gate and os.read(int(gate), 1) == b"":
        return 0  # whoever started us died before it could write us down
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    memo = app.Memo(env.get("ORRERY_SCRATCH", "/scratch"), open_store(env))
    server = app.serve(
        memo, env.get("ORRERY_MEMO_HOST", "127.0.0.1"), int(env.get("ORRERY_MEMO_PORT", PORT))
    )
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 5.0}, daemon=True
    ).start()
    if path := env.get("ORRERY_MEMO_PORT_FILE"):
        scratch.write_whole(path, str(server.port).encode())
    stop.wait()
    memo.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
