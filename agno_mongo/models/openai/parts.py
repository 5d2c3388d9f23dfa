"""Images, sounds, videos and files as the content parts of OpenAI's APIs."""

from __future__ import annotations

import itertools
import logging
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any, Final

from agno_mongo.media import Audio, File, Image, Media, Video
from agno_mongo.messages import Message

_log = logging.getLogger("agno_mongo")

_AUDIO_FORMATS: Final = {"audio/mpeg": "mp3", "audio/wav": "wav", "audio/mp4": "m4a", "audio/ogg": "ogg", "audio/flac": "flac"}
LARGE: Final = 256 * 1024
"""Bytes from which media are encoded in a thread rather than on the event loop."""


def is_large(messages: Sequence[Message]) -> bool:
    """True if encoding the messages' media would hold up the event loop."""
    return sum(len(medium.content or b"") for message in messages for medium in message.media) > LARGE


def chat_content(message: Message) -> Any:
    """The content of a message as chat completions take it: as it is, or with files, text, images and sounds as parts.

    A video becomes a note, since OpenAI's models take none, and so does what was not stored.
    """
    if message.role != "user" or not message.media:
        return message.content
    text = message.content
    said = list(text) if isinstance(text, list) else [{"type": "text", "text": text}] if text else []
    shown = [chat_part(medium) for medium in message.media]
    files = [part for part in shown if part["type"] == "file"]
    return [*files, *said, *(part for part in shown if part["type"] != "file")]


def chat_part(medium: Media) -> dict[str, Any]:
    """One medium as a part of a message to chat completions."""
    if medium.not_stored is not None and medium.content is None:
        return _note(medium.not_stored)
    if isinstance(medium, Image) and (url := address(medium)) is not None:
        return {"type": "image_url", "image_url": {"url": url, **({"detail": medium.detail} if medium.detail else {})}}
    if isinstance(medium, Audio) and medium.content is not None:
        return {
            "type": "input_audio",
            "input_audio": {"data": b64encode(medium.content).decode(), "format": audio_format(medium)},
        }
    if isinstance(medium, File):
        return {"type": "file", "file": file_fields(medium)}
    if isinstance(medium, Video):
        _log.warning("OpenAI's models take no videos; the model is told that there is one")
    return _note(f"[{medium.noun} that cannot be shown]")


def address(medium: Media) -> str | None:
    """The medium's ``http`` address, or its bytes as a ``data:`` address; None if it has neither."""
    if medium.content is None:
        return medium.url
    return f"data:{medium.mime_type or 'application/octet-stream'};base64,{b64encode(medium.content).decode()}"


def audio_format(sound: Audio) -> str:
    """OpenAI's name of the sound's format: ``wav``, ``mp3``."""
    kind = sound.mime_type or ""
    return _AUDIO_FORMATS.get(kind) or sound.format or kind.partition("/")[2] or "wav"


def file_fields(file: File) -> dict[str, Any]:
    """``filename`` and ``file_data``, or the ``file_id`` of a file that OpenAI has already."""
    if (data := address(file)) is None:
        return {"file_id": file.id}
    return {"filename": file.filename or file.name or "file", "file_data": data}


def after_tools(messages: Sequence[Message]) -> Iterator[tuple[Message, list[Media]]]:
    """Each message, and the media to show after it in a message of the user's: those that a round of tools returned, after its last one.

    A message of role ``tool`` carries text only.
    """
    waiting: list[Media] = []
    for message, following in itertools.zip_longest(messages, messages[1:]):
        if message.role == "tool":
            waiting += message.media
        due = waiting if following is None or following.role != "tool" else []
        yield message, due
        waiting = [] if due else waiting


def of_tools(media: Sequence[Media]) -> dict[str, Any]:
    """The user's message that shows what tools returned."""
    return {"role": "user", "content": [_note("What the tools returned:"), *map(chat_part, media)]}


def _note(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
