"""The other rival: quixstreams, a row a message, on the same broker: JSON in, an average updated.

    <its own environment>/bin/python rival_quix.py HOST:PORT SECONDS

Prints the rows per second of its own work, from the first row to the last. It does what the Faust
agent of rival_faust.py does, and like it less than our road. Nothing of ours is imported here.
"""

import os
import sys
import tempfile
import time

from quixstreams import Application


def main(broker: str, seconds: float) -> None:
    app = Application(
        broker_address=broker, consumer_group="orrery-bench-quix", auto_offset_reset="earliest",
        auto_create_topics=False, use_changelog_topics=False, loglevel="ERROR",
        state_dir=tempfile.mkdtemp(),
    )  # fmt: skip
    averages: dict[str, float] = {}
    seen = {"rows": 0, "first": 0.0}

    def average(row: dict) -> None:
        price = float(row["price"])
        was = averages.get(row["symbol"], price)
        averages[row["symbol"]] = was + 0.06 * (price - was)
        now = time.perf_counter()
        seen["first"] = seen["first"] or now
        seen["rows"] += 1
        if now - seen["first"] > seconds:
            print(seen["rows"] / (now - seen["first"]), flush=True)
            os._exit(0)

    app.dataframe(app.topic("trades", value_deserializer="json")).update(average)
    app.run()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
