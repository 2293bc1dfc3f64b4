"""Passwords: made once, a file a role, readable by their owner alone, in no argv, log or image."""

import contextlib
import os
import secrets
from pathlib import Path

from ..config import ROLES, Settings

BYTES = 24


def ensure(settings: Settings) -> str:
    """Make what is missing: a password per role, and `pgpass` for libpq's own tools."""
    folder = settings.secret_file("cdc").parent
    folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK) and folder.stat().st_uid == os.geteuid():
        folder.chmod(0o700)
    made = [role for role in ROLES if _write_new(folder / role, secrets.token_urlsafe(BYTES))]
    _write_passfile(settings, folder)
    if settings.values["connect_secrets"]:
        _hand_to_connect(settings, Path(settings.values["connect_secrets"]))
    return f"made passwords of {', '.join(made)}" if made else ""


def _write_passfile(settings: Settings, folder: Path) -> None:
    """Write it anew every time: ports may have moved."""
    place = ":".join(
        str(settings.values[f"postgres.{key}"]) for key in ("host", "port", "database")
    )
    lines = [f"{place}:{role}:{(folder / role).read_text()}\n" for role in ROLES]
    passfile = folder / "pgpass"
    passfile.unlink(missing_ok=True)
    _write_new(passfile, "".join(lines))


def _hand_to_connect(settings: Settings, folder: Path) -> None:
    """Give Connect the one password it needs of this node, where a group may read it."""
    copy = folder / settings.node
    copy.unlink(missing_ok=True)
    _write_new(copy, settings.password("cdc"), 0o640)


def _write_new(path: Path, text: str, mode: int = 0o600) -> bool:
    """Write a file unless it is there. Without a newline: Connect reads a password whole."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size:
            return False
        path.unlink()  # it was cut short, and never was a password
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.chmod(mode)  # whatever the umask was
        os.link(temporary, path)  # whole, or not there
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


if __name__ == "__main__":
    from .jobs import run

    raise SystemExit(run(ensure))
