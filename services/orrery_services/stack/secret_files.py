"""Passwords: made once, a file a role, readable by their owner alone, in no argv, log or image."""

import os
import secrets
from pathlib import Path

from ..config import ROLES

BYTES = 24


def ensure(folder: Path, host: str, port: int, database: str) -> None:
    """Make what is missing in `folder`: a password per role, and `pgpass` for libpq's tools."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for role in ROLES:
        _write_new(folder / role, secrets.token_urlsafe(BYTES))
    lines = [f"{host}:{port}:{database}:{role}:{(folder / role).read_text()}" for role in ROLES]
    passfile = folder / "pgpass"
    passfile.unlink(missing_ok=True)  # ports may have moved
    _write_new(passfile, "\n".join(lines) + "\n")


def _write_new(path: Path, text: str) -> None:
    """Write a file of mode 600 unless it is there. Without a newline: Connect reads it whole."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
