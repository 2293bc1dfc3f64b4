"""Loops that an image ships are taken whole, and what is there already stays."""

from pathlib import Path

from orrery_services import compiled


def ship(folder: Path) -> Path:
    (folder / "points").mkdir(parents=True)
    (folder / "points" / "curve.nbi").write_bytes(b"shipped")
    return folder


def test_what_is_shipped_is_copied_whole_to_where_numba_may_write(tmp_path: Path):
    shipped, mine = ship(tmp_path / "image"), tmp_path / "scratch" / "loops" / "digest"

    compiled._take(mine, [tmp_path / "not there", shipped])

    assert (mine / "points" / "curve.nbi").read_bytes() == b"shipped"
    assert [one.name for one in mine.parent.iterdir()] == ["digest"]


def test_loops_of_its_own_are_not_replaced(tmp_path: Path):
    mine = tmp_path / "mine"
    mine.mkdir()

    compiled._take(mine, [ship(tmp_path / "image")])

    assert list(mine.iterdir()) == []
