"""Private ids: names of single images and prompts in records, of which only the evidence folder knows whose they are.

A plain digest would let whoever holds a candidate image look it up in a published report, and learn that it was trained
on. The secret that these ids are made with lies in the evidence folder, is never part of a record, and gives the same
image the same id in all runs of the folder.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from filelock import FileLock

from pytest_diffprivacy import options
from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence.store import prepare

SECRET_FILE: Final = "secret"
SECRET_BYTES: Final = 32
DIGITS: Final = 10


def private_id(content: bytes) -> str:
    """The id of an image's digest or a prompt's text: 10 hexadecimal digits.

    Raises:
        EvidenceError: the secret cannot be read or written.
    """
    session = options.active()
    secret = _secret(None if session is None else Path(str(session.settings["cache-dir"])))
    return _id(secret, content)


def ids_of(root: Path) -> Callable[[bytes], str]:
    """What makes the ids of an evidence folder that is there, for whoever looks up what they name.

    Raises:
        EvidenceError: the folder holds no secret, or it cannot be read.
    """
    path = root / SECRET_FILE
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise EvidenceError(
            f"Cannot read {str(path)!r}: {error.strerror or error}. Ids are led back by the folder of the run only."
        ) from error
    if len(secret) != SECRET_BYTES:
        raise EvidenceError(
            f"{str(path)!r} is no secret of {SECRET_BYTES} bytes, got {len(secret)}. Restore a copy of it, or remove "
            "it: later runs have other ids."
        )
    return partial(_id, secret)


def _id(secret: bytes, content: bytes) -> str:
    return hmac.new(secret, content, "sha256").hexdigest()[:DIGITS]


@lru_cache
def _secret(root: Path | None) -> bytes:
    """The secret of an evidence folder, made where there is none; outside pytest one of this process."""
    if root is None:
        return secrets.token_bytes(SECRET_BYTES)
    prepare(root)
    path = root / SECRET_FILE
    try:
        with FileLock(root / "locks" / "secret.lock"):
            found = path.read_bytes() if path.exists() else b""
            if len(found) != SECRET_BYTES:
                found = secrets.token_bytes(SECRET_BYTES)
                path.touch(mode=0o600)
                path.write_bytes(found)
            return found
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EvidenceError(
            f"Cannot keep the secret of {str(root)!r}: {reason}. Set diffprivacy_cache_dir to a writable folder."
        ) from error
