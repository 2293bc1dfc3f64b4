"""The rival: a stock Faust agent, a row a message, on the same broker: JSON in, a table updated.

    python -m tests.benchmarks.rival_faust kafka://HOST:PORT SECONDS

Prints the rows per second of its own work, from the first row to the last. It does less than our
road: one average a symbol instead of ten kernels, in memory, and nothing is written anywhere.
"""

import asyncio
import os
import sys
import tempfile
import time

import faust


def make_app(broker: str, seconds: float) -> faust.App:
    app = faust.App(
        "orrery-bench-rival", broker=broker, store="memory://", datadir=tempfile.mkdtemp(),
        web_enabled=False, topic_disable_leader=True, topic_allow_declare=False,
        consumer_auto_offset_reset="earliest", worker_redirect_stdouts=False,
    )  # fmt: skip
    trades = app.topic("trades", value_serializer="json")
    averages: dict[str, float] = {}
    seen = {"rows": 0, "first": 0.0, "last": 0.0}

    @app.agent(trades)
    async def average(stream: faust.Stream) -> None:
        async for row in stream:
            price = float(row["price"])
            was = averages.get(row["symbol"], price)
            averages[row["symbol"]] = was + 0.06 * (price - was)
            seen["last"] = time.perf_counter()
            seen["first"] = seen["first"] or seen["last"]
            seen["rows"] += 1

    @app.task
    async def judge() -> None:
        while not seen["rows"]:
            await asyncio.sleep(0.05)
        await asyncio.sleep(seconds)
        figure = seen["rows"] / (seen["last"] - seen["first"])
        os.write(1, f"\n{figure}\n".encode())  # the worker takes what is printed for a log line
        os._exit(0)

    return app


if __name__ == "__main__":
    rival = make_app(sys.argv[1], float(sys.argv[2]))
    sys.argv = [sys.argv[0], "worker", "--loglevel", "error", "--without-web"]
    rival.main()
