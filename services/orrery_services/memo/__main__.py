"""Start the memo of a pod: python -m orrery_services.memo.

ORRERY_SCRATCH is the volume it shares with the slots. ORRERY_MEMO_FOLDER is a folder that keeps
answers: alone, or with ORRERY_MEMO_FACTS=1 in front of the node's Postgres; without it, Postgres.
ORRERY_MEMO_HOST and ORRERY_MEMO_PORT say where it listens, ORRERY_MEMO_PORT_FILE where it writes
its port once it does.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from .. import gate, scratch
from . import app
from .store import FileMemo, MemoStore

PORT = 8900
STOP_LOOK_SECONDS = 5.0


def open_store(env: dict[str, str]) -> MemoStore:
    """Return the memo of this node: its folder, its Postgres, or the one in front of the other."""
    folder = env.get("ORRERY_MEMO_FOLDER")
    if folder and env.get("ORRERY_MEMO_FACTS") != "1":
        return FileMemo(Path(folder))
    from .fact_memo import TieredMemo, open_fact_memo

    facts = open_fact_memo()
    return TieredMemo(FileMemo(Path(folder)), facts) if folder else facts


def main() -> int:
    """Serve until SIGTERM."""
    env = dict(os.environ)
    if not gate.opens(env):
        return 0
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    memo = app.Memo(env.get("ORRERY_SCRATCH", "/scratch"), open_store(env))
    host, port = env.get("ORRERY_MEMO_HOST", "127.0.0.1"), int(env.get("ORRERY_MEMO_PORT", PORT))
    try:
        server = app.serve(memo, host, port)
    except OSError:  # while we were away somebody took it: who looks for us reads the file
        if "ORRERY_MEMO_PORT_FILE" not in env:
            raise
        server = app.serve(memo, host, 0)
    servers = [server]
    if path := env.get("ORRERY_MEMO_SOCKET"):
        os.chdir(Path(path).parent)  # the name of a socket is at most 108 bytes
        servers.append(app.serve_socket(memo, Path(path).name))
    for one in servers:
        threading.Thread(target=one.serve_forever, args=(STOP_LOOK_SECONDS,), daemon=True).start()
    if path := env.get("ORRERY_MEMO_PORT_FILE"):
        scratch.write_whole(path, str(server.port).encode())
    stop.wait()
    memo.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
