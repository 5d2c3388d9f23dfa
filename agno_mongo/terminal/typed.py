"""What was typed in earlier chats: a file in the user's state folder, which nobody else may read."""

from __future__ import annotations

import json
import os
import sys
from typing import Final

REMEMBERED: Final = 256 * 1024
"""Bytes at the end of the file that are read. What was typed before them stays in the file."""

LONGEST: Final = 64 * 1024
"""Characters. What is longer was pasted, and is not kept."""


def default_path() -> str:
    """``agno_mongo/typed`` below ``XDG_STATE_HOME`` (``~/.local/state`` by default), on Windows below ``LOCALAPPDATA``."""
    on_windows = sys.platform == "win32"
    chosen = os.environ.get("LOCALAPPDATA" if on_windows else "XDG_STATE_HOME", "")
    # A relative path is to be ignored, says the specification.
    folder = chosen if os.path.isabs(chosen) else os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(folder, "agno_mongo", "typed")


class Typed:
    """The file: a line of JSON for each text, the newest last. Several processes may add to it at once.

    A file that cannot be read or written is no reason not to chat: nothing is remembered then.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path or default_path()

    def load(self) -> list[str]:
        """The texts, oldest first; those that are none are passed over."""
        try:
            with open(self.path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - REMEMBERED, 0))
                lines = file.read().splitlines()
        except OSError:
            return []
        return [text for line in lines if (text := _text(line)) is not None]

    def add(self, text: str) -> None:
        """Remember a text. Folder and file are made for the user alone."""
        if len(text) > LONGEST:
            return
        line = json.dumps(text).encode() + b"\n"
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError:
            return


def _text(line: bytes) -> str | None:
    try:
        text = json.loads(line)
    except ValueError:
        return None
    return text if isinstance(text, str) else None
