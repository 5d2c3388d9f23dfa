"""The images, sounds, videos and files that a run is given, read before anything of it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from agno_mongo.agent.prompt import user_messages
from agno_mongo.errors import MediaError
from agno_mongo.media import NAMES, Audio, File, Image, Media, Video, all_loaded
from agno_mongo.messages import Message, is_message
from agno_mongo.run.base import RunInput

KINDS: Final[dict[str, type[Media]]] = {"images": Image, "audio": Audio, "videos": Video, "files": File}
"""The options of ``run()``, which are the fields of a message too."""

_IN_INPUT: Final = {"audio": "audios"}


class MediaOptions(TypedDict, total=False):
    """What goes with the input of a run: Agno's Image, Audio, Video and File."""

    images: Sequence[Image] | None
    audio: Sequence[Audio] | None
    videos: Sequence[Video] | None
    files: Sequence[File] | None


async def read(given: Any, options: Mapping[str, Any]) -> tuple[Any, dict[str, list[Media]]]:
    """The input with the media of its messages read, and the media of the call, by option; both as they are where there are none.

    With media the input may be None, which is then an empty text. Raises MediaError.
    """
    media: dict[str, list[Media]] = {}
    for name in KINDS.keys() & options.keys():
        if (found := await all_loaded(name, options[name], KINDS[name])) is not None:
            media[name] = found
    if isinstance(given, list):
        given = [await _message_read(part) for part in given]
    else:
        given = await _message_read(given)
    return "" if given is None and media else given, media


def with_those_of(given: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of a call with the media of ``given``, if it is a Message: they go with the input, whatever becomes of its content."""
    own = {name: some for name in KINDS if isinstance(given, Message) and (some := getattr(given, name))}
    return {**options, **{name: [*some, *(options.get(name) or ())] for name, some in own.items()}} if own else options


async def _message_read(given: Any) -> Any:
    if isinstance(given, Mapping) and not NAMES.isdisjoint(given) and is_message(given):
        given = Message.model_validate(dict(given))
        _refuse_to_read(given)
    if not isinstance(given, Message) or not given.media:
        return given
    found = {name: await all_loaded(name, getattr(given, name), kind) for name, kind in KINDS.items()}
    return given.model_copy(update={name: media for name, media in found.items() if media is not None})


def _refuse_to_read(message: Message) -> None:
    """A dict may be what a stranger sent. It must not make this process read its files, or fetch what only it can reach."""
    for name in KINDS:
        for index, medium in enumerate(getattr(message, name) or ()):
            fetched = name in {"audio", "files"} and medium.url is not None and medium.url[:5].lower() != "data:"
            if medium.content is None and (medium.filepath is not None or fetched):
                raise MediaError(
                    f"{name}[{index}] of a message that is a dict is a place to read from; where that is wanted, give a Message with "
                    f"{KINDS[name].__name__}(…)",
                    where=f"{name}[{index}]",
                )


def with_media(messages: Sequence[Message], media: Mapping[str, list[Media]], role: str = "user") -> list[Message]:
    """The messages, the last of the user's with the media; a message of their own if there is none of the user's. ``role`` is the user's."""
    if not media:
        return list(messages)
    users = [index for index, message in enumerate(messages) if message.role in {role, "user"}]
    messages = list(messages)
    if not users:
        return [*messages, Message(role=role, content="", **media)]
    last = messages[users[-1]]
    together = {name: [*(getattr(last, name) or ()), *some] for name, some in media.items()}
    messages[users[-1]] = last.model_copy(update=together)
    return messages


def asked_again(given: RunInput | None, role: str = "user") -> list[Message]:
    """The messages of a stored input, with its media. ``role`` is the user's."""
    if given is None:
        return user_messages(None)
    media = {name: found for name in KINDS if (found := getattr(given, _IN_INPUT.get(name, name)))}
    return with_media(user_messages(given.input_content, role=role), media, role)


def as_input(media: Mapping[str, list[Media]]) -> dict[str, list[Media]]:
    """The media under the names of a RunInput's fields."""
    return {_IN_INPUT.get(name, name): some for name, some in media.items()}
