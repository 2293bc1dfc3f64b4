"""orrery doctor looks before anything is there."""

from orrery_services.cli import doctor


def test_the_room_of_a_home_that_is_still_to_be_made_is_that_of_the_folder_it_comes_into(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("ORRERY_HOME", str(tmp_path / "not" / "there" / "yet"))

    disk = next(doctor._room())

    assert disk.what.endswith(f"free at {tmp_path}")
