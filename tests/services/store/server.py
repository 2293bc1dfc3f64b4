"""A Postgres of its own for tests: the wheel's binaries, the project's settings."""

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg
from orrery_services.stack import migrations, postgres

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
ROLES = ("orrery_owner", "orrery_writer", "orrery_reader", "orrery_cdc", "orrery_gc")


class Server:
    """One server process on a free port. Trusts loopback: the tables' grants are what is tested."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="orrery-test-postgres."))
        self.user = postgres.run_as()
        if self.user:
            os.chown(self.folder, self.user.uid, self.user.gid)
        self.data = self.folder / "data"
        self._run(
            "initdb", "-D", self.data, "-U", "admin", "--auth=trust", "-E", "UTF8", "--no-sync"
        )
        self.port = free_port()
        settings = (ROOT / "schemas" / "postgresql.conf").read_text()
        settings += f"port = {self.port}\nunix_socket_directories = ''\nfsync = off\n"
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(settings)
        self.start()

    def start(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def conninfo(self, database: str, role: str = "admin") -> str:
        return f"host=127.0.0.1 port={self.port} dbname={database} user={role}"

    def new_database(self) -> str:
        """Return the name of a fresh database with every table of the project."""
        name = "t" + uuid.uuid4().hex[:12]
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as admin:
            found = admin.execute("SELECT 1 FROM pg_database WHERE datname = 'filled'")
            if found.fetchone() is None:
                self._make_template(admin)
            admin.execute(f"CREATE DATABASE {name} TEMPLATE filled")
        return name

    def _make_template(self, admin: psycopg.Connection) -> None:
        for role in ROLES:
            admin.execute(f"CREATE ROLE {role} LOGIN {'REPLICATION' * role.endswith('cdc')}")
        admin.execute("CREATE DATABASE filled")
        with psycopg.connect(self.conninfo("filled"), autocommit=True) as filled:
            for path in sorted((ROOT / "schemas" / "tables").glob("*.sql")):
                filled.execute(path.read_text())
            migrations.hand_to_owner(filled)

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(postgres.binary(program)), *map(str, arguments)]
        done = subprocess.run(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            **postgres.as_user(self.user),
        )
        assert done.returncode == 0, done.stderr
