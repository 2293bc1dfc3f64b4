"""A stage of the test chains: adds its name to what it reads, and first fails as it is told.

Parameters: exits (exit codes of the first tries), hold_mb (memory of the first try), seconds.
"""

import json
import os
import sys
import time
from pathlib import Path

wanted = json.loads(os.environ["ORRERY_PARAMETERS"])
tries = Path(os.environ["ORRERY_SCRATCH"], f"tries-{os.environ['STEP']}")
number = len(tries.read_bytes()) if tries.exists() else 0
tries.write_bytes(b"." * (number + 1))

held = b"x" * (wanted.get("hold_mb", 0) << 20) if number == 0 or wanted.get("always") else b""
time.sleep(wanted.get("seconds", 0))
if number < len(wanted.get("exits", [])):
    sys.exit(wanted["exits"][number])
text = Path(os.environ["ORRERY_INPUT"]).read_text()
Path(os.environ["ORRERY_OUTPUT"]).write_text(f"{text}{os.environ['STEP']}\n")
