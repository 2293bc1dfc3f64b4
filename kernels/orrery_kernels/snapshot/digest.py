"""BLAKE3-256 for the lab: one message, or a million of them in one call.

The bare install has no BLAKE3 package, so the function lives here, on numba alone; its bytes equal
those of the `blake3` package. Many short messages share eight lanes.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from orrery_kernels.snapshot.lanes import IV, LANES, compress8
from orrery_kernels.snapshot.memory import copy_bytes, zero_block
from orrery_kernels.snapshot.shares import in_turn_or_at_once, shares_of

DIGEST_BYTES = 32
_BLOCK = 64
_CHUNK = 1024
_START, _END, _PARENT, _ROOT = 1, 2, 4, 8
_SHORT = np.array([_START | (_END | _ROOT) << 8], np.int64)
_WHOLE_CHUNK = _START | _END << 8
_PAIR, _LAST_PAIR = _PARENT << 16, (_PARENT | _ROOT) << 16
_ZERO = np.zeros(1, np.int64)
_IV = np.array(IV, np.uint32)


@njit(nogil=True)
def _lanes(data, starts, ends, counters, flags, skip_above, out):
    """Hash messages of at most a chunk (1,024 bytes) into out[n, 8], eight at a time.

    A lane whose message ends takes the next one, so lengths may differ. Messages longer than
    `skip_above` bytes are left out. flags = on the first block | on the last << 8 | on each << 16.
    Arrays of one counter or flag hold for all messages.
    """
    chain, tail = np.empty((8, LANES), np.uint32), np.empty((4, LANES), np.uint32)
    scratch = np.zeros((LANES, _BLOCK), np.uint8)
    message, blocks = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    every, step = np.zeros(LANES, np.uint32), np.zeros(LANES, np.int64)
    base, spare = np.int64(data.ctypes.data), np.int64(scratch.ctypes.data)
    chain_at, blocks_at = np.int64(chain.ctypes.data), np.int64(blocks.ctypes.data)
    tail_at = np.int64(tail.ctypes.data)
    following, live = 0, 0
    message[:], blocks[:] = -1, spare
    while True:
        for lane in range(LANES):
            if message[lane] >= 0:
                continue
            while following < starts.shape[0] and ends[following] - starts[following] > skip_above:
                following += 1
            if following < starts.shape[0]:
                _begin(lane, following, counters, flags, chain, tail, every)
                message[lane], step[lane] = following, _BLOCK
                blocks[lane] = base + starts[following]
                following, live = following + 1, live + 1
        if live == 0:
            return
        # What every lane has before its last block goes through without looking at each.
        whole = _CHUNK
        for lane in range(LANES):
            if message[lane] >= 0:
                whole = min(whole, (base + ends[message[lane]] - blocks[lane] - 1) // _BLOCK)
        for _ in range(whole):
            compress8(chain_at, blocks_at, tail_at)
            for lane in range(LANES):
                tail[3, lane] = every[lane]
                blocks[lane] += step[lane]
        _last_blocks(message, base, ends, flags, blocks, tail, spare)
        compress8(chain_at, blocks_at, tail_at)
        for lane in range(LANES):
            if message[lane] < 0:
                continue
            tail[3, lane] = every[lane]
            blocks[lane] += _BLOCK
            if tail[2, lane] < _BLOCK or blocks[lane] >= base + ends[message[lane]]:
                for word in range(8):
                    out[message[lane], word] = chain[word, lane]
                message[lane], blocks[lane], step[lane] = -1, spare, 0
                live -= 1


@njit(nogil=True)
def _begin(lane, i, counters, flags, chain, tail, every):
    """Set a lane up for message i."""
    counter = counters[i if counters.shape[0] > 1 else 0]
    flag = flags[i if flags.shape[0] > 1 else 0]
    tail[0, lane] = np.uint32(counter & 0xFFFFFFFF)
    tail[1, lane] = np.uint32(counter >> 32)
    tail[2, lane] = _BLOCK
    tail[3, lane] = np.uint32((flag | flag >> 16) & 0xFF)
    every[lane] = np.uint32(flag >> 16 & 0xFF)
    for word in range(8):
        chain[word, lane] = _IV[word]


@njit(nogil=True)
def _last_blocks(message, base, ends, flags, blocks, tail, spare):
    """Prepare the lanes that are at the last block of their message; a short one is filled up."""
    for lane in range(LANES):
        if message[lane] < 0:
            continue
        left = base + ends[message[lane]] - blocks[lane]
        if left <= _BLOCK:
            tail[2, lane] = left
            flag = flags[message[lane] if flags.shape[0] > 1 else 0]
            tail[3, lane] |= np.uint32(flag >> 8 & 0xFF)
        if left < _BLOCK:
            zero_block(spare + lane * _BLOCK)
            copy_bytes(spare + lane * _BLOCK, blocks[lane], left)
            blocks[lane] = spare + lane * _BLOCK


def digest(data: bytes) -> bytes:
    """Return the BLAKE3-256 of `data`, 32 bytes.

    >>> digest(b"abc").hex()[:16]
    '6437b3ac38465133'
    """
    array = np.frombuffer(data, np.uint8)
    length = array.shape[0]
    if length > _CHUNK:
        return digest_many(array, np.array([0, length], np.int64))[0].tobytes()
    out = np.empty((1, 8), np.uint32)
    _lanes(array, _ZERO, np.array([length], np.int64), _ZERO, _SHORT, _CHUNK, out)
    return out.tobytes()


def digest_many(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Hash message i = data[offsets[i]:offsets[i + 1]] for every i.

    data: uint8[bytes], contiguous; offsets: int64[n + 1], rising. Returns uint8[n, 32].
    """
    data, starts, ends = read_only(data), offsets[:-1], offsets[1:]
    out = np.empty((len(starts), 8), np.uint32)
    _lanes(data, starts, ends, _ZERO, _SHORT, _CHUNK, out)
    longer = np.flatnonzero(ends - starts > _CHUNK)
    if len(longer):
        out[longer] = _hash_long(data, starts[longer], ends[longer])
    return out.view(np.uint8)


def digest_shares(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Hash many messages as `digest_many` does, on all processors."""
    out = np.empty((len(offsets) - 1, DIGEST_BYTES), np.uint8)
    shares = shares_of(len(out))

    def hash_share(at: int) -> None:
        first, stop = shares[at]
        out[first:stop] = digest_many(data, offsets[first : stop + 1])

    in_turn_or_at_once(hash_share, len(shares))
    return out


def digest_all(messages: Sequence[bytes]) -> list[bytes]:
    """Hash many byte strings in one call."""
    lengths = np.fromiter(map(len, messages), np.int64, len(messages))
    offsets = np.concatenate((_ZERO, lengths.cumsum()))
    found = digest_many(np.frombuffer(b"".join(messages), np.uint8), offsets).tobytes()
    return [found[i : i + DIGEST_BYTES] for i in range(0, len(found), DIGEST_BYTES)]


def read_only(data: np.ndarray) -> np.ndarray:
    """Return the same array, not to be written: one type, so that a loop is compiled once."""
    view = data.view()
    view.flags.writeable = False
    return view


def _hash_long(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Hash messages of more than a chunk: their chunks, then pairs until one value each is left."""
    lengths = (ends - starts + _CHUNK - 1) // _CHUNK
    owner, within = _ranks(lengths)
    at = starts[owner] + within * _CHUNK
    to = np.minimum(at + _CHUNK, ends[owner])
    values = np.empty((len(at), 8), np.uint32)
    _lanes(data, at, to, within, np.array([_WHOLE_CHUNK]), _CHUNK, values)
    while lengths.max() > 1:
        values = _pair_up(values, lengths, owner, within)
        lengths = (lengths + 1) // 2
        owner, within = _ranks(lengths)
    return values


def _pair_up(
    values: np.ndarray, lengths: np.ndarray, owner: np.ndarray, within: np.ndarray
) -> np.ndarray:
    """Replace neighbours of one message by their parent; an odd last one moves up as it is."""
    first = np.flatnonzero(within % 2 == 0)
    paired = within[first] + 1 < lengths[owner[first]]
    flags = np.where(lengths[owner[first]] == 2, _LAST_PAIR, _PAIR)[paired]
    starts = first[paired] * DIGEST_BYTES
    parents = np.empty((len(starts), 8), np.uint32)
    flat = read_only(values.view(np.uint8).reshape(-1))
    _lanes(flat, starts, starts + _BLOCK, _ZERO, flags, _BLOCK, parents)
    above = values[first]
    above[paired] = parents
    return above


def _ranks(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for runs of these lengths the run of each element and its place within the run."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return owner, np.arange(len(owner)) - np.repeat(lengths.cumsum() - lengths, lengths)
