"""What k8s/images.sh takes for the name, the tag and the digest of an image, and what containerd
calls it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.contracts.manifests import ROOT

FUNCTIONS = ("name_of", "tag_of", "full")


def said(function: str, image: str) -> str:
    """Return what a function of the script says; it is read out of the script, which builds."""
    taken = "; ".join(
        f"eval \"$(sed -n '/^{name}() /,/}}$/p' k8s/images.sh)\"" for name in FUNCTIONS
    )
    done = subprocess.run(
        ["bash", "-ec", f"{taken}; {function} {image}"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("image", "name", "tag", "full"),
    [
        ("orrery:0.1", "orrery", "0.1", "docker.io/library/orrery:0.1"),
        ("my/clean:1", "my/clean", "1", "docker.io/my/clean:1"),
        ("my/clean", "my/clean", "latest", "docker.io/my/clean"),
        ("quay.io/a/b:3", "quay.io/a/b", "3", "quay.io/a/b:3"),
        ("localhost:5000/clean:1", "localhost:5000/clean", "1", "localhost:5000/clean:1"),
        ("registry:5000/a/b", "registry:5000/a/b", "latest", "registry:5000/a/b"),
        ("localhost/clean:1", "localhost/clean", "1", "localhost/clean:1"),
    ],
)
def test_the_port_of_a_registry_is_not_taken_for_a_tag(image, name, tag, full):
    assert [said(function, image) for function in FUNCTIONS] == [name, tag, full]


REGISTRY = "registry.test/orrery"
OFFICIAL = ("POSTGRES", "TSDB", "KAFKA", "CONNECT")
DOCKER = """#!/bin/sh
[ "$1 $2" != "image inspect" ] || cat "$DIGESTS"
"""


def digests() -> dict[str, str]:
    """Return name@digest of every image, each with another digest."""
    env = (ROOT / ".env").read_text().splitlines()
    pinned = dict(line.split("_IMAGE=", 1) for line in env if "_IMAGE=" in line)
    names = {of: pinned[of].rpartition(":")[0] for of in OFFICIAL}
    names |= {"SERVICES": f"{REGISTRY}/services", "STAGE": f"{REGISTRY}/services-stage"}
    return {of: f"{name}@sha256:{at:064d}" for at, (of, name) in enumerate(names.items())}


def written(folder: Path, listed: list[str]) -> tuple[subprocess.CompletedProcess, dict | None]:
    """Run the script where every image has these digests; return what it wrote, if it did."""
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    (folder / "digests").write_text("\n".join(listed) + "\n")
    out = folder / "images.env"
    env = {
        **os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "DIGESTS": f"{folder}/digests",
        "REGISTRY": REGISTRY, "OUT": str(out), "INTO": "", "STAGES": "",
    }  # fmt: skip
    done = subprocess.run(
        ["k8s/images.sh"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    lines = out.read_text().splitlines() if out.exists() else None
    return done, lines and dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("lacking", ["STAGE", "POSTGRES"])
def test_an_image_without_a_digest_is_told_and_nothing_is_written(tmp_path, lacking):
    listed = {of: name for of, name in digests().items() if of != lacking}

    done, found = written(tmp_path, list(listed.values()))

    assert (done.returncode, found) == (1, None)
    assert "must have a digest of its registry, has none" in done.stderr


def test_the_digest_of_a_mirror_is_not_taken_for_that_of_the_registry(tmp_path):
    own = digests()
    mirrored = [f"mirror.local/{name.partition('@')[0]}@sha256:{'f' * 64}" for name in own.values()]

    done, found = written(tmp_path, [*mirrored, *own.values()])

    assert found == own, done.stderr
