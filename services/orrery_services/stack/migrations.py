"""A node's database: its roles, then schemas/tables/*.sql in order of name. Run again at will.

Every file is idempotent and runs in a transaction of its own; it runs again when its text changed.
"""

import hashlib

import psycopg
from psycopg import sql

from ..config import ROLES, Settings
from ..errors import StackError

ATTRIBUTES = {"orrery_cdc": "REPLICATION"}
LOCK = 0x0_0441_2241  # two set-ups at once take turns
APPLIED = """CREATE TABLE IF NOT EXISTS schema_files (
    name text PRIMARY KEY, digest text NOT NULL, applied timestamptz NOT NULL DEFAULT now())"""


def make_roles(settings: Settings) -> None:
    """Make the database and its roles, each with the password of its file."""
    database = settings.values["postgres.database"]
    with _admin(settings, "postgres") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        for role in ROLES[1:]:
            _make_role(connection, role, settings.password(role))
        row = connection.execute("SELECT FROM pg_database WHERE datname = %s", [database])
        if row.fetchone() is None:
            make = sql.SQL("CREATE DATABASE {} OWNER orrery_owner ENCODING 'UTF8'")
            connection.execute(make.format(sql.Identifier(database)))
    with _admin(settings, database) as connection:
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        connection.execute("ALTER SCHEMA public OWNER TO orrery_owner")
        roles = sql.SQL(", ").join(map(sql.Identifier, ROLES[2:]))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(roles))
        connection.execute(
            sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))
        )
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), roles)
        )


def ensure(settings: Settings) -> str:
    """Make roles, then tables."""
    make_roles(settings)
    done = apply_tables(settings)
    return f"ran {', '.join(done)}" if done else ""


def apply_tables(settings: Settings) -> list[str]:
    """Run every schemas/tables/*.sql that is new or changed; return their names."""
    done = []
    with _admin(settings, settings.values["postgres.database"]) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        connection.execute(APPLIED)
        applied = dict(connection.execute("SELECT name, digest FROM schema_files").fetchall())
        for path in sorted((settings.root / "schemas" / "tables").glob("*.sql")):
            text = path.read_text()
            digest = hashlib.sha256(text.encode()).hexdigest()
            if applied.get(path.name) == digest:
                continue
            _apply(connection, path.name, text, digest)
            done.append(path.name)
        hand_to_owner(connection)  # also what a set-up that was killed left behind
    return done


def _apply(connection: psycopg.Connection, name: str, text: str, digest: str) -> None:
    try:
        with connection.transaction():
            connection.execute(text)  # our own file, whole: no parameters
            connection.execute(
                "INSERT INTO schema_files (name, digest) VALUES (%s, %s) "
                "ON CONFLICT (name) DO UPDATE SET digest = EXCLUDED.digest, applied = now()",
                [name, digest],
            )
    except psycopg.Error as cause:
        raise StackError(f"schemas/tables/{name} must run, but Postgres said: {cause}") from cause


def hand_to_owner(connection: psycopg.Connection) -> None:
    """Hand tables to orrery_owner: the superuser owns only functions that must see more."""
    query = """SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm')
        AND pg_get_userbyid(c.relowner) <> 'orrery_owner'"""
    for (name,) in connection.execute(query).fetchall():
        alter = sql.SQL("ALTER TABLE {} OWNER TO orrery_owner").format(sql.Identifier(name))
        connection.execute(alter)


def _make_role(connection: psycopg.Connection, role: str, password: str) -> None:
    query = "SELECT 1 FROM pg_roles WHERE rolname = %s"
    exists = connection.execute(query, [role]).fetchone()
    verb = sql.SQL("ALTER" if exists else "CREATE")
    statement = sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE {} PASSWORD {}")
    # The verifier, not the password: a statement that fails is written to the server's log.
    verifier = connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    )
    attribute = sql.SQL(ATTRIBUTES.get(role, "NOREPLICATION"))
    connection.execute(
        statement.format(verb, sql.Identifier(role), attribute, sql.Literal(verifier.decode()))
    )


def _admin(settings: Settings, database: str) -> psycopg.Connection:
    conninfo = psycopg.conninfo.make_conninfo(settings.postgres("orrery_admin"), dbname=database)
    return psycopg.connect(conninfo, autocommit=True)


if __name__ == "__main__":
    from .jobs import run

    raise SystemExit(run(ensure))
