"""What a tool gives back, and how the model is told of it."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from agno_mongo.media import Audio, File, Image, Media, Video, all_loaded
from agno_mongo.messages import readable, text_of
from agno_mongo.run.base import BaseRunOutput


class ToolResult(BaseModel):
    """A tool's result in parts. ``content`` is what the model is told, ``images``, ``videos``, ``audios`` and ``files`` what it is shown with it;
    ``metadata`` is for hooks, and is not stored.
    """

    content: str
    metadata: dict[str, Any] | None = None
    images: list[Image] | None = None
    videos: list[Video] | None = None
    audios: list[Audio] | None = None
    files: list[File] | None = None


KINDS: Final[dict[str, type[Media]]] = {"images": Image, "audio": Audio, "videos": Video, "files": File}
"""What a message carries, by its fields."""


def media_in(result: Any) -> dict[str, list[Media]]:
    """The media of a result, by the fields of a message: those of a ToolResult; the result itself, or all of a list."""
    if isinstance(result, ToolResult):
        given = {"images": result.images, "audio": result.audios, "videos": result.videos, "files": result.files}
        return {name: list(some) for name, some in given.items() if some}
    parts = result if isinstance(result, (list, tuple)) else [result]
    if not parts or not all(isinstance(part, Media) for part in parts):
        return {}
    found = {name: [part for part in parts if isinstance(part, kind)] for name, kind in KINDS.items()}
    return {name: some for name, some in found.items() if some}


async def media_of(result: Any) -> dict[str, list[Media]]:
    """The same, read where they are. Raises MediaError for what is none."""
    return {name: await all_loaded(name, some, KINDS[name]) or [] for name, some in media_in(result).items()}


def result_text(result: Any) -> str:
    """A tool's result as text for the model.

    Text as it is; pydantic models, dataclasses and plain data as JSON; a ToolResult's or a run's content; media as a note; dates, UUIDs and the like without
    quotes around them; bytes as the text they are, or as a note; anything else by ``str``. It always gives one, which can be sent and stored.
    """
    return readable(result if isinstance(result, str) else _text_of(result))


def _text_of(result: Any) -> str:
    if isinstance(result, (ToolResult, BaseRunOutput)):
        return result_text(result.content)
    if media := media_in(result):
        return ", ".join(f"[{medium.noun}]" for some in media.values() for medium in some)
    if isinstance(result, (bytes, bytearray, memoryview)):
        return _bytes_text(bytes(result))
    try:
        return json.dumps(result, ensure_ascii=False)
    except Exception:  # noqa: BLE001 - no plain data, or somebody's own classes among it
        return _other_text(result)


def _other_text(result: Any) -> str:
    try:
        plain = to_jsonable_python(result, exclude_none=isinstance(result, BaseModel), fallback=text_of, inf_nan_mode="constants")
        return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    except Exception:  # noqa: BLE001 - whatever the code of somebody's class raises
        return text_of(result)


def _bytes_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"[{len(data)} bytes that are no text]"
