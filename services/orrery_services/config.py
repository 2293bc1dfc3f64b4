"""What a node is: defaults < universe.toml < the running stack < environment (ORRERY_*).

schemas/universe.schema.json is the one list of settings: name, type, range, default, meaning.
Every leaf has an environment name: `limits.batch_rows_max` is ORRERY_LIMITS_BATCH_ROWS_MAX, and
ORRERY_N2_KAFKA speaks to node n2 alone. Unknown keys fail. The environment may also hold:

    ORRERY_NODE       the node of this process       ORRERY_UNIVERSE  its universe.toml (a file)
    ORRERY_NODES_DIR  folders of nodes (k8s/nodes)   ORRERY_ROOT      where schemas/ and k8s/ are
    ORRERY_HOME       what `make up` makes (.orrery)
    ORRERY_LOG_LEVEL, ORRERY_STACK (marks children of the stack)
    ORRERY_RULES_OFF, ORRERY_TEST_* (switches of tests)
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
from psycopg import conninfo

from .errors import ConfigError
from .universe import (
    Flat,
    check,
    defaults,
    explain,
    flatten,
    leaves,
    universe_schema,
    unknown,
)

ENV = "ORRERY_"
NOT_SETTINGS = {
    *("NODE", "UNIVERSE", "NODES_DIR", "ROOT", "HOME", "LOG_LEVEL", "STACK", "RULES_OFF", "CHAIN"),
    "CACHE",  # compiled kernels (orrery_kernels.engine.loader)
    *("TOKEN", "ORDER", "SLOT", "SCRATCH", "TERMINATION_LOG"),  # of a hot-swapped stage
    *("GATE_FD", "GATE_RECORD", "GATE_NAME"),  # of a process that waits to be written down
    *("INPUT", "INPUTS", "OUTPUT", "PARAMETERS", "RUN", "STAGE", "ATTEMPT"),
}
NOT_SETTINGS_BELOW = ("TEST_", "MEMO_")
ROLES = (
    "orrery_admin",  # superuser: set-up only, no service has it
    "orrery_owner",
    "orrery_writer",
    "orrery_reader",
    "orrery_cdc",
    "orrery_gc",
)


class Section(Mapping):
    """A read-only table of universe.toml: `limits.batch_rows_max`, `limits["batch_rows_max"]`."""

    def __init__(self, name: str, values: Mapping[str, Any]):
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_values", dict(values))

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        try:
            return self._values[key]
        except KeyError:
            raise AttributeError(unknown(f"{self._name}.{key}", self._name, self._values)) from None

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError("settings are read-only")

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{self._name}{self._values}"


# A server that vanishes without a word (its machine, the network) is given up after 15 s, whether
# something was on its way to it or it was waited for; TCP alone would wait a quarter of an hour.
_SILENCE = {
    "tcp_user_timeout": 15_000, "keepalives_idle": 5, "keepalives_interval": 5,
    "keepalives_count": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """One node, complete. `origins` says of every dotted key where its value came from."""

    node: str
    peers: tuple[str, ...]
    partitions: int
    kafka: str
    connect: str
    tsdb: str | None  # None: this node runs without a time-series store
    bind_host: str
    metrics_port: int
    gateway_port: int
    home: Path
    root: Path
    universe: Path
    chains: dict[str, list[dict[str, Any]]]
    dominoes: dict[str, Any]
    cdc: Section
    limits: Section
    data: Section
    provisioning: Section
    routing: dict[str, Any]
    values: Flat
    origins: dict[str, str]

    def secret_file(self, role: str) -> Path:
        """Return the file that holds a role's password."""
        folder = self.values["secrets"] or str(self.home / "secrets" / self.node)
        return Path(folder) / _role(role)

    def password(self, role: str) -> str:
        path = self.secret_file(role)
        try:
            return path.read_text().strip()
        except OSError as cause:
            raise ConfigError(
                f"the password of {_role(role)} must be in {path}, but {cause.strerror}; "
                "`make up` writes it, elsewhere mount it there or set ORRERY_SECRETS to its folder"
            ) from cause

    def postgres(self, role: str = "reader") -> str:
        """Return a connection string with its password: never log it, never put it in argv."""
        return conninfo.make_conninfo(
            host=self.values["postgres.host"],
            port=self.values["postgres.port"],
            dbname=self.values["postgres.database"],
            user=_role(role),
            password=self.password(role),
            connect_timeout=self.values["postgres.connect_timeout_seconds"],
            application_name=f"orrery-{self.node}",
            **_SILENCE,
        )

    def postgres_url(self, role: str = "reader") -> str:
        """Return the address to show people: libpq finds the password in the file that it names."""
        host, port = self.values["postgres.host"], self.values["postgres.port"]
        database = self.values["postgres.database"]
        url = f"postgresql://{_role(role)}@{host}:{port}/{database}"
        passfile = self.secret_file(role).with_name("pgpass")
        return f"{url}?passfile={passfile}" if passfile.exists() else url

    def metrics_url(self, service: str) -> str | None:
        """Return the base address of a service's /metrics, or None when nobody knows it."""
        if template := self.values["metrics_url"]:
            return template.format(node=self.node, service=service)
        port = self.values.get(f"ports.{service}")
        return f"http://{self.bind_host}:{port}" if port else None

    def gateway_url(self) -> str | None:
        if url := self.values["gateway_url"]:
            return url.format(node=self.node)
        return f"http://{self.bind_host}:{self.gateway_port}" if self.gateway_port else None


def load_settings(
    node: str | None = None, env: Mapping[str, str] = os.environ, root: Path | None = None
) -> Settings:
    """Return the settings of `node` (default ORRERY_NODE, else the first folder of k8s/nodes).

    Raises ConfigError that names the key, the rule, the value and the place it came from.
    """
    root = root or find_root(env)
    home = Path(env.get("ORRERY_HOME") or root / ".orrery").absolute()
    node = node or env.get("ORRERY_NODE") or node_names(env, root)[0]
    path = universe_path(node, env, root)
    declared = _read_universe(path, root)
    if declared["node"] != node:
        raise ConfigError(f"node must be {node!r}, was {declared['node']!r} ({path})")
    schema = universe_schema(root)
    layers = [("default", defaults(schema)), (str(path), flatten(declared, schema))]
    layers += [("running stack", _stack_layer(home, node))]
    layers += _environment(node, env, schema, node_names(env, root))
    values: Flat = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        values.update(layer)
        origins.update(dict.fromkeys(layer, origin))
    _check_ranges(values, origins, schema)
    return _settings(values, origins, declared, (home, root, path))


def node_names(env: Mapping[str, str] = os.environ, root: Path | None = None) -> list[str]:
    """Return the declared nodes in order of name."""
    if "ORRERY_UNIVERSE" in env:
        return [env.get("ORRERY_NODE") or _parse(Path(env["ORRERY_UNIVERSE"])).get("node", "n1")]
    folder = _nodes_dir(env, root or find_root(env))
    names = sorted(path.parent.name for path in folder.glob("*/universe.toml"))
    if not names:
        raise ConfigError(
            f"at least one node must be declared, but there is no {folder}/<node>/universe.toml; "
            "run from the repository or set ORRERY_ROOT to it"
        )
    return names


def find_root(env: Mapping[str, str] = os.environ) -> Path:
    """Return the folder with schemas/ and k8s/: ORRERY_ROOT, the checkout, or where we are."""
    if env.get("ORRERY_ROOT"):
        return Path(env["ORRERY_ROOT"]).absolute()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "schemas" / "universe.schema.json").exists():
        return checkout
    return Path.cwd()


def universe_path(node: str, env: Mapping[str, str], root: Path) -> Path:
    if "ORRERY_UNIVERSE" in env:
        return Path(env["ORRERY_UNIVERSE"])
    path = _nodes_dir(env, root) / node / "universe.toml"
    if not path.exists():
        known = ", ".join(node_names(env, root))
        raise ConfigError(f"node must be one of {known}, was {node!r} (no {path})")
    return path


def stack_socket(home: Path) -> Path:
    """Return where the supervisor of a stack answers while it runs."""
    return home / "run" / "supervisor.sock"


def stack_file(home: Path, node: str) -> Path:
    """Return the file in which the running stack tells its addresses."""
    return home / "run" / "nodes" / f"{node}.json"


def _settings(
    values: Flat, origins: dict[str, str], declared: dict[str, Any], places: tuple[Path, Path, Path]
) -> Settings:
    def section(name: str) -> Section:
        prefix = name + "."
        found = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
        return Section(name, found)

    same = ("node", "partitions", "kafka", "connect", "bind_host", "metrics_port", "gateway_port")
    home, root, path = places
    return Settings(
        **{key: values[key] for key in same},
        peers=tuple(values["peers"]),
        tsdb=values["tsdb"] or None,
        home=home,
        root=root,
        universe=path,
        chains=declared["chains"],
        dominoes=values["dominoes"],
        routing=values["routing"],
        cdc=section("cdc"),
        limits=section("limits"),
        data=section("data"),
        provisioning=section("provisioning"),
        values=values,
        origins=origins,
    )


def _nodes_dir(env: Mapping[str, str], root: Path) -> Path:
    return Path(env.get("ORRERY_NODES_DIR") or root / "k8s" / "nodes")


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as cause:
        raise ConfigError(f"{path} must be readable, but {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{path} must be TOML: {cause}") from cause


def _read_universe(path: Path, root: Path) -> dict[str, Any]:
    document = _parse(path)
    check(document, universe_schema(root), str(path))
    return document


def _stack_layer(home: Path, node: str) -> Flat:
    try:
        return json.loads(stack_file(home, node).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as cause:
        raise ConfigError(
            f"{stack_file(home, node)} must be readable JSON: {cause}; `make up` writes it anew"
        ) from cause


def _environment(
    node: str, env: Mapping[str, str], schema: Mapping[str, Any], nodes: list[str]
) -> list[tuple[str, Flat]]:
    """Return one layer per variable, those of this node alone last: they win."""
    names = {key.replace(".", "_").upper(): (key, part) for key, part in leaves(schema)}
    mine = env.get("ORRERY_NODE", node) == node
    general, own = [], []
    for variable in sorted(name for name in env if name.startswith(ENV)):
        name = variable.removeprefix(ENV)
        if name in NOT_SETTINGS or name.startswith(NOT_SETTINGS_BELOW):
            continue
        speaks_to = next((n for n in nodes if name.startswith(n.upper() + "_")), None)
        if speaks_to:
            name = name.removeprefix(speaks_to.upper() + "_")
        if name not in names:
            raise ConfigError(unknown(variable, ENV + "*", {ENV + known: 0 for known in names}))
        if speaks_to not in (None, node) or (speaks_to is None and not mine):
            continue  # the addresses of one node are not those of another
        key, part = names[name]
        layer = (variable, {key: _from_text(env[variable], part, variable)})
        (own if speaks_to else general).append(layer)
    return general + own


def _from_text(text: str, part: Mapping[str, Any], variable: str) -> Any:
    kind = part.get("type")
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        raise ConfigError(
            f"{variable} must be of type {kind}, was {text!r} (environment)"
        ) from None
    if kind == "array":
        return [item.strip() for item in text.split(",") if item.strip()]
    if kind == "object":
        raise ConfigError(
            f"{variable} must be set in universe.toml: a table does not fit a variable"
        )
    return text


def _check_ranges(values: Flat, origins: Mapping[str, str], schema: Mapping[str, Any]) -> None:
    """Check what came from the environment or the stack by the same rules as the file."""
    for key, part in leaves(schema):
        error = next(iter(jsonschema.Draft202012Validator(part).iter_errors(values[key])), None)
        if error is not None:
            error.path.appendleft(key)
            raise ConfigError(explain(error, origins[key]))


def _role(role: str) -> str:
    name = role if role.startswith("orrery_") else f"orrery_{role}"
    if name not in ROLES:
        raise ConfigError(f"a Postgres role must be one of {', '.join(ROLES)}, was {role!r}")
    return name
