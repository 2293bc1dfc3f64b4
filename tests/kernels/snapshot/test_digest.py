"""The lab's BLAKE3 equals everybody's BLAKE3, whatever the length and however many at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery_kernels.snapshot.digest import digest, digest_all, digest_many

from tests.kernels.snapshot.plain_blake3 import plain_blake3

# The lengths at which BLAKE3 changes what it does: blocks of 64, chunks of 1,024, trees of chunks.
EDGES = [0, 1, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 3073, 4096]
EDGES += [5 * 1024, 7 * 1024 + 1, 8 * 1024, 9 * 1024 - 1, 16 * 1024, 31 * 1024 + 7, 100_003]

SHORT_EDGES = [edge for edge in EDGES if edge <= 4096]


def pattern(length: int) -> bytes:
    """The input of the published test vectors: 0, 1, ..., 250, 0, 1, ..."""
    return bytes(i % 251 for i in range(length))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
        (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
        (31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"),
    ],
)
def test_published_vectors_hold(length, expected):
    assert digest(pattern(length)).hex() == expected


@pytest.mark.parametrize("length", EDGES)
def test_one_message_of_any_length_equals_another_program(length):
    data = np.random.default_rng(length).bytes(length)

    assert digest(data) == plain_blake3(data)


@given(
    st.lists(
        st.one_of(st.binary(max_size=200), st.sampled_from(SHORT_EDGES).map(pattern)), max_size=40
    )
)
@settings(max_examples=25, deadline=None)
def test_many_messages_of_mixed_lengths_equal_another_program(messages):
    assert digest_all(messages) == [plain_blake3(message) for message in messages]


def test_every_flipped_bit_gives_another_digest():
    data = bytearray(pattern(130))
    digests = {digest(bytes(data))}
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        digests.add(digest(bytes(data)))
        data[bit // 8] ^= 1 << bit % 8

    assert len(digests) == 130 * 8 + 1


def test_records_of_one_width_are_hashed_where_they_lie():
    records = np.random.default_rng(5).integers(0, 256, 1000 * 64, dtype=np.uint8)

    found = digest_many(records, np.arange(1001) * 64)

    assert found.shape == (1000, 32)
    assert all(
        found[i].tobytes() == plain_blake3(records[64 * i : 64 * i + 64].tobytes())
        for i in range(1000)
    )


def test_the_package_agrees_where_it_is_installed():
    blake3 = pytest.importorskip("blake3", reason="the bare lab has no BLAKE3 package")

    for length in EDGES:
        assert digest(pattern(length)) == blake3.blake3(pattern(length)).digest()
