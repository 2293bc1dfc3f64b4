"""orrery node: a folder for a new universe on Kubernetes, and the passwords its overlays read."""

import os
import re
import secrets
from pathlib import Path
from typing import Annotated

import typer

from ..config import ROLES, find_root, node_names
from ..errors import ConfigError
from ..universe import leaves, universe_schema

NAME = re.compile(r"[a-z][a-z0-9]{0,15}")
MACHINE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
# The namespace of the sky, an overlay, ORRERY_TEST_… and ORRERY_MEMO_…
TAKEN = ("sky", "solo", "test", "memo")
BYTES = 24

KUSTOMIZATION = """# The universe {name}. `orrery node new NAME` writes such a folder.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: orrery-{name}
resources:
  - ../../base
components:
  - ../../images
  - ../../components/place
configMapGenerator:
  - name: place
    literals: [UNIVERSE={name}, PLACE={place}]
  - name: universe
    files: [universe.toml]
secretGenerator:
  - name: passwords
    envs: [passwords.env]
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Universes on Kubernetes: k8s/nodes/<node>.")
    group.command("new")(new)
    group.command("secrets")(make_secrets)
    app.add_typer(group, name="node")


def new(
    name: Annotated[str, typer.Argument(help="Name of the universe: lower case, digits.")],
    place: Annotated[
        str, typer.Option(help="Machine it lives on (kubernetes.io/hostname); default: its name.")
    ] = "",
) -> None:
    """Write k8s/nodes/NAME: what differs from the other nodes, and its passwords."""
    root = find_root()
    others = node_names()
    folder = write_node(root, name, place or name, others)
    write_secrets(root, [*others, name])
    typer.echo(f"wrote {folder.relative_to(root)}")
    typer.echo(
        f"1. add {name!r} to peers in {', '.join(f'k8s/nodes/{n}/universe.toml' for n in others)}"
    )
    disks = " ".join(f"/var/lib/orrery/{name}/{part}" for part in ("postgres", "tsdb"))
    typer.echo(f"2. on {place or name}: mkdir -p {disks}")
    typer.echo("3. kubectl apply -k k8s/cluster   # Connect gets the password")
    typer.echo(f"4. kubectl apply -k k8s/nodes/{name}")


def make_secrets() -> None:
    """Write the passwords that are missing; those that are there stay."""
    root = find_root()
    written = write_secrets(root, node_names())
    typer.echo(
        "\n".join(f"wrote {path.relative_to(root)}" for path in written) or "nothing missing"
    )


def write_node(root: Path, name: str, place: str, others: list[str]) -> Path:
    """Write the folder of a universe, its declaration taken from the first of the others."""
    check_name(root, name)
    if not MACHINE.fullmatch(place):
        raise ConfigError(
            f"a place must be the name of a machine (kubectl get nodes), was {place!r}"
        )
    folder = root / "k8s" / "nodes" / name
    if folder.exists():
        raise ConfigError(f"{folder} must not be there yet; remove it or take another name")
    text = (root / "k8s" / "nodes" / others[0] / "universe.toml").read_text()
    peers = ", ".join(f'"{other}"' for other in others)
    # Its name, not every mention of the other one: routing stays the same on all nodes.
    text = re.sub(r"^node = .*$", f'node = "{name}"', text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^peers = .*$", f"peers = [{peers}]", text, count=1, flags=re.MULTILINE)
    text = re.sub(
        rf"^#.*\b{others[0]}\b.*$",
        lambda m: m[0].replace(others[0], name),
        text,
        flags=re.MULTILINE,
    )
    folder.mkdir(parents=True)
    (folder / "universe.toml").write_text(text)
    (folder / "kustomization.yaml").write_text(KUSTOMIZATION.format(name=name, place=place))
    return folder


def check_name(root: Path, name: str) -> None:
    """Raise ConfigError for what cannot be a node's name, or is one already."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"a node's name must be lower case letters and digits, at most 16, was {name!r}"
        )
    sections = {key.partition(".")[0].partition("_")[0] for key, _ in leaves(universe_schema(root))}
    if name in {*TAKEN, *sections}:  # ORRERY_DATA_… would speak to the node data alone
        raise ConfigError(
            f"a node's name must not be one that means something else, was {name!r}; "
            f"taken: {', '.join(sorted({*TAKEN, *sections}))}"
        )


def write_secrets(root: Path, nodes: list[str]) -> list[Path]:
    """Write passwords.env of every node that has none, and Connect's list of one password each."""
    written = []
    for node in nodes:
        path = root / "k8s" / "nodes" / node / "passwords.env"
        if not path.exists():
            lines = [f"{role}={secrets.token_urlsafe(BYTES)}\n" for role in ROLES]
            written.append(_write(path, "".join(lines)))
    connect = root / "k8s" / "cluster" / "sky" / "passwords.env"
    text = "".join(f"{node}={_password(root, node, 'orrery_cdc')}\n" for node in nodes)
    if not connect.exists() or connect.read_text() != text:
        written.append(_write(connect, text))
    return written


def _password(root: Path, node: str, role: str) -> str:
    path = root / "k8s" / "nodes" / node / "passwords.env"
    for line in path.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == role:
            return value
    raise ConfigError(f"{path} must have a line {role}=..., has none; remove it to make it anew")


def _write(path: Path, text: str) -> Path:
    """Write a file that its owner alone can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
    return path
