"""A node with tables of its own and a universe of its own, named by the environment."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from orrery_services import compiled, store
from orrery_services.config import Settings, load_settings
from orrery_services.store import identity

from tests.services.store.server import Server

from .market import RATES_CHAIN

NewNode = Callable[..., Settings]


@pytest.fixture(scope="session", autouse=True)
def compiled_loops() -> None:
    compiled.keep_loops()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.remove()


@pytest.fixture
def new_node(server: Server, tmp_path: Path) -> NewNode:
    """Make nodes: new_node("n1", {"rates": RATES_CHAIN}, 'more = "toml"')."""

    def make(name: str = "n1", chains: dict | None = None, more: str = "") -> Settings:
        database = server.new_database()
        with store.connect(server.conninfo(database, "orrery_writer")) as connection:
            identity.begin(connection, name, identity.EMPTY_DISK)
        folder = tmp_path / name
        folder.mkdir()
        for role in ("orrery_writer", "orrery_reader"):
            (folder / role).write_text("trusted")
        universe = folder / "universe.toml"
        chains = {"rates": RATES_CHAIN} if chains is None else chains
        universe.write_text(toml(name, chains, more))
        return load_settings(
            env={
                "ORRERY_NODE": name,
                "ORRERY_UNIVERSE": str(universe),
                "ORRERY_POSTGRES_HOST": "127.0.0.1",
                "ORRERY_POSTGRES_PORT": str(server.port),
                "ORRERY_POSTGRES_DATABASE": database,
                "ORRERY_SECRETS": str(folder),
                "ORRERY_HOME": str(folder),
            }
        )

    return make


@pytest.fixture
def node(new_node: NewNode) -> Settings:
    return new_node()


@pytest.fixture
def writer(node: Settings) -> Iterator[psycopg.Connection]:
    with store.connect(node.postgres("writer")) as connection:
        yield connection


def toml(name: str, chains: dict, more: str) -> str:
    """Return a universe that declares chains of dominoes."""
    lines = [f'node = "{name}"', more, "[chains]", 'default = [{ kernel = "midprice" }]']
    for chain, declared in chains.items():
        lines.append(f"[dominoes.{chain}]")
        lines += [f"{key} = {value_of(value)}" for key, value in declared.items()]
    return "\n".join(lines)


def value_of(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{k}" = {value_of(v)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(value_of, value)) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    return repr(value)
