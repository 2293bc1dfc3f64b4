"""VictoriaMetrics, the node's time-series store: a projection; a node also runs without it.

Found on PATH, else built once with Go into the cache.
"""

import os
import shutil
import subprocess
from pathlib import Path

from . import plan
from .part import Part, Tell, http_ok

VERSION = "v1.151.0"
MODULE = f"github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@{VERSION}"
NAMES = ("victoria-metrics", "victoria-metrics-prod")
BUILD_SECONDS_MAX = 600
MEMORY_BYTES_MAX = 268_435_456
NONE = (
    "there is no victoria-metrics on PATH and no Go to build it: this node runs without a "
    "time-series store (Debian: apt-get install victoria-metrics)"
)


def part(stack: plan.Plan, node: str) -> Part:
    port = stack.ports[f"{node}.tsdb"]
    data = stack.home / "nodes" / node / "tsdb"
    return Part(
        name=f"{node}.tsdb",
        command=lambda: [
            str(binary()),
            f"-storageDataPath={data}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=10y",
            "-search.latencyOffset=0s",
            f"-memory.allowedBytes={MEMORY_BYTES_MAX}",
            "-loggerLevel=WARN",
        ],
        ready=http_ok(f"http://127.0.0.1:{port}/health"),
        wanted=lambda: None if stack.tsdb and binary() else NONE,
    )


def binary() -> Path | None:
    """Return the program, or None when there is none yet."""
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    built = _cache() / NAMES[0]
    return built if built.exists() else None


def ensure(tell: Tell) -> None:
    """Build the program when it is nowhere and Go is here. Without it nothing stops."""
    go = shutil.which("go")
    if binary() or go is None:
        return
    tell(f"building VictoriaMetrics {VERSION} with Go (about a minute, once)")
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"GOBIN": str(folder), "GOFLAGS": "-trimpath", "CGO_ENABLED": "0"}
    try:
        done = subprocess.run(
            [go, "install", MODULE],
            env=env,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        tell(f"VictoriaMetrics was not built within {BUILD_SECONDS_MAX} s: going on without")
        return
    if done.returncode != 0:
        tell(f"VictoriaMetrics was not built, going on without: {done.stderr.strip()[-200:]}")


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "orrery" / f"victoria-metrics-{VERSION}"
