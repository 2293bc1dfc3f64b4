"""The scratch volume that the two slots and the memo of one pod share.

    slots/<slot>                token of the runner in that slot; empty: it has nothing to do
    <run>/<stage>/<digest>      the output of a stage, named by its content
    <run>/<stage>/marker.json   written once and last: the stage is done, and this is what came out

Stage 0 is the input of the run. The first argument is always the path of the volume.
"""
# The runner waits with this module in memory, and pathlib alone is a megabyte.
# ruff: noqa: PTH103, PTH105, PTH108, PTH110, PTH118, PTH120, PTH123, PTH208

import contextlib
import json
import os
import time
from _thread import get_ident  # threading would be another half a megabyte

from .protocol import stages

READ_BYTES = 1 << 20


def stage_folder(scratch: str, run: str, stage: int) -> str:
    return os.path.join(scratch, run, str(stage))


def marker_path(scratch: str, run: str, stage: int) -> str:
    return os.path.join(scratch, run, str(stage), "marker.json")


def output_path(scratch: str, run: str, stage: int, digest: str) -> str:
    return os.path.join(scratch, run, str(stage), digest)


def read_marker(scratch: str, run: str, stage: int) -> stages.Marker | None:
    """Return what a stage left behind, None while it is not done."""
    try:
        with open(marker_path(scratch, run, stage), "rb") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def is_done(scratch: str, run: str, stage: int) -> bool:
    return os.path.exists(marker_path(scratch, run, stage))


def stages_of(scratch: str, run: str) -> list[int]:
    """Return the stages of a run of which there is a folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = os.listdir(os.path.join(scratch, run))
        return sorted(int(name) for name in names if name.isdigit())
    return []


def finish_stage(
    scratch: str, run: str, stage: int, temporary: str, marker: stages.Marker
) -> stages.Marker:
    """Keep an output under its digest, then say that the stage is done.

    Return the marker that stands: whoever comes second changes nothing, because outputs are named
    by content and the marker is written once.
    """
    digest, size = digest_file(temporary)
    sync(temporary)
    os.replace(temporary, output_path(scratch, run, stage, digest))
    sync(stage_folder(scratch, run, stage))
    whole = {**marker, "output": digest, "output_bytes": size, "marked_ns": time.time_ns()}
    path = marker_path(scratch, run, stage)
    if write_once(path, stages.canonical(whole).encode()):
        return whole
    return read_marker(scratch, run, stage) or whole


def write_once(path: str, data: bytes) -> bool:
    """Create `path` whole or not at all, durably; False when it exists."""
    temporary = _own_name(path)
    try:
        _write(temporary, data)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    sync(os.path.dirname(path))
    return True


def write_whole(path: str, data: bytes) -> None:
    """Replace `path` in one step."""
    temporary = _own_name(path)
    _write(temporary, data)
    os.replace(temporary, path)


def _own_name(path: str) -> str:
    """Return a name beside `path` that no other thread or process writes to."""
    return f"{path}.{os.getpid()}.{get_ident()}.tmp"


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: str) -> None:
    """Make the bytes of a file, or the names in a folder, survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def enter_slot(scratch: str, slot: str, token: str) -> None:
    os.makedirs(os.path.join(scratch, "slots"), exist_ok=True)
    path = os.path.join(scratch, "slots", slot)
    with open(f"{path}.tmp", "w") as file:  # not synced: it means nothing to the next container
        file.write(token)
    os.replace(f"{path}.tmp", path)


def leave_slot(scratch: str, slot: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(scratch, "slots", slot))


def slot_token(scratch: str, slot: str) -> str | None:
    """Return the token that the runner in a slot has taken up, None while there is no runner."""
    try:
        with open(os.path.join(scratch, "slots", slot)) as file:
            return file.read()
    except FileNotFoundError:
        return None


def slot_done(scratch: str, slot: str) -> tuple[bool, str]:
    """Return whether a slot may be replaced, and the token in it. An absent runner is not done."""
    text = slot_token(scratch, slot)
    try:
        token = stages.parse_token(text or "")
    except ValueError:
        return False, ""
    done = text is not None and (token is None or is_done(scratch, token.run, token.stage))
    return done, text or ""


def digest_file(path: str) -> tuple[str, int]:
    """Return blake3 and length of a file, in constant memory whatever its size."""
    from blake3 import blake3

    hasher, size = blake3(), 0
    with open(path, "rb") as file:
        while chunk := file.read(READ_BYTES):
            hasher.update(chunk)
            size += len(chunk)
    return hasher.hexdigest(), size
