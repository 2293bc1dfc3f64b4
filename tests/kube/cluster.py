"""A test cluster of one's own: brought up and down by up.sh and down.sh, spoken to with kubectl."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
UP_SECONDS_MAX = 600


def built(folder: str) -> Path | None:
    """Return a folder that build.sh fills, by its name in env.sh; None where it was not."""
    done = subprocess.run(
        ["bash", "-c", f'. "{HERE}/env.sh" && echo "${folder}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    found = Path(done.stdout.strip())
    return found if (found / "complete").exists() else None


def binaries() -> Path | None:
    """Return the folder of the control plane and the node, None where they are not built."""
    return built("BIN")


@dataclass
class Cluster:
    root: Path
    env: dict[str, str]
    kubectl_path: Path

    def kubectl(self, *words: str, stdin: str | None = None, seconds_max: float = 180) -> str:
        """Run kubectl and return what it said. Raises AssertionError with its complaint."""
        done = self.tried(*words, stdin=stdin, seconds_max=seconds_max)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def tried(
        self, *words: str, stdin: str | None = None, seconds_max: float = 180
    ) -> subprocess.CompletedProcess:
        env = os.environ | {"KUBECONFIG": str(self.root / "admin.kubeconfig")}
        command = [str(self.kubectl_path), *words]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=env, timeout=seconds_max
        )

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def ctr(self, *words: str) -> str:
        """Speak to the node's containerd."""
        command = ["ctr", "-a", str(self.root / "containerd.sock"), "-n", "k8s.io", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def down(self) -> None:
        subprocess.run([HERE / "down.sh", "wipe"], env=self.env, check=True, timeout=300)


def up(mode: str, root: Path, **settings: str) -> Cluster:
    folder = binaries()
    assert folder is not None
    env = os.environ | {"ROOT": str(root), "RUN": str(root / "run"), **settings}
    cluster = Cluster(root, env, folder / "kubectl")
    done = subprocess.run(
        [HERE / "up.sh", mode], env=env, capture_output=True, text=True, timeout=UP_SECONDS_MAX
    )
    if done.returncode != 0:
        cluster.down()
        raise AssertionError(f"the cluster did not come up: {done.stdout}{done.stderr}")
    print(done.stdout)
    return cluster


def eventually(check: Callable[[], Any], seconds_max: float, what: str) -> Any:
    """Return the first true answer of `check`; what fails before then may be tried again."""
    deadline, last = time.monotonic() + seconds_max, None
    while time.monotonic() < deadline:
        try:
            if answer := check():
                return answer
            last = None
        except AssertionError as cause:
            last = cause
        time.sleep(0.5)
    raise AssertionError(f"within {seconds_max:.0f} s {what}, but {last or 'it did not happen'}")
