"""What a set-up that was killed, a full disk or a slow machine leaves behind, and who goes on."""

import errno
import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from orrery_services.config import ROLES
from orrery_services.errors import PartFailed
from orrery_services.stack import control, make_plan, postgres, runner, secrets, supervisor
from orrery_services.stack.part import NotReady, Part, User
from orrery_services.stack.stack import ATTEMPTS_MAX, Stack

from .test_stack_pieces import settings_in

SECONDS_MAX = 30.0


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> None:
    """A wheel that root's Postgres user cannot reach: its programs are copied to where he can."""
    package, var = tmp_path / "wheel", tmp_path / "var"
    (package / "pginstall" / "bin").mkdir(parents=True)
    (package / "pginstall" / "bin" / "postgres").touch()
    var.mkdir()
    spec = SimpleNamespace(origin=str(package / "__init__.py"))
    monkeypatch.setattr(postgres.importlib.util, "find_spec", lambda _: spec)
    monkeypatch.setattr(postgres, "Path", lambda path: var if path == "/var/tmp" else Path(path))
    monkeypatch.setattr(postgres, "run_as", lambda: User(1, 1))
    monkeypatch.setattr(postgres, "reachable", lambda *_: False)


def test_nodes_that_start_side_by_side_copy_the_programs_once(wheel, monkeypatch):
    both, copied = threading.Barrier(2), []

    def copy(source: Path, to: Path, **more: bool) -> None:
        copied.append(to)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)  # for the other node, should it copy too
        shutil.copytree(source, to, **more)

    files = SimpleNamespace(copytree=copy, rmtree=shutil.rmtree)
    monkeypatch.setattr(postgres, "shutil", files)

    with ThreadPoolExecutor(2) as nodes:
        programs = list(nodes.map(postgres.binary, ["postgres"] * 2))

    assert all(program.exists() for program in programs)
    assert len(copied) == 1


def test_a_copy_of_the_programs_that_was_cut_short_is_made_again(wheel, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(shutil, "copytree", lambda _, to, **more: to.mkdir() or full())
        with pytest.raises(OSError, match="No space"):
            postgres.binary("postgres")

    assert postgres.binary("postgres").exists()


def initdb(command: list[str], **_: object) -> SimpleNamespace:
    """Do as much of initdb as matters, in its order."""
    data = Path(command[command.index("-D") + 1])
    data.mkdir()
    (data / "PG_VERSION").write_text("18\n")
    (data / "postgresql.conf").write_text("# as the programs come with it\n")
    (data / "pg_control").touch()
    return SimpleNamespace(returncode=0)


def cut_short(command: list[str], **_: object) -> None:
    initdb(command)
    (Path(command[command.index("-D") + 1]) / "pg_control").unlink()
    killed()


def killed_behind(command: list[str], **_: object) -> None:
    initdb(command)
    killed()


@pytest.mark.parametrize("first", [cut_short, killed_behind])
def test_an_empty_database_that_was_not_made_whole_is_made_again(tmp_path, monkeypatch, first):
    stack = make_plan(tmp_path, ("n1",))
    monkeypatch.setattr(postgres, "run_as", lambda: None)
    monkeypatch.setattr(postgres, "binary", Path)
    monkeypatch.setattr(subprocess, "run", first)
    with pytest.raises(KeyboardInterrupt):
        postgres.prepare(stack, "n1", lambda _: None)
    monkeypatch.setattr(subprocess, "run", initdb)

    postgres.prepare(stack, "n1", lambda _: None)

    data = stack.postgres_data("n1")
    assert (data / "pg_control").exists()
    assert "include 'orrery.conf'" in (data / "postgresql.conf").read_text()


def passwords(folder: Path) -> dict[str, str]:
    return {role: (folder / "secrets" / "n1" / role).read_text() for role in ROLES}


def test_a_password_whose_writing_was_killed_is_made_at_the_next_start(tmp_path, monkeypatch):
    settings = settings_in(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(secrets.os, "fdopen", killed)
        with pytest.raises(KeyboardInterrupt):
            secrets.ensure(settings)

    secrets.ensure(settings)

    assert all(passwords(tmp_path).values())


def test_an_empty_file_is_no_password(tmp_path):
    (tmp_path / "secrets" / "n1").mkdir(parents=True)
    (tmp_path / "secrets" / "n1" / ROLES[0]).touch()

    secrets.ensure(settings_in(tmp_path))

    assert all(passwords(tmp_path).values())


def test_a_part_that_lives_long_and_never_gets_ready_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "RUNS_WELL_SECONDS", 0.0)
    monkeypatch.setattr(runner, "RESTART_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(runner, "RESTARTS_MAX", 3)

    def never() -> None:
        raise NotReady("it answers nobody")

    part = Part("x", command=lambda: ["sleep", "60"], ready=never, ready_seconds=0.0)
    failed = threading.Event()
    keeper = runner.Runner(
        part, tmp_path / "log", {}, lambda _, state, why: state == runner.FAILED and failed.set()
    )
    keeper.start({})
    try:
        assert failed.wait(SECONDS_MAX)
    finally:
        keeper.leave()


def test_a_part_that_is_ready_is_not_blamed_for_its_first_attempts(tmp_path):
    stack = Stack(make_plan(tmp_path, ("n1",)))
    tried = {"why": "", "pid": 1, "restarts": ATTEMPTS_MAX}
    deadline = time.monotonic() + SECONDS_MAX

    stack._check_failed({"n1.packer": {"state": runner.READY, **tried}}, deadline)

    with pytest.raises(PartFailed, match=r"n1\.packer must become ready"):
        stack._check_failed({"n1.packer": {"state": runner.STARTING, **tried}}, deadline)


def test_a_log_that_a_full_disk_does_not_let_be_bounded_ends_nothing(tmp_path, monkeypatch):
    keeper = supervisor.Supervisor(make_plan(tmp_path, ("n1",), services=("replication",)))
    tried = []
    monkeypatch.setattr(runner, "bound_log", lambda path: tried.append(path.stem) or full())

    keeper.keep()

    assert tried == [*keeper.runners, "supervisor"]


def test_a_supervisor_that_leaves_before_it_is_asked_gives_no_answer(tmp_path, monkeypatch):
    with control._short(tmp_path) as path, socket.socket(socket.AF_UNIX) as leaving:
        leaving.bind(path)
        leaving.listen()

        class Client(socket.socket):
            def connect(self, address: str) -> None:
                super().connect(address)
                leaving.close()

        monkeypatch.setattr(socket, "socket", Client)

        assert control.ask(tmp_path, do="status") is None
