"""The examples run, and print what their last lines say."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_says(path, capsys):
    promised = path.read_text().split("# prints:\n")[1].splitlines()

    runpy.run_path(str(path))

    assert [f"#   {line}" for line in capsys.readouterr().out.splitlines()] == promised


def test_there_are_examples():
    assert len(EXAMPLES) >= 6
