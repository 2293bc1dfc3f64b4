"""What k8s/images.sh takes for the name and the tag of an image, and what containerd calls it."""

import subprocess

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
