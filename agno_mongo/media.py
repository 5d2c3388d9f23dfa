"""Images, sounds, videos and files: what they are, where their bytes come from, and that a run keeps them once.

Field names are Agno's. A medium is given by ``url``, ``filepath`` or ``content``; ``loaded`` reads it, and tells its type by its bytes.
"""

from __future__ import annotations

import asyncio
import itertools
import mimetypes
import os
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_serializer, model_validator
from typing_extensions import Self

from agno_mongo.errors import MediaError
from agno_mongo.ids import new_id

DOWNLOAD_TIMEOUT: Final = 60.0
"""Seconds without a byte after which a download is given up."""

_SOURCES: Final = ("url", "filepath", "content")
_AS_STORED: Final = {"as_stored": True}
_USUAL: Final = {"audio/x-wav": "audio/wav", "audio/x-flac": "audio/flac", "audio/mp3": "audio/mpeg"}


class Media(BaseModel):
    """Base of :class:`Image`, :class:`Audio`, :class:`Video` and :class:`File`.

    Exactly one of ``url``, ``filepath`` (text or Path) and ``content`` (bytes) says where it is. ``id`` is made up if it is not given.
    ``mime_type`` and ``format`` need not be given where the bytes tell them. ``metadata`` is the caller's own.
    ``not_stored`` is the note that stands in the place of bytes that an agent with ``store_media=False`` did not keep.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())
    noun: ClassVar[str] = "a medium"

    id: str = Field(default_factory=new_id)
    url: str | None = None
    filepath: Path | str | None = None
    content: bytes | None = None
    format: str | None = None
    mime_type: str | None = None
    metadata: dict[str, Any] | None = None
    not_stored: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _given(cls, data: Any, info: ValidationInfo) -> Any:
        """Bytes as bytes and paths as text; one source, save for what is read back from a database."""
        if not isinstance(data, dict):
            return data
        as_stored = bool(info.context and info.context.get("as_stored"))
        data = {name: value for name, value in data.items() if value is not None}
        if not as_stored and "not_stored" not in data:
            cls._check_sources(data)
        if "content" in data:
            data["content"] = cls._as_bytes(data["content"], data.get("mime_type"), as_stored=as_stored)
        if "filepath" in data:
            data["filepath"] = os.fspath(data["filepath"])
        return data

    @classmethod
    def _check_sources(cls, data: Mapping[str, Any]) -> None:
        given = [name for name in _SOURCES if name in data]
        if len(given) != 1:
            what = "none" if not given else " and ".join(given)
            raise ValueError(f"{cls.__name__} takes one of url=, filepath= and content=; given was {what}")

    @classmethod
    def _as_bytes(cls, content: Any, mime_type: Any, *, as_stored: bool) -> Any:  # noqa: ARG003 - a file's text is its content
        """Text is Base64, as Agno stores bytes."""
        if isinstance(content, (bytearray, memoryview)):
            return bytes(content)
        return from_base64(content) if isinstance(content, str) else content

    @field_serializer("content", when_used="json")
    def _base64(self, content: bytes | None) -> str | None:
        return None if content is None else b64encode(content).decode()

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What is there, and of the bytes their number."""
        for name, value in super().__repr_args__():
            if name == "content" and self.content is not None:
                yield "content", _Shown(f"{len(self.content)} bytes")
            elif value is not None:
                yield name, value

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """What was stored, by Agno too: there may be no source, and bytes may be Base64."""
        return cls.model_validate(dict(data), context=_AS_STORED)

    @classmethod
    def from_base64(cls, base64_content: str, **fields: Any) -> Self:
        """A medium of bytes in Base64."""
        return cls(content=from_base64(base64_content), **fields)

    def to_dict(self, include_base64_content: bool = True) -> dict[str, Any]:
        """The fields that are not None, ready for JSON: the bytes in Base64, or left out."""
        return self.model_dump(mode="json", exclude_none=True, exclude=None if include_base64_content else {"content"})

    def to_base64(self) -> str | None:
        """The bytes in Base64; see :meth:`get_content_bytes`."""
        data = self.get_content_bytes()
        return None if data is None else b64encode(data).decode()

    def get_content_bytes(self) -> bytes | None:
        """The bytes, read from the file or the address if need be; None where there are none. Raises MediaError. Blocks while it reads."""
        if self.content is None and self.filepath is not None:
            return _read(str(self.filepath), self.noun)
        if self.content is None and self.url is not None:
            return _embedded(self.url)[0] if self.url[:5].lower() == "data:" else _downloaded(self.url, self.noun)[0]
        return self.content

    async def aget_content_bytes(self) -> bytes | None:
        """Like ``get_content_bytes``, read in a thread."""
        return self.content if self.content is not None else await asyncio.to_thread(self.get_content_bytes)

    def _type_of(self, data: bytes, where: str) -> str | None:  # noqa: ARG002 - what others say of it
        """The MIME type, by the bytes and by what is said of them. Raises MediaError if the bytes are something else."""
        return self.mime_type or sniffed(data)


class _Shown(str):
    """A text that is shown as it is."""

    __slots__ = ()
    __repr__ = str.__str__


class Image(Media):
    """An image. Its type is told by its bytes; ``detail`` is OpenAI's: ``low``, ``high`` or ``auto``."""

    noun: ClassVar[str] = "an image"

    detail: str | None = None
    original_prompt: str | None = None
    revised_prompt: str | None = None
    alt_text: str | None = None

    def _type_of(self, data: bytes, where: str) -> str | None:
        found = sniffed(data)
        given = self.mime_type or (f"image/{self.format}" if self.format else None)
        if found is None and given is not None and _filetype().get_type(mime=given) is None and given.startswith("image/"):
            # A kind that cannot be told by its first bytes: SVG is text.
            return given
        if found is None or not found.startswith("image/"):
            raise _is_none(where, self.noun, data, found)
        return found


class Audio(Media):
    """A sound. ``format`` (``wav``, ``mp3``, ``pcm16``) need be given only where the bytes do not tell it. ``sample_rate`` is in hertz,
    ``duration`` in seconds.
    """

    noun: ClassVar[str] = "a sound"

    duration: float | None = None
    sample_rate: int | None = 24000
    channels: int | None = 1
    transcript: str | None = None
    expires_at: int | None = None

    def _type_of(self, data: bytes, where: str) -> str | None:
        found = sniffed(data)
        if found is None and not (self.mime_type or self.format):
            raise MediaError(f"{where} is no sound of a known kind; if it is one, say so: Audio(…, format='pcm16')", where=where)
        # A sound may stand in a container that is made for videos.
        if found is not None and not found.startswith(("audio/", "video/")):
            raise _is_none(where, self.noun, data, found)
        return found or self.mime_type or f"audio/{self.format}"


class Video(Media):
    """A video. ``duration`` is in seconds."""

    noun: ClassVar[str] = "a video"

    duration: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    eta: str | None = None
    original_prompt: str | None = None
    revised_prompt: str | None = None

    def _type_of(self, data: bytes, where: str) -> str | None:
        found = sniffed(data)
        if (found is None and not (self.mime_type or self.format)) or (found is not None and not found.startswith("video/")):
            raise _is_none(where, self.noun, data, found)
        return found or self.mime_type or f"video/{self.format}"


class File(Media):
    """A file of any kind: a PDF, a table, a text. ``content`` may be text. ``filename`` is told to the model.

    ``id`` alone names a file that the provider has already.
    """

    noun: ClassVar[str] = "a file"

    file_type: str | None = None
    filename: str | None = None
    size: int | None = None
    name: str | None = None

    @classmethod
    def _check_sources(cls, data: Mapping[str, Any]) -> None:
        if not any(name in data for name in _SOURCES) and "id" in data:
            return
        super()._check_sources(data)

    @classmethod
    def _as_bytes(cls, content: Any, mime_type: Any, *, as_stored: bool) -> Any:
        """Agno stores what is text by its type as text, and all else in Base64."""
        if isinstance(content, str):
            is_text = not as_stored or (isinstance(mime_type, str) and mime_type.startswith("text/"))
            return content.encode() if is_text else from_base64(content, or_text=True)
        return super()._as_bytes(content, mime_type, as_stored=as_stored)

    def _type_of(self, data: bytes, where: str) -> str | None:  # noqa: ARG002 - any bytes are a file
        names = (self.filename, self.name, self.format and f"x.{self.format}")
        by_name = next((kind for name in names if name and (kind := mimetypes.guess_type(name)[0])), None)
        return self.mime_type or sniffed(data) or by_name or _text_or_bytes(data)


MediaT = TypeVar("MediaT", bound=Media)


def _list_of(kind: type[Media]) -> BeforeValidator:
    def read(value: Any) -> Any:
        several = value if isinstance(value, (list, tuple)) else [value]
        return [_read_back(kind, part) for part in several]

    return BeforeValidator(read)


def _read_back(kind: type[Media], part: Any) -> Any:
    if isinstance(part, str):
        # Agno 1 took addresses and Base64 as they are.
        is_address = _is_http(part) or part[:5].lower() == "data:"
        part = {"url": part} if is_address else {"content": part}
    return kind.from_dict(part) if isinstance(part, Mapping) else part


Images = Annotated[list[Image], _list_of(Image)]
Audios = Annotated[list[Audio], _list_of(Audio)]
Videos = Annotated[list[Video], _list_of(Video)]
Files = Annotated[list[File], _list_of(File)]
"""Fields of what is stored: dicts are read as ``from_dict`` reads them, whoever wrote them."""

_IN_ORDER: Final = ("images", "audio", "audios", "videos", "files")
NAMES: Final = frozenset(_IN_ORDER)
"""The fields of messages, inputs and runs that hold media. Agno's ``audio`` is called ``audios`` in an input."""

OF_INPUT: Final = NAMES - {"audio"}
"""Those of a run's input, and of its entry while it goes on."""


def of(holder: Any) -> list[Media]:
    """The media of a message, an input or a run, in the order of their kinds; an empty list, and little time, where there are none."""
    fields = vars(holder)
    return [medium for name in _IN_ORDER if (some := fields.get(name)) for medium in some]


def once(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the bytes of each medium left in one place, the first that has them: the run's input, its messages, itself.

    ``record`` is a run that is to be stored, as plain values, which are changed. :func:`restore` finds them by the medium's ``id``.
    """
    seen: dict[str, bytes] = {}
    for holder in _holders(record):
        if holder.keys().isdisjoint(NAMES):
            continue
        for part in itertools.chain.from_iterable(holder[name] or () for name in NAMES.intersection(holder)):
            if not isinstance(part, dict) or not isinstance(data := part.get("content"), bytes):
                continue
            if seen.get(str(part.get("id"))) == data:
                del part["content"]
            elif isinstance(part.get("id"), str):
                seen.setdefault(part["id"], data)
    return record


def _holders(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All of a stored run that may have media."""
    given = record.get("input") or {}
    yield given
    yield from messages_in(given.get("input_content"))
    yield from record.get("messages") or ()
    yield record


def messages_in(given: Any) -> Iterable[Mapping[str, Any]]:
    """The messages, as plain values, that an input consists of; none where it is text or data."""
    parts = given if isinstance(given, list) else (given,)
    return (part for part in parts if isinstance(part, Mapping) and "role" in part)


def restore(given: Any, messages: Iterable[Any], run: Any) -> None:
    """Give the media of a run that was read back the bytes that :func:`once` left elsewhere: in the input, or in the messages.

    ``given`` is the run's input, ``messages`` its messages. Little time where there are no media.
    """
    known: dict[Any, Any] = (
        {} if given is None else {medium.id: medium.content for medium in of(given) if medium.content is not None}
    )
    content = None if given is None else given.input_content
    for message in () if content is None or isinstance(content, str) else messages_in(content):
        for name in NAMES.intersection(message):
            known |= {
                part.get("id"): part["content"] for part in message[name] or () if isinstance(part, dict) and "content" in part
            }
    own = of(run)
    if not known and not own:
        return
    for medium in itertools.chain.from_iterable(map(of, messages)):
        _fill(medium, known)
        if medium.content is not None:
            known[medium.id] = medium.content
    for medium in own:
        _fill(medium, known)


def _fill(medium: Media, known: Mapping[Any, Any]) -> None:
    if medium.content is None and medium.not_stored is None and isinstance(data := known.get(medium.id), bytes):
        medium.content = data


def _filetype() -> Any:
    """The library that knows types by their bytes. Imported only now: it has a module for every type."""
    return import_module("filetype")


def sniffed(data: bytes) -> str | None:
    """The MIME type that the first bytes tell; None if they tell nothing."""
    found: str | None = _filetype().guess_mime(data[:8192]) if data else None
    return None if found is None else _USUAL.get(found, found)


async def loaded(medium: MediaT, where: str | None = None) -> MediaT:
    """The medium with its bytes and its type; the given one is left as it is.

    A file is read in a thread, and so is the address of a sound or a file downloaded; images and videos keep an ``http`` address, for the
    provider to look at. What carries a note of bytes that were not stored, and a file that has only the provider's id, stay as they are.
    Raises MediaError, which says ``where``, if it cannot be read, is empty, or is not what it is said to be.
    """
    where = where or medium.noun
    if medium.content is None and medium.url is not None and not isinstance(medium, (Audio, File)) and _is_http(medium.url):
        return medium
    if medium.content is None and medium.url is None and medium.filepath is None:
        if medium.not_stored is None and not isinstance(medium, File):
            raise MediaError(f"{where} has neither url, filepath nor content", where=where)
        return medium
    return await asyncio.to_thread(_loaded, medium, where)


def _loaded(medium: MediaT, where: str) -> MediaT:
    data, hints = _bytes_of(medium, where)
    if not data:
        raise MediaError(f"{where} is empty{_from(medium)}", where=where)
    told = {name: value for name, value in hints.items() if getattr(medium, name) is None}
    kept = {"content": data, "filepath": None, "url": None if _is_embedded(medium) else medium.url}
    named = medium.model_copy(update={**told, **kept})
    return named.model_copy(update={"mime_type": named._type_of(data, f"{where}{_from(medium)}")})  # noqa: SLF001 - its own module


async def all_loaded(name: str, given: Sequence[Any] | None, kind: type[MediaT]) -> list[MediaT] | None:
    """A setting's media, each loaded; None if there are none. Raises MediaError too for what is no ``kind``."""
    if given is None or (isinstance(given, Sequence) and not given):
        return None
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise MediaError(f"{name}= takes a list of {kind.__name__}, not {type(given).__name__}", where=name)
    for index, medium in enumerate(given):
        if not isinstance(medium, kind):
            wanted = f"{kind.__name__}(filepath=…), (url=…) or (content=…)"
            raise MediaError(f"{name}[{index}] is {type(medium).__name__}, not {wanted}", where=f"{name}[{index}]")
    return list(await asyncio.gather(*(loaded(medium, f"{name}[{index}]") for index, medium in enumerate(given))))


def from_base64(text: str, *, or_text: bool = False) -> bytes:
    """The bytes that Base64 text stands for, in either alphabet. Raises ValueError if it is none, unless it may be plain text."""
    try:
        return b64decode("".join(text.split()).translate(_STANDARD), validate=True)
    except ValueError:
        if or_text:
            return text.encode()
        raise ValueError("content is bytes, or text in Base64") from None


_STANDARD: Final = str.maketrans("-_", "+/")


def _bytes_of(medium: Media, where: str) -> tuple[bytes, dict[str, Any]]:
    """The bytes, and what their place tells of them. Blocks."""
    if medium.content is not None:
        return medium.content, {}
    if medium.filepath is not None:
        path = str(medium.filepath)
        return _read(path, where), {"filename": os.path.basename(path)} if isinstance(medium, File) else {}
    url = medium.url or ""
    if _is_embedded(medium):
        try:
            data, kind = _embedded(url)
        except ValueError as error:
            raise MediaError(f"{where} is a data: address whose Base64 is broken", where=where) from error
        return data, {"mime_type": kind}
    data, kind = _downloaded(url, where)
    name = os.path.basename(urlsplit(url).path)
    return data, {"filename": name or None, "mime_type": kind} if isinstance(medium, File) else {}


def _read(path: str, where: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{where} cannot be read from {path!r}: {reason}", where=where) from error


def _downloaded(url: str, where: str) -> tuple[bytes, str | None]:
    if not _is_http(url):
        raise MediaError(f"{where}: {url[:80]!r} is no http address, and no data: address", where=where)
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT) as answer:  # noqa: S310 - http and https only
            return answer.read(), answer.headers.get_content_type() if answer.headers.get("Content-Type") else None
    except urllib.error.HTTPError as error:
        with error:
            raise MediaError(f"{where} cannot be downloaded: {url} answered with status {error.code}", where=where) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise MediaError(f"{where} cannot be downloaded from {url}: {reason}", where=where) from error


def _is_http(url: str) -> bool:
    return url[:8].lower().startswith(("http://", "https://"))


def _is_embedded(medium: Media) -> bool:
    return medium.url is not None and medium.url[:5].lower() == "data:"


def _embedded(url: str) -> tuple[bytes, str | None]:
    """The bytes of a ``data:`` address, and its MIME type."""
    head, _, body = url.partition(",")
    kind, *parameters = head[5:].split(";")
    encoded = any(parameter.strip().lower() == "base64" for parameter in parameters)
    return from_base64(unquote_to_bytes(body).decode("ascii", "replace")) if encoded else unquote_to_bytes(body), kind or None


def _text_or_bytes(data: bytes) -> str:
    try:
        data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain"


def _from(medium: Media) -> str:
    place = medium.filepath or (None if _is_embedded(medium) else medium.url)
    return f" ({place})" if place else ""


def _is_none(where: str, noun: str, data: bytes, found: str | None) -> MediaError:
    what = f"its bytes are {found}" if found else f"it begins with {data[:16]!r}"
    return MediaError(f"{where} is not {noun}: {what}", where=where)
