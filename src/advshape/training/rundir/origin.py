"""Was this run begun here? Only such a run may run its recipe's own code again without being asked."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["sign_task", "was_begun_here"]


def sign_task(table: Mapping[str, Any]) -> str | None:
    """A signature of a recipe's `[task]` by this user's own key; None where no key can be kept."""
    key = own_key()
    text = json.dumps(dict(table), sort_keys=True, default=str).encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest() if key else None


def was_begun_here(table: Mapping[str, Any], signature: object) -> bool:
    """Whether `sign_task` of this user gave the signature for this very table."""
    own = sign_task(table)
    return own is not None and isinstance(signature, str) and hmac.compare_digest(own, signature)


def own_key() -> bytes:
    """A random key of this user, made on first use; empty where none can be kept."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(state) / "advshape" / "key"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        return path.read_bytes()
    return b""
