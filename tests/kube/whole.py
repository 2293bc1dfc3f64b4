"""A whole node on the test cluster: our images, the stand-ins of the Compose tests, one apply."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.compose.conftest import engine_up, shell
from tests.contracts import manifests
from tests.kube.cluster import Cluster, eventually

STEPS = ("ONE", "TWO", "THREE", "FOUR", "FIVE")
NOWHERE = "docker.io/orrery/nowhere@sha256:" + "0" * 64
STAGE_IMAGE = "orrery/services-stage:dev"
READY_SECONDS_MAX = 1800
ROWS_PER_SECOND = 20  # a busy machine of two cores keeps up with it
PRODUCE = """
import json, os, sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": os.environ["ORRERY_KAFKA"], "acks": "all"})
symbol, first, many = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(first, first + many):
    row = {"symbol": symbol, "price": f"{100 + number % 7}.5", "size": str(1 + number % 5)}
    row |= {"side": "buy", "ts_event_ns": 1_700_000_000_000_000_000 + number}
    producer.produce("trades", key=symbol, value=json.dumps(row))
assert producer.flush(60) == 0
"""
CHAINS = Path(__file__).with_name("chains.toml")


@dataclass
class Whole:
    """The cluster, and the copy of the repository's files that was applied to it."""

    cluster: Cluster
    tree: Path

    def orrery(
        self, node: str, words: str, pod: str = "analytics-0", seconds_max: float = 300
    ) -> subprocess.CompletedProcess:
        """Run the command line in a pod of the node, as a user of a cluster does."""
        inside = ("exec", pod, "--", "orrery", *words.split())
        return self.cluster.tried("-n", f"orrery-{node}", *inside, seconds_max=seconds_max)

    def python(self, node: str, program: str, *words: str) -> str:
        """Run a program in the node's worker."""
        inside = ("exec", "-i", "analytics-0", "--", "python", "-", *words)
        return self.cluster.kubectl("-n", f"orrery-{node}", *inside, stdin=program)

    def produce(self, symbol: str, first: int, many: int) -> None:
        """Write trades of a symbol to the log, from inside n1."""
        self.python("n1", PRODUCE, symbol, str(first), str(many))

    def results(self, symbol: str, node: str = "n1") -> list[str]:
        """Return the result rows of a symbol that a node holds."""
        done = self.orrery(node, f"read --chain default --symbol {symbol} --format csv")
        return done.stdout.splitlines()[1:] if done.returncode == 0 else []

    def wait_for_results(self, symbol: str, many: int, node: str = "n1") -> list[str]:
        def there() -> list[str]:
            rows = self.results(symbol, node)
            return rows if len(rows) >= many else []

        return eventually(there, 300, f"{node} holds {many} rows of {symbol}")

    def address(self, node: str, service: str) -> str:
        found = self.cluster.get("-n", f"orrery-{node}", "service", service)
        return found["spec"]["clusterIP"]

    def pods(self, node: str) -> list[dict]:
        return self.cluster.get("-n", f"orrery-{node}", "pods")["items"]

    def wait_ready(self, *spaces: str) -> None:
        """Wait until every pod of namespaces is Ready or has ended well; else say why not."""

        def ready() -> bool:
            waiting = self.waiting(*spaces)
            assert not waiting, waiting
            return True

        try:
            eventually(ready, READY_SECONDS_MAX, f"all pods of {spaces} are ready")
        except AssertionError as cause:
            raise AssertionError(f"{cause}\n{self.told(*spaces)}") from None

    def waiting(self, *spaces: str) -> list[str]:
        found = [pod for space in spaces for pod in self.cluster.get("-n", space, "pods")["items"]]
        return [pod["metadata"]["name"] for pod in found if not is_ready(pod)] if found else ["all"]

    def told(self, *spaces: str) -> str:
        """Return what the cluster says about pods that do not get ready."""
        text = ""
        for space in spaces:
            text += self.cluster.kubectl("-n", space, "get", "pods", "-o", "wide")
            for name in self.waiting(space):
                logs = ("logs", name, "--all-containers", "--tail=15", "--prefix")
                text += self.cluster.tried("-n", space, *logs).stdout
                text += self.cluster.tried("-n", space, "describe", "pod", name).stdout[-2500:]
        return text


def is_ready(pod: dict) -> bool:
    status = pod["status"]
    conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
    gone = "deletionTimestamp" in pod["metadata"]
    return not gone and (status["phase"] == "Succeeded" or conditions.get("Ready") == "True")


def load_images(cluster: Cluster, target: Path) -> None:
    """Build ours and the stand-ins in an engine, carry them over, write the list to `target`."""
    build = "docker build -q -f services/Dockerfile --build-arg PYTHON_IMAGE=python:3.11-slim"
    steps = [
        f"docker build -q -t orrery/test-{name.lower()}:1 --build-arg IMAGE={STAGE_IMAGE} "
        f"--build-arg NAME={name.lower()} tests/kube/stage"
        for name in STEPS
    ]
    into = f"ctr -a {cluster.root}/containerd.sock -n k8s.io"
    stages = " ".join(f"{name}=orrery/test-{name.lower()}:1" for name in STEPS)
    carry = f"INTO='{into}' STAGES='{stages}' OUT={target} k8s/images.sh"
    with engine_up():
        for line in (f"{build} --target stage -t {STAGE_IMAGE} .", *steps, carry):
            done = shell(line)
            assert done.returncode == 0, f"{line}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    with target.open("a") as images:
        images.write(f"NOWHERE={NOWHERE}\n")


def lay_tree(folder: Path) -> Path:
    """Lay the files to apply: two universes on one machine, without disks that outlive a pod."""
    tree = manifests.copy_tree(folder)
    with (tree / "k8s/nodes/n1/universe.toml").open("a") as universe:
        universe.write(f"\n[feed]\nrows_per_second = {ROWS_PER_SECOND}\n\n{CHAINS.read_text()}")
    path = tree / "k8s/nodes/n2/kustomization.yaml"
    text = path.read_text().replace("PLACE=n2", "PLACE=n1")
    own = "  - ../../components/place\n"
    path.write_text(text.replace(own, f"{own}  - ../../components/dev-emptydir\n"))
    return tree


def secrets_folder(tree: Path, node: str) -> Path:
    """Write a node's passwords as files, for a process that runs beside the cluster."""
    folder = tree / "secrets" / node
    folder.mkdir(parents=True, exist_ok=True)
    for line in (tree / f"k8s/nodes/{node}/passwords.env").read_text().splitlines():
        role, _, password = line.partition("=")
        (folder / role).write_text(password)
    return folder


def outside_env(whole: Whole, node: str) -> dict[str, str]:
    """Return the environment of a process beside the cluster that speaks to a node's Postgres."""
    return {
        "ORRERY_NODE": node,
        "ORRERY_NODES_DIR": str(whole.tree / "k8s/nodes"),
        "ORRERY_ROOT": str(whole.tree),
        "ORRERY_HOME": str(whole.tree / "home"),
        "ORRERY_POSTGRES_HOST": whole.address(node, "postgres"),
        "ORRERY_POSTGRES_PORT": "5432",
        "ORRERY_SECRETS": str(secrets_folder(whole.tree, node)),
    }
