"""The real stack, started once per run by the code that `make up` uses, on free ports of its own.

`stack` is shared: a test leaves it as healthy as it found it (`faults` restarts what it kills; wait
for it). `new_stack` gives a stack of its own, for tests that ask for other nodes or settings.
"""

import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from orrery_services import failpoints
from orrery_services.stack import Stack, free_port_base, make_plan

NODES = ("n1", "n2")
UNUSED = 99  # of a block of ports
NewStack = Callable[..., Stack]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who needs the shared stack comes last: it is not up while others measure and kill theirs."""
    items.sort(key=lambda item: "stack" in getattr(item, "fixturenames", ()))


def claim_ports(nodes: tuple[str, ...]) -> tuple[int, socket.socket]:
    """Return a free base, and a socket that keeps others of these tests off it while it is open."""
    while True:
        base, claim = free_port_base(nodes), socket.socket()
        try:
            claim.bind(("127.0.0.1", base + UNUSED))
            return base, claim
        except OSError:  # somebody was faster, and its servers have not opened their ports yet
            claim.close()


def start(home: Path, nodes: tuple[str, ...], **wanted: object) -> Stack:
    base, claim = claim_ports(nodes)
    made = Stack(make_plan(home, nodes, port_base=base, **{"demo": False, **wanted}))
    made.claim = claim
    made.up()
    return made


def remove(made: Stack) -> None:
    made.down()
    made.clean()
    made.claim.close()


@pytest.fixture(scope="session")
def short_tmp() -> Iterator[Path]:
    """A folder that other users may enter: Postgres does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="orrery-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(short_tmp: Path) -> Iterator[Stack]:
    """One sky and two nodes with every service of this build, without the demo feed."""
    armed = short_tmp / "failpoints"
    armed.mkdir()
    made = start(short_tmp / "stack", NODES, env={failpoints.FOLDER: str(armed)})
    yield made
    remove(made)


@pytest.fixture
def new_stack(short_tmp: Path) -> Iterator[NewStack]:
    """Start stacks of one's own: new_stack(nodes=("n1",), services=(), env={...})."""
    made: list[Stack] = []

    def make(nodes: tuple[str, ...] = ("n1",), **wanted: object) -> Stack:
        home = Path(tempfile.mkdtemp(dir=short_tmp))
        home.chmod(0o755)
        made.append(start(home, nodes, **wanted))
        return made[-1]

    yield make
    for one in made:
        remove(one)


@pytest.fixture(scope="session")
def start_and_remove() -> tuple[NewStack, Callable[[Stack], None]]:
    """The two functions, for fixtures of a module's own."""
    return start, remove
