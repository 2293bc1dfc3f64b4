"""Commands where nothing runs, or not what they need: one line with what to do, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.services.store.conftest import server

__all__ = ["server"]
MAIN = "from orrery_services.cli.main import main; main()"


def orrery(home: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("ORRERY_")
    } | env
    env["ORRERY_HOME"] = str(home)
    return subprocess.run(
        [sys.executable, "-c", MAIN, *words], env=env, capture_output=True, text=True
    )


@pytest.mark.parametrize("words", ["status", "trade A.B 1 1", "read --chain default --symbol A.B"])
def test_before_make_up_a_command_says_so_and_asks_no_broker(tmp_path, words):
    done = orrery(tmp_path, *words.split())

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "`make up` starts it" in done.stderr


def test_what_needs_no_stack_asks_for_none(tmp_path):
    assert orrery(tmp_path, "config", "show", "--json").returncode == 0
    assert orrery(tmp_path, "status", "--help").returncode == 0


def test_a_database_without_tables_is_one_line(tmp_path, server):
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as admin:
        admin.execute("CREATE ROLE orrery_reader LOGIN")
    (tmp_path / "orrery_reader").write_text("trusted")
    place = {
        "ORRERY_NODE": "n1",
        "ORRERY_POSTGRES_PORT": str(server.port),
        "ORRERY_POSTGRES_DATABASE": "postgres",
        "ORRERY_SECRETS": str(tmp_path),
    }

    done = orrery(tmp_path, "read", "--chain", "default", "--symbol", "A.B", **place)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "does not exist" in done.stderr and "orrery status" in done.stderr
