"""The lab's only door: compiled kernels on disk, built once, found by the digest of their source.

    <cache>/lib/<digest of the package>/<build>.so, .json   what engine/build.py compiled in one go
    <cache>/kernel/<digest of one source>-<target>.so       one kernel, compiled when first used

A target is the processor that code is for: ours, or the plain one of its kind, whose code runs here
too. The bits are the same.

<cache> is ORRERY_CACHE, else XDG_CACHE_HOME/orrery, else ~/.cache/orrery. ORRERY_CACHE may name
several folders, parted as in PATH: the first is written to, all are read (an image ships the
others). ORRERY_CACHE=off keeps all in memory. Without a linker llvmlite loads the objects (.o).
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent.parent
_LINK_SECONDS_MAX = 120
_NOT_A_BUILD = (OSError, ValueError, KeyError)  # or of another machine
# What x86-64-v3 stands for, but for the fused multiply-adds, which are not used.
_V3 = {b"avx", b"avx2", b"bmi1", b"bmi2", b"f16c", b"abm", b"movbe", b"xsave"}
_CPUINFO_BYTES = 8_192  # more than the first processor's part
_kept: list[Any] = []  # libraries stay loaded


def cache_folders() -> list[Path]:
    """Return where compiled kernels are kept, the first to be written to; [] to keep none."""
    named = os.environ.get("ORRERY_CACHE")
    if named == "off":
        return []
    if named:
        return [Path(part) for part in named.split(os.pathsep) if part]
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [Path(base) / "orrery"]


@lru_cache(maxsize=1)
def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def targets() -> tuple[str, ...]:
    """Return the targets whose code runs here: what we compile for, then what else may be read."""
    plain = platform.machine()
    with suppress(OSError), Path("/proc/cpuinfo").open("rb") as file:
        flags = re.search(rb"^flags\s*:(.*)$", file.read(_CPUINFO_BYTES), re.MULTILINE)
        if plain == "x86_64" and flags and set(flags[1].split()) >= _V3:
            return f"{plain}_v3", plain
    return (plain,)


@lru_cache(maxsize=1)
def _sources() -> dict[str, bytes]:
    """Return the text of every source file that a kernel may depend on, by its place."""
    found = {}
    for folder in ("engine", "ticks", "."):
        for path in sorted((_PACKAGE / folder).glob("*.py")):
            found[f"{folder}/{path.name}"] = path.read_bytes()
    return found


@lru_cache(maxsize=2)
def package_digest(target: str) -> str:
    """Return the digest of every source file of the lab, which names what is compiled of it."""
    digest = hashlib.blake2b(target.encode(), digest_size=16)
    for place, text in _sources().items():
        digest.update(f"{place}:{len(text)}:".encode() + text)
    return digest.hexdigest()


def family_of(name: str) -> str | None:
    """Return the module of `ticks` whose text defines `name`, None when there is none."""
    line = re.compile(rb"^def " + re.escape(name.encode()) + rb"\(", re.MULTILINE)
    for place, text in _sources().items():
        if place.startswith("ticks/") and line.search(text):
            return place[len("ticks/") : -len(".py")]
    return None


@lru_cache(maxsize=1)
def catalog() -> Mapping[str, tuple[Any, bytes]]:
    """Return kernel -> (library, source digest) of what was built; empty when nothing was."""
    found: dict[str, tuple[Any, bytes]] = {}
    for folder, target in product(cache_folders(), targets()):
        for index in sorted((folder / "lib" / package_digest(target)).glob("*.json")):
            with suppress(*_NOT_A_BUILD):  # being replaced: its kernels are compiled one by one
                found = {**_built(index, target), **found}
    return found


def _built(index: Path, target: str) -> dict[str, tuple[Any, bytes]]:
    """Return kernel -> (library, source digest) of one build; none of one for another target."""
    build = json.loads(index.read_text())
    if build["target"] != target:
        return {}
    library = _open(index.parent / build["file"])
    return {name: (library, bytes.fromhex(digest)) for name, digest in build["kernels"].items()}


def built(name: str) -> tuple[int, bytes] | None:
    """Return (address, source digest) of one kernel of the catalog; None when it was not built.

    Looked for one by one: a process uses a few of the hundreds there are.
    """
    with suppress(KeyError, AttributeError):
        library, digest = catalog()[name]
        return _address(library, symbol(digest)), digest
    return None


def find(digest: bytes) -> int | None:
    """Return the address of one kernel compiled before, by the digest of its source.

    A build is named by the text of the whole package: after an edit that leaves the source of a
    kernel as it is, what was built before still has it.
    """
    for folder, target, suffix in product(cache_folders(), targets(), (".so", ".o")):
        with suppress(OSError, AttributeError):
            path = folder / "kernel" / f"{digest.hex()}-{target}{suffix}"
            return _address(_open(path), symbol(digest))
    with suppress(KeyError, AttributeError):
        return _address(_all_builds(tuple(cache_folders()))[digest], symbol(digest))
    return None


def _indexes(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the index of every build there is, of the package as it is and as it ever was."""
    for folder in folders:
        yield from sorted(folder.glob("lib/*/*.json"))


@lru_cache(maxsize=1)
def _all_builds(folders: tuple[Path, ...]) -> Mapping[bytes, Any]:
    """Return source digest -> the library of a build that holds it."""
    found: dict[bytes, Any] = {}
    for target, index in product(reversed(targets()), _indexes(folders)):
        with suppress(*_NOT_A_BUILD):
            found.update((digest, library) for library, digest in _built(index, target).values())
    return found


def adopt(wanted: Mapping[str, bytes]) -> set[str]:
    """Take what builds before an edit hold of `wanted`, name -> source digest, into this package's.

    Returns the names; the others must be compiled.
    """
    held: list[tuple[Path, dict[str, bytes]]] = []
    for index in _indexes(cache_folders()):
        with suppress(*_NOT_A_BUILD):
            ours = _built(index, targets()[0])
            same = {n: d for n, (_, d) in ours.items() if wanted.get(n) == d}
            held.append((index, same))
    taken: set[str] = set()
    for index, same in sorted(held, key=lambda each: -len(each[1])):
        if not same.keys() <= taken:
            _adopt(index, same)
            taken |= same.keys()
    return taken


def _adopt(index: Path, digests: Mapping[str, bytes]) -> None:
    library = index.parent / json.loads(index.read_text())["file"]
    code = library.read_bytes()
    name = hashlib.blake2b(code + repr(sorted(digests)).encode(), digest_size=8).hexdigest()
    folder = cache_folders()[0] / "lib" / package_digest(targets()[0])
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{name}{library.suffix}", code)
    _write_index(folder / f"{name}.json", f"{name}{library.suffix}", digests)


def keep(digest: bytes, machine_code: bytes) -> None:
    """Store the object of one kernel for later processes, if the cache can be written."""
    name = f"{digest.hex()}-{targets()[0]}"
    for folder in cache_folders()[:1]:
        with suppress(OSError):
            _install(folder / "kernel", name, {digest.hex(): machine_code})


def install(objects: Mapping[str, tuple[bytes, bytes]], build: str) -> Path:
    """Link kernel -> (source digest, object) into one file of this package; return its index."""
    if not cache_folders():
        raise OSError("compiled kernels need a folder, ORRERY_CACHE was off")
    folder = cache_folders()[0] / "lib" / package_digest(targets()[0])
    file = _install(folder, build, {d.hex(): o for d, o in objects.values()})
    return _write_index(folder / f"{build}.json", file, {n: d for n, (d, _) in objects.items()})


def _write_index(path: Path, file: str, digests: Mapping[str, bytes]) -> Path:
    kernels = {n: d.hex() for n, d in sorted(digests.items())}
    index = {"file": file, "target": targets()[0], "kernels": kernels}
    _write(path, json.dumps(index, indent=1).encode())
    return path


def symbol(digest: bytes) -> str:
    return f"k_{digest.hex()[:32]}"


def _install(folder: Path, name: str, objects: Mapping[str, bytes]) -> str:
    """Link `objects` into folder/name.so (.o without a linker) and return the file's name."""
    import shutil  # these three here: most processes never write, and start sooner
    import subprocess
    import tempfile

    folder.mkdir(parents=True, exist_ok=True)
    linker = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        paths = []
        for key, code in objects.items():
            paths.append(Path(scratch) / f"{key}.o")
            paths[-1].write_bytes(code)
        if linker is None:
            bundle = [len(code).to_bytes(8, "little") + code for code in objects.values()]
            _write(folder / f"{name}.o", b"".join(bundle))
            return f"{name}.o"
        made = Path(scratch) / "made.so"
        command = [linker, "-shared", "-nostdlib", "-o", str(made), *map(str, paths)]
        subprocess.run(command, check=True, timeout=_LINK_SECONDS_MAX, capture_output=True)
        made.replace(folder / f"{name}.so")
    return f"{name}.so"


def _write(path: Path, data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    Path(file.name).chmod(0o644)  # an image is built by one user and read by another
    Path(file.name).replace(path)


def _open(path: Path) -> Any:
    if path.suffix == ".so":
        library: Any = ctypes.CDLL(str(path))
    else:
        library = _Objects(path.read_bytes())
    _kept.append(library)
    return library


def _address(library: Any, name: str) -> int:
    if isinstance(library, _Objects):
        return library.address(name)
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


class _Objects:
    """Objects loaded without a linker, by llvmlite."""

    def __init__(self, bundle: bytes):
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        machine = binding.Target.from_default_triple().create_target_machine()
        self.engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
        at = 0
        while at < len(bundle):
            size = int.from_bytes(bundle[at : at + 8], "little")
            self.engine.add_object_file(
                binding.ObjectFileRef.from_data(bundle[at + 8 : at + 8 + size])
            )
            at += 8 + size
        self.engine.finalize_object()

    def address(self, name: str) -> int:
        found = self.engine.get_function_address(name)
        if not found:
            raise AttributeError(name)
        return found
