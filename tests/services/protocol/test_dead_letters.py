"""A dead letter is known by its log and its place in it."""

import pytest
from orrery_services.protocol import dead_letters
from orrery_services.protocol.labels import Place


def refused(log_id: str) -> bytes:
    return dead_letters.seal(
        dead_letters.letter(Place("trades", log_id, 0, 5), "no price", b"{}")
    ).value


def note(log_id: str) -> bytes:
    """Return what is written behind a letter that was sent again; before, without its log."""
    said = f',"log_id":"{log_id}"' if log_id else ""
    return f'{{"replayed":{{"id":"trades/0/5","as_id":"trades/0/9"{said}}}}}'.encode()


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        ([refused("old"), note("old"), refused("new")], ["old:trades/0/5"]),
        ([refused("old"), refused("new"), note("old")], ["old:trades/0/5"]),
        ([refused("old"), refused("new"), note("new")], ["new:trades/0/5"]),
        ([refused("old"), note(""), refused("new")], ["old:trades/0/5"]),
        ([refused("old"), refused("new"), note("")], ["new:trades/0/5"]),
    ],
)
def test_a_note_means_the_letter_of_its_log_or_the_last_one_before_it(values, sent):
    letters, replayed = dead_letters.read(values)

    assert list(letters) == ["old:trades/0/5", "new:trades/0/5"]
    assert replayed == dict.fromkeys(sent, "trades/0/9")
