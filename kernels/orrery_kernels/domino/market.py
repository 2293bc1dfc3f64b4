"""A snapshot as dominoes see it: paths and patterns, their digests, their values.

What was worked out for one snapshot is handed on to the next and corrected by the diff of their
trees: a section that did not change costs nothing, one that changed a little costs a little.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from orrery_kernels.domino.domino import near
from orrery_kernels.domino.views import Leaves
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot.canonical import decode
from orrery_kernels.snapshot.descent import diff
from orrery_kernels.snapshot.digest import digest, digest_all
from orrery_kernels.snapshot.patterns import fixed_part, is_plain, matches
from orrery_kernels.snapshot.snapshot import Snapshot, leaf, leaves
from orrery_kernels.snapshot.tree import CANONICAL, Fetch, read_root

CHANGES_MAX = 1000  # leaves of a section that are looked at one by one for what changed


class Market:
    """One snapshot, read through `fetch` (a piece by its digest)."""

    def __init__(self, snapshot: Snapshot, fetch: Fetch, before: "Market | None" = None) -> None:
        self.snapshot = snapshot
        self.fetch = fetch
        self._sections: dict[str, dict[str, bytes]] = {}
        self._kinds: dict[str, bytes] = {}
        self._digests: dict[str, bytes] = {}
        self._paths: dict[str, list[str]] = {}
        if before is not None:
            self._take_over(before)

    def digest(self, pattern: str) -> bytes:
        """Return the digest of all that a path or pattern means: names, kinds and values."""
        found = self._digests.get(pattern)
        if found is None:
            found = self._digests[pattern] = self._digest(pattern)
        return found

    def paths(self, pattern: str) -> list[str]:
        """Return the paths that a pattern means, in order; none is an error naming the nearest."""
        found = self._paths.get(pattern)
        if found is None:
            found = self._paths[pattern] = self._match(pattern)
        return found

    def leaf_digest(self, path: str) -> bytes | None:
        """Return the digest of one leaf, None if it is absent."""
        body = self._body(path)
        return None if body is None else digest(self._kind(self.snapshot.locate(path)[0]) + body)

    def value(self, path: str, classes: Sequence[type] = ()) -> Any:
        """Return the value at a path: read from its canonical bytes, or the bytes of a record."""
        body = self._body(path)
        if body is None:
            raise self._unknown(path)
        canonical = self._kind(self.snapshot.locate(path)[0]) == CANONICAL
        return decode(body, classes) if canonical else body

    def leaves(self, pattern: str, classes: Sequence[type] = ()) -> Leaves:
        """Return the leaves of a pattern, by name in its section (by path if it spans several)."""
        paths = self.paths(pattern)
        section = self.section_of(pattern)
        at = len(section) + 1 if section else 0
        prefix = paths[0][:at]
        names = [path[at:] for path in paths]
        return Leaves(pattern, names, lambda name: self.value(prefix + name, classes), section)

    def _digest(self, pattern: str) -> bytes:
        section = self.section_of(pattern)
        if section and pattern == f"{section}/*":
            self.paths(pattern)  # an empty section is an error here as well
            return digest(b"section" + b"".join(self.snapshot.sections[section]))
        parts = []
        for path in [pattern] if is_plain(pattern) else self.paths(pattern):
            body = self._body(path)
            if body is None:
                raise self._unknown(path)
            name = path.encode()
            kind = self._kind(self.snapshot.locate(path)[0])
            parts.append((len(name).to_bytes(4, "little") + name, kind + body))
        alone = len(parts) == 1  # one is sooner hashed by itself
        bodies = [digest(parts[0][1])] if alone else digest_all([body for _, body in parts])
        return digest(b"".join(name + body for (name, _), body in zip(parts, bodies, strict=True)))

    def _body(self, path: str) -> bytes | None:
        section, name = self.snapshot.locate(path)
        known = self._sections.get(section)
        return leaf(self.snapshot, path, self.fetch) if known is None else known.get(name)

    def _section(self, section: str) -> dict[str, bytes]:
        if section not in self._sections:
            self._sections[section] = leaves(self.snapshot, section, self.fetch)
        return self._sections[section]

    def _kind(self, section: str) -> bytes:
        if section not in self._kinds:
            root = self.snapshot.sections[section][0]
            self._kinds[section] = read_root(self.fetch(root)).kind
        return self._kinds[section]

    def holds_values(self, section: str) -> bool:
        """Return whether leaves are values or records, not the digests of wider ones."""
        kind = self._kind(section)
        return kind == CANONICAL or kind in self.snapshot.code.values()

    def section_of(self, pattern: str) -> str | None:
        """Return the section in which all of a pattern lies, None if it may span several."""
        fixed = fixed_part(pattern)
        found = [s for s in self.snapshot.sections if fixed.startswith(s + "/")]
        return max(found, key=len) if found else None

    def _match(self, pattern: str) -> list[str]:
        only = self.section_of(pattern)
        sections = [only] if only else sorted(self.snapshot.sections)
        found = [
            path
            for section in sections
            for name in self._section(section)
            if matches(pattern, path := f"{section}/{name}")
        ]
        if not found:
            raise self._unknown(pattern)
        return sorted(found)

    def _unknown(self, path: str) -> DominoError:
        try:
            section, _ = self.snapshot.locate(path)
            known = [f"{section}/{name}" for name in self._section(section)]
        except ValueError:
            known = [f"{section}/*" for section in self.snapshot.sections]
        return DominoError(f"{path!r} must be in the snapshot and is not{near(path, known)}")

    def _take_over(self, before: "Market") -> None:
        """Keep what still holds: whole sections, and patterns that mean nothing that changed."""
        changed: list[str] = []
        for section, roots in before.snapshot.sections.items():
            now = self.snapshot.sections.get(section)
            if now is None or len(now) != len(roots):
                return  # another layout: begin anew
            if now != roots and before._kind(section) != self._kind(section):
                changed.append(f"{section}/*")  # the same bytes may mean something else
            elif section in before._sections and now != roots:
                self._sections[section] = before._patched(section, now, self.fetch, changed)
            elif now == roots:
                self._kinds.update({s: k for s, k in before._kinds.items() if s == section})
                if section in before._sections:
                    self._sections[section] = before._sections[section]
            else:
                changed += before._changed(section, now, self.fetch)
        if before.snapshot.sections.keys() != self.snapshot.sections.keys():
            return
        for pattern, found in before._digests.items():
            if not any(_touches(pattern, path) for path in changed):
                self._digests[pattern] = found
                if pattern in before._paths:
                    self._paths[pattern] = before._paths[pattern]

    def _changed(self, section: str, now: Sequence[bytes], fetch: Fetch) -> list[str]:
        """Return the paths of a section, not read as a whole, that changed: those of a few leaves,
        else all of it. Where nothing is known of it no tree is looked at."""
        every = f"{section}/*"
        if not any(_touches(pattern, every) for pattern in self._digests):
            return [every]
        pairs = zip(self.snapshot.sections[section], now, strict=True)
        names = (change.name for old, new in pairs for change in diff(old, new, fetch))
        few = list(islice(names, CHANGES_MAX + 1))
        return [f"{section}/{name}" for name in few] if len(few) <= CHANGES_MAX else [every]

    def _patched(
        self, section: str, now: Sequence[bytes], fetch: Fetch, changed: list[str]
    ) -> dict[str, bytes]:
        """Return the leaves of a section as they are under its new roots."""
        found = dict(self._sections[section])
        appeared = False
        for old, new in zip(self.snapshot.sections[section], now, strict=True):
            for name, was, value in diff(old, new, fetch):
                changed.append(f"{section}/{name}")
                appeared = appeared or was is None
                if value is None:
                    del found[name]
                else:
                    found[name] = value
        return dict(sorted(found.items())) if appeared else found


def _touches(pattern: str, changed: str) -> bool:
    """Return whether a change (of a path, or of a section not read yet) may concern a pattern."""
    if changed.endswith("/*"):
        section = changed[:-1]
        fixed = fixed_part(pattern)
        return fixed.startswith(section) or section.startswith(fixed)
    return matches(pattern, changed)
