"""BLAKE3-256 in plain Python, written from the paper (O'Connor et al., 2020): the other program."""

IV = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
ROWS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
MASK = 0xFFFFFFFF
START, END, PARENT, ROOT = 1, 2, 4, 8


def rotate(x, n):
    return (x >> n | x << 32 - n) & MASK


def compress(chain, block, counter, flags):
    m = [int.from_bytes(block[i : i + 4].ljust(4, b"\0"), "little") for i in range(0, 64, 4)]
    v = [*chain, *IV[:4], counter & MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(ROWS + DIAGONALS):
            for word, left, right in ((m[2 * i], 16, 12), (m[2 * i + 1], 8, 7)):
                v[a] = (v[a] + v[b] + word) & MASK
                v[d] = rotate(v[d] ^ v[a], left)
                v[c] = (v[c] + v[d]) & MASK
                v[b] = rotate(v[b] ^ v[c], right)
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def chunk(data, counter, root):
    blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
    chain = IV
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        flags = (START if i == 0 else 0) | ((END | root) if last else 0)
        chain = compress(chain, block, counter, flags)
    return chain


def node(data, counter, root):
    if len(data) <= 1024:
        return chunk(data, counter, root)
    chunks = (len(data) + 1023) // 1024
    left = 1 << (chunks - 1).bit_length() - 1  # the largest power of two that leaves a right side
    pair = node(data[: left * 1024], counter, 0) + node(data[left * 1024 :], counter + left, 0)
    return compress(IV, b"".join(word.to_bytes(4, "little") for word in pair), 0, PARENT | root)


def plain_blake3(data):
    return b"".join(word.to_bytes(4, "little") for word in node(bytes(data), 0, ROOT))
