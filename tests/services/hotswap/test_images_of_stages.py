"""A chain names images by name; what is swapped in is what the one list says, by digest."""

from pathlib import Path

import pytest
from orrery_services.config import load_settings
from orrery_services.hotswap import drivers

SORT = "registry/sort@sha256:" + "1" * 64
STAGE = "registry/stage@sha256:" + "2" * 64
CHAIN = """
[dominoes.daisy]
run_in = "pod"
tasks = [{ name = "sort", image = "SORT" }, { name = "own", image = "elsewhere@sha256:%s" }]
""" % ("3" * 64)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository's files, with a chain of images in the universe of n1."""
    repository = Path(__file__).resolve().parents[3]
    for name in ("schemas", "connectors", "pyproject.toml"):
        (tmp_path / name).symlink_to(repository / name)
    folder = tmp_path / "k8s/nodes/n1"
    folder.mkdir(parents=True)
    declared = (repository / "k8s/nodes/n1/universe.toml").read_text()
    (folder / "universe.toml").write_text(declared + CHAIN)
    monkeypatch.setenv("ORRERY_ROOT", str(tmp_path))
    monkeypatch.setenv("ORRERY_NODES_DIR", str(tmp_path / "k8s/nodes"))
    monkeypatch.setenv("ORRERY_HOTSWAP_IMAGE", "STAGE")
    return tmp_path


def as_a_file(root: Path) -> None:
    folder = root / "k8s/images"
    folder.mkdir()
    (folder / "images.env").write_text(f"# written by make images\nSORT={SORT}\nSTAGE={STAGE}\n")


def as_a_cluster_mounts_it(root: Path) -> None:
    folder = root / "k8s/images"
    folder.mkdir()
    (folder / "SORT").write_text(SORT)
    (folder / "STAGE").write_text(STAGE)


@pytest.mark.parametrize("lay", [as_a_file, as_a_cluster_mounts_it])
def test_a_stage_is_swapped_to_the_digest_of_the_list_and_known_by_it(root: Path, lay):
    lay(root)

    sort, own = drivers.read_chains(load_settings("n1"))[0]["daisy"].stages

    assert sort.image == SORT
    assert sort.code == SORT.partition("@")[2]
    assert own.image.endswith("@sha256:" + "3" * 64)


@pytest.mark.parametrize("lay", [as_a_file, as_a_cluster_mounts_it])
def test_a_domino_of_the_lab_runs_in_our_own_image_numbered_by_its_stage(root: Path, lay):
    lay(root)

    found = drivers.read_chains(load_settings("n1"))[0]["swapped"].stages

    name, _, digest = STAGE.partition("@")
    assert [stage.image for stage in found] == [
        f"{name}:stage-{number}@{digest}" for number in (1, 2, 3)
    ]
