"""The frozen market: trees of leaves by section, the cut they cover, and one name for all of it.

A section is a path such as "quotes", "state/momentum" or "calendars". Its leaves lie in one tree,
or in one per partition of the log (a symbol's tree is that of its partition). The snapshot's id is
the digest of its manifest: the roots, the cut, and the digests of schemas and code. When and why it
was made is in the record that names it, as a commit names a tree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, NamedTuple

from orrery_kernels.errors import SnapshotError
from orrery_kernels.partition import partition_of
from orrery_kernels.snapshot.canonical import decode, encode
from orrery_kernels.snapshot.digest import DIGEST_BYTES, digest
from orrery_kernels.snapshot.tree import Fetch, get, items, read_root

_TAG = b"orrery snapshot 1\n"
_RECORD_TAG = b"orrery record 1\n"


class Frozen(NamedTuple):
    """A snapshot's name and the bytes it names."""

    id: bytes
    manifest: bytes


@dataclass(frozen=True)
class Snapshot:
    """A manifest taken apart. cut, schemas and code are those given to `freeze`."""

    id: bytes
    sections: Mapping[str, tuple[bytes, ...]]
    cut: Mapping[str, Any]
    schemas: Mapping[str, bytes] = field(default_factory=dict)
    code: Mapping[str, bytes] = field(default_factory=dict)

    def locate(self, path: str) -> tuple[str, str]:
        """Split a path into (section, name). Raises SnapshotError naming the nearest sections."""
        at = len(path)
        while (at := path.rfind("/", 0, at)) >= 0:
            if path[:at] in self.sections:
                return path[:at], path[at + 1 :]
        near = get_close_matches(path.split("/")[0], self.sections, 3, 0.4)
        known = ", ".join(near or sorted(self.sections)) or "none"
        raise SnapshotError(
            f"{path!r} must be a section of the snapshot, '/' and a name; nearest sections: {known}"
        )

    def root_of(self, section: str, name: str) -> bytes:
        """Return the root of the tree in which `name` lies if it lies anywhere."""
        roots = self.sections[section]
        return roots[partition_of(name, len(roots)) if len(roots) > 1 else 0]


def freeze(
    sections: Mapping[str, bytes | list[bytes] | tuple[bytes, ...]],
    cut: Mapping[str, Any],
    schemas: Mapping[str, bytes],
    code: Mapping[str, bytes],
) -> Frozen:
    """Return the id and manifest of a snapshot.

    sections: path -> root of its tree, or one root per partition in order. cut: positions in the
    log, e.g. {"number": 7, "ticks/0": {"log": ..., "offset": ..., "vector": {...}}}. schemas, code:
    name -> digest (of a table's columns, of a chain). Nothing here may depend on node or clock.
    """
    trees = {
        path: (roots,) if isinstance(roots, bytes) else tuple(roots)
        for path, roots in sections.items()
    }
    for path, roots in trees.items():
        if not path or path != path.strip("/") or not roots:
            raise SnapshotError(
                f"a section must be a path without outer '/' and have a root, {path!r} is not"
            )
        if any(len(root) != DIGEST_BYTES for root in roots):
            raise SnapshotError(f"the roots of section {path!r} must be 32 bytes each")
    body = {"sections": trees, "cut": cut, "schemas": schemas, "code": code}
    manifest = _TAG + encode(body)
    return Frozen(digest(manifest), manifest)


def thaw(manifest: bytes) -> Snapshot:
    """Take a manifest apart. Raises SnapshotError on other bytes.

    >>> frozen = freeze({"quotes": bytes(32)}, {"number": 1}, {}, {})
    >>> thaw(frozen.manifest).id == frozen.id
    True
    """
    if not manifest.startswith(_TAG):
        raise SnapshotError(f"a manifest must begin with {_TAG!r}, was {bytes(manifest[:20])!r}")
    body = decode(manifest[len(_TAG) :])
    parts = {key: MappingProxyType(value) for key, value in body.items()}
    return Snapshot(digest(manifest), **parts)


def leaf(snapshot: Snapshot, path: str, fetch: Fetch) -> bytes | None:
    """Return the bytes of the leaf at a path, or None."""
    section, name = snapshot.locate(path)
    return get(snapshot.root_of(section, name), name, fetch)


def leaves(snapshot: Snapshot, section: str, fetch: Fetch) -> dict[str, bytes]:
    """Return every leaf of a section by name, in order of name."""
    found: dict[str, bytes] = {}
    for root in snapshot.sections[section]:
        found.update(items(root, fetch))
    return dict(sorted(found.items()))


def leaf_count(snapshot: Snapshot, fetch: Fetch) -> int:
    """Return how many leaves all sections hold: reads one piece per tree."""
    roots = (root for roots in snapshot.sections.values() for root in roots)
    return sum(read_root(fetch(root)).count for root in roots)


@dataclass(frozen=True)
class Record:
    """The commit: which snapshot, after which, why and when. Not part of the snapshot's id."""

    snapshot: bytes
    number: int  # of the cut
    parent: bytes | None  # id of the snapshot before it in this slice
    trigger: str  # as declared, e.g. "every 5s"
    lsn: str  # of the local database at the commit, e.g. "0/1A2B"
    ts_wall_ns: int  # UTC nanoseconds
    origin: str  # the node that wrote the record
    slice: str = ""  # for late data: the interval of event time whose next version this is

    def to_bytes(self) -> bytes:
        return _RECORD_TAG + encode(vars(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Record":
        if not data.startswith(_RECORD_TAG):
            raise SnapshotError(f"a record must begin with {_RECORD_TAG!r}, was {data[:20]!r}")
        return cls(**decode(data[len(_RECORD_TAG) :]))
