"""`REGISTRY=… make images` against a real registry: every line that it writes can be pulled."""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.conftest import ROOT, engine_up, shell

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]

NEEDED = ("services", "kernels", "k8s", "schemas", "pyproject.toml", "README.md", "LICENSE", ".env")
OFFICIAL = ("KAFKA", "CONNECT", "POSTGRES", "TSDB")


@pytest.fixture
def engine() -> Iterator[None]:
    if "kube" not in os.environ.get("REQUIRE", "").split(","):
        pytest.skip("images are pushed for five minutes or more; `make kube-test` does it")
    with engine_up():
        yield


@pytest.fixture
def registry(engine: None, tmp_path: Path) -> Iterator[str]:
    """A registry on a free port, from Debian's package, unpacked and not installed."""
    fetch = "apt-get download -q docker-registry && dpkg -x docker-registry_*.deb . >&2"
    done = subprocess.run(["bash", "-c", fetch], cwd=tmp_path, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"Debian's package docker-registry cannot be had: {done.stderr[-200:]}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    store = f"{{filesystem: {{rootdirectory: {tmp_path}/blobs}}}}"
    config.write_text(f"version: 0.1\nstorage: {store}\nhttp: {{addr: '{address}'}}\n")
    log = (tmp_path / "registry.log").open("w")
    program = tmp_path / "usr/bin/docker-registry"
    serving = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
    try:
        wait_until_it_answers(f"http://{address}/v2/")
        yield address
    finally:
        serving.kill()
        serving.wait()


def wait_until_it_answers(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the registry at {url} does not answer")


def lay_tree(folder: Path, registry: str) -> Path:
    """Copy what an image is built of; the official images come from the registry too."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "images.env")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    text = (ROOT / ".env").read_text()
    for part in OFFICIAL:
        image = re.search(rf"^{part}_IMAGE=(.*)$", text, re.MULTILINE)[1]
        mirrored = f"{registry}/official/{image.rpartition('/')[2]}"
        text = text.replace(f"{part}_IMAGE={image}", f"{part}_IMAGE={mirrored}")
        done = shell(f"docker tag {image} {mirrored} && docker push -q {mirrored}")
        assert done.returncode == 0, done.stderr
    (folder / ".env").write_text(text)
    return folder


def test_every_image_that_is_written_down_can_be_pulled_by_its_digest(registry: str, tmp_path):
    tree = lay_tree(tmp_path / "tree", registry)

    done = shell(f"REGISTRY={registry}/orrery {tree}/k8s/images.sh")

    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    lines = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert set(lines) == {"SERVICES", "STAGE", *OFFICIAL}
    for image in lines.values():
        assert re.fullmatch(rf"{registry}/[a-z/-]+@sha256:[0-9a-f]{{64}}", image), image
        pulled = shell(f"docker pull -q {image}")
        assert pulled.returncode == 0, pulled.stderr
