"""The pieces of the stack that need no server: ports, plans, passwords, templates, topics."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest
from orrery_services import connect
from orrery_services.config import ROLES, find_root, load_settings
from orrery_services.errors import PortTaken, StackError
from orrery_services.stack import kernels, make_plan, plan, processes, secrets, topics

ROOT = find_root()
MADE_BY_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")  # when make runs the tests


def test_every_part_has_a_port_of_its_own():
    ports = plan.default_ports(("n1", "n2", "n3"), 20_000)

    assert len(set(ports.values())) == len(ports)
    assert all(20_000 < port < 21_000 for port in ports.values())


def test_a_single_port_can_be_moved_and_an_unknown_one_is_told(tmp_path):
    moved = make_plan(tmp_path, ("n1",), ports={"kafka": 9092})
    assert moved.ports["kafka"] == 9092

    with pytest.raises(StackError, match=r"must be one of .*kafka.*was 'kafk'"):
        make_plan(tmp_path, ("n1",), ports={"kafk": 9092})


def test_make_hands_ports_to_the_command():
    words = ["make", "-n", "up", "PORT_BASE=21000", "PORTS=kafka=9092 n1.postgres=5432"]
    alone = {name: text for name, text in os.environ.items() if name not in MADE_BY_MAKE}

    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=alone).stdout

    last = said.splitlines()[-1].split()
    assert last[1:] == [
        "up", "--port-base", "21000", "--port", "kafka=9092", "--port", "n1.postgres=5432",
    ]  # fmt: skip


def test_a_plan_comes_back_as_it_was_saved(tmp_path):
    asked = make_plan(tmp_path, ("n1", "n2"), services=("packer",), env={"A": "b"})

    plan.save(asked)

    assert plan.load(tmp_path) == asked
    assert plan.load(tmp_path / "elsewhere") is None


def test_who_listens_is_found():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        assert plan.taken(port)
        assert processes.listener(port).startswith(f"pid {os.getpid()} ")
    assert not plan.taken(port)


def test_a_port_that_a_killed_program_is_about_to_give_back_is_waited_for(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as dying:
        asked = plan.Plan(tmp_path, ROOT, ("n1",), {"kafka": dying.getsockname()[1]})
        threading.Timer(0.3, dying.close).start()

        plan.check_ports(asked)


def test_who_listens_is_found_whatever_is_closed_while_one_looks():
    """Looking itself opens a file below the socket's, which is gone when its turn comes."""
    below = os.open(os.devnull, os.O_RDONLY)
    with socket.create_server(("127.0.0.1", 0)) as server:
        os.close(below)
        assert processes.listener(server.getsockname()[1]).startswith(f"pid {os.getpid()} ")


def test_a_port_that_stays_taken_is_told_with_its_holder(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "PORT_PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        asked = plan.Plan(tmp_path, ROOT, ("n1",), {"n1.postgres": other.getsockname()[1]})

        with pytest.raises(PortTaken, match=rf"\(n1\.postgres\) is held by pid {os.getpid()}"):
            plan.check_ports(asked)


def test_a_marked_process_is_found_and_ended_and_others_are_not(tmp_path):
    code = "import time; time.sleep(60)"
    env = os.environ | {processes.MARK: str(tmp_path)}
    marked = subprocess.Popen([sys.executable, "-c", code], env=env)
    other = subprocess.Popen([sys.executable, "-c", code])

    found = processes.children_of_stack(tmp_path)
    processes.end(found, 5.0, processes.signal.SIGTERM)

    assert [process.pid for process in found] == [marked.pid]
    assert marked.wait(60) != 0
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_reused_pid_is_not_taken_for_the_process_that_had_it():
    mine = processes.find(os.getpid())

    assert mine.alive()
    assert not mine._replace(started=mine.started - 1).alive()


def settings_in(folder, **env):
    variables = {f"ORRERY_{name.upper()}": value for name, value in env.items()}
    return load_settings("n1", {"ORRERY_HOME": str(folder), **variables})


def test_passwords_are_made_once_and_the_passfile_follows_the_port(tmp_path):
    secrets.ensure(settings_in(tmp_path))
    folder = tmp_path / "secrets" / "n1"
    first = {role: (folder / role).read_text() for role in ROLES}

    secrets.ensure(settings_in(tmp_path, postgres_port="5999"))

    assert {role: (folder / role).read_text() for role in ROLES} == first
    assert "127.0.0.1:5999:orrery:orrery_reader:" in (folder / "pgpass").read_text()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {0o600}


def test_connect_is_given_one_password_and_no_other(tmp_path):
    there = tmp_path / "connect"
    there.mkdir()

    settings = settings_in(tmp_path, connect_secrets=str(there))
    secrets.ensure(settings)

    assert (there / "n1").read_text() == settings.password("cdc")
    assert [path.name for path in there.iterdir()] == ["n1"]


@pytest.mark.parametrize("name", connect.NAMES)
def test_a_connector_is_filled_in_whole_and_holds_no_password(tmp_path, name):
    settings = settings_in(tmp_path, cdc_poll_interval_ms="7")
    secrets.ensure(settings)

    config = connect.connector_config(settings, name)

    assert config["poll.interval.ms"] == "7"
    assert config["database.password"].startswith("${dir:")
    assert settings.password("cdc") not in json.dumps(config)
    left = [value for value in config.values() if "{" in value.replace("${", "")]
    assert left == []


@pytest.mark.parametrize("name", connect.NAMES)
def test_a_connector_captures_inserts_alone_and_never_trusts_a_slot(name):
    config = json.loads((ROOT / "connectors" / f"{name}.json").read_text())

    assert config["skipped.operations"] == "u,d,t"
    assert config["publication.autocreate.mode"] == "disabled"
    assert config["offset.mismatch.strategy"] == "trust_offset"
    assert config["slot.failover"] == "false"


def test_every_topic_has_partitions_by_a_formula_and_a_bound_on_messages():
    settings = load_settings("n1", {})

    for name, entry in topics.declared(ROOT).items():
        assert topics.partitions(entry["partitions"], settings) >= 1, name
        assert int(topics.config(entry, settings)["max.message.bytes"]) <= 16 * 1024**2
    with pytest.raises(StackError, match="must be P, P\\+1 or 1, was 'Q'"):
        topics.partitions("Q", settings)


def test_what_an_image_compiles_is_what_its_chains_run(tmp_path):
    universe = tmp_path / "universe.toml"
    universe.write_text(
        '[chains]\ndefault = [{ kernel = "ewma" }, { kernel = "ta_apo", x = "price", '
        'matype = "wma" }]\nother = [{ kernel = "ewma", alpha = 0.5 }]\n'
    )

    assert kernels.kernels_of([universe]) == ["ewma", "pairs_spread", "ta_wma"]
