"""Content that is too large for a document: kept in GridFS's format, once for each content of a session.

In the place of the content stands a DBRef to its file (``<session_table>_media.files``) with ``type`` (``text``, ``bytes`` or
``bson``) and ``length`` in bytes. A text that is a ``data:`` address in Base64 is stored as the bytes that it stands for, so that an image is there once
however it was given; its reference has the beginning of the address as ``head``. Large are texts and bytes over 64 KiB; and of a run that is over 256 KiB without them, its largest fields
(thousands of messages, say), each as one BSON document. Users' values hold no DBRef (see :mod:`agno_mongo.db.values`).

The format is GridFS's, so that every GridFS client can read it. It is written here rather than by a driver's bucket, because the same code
serves PyMongo, Motor and mongomock, and because two processes may store the same content at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, Final

import bson
from bson import DBRef, ObjectId
from pymongo.errors import DuplicateKeyError

from agno_mongo.db.archive import size_of
from agno_mongo.db.connections import Connection
from agno_mongo.db.expiry import SOON, moment, with_margin
from agno_mongo.db.keys import SessionKey
from agno_mongo.errors import CorruptSession, StoreError

LARGE: Final = 64 * 1024
"""Bytes from which a text or bytes are stored apart."""

INLINE_BYTES: Final = 256 * 1024
"""Bytes that a run, or an input, may take in the session's document."""

CHUNK_BYTES: Final = 255 * 1024
_CHUNKS_AT_ONCE: Final = 32
_ATTEMPTS: Final = 10


@dataclass(frozen=True)
class Part:
    """One content to be stored apart, under an id of its own until it is known whether the session has it already."""

    type: str
    data: bytes
    sha256: str
    reference: DBRef


@dataclass
class Split:
    """A value whose large parts are taken out, while that goes on."""

    collection: str
    parts: dict[tuple[str, str], Part] = field(default_factory=dict)

    def take(self, kind: str, data: bytes, head: str | None = None) -> DBRef:
        """The reference that stands for ``data``, for the same content to the same file. ``head`` is the beginning of a ``data:`` address."""
        digest = hashlib.sha256(data).hexdigest()
        part = self.parts.get((kind, digest))
        if part is None:
            reference = DBRef(self.collection, ObjectId(), None, {"type": kind, "length": len(data)})
            part = self.parts[kind, digest] = Part(kind, data, digest, reference)
        return part.reference if head is None else _reference(part.reference, part.reference.id, head)

    def without_large(self, value: Any) -> Any:
        """``value`` with references in the place of large texts and bytes, at any depth."""
        if isinstance(value, dict):
            return {key: self.without_large(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self.without_large(part) for part in value]
        if isinstance(value, str) and len(value) > LARGE // 4:
            return self._text(value)
        if isinstance(value, bytes) and len(value) > LARGE:
            # A Binary of another subtype is more than its bytes.
            return self.take("bytes", value) if type(value) is bytes else self._document(value)
        return value

    def _text(self, text: str) -> Any:
        head, data = _embedded(text) or (None, b"")
        if head is not None and len(data) > LARGE:
            return self.take("bytes", data, head)
        data = text.encode()
        return self.take("text", data) if len(data) > LARGE else text

    def split(self, value: Any) -> Any:
        """``value`` without its large parts, and small enough to stand in a document."""
        rest = self.without_large(value)
        if not isinstance(rest, dict):
            return rest if size_of(rest) <= INLINE_BYTES else self._document(rest)
        sizes = {name: size_of(part) for name, part in rest.items()}
        while sizes and sum(sizes.values()) > INLINE_BYTES:
            largest = max(sizes, key=lambda name: sizes[name])
            if sizes.pop(largest) <= LARGE // 16:
                # Nothing but small fields is left, and very many of them.
                return self._document(rest)
            rest[largest] = self._document(rest[largest])
        return rest

    def _document(self, value: Any) -> DBRef:
        return self.take("bson", bson.encode({"": value}))


async def stored_apart(connection: Connection, key: SessionKey, run_id: str, value: Any, *, size: int | None = None) -> Any:
    """Store the large parts of a run's ``value`` and return it with references in their place; most values come back as they are.

    For each large part one findAndModify if the session has this content already; else an insert for every 8 MB and two commands more.
    ``size`` is the BSON size of ``value``, if it is known. Nothing refers to the parts before the caller stores the value; parts that
    nothing ever refers to go with the session. If the caller died before there was a session, they stay until one of this id is deleted,
    or all that the user has, or until the database's retention is over, if it has one.
    """
    if (size_of(value) if size is None else size) <= LARGE:
        return value
    split = Split(connection.media_files.name)
    rest = await asyncio.to_thread(split.split, value)
    if not split.parts:
        return rest
    await connection.ensure_media()
    known: dict[ObjectId, ObjectId] = {}
    for part in split.parts.values():
        known[part.reference.id] = await _put(connection, key, run_id, part)
    return _renamed(rest, {own: kept for own, kept in known.items() if own != kept})


async def _put(connection: Connection, key: SessionKey, run_id: str, part: Part) -> ObjectId:
    """The id of the file that holds the content, which is stored if the session has none yet."""
    for _ in range(_ATTEMPTS):
        found = await _refer(connection, key, run_id, part)
        if found is not None:
            return found
        file_id: ObjectId = part.reference.id
        # The file first, so that chunks left by a crash belong to somebody; it has no hash yet, so that nobody refers to it.
        kept_until = _kept_until(connection)
        await connection.media_files.insert_one(_file(key, run_id, part, kept_until))
        for batch in _batches(part.data, {"files_id": file_id, **_of_user(key), **_expiring(kept_until)}):
            await connection.media_chunks.insert_many(batch)
        whole = {"metadata.sha256": part.sha256, "metadata.key": f"{key.session_id}\n{key.user_id}\n{part.type}\n{part.sha256}"}
        try:
            result = await connection.media_files.update_one({"_id": file_id}, {"$set": whole})
        except DuplicateKeyError:
            # Another run of the session stored the same content meanwhile.
            found = await _refer(connection, key, run_id, part)
            if found is not None:
                await delete_files(connection, [file_id])
                return found
            # That one is gone, or soon will be. This one is good, if it is still there, though nobody finds it by its content.
            result = await connection.media_files.update_one({"_id": file_id}, {"$addToSet": {"metadata.runs": run_id}})
        if result.matched_count:
            return file_id
        # All that the user has was deleted meanwhile.
        await connection.media_chunks.delete_many({"files_id": file_id})
    raise StoreError(f"content of run {run_id!r} in session {key.session_id!r} was deleted again and again while it was stored")


def _file(key: SessionKey, run_id: str, part: Part, kept_until: datetime | None) -> dict[str, Any]:
    owner = {"sessions": [key.session_id], "session_type": key.session_type.value, "user_id": key.user_id, "runs": [run_id]}
    return {
        "_id": part.reference.id,
        "length": len(part.data),
        "chunkSize": CHUNK_BYTES,
        "uploadDate": datetime.now(timezone.utc).replace(tzinfo=None),
        "filename": part.sha256,
        "metadata": {"type": part.type, **owner, **_expiring(kept_until)},
    }


def _kept_until(connection: Connection) -> datetime | None:
    """Until when a file is kept that is stored now, of a session about which nothing is known but the database's retention."""
    retention = connection.retention
    return None if retention is None else with_margin(moment(connection.now() + retention), retention)


def _expiring(kept_until: datetime | None) -> dict[str, Any]:
    return {} if kept_until is None else {"expires_at": kept_until}


def _of_user(key: SessionKey) -> dict[str, Any]:
    """Chunks say whose they are, so that they can be found when their file is gone."""
    return {} if key.user_id is None else {"user_id": key.user_id}


async def _refer(connection: Connection, key: SessionKey, run_id: str, part: Part) -> ObjectId | None:
    """Note that one more run uses the content, and return its file; None if the session does not have it, or not for much longer."""
    soon = moment(connection.now() + min(SOON, (connection.retention or SOON) / 2))
    which = {
        "metadata.sessions": key.session_id,
        "metadata.sha256": part.sha256,
        "metadata.type": part.type,
        **_owned(key),
        "metadata.expires_at": {"$not": {"$lt": soon}},
    }
    found = await connection.media_files.find_one_and_update(
        which, {"$addToSet": {"metadata.runs": run_id}}, projection={"_id": 1}
    )
    return None if found is None else ObjectId(found["_id"])


def _owned(key: SessionKey) -> dict[str, Any]:
    """Matches the files of this owner and type. A call that takes another's session for its own must not touch what that one has."""
    return {"metadata.session_type": key.session_type.value, "metadata.user_id": key.user_id}


def _batches(data: bytes, common: Mapping[str, Any]) -> Iterable[list[dict[str, Any]]]:
    chunks = range(0, len(data), CHUNK_BYTES)
    for start in range(0, len(chunks), _CHUNKS_AT_ONCE):
        yield [
            {"_id": ObjectId(), "n": number, "data": data[chunks[number] : chunks[number] + CHUNK_BYTES], **common}
            for number in range(start, min(start + _CHUNKS_AT_ONCE, len(chunks)))
        ]


def _renamed(value: Any, ids: Mapping[ObjectId, ObjectId]) -> Any:
    if not ids:
        return value
    if isinstance(value, dict):
        return {key: _renamed(part, ids) for key, part in value.items()}
    if isinstance(value, list):
        return [_renamed(part, ids) for part in value]
    if isinstance(value, DBRef) and value.id in ids:
        return _reference(value, ids[value.id], getattr(value, "head", None))
    return value


def _reference(like: DBRef, file_id: ObjectId, head: str | None) -> DBRef:
    return DBRef(like.collection, file_id, None, {"type": like.type, "length": like.length, **({"head": head} if head else {})})


_ADDRESS: Final = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w.+=-]+)*;base64,", re.IGNORECASE)


def _embedded(text: str) -> tuple[str, bytes] | None:
    """The beginning of a ``data:`` address and its bytes, from which the text can be made again to the letter; None if it cannot, or is none."""
    found = _ADDRESS.match(text)
    if found is None:
        return None
    try:
        data = b64decode(text[found.end() :], validate=True)
    except ValueError:
        return None
    return (found[0], data) if b64encode(data).decode() == text[found.end() :] else None


def references_in(value: Any) -> list[DBRef]:
    """The references to large parts in a stored value."""
    if isinstance(value, DBRef):
        return [value]
    parts: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [reference for part in parts if isinstance(part, (dict, list, DBRef)) for reference in references_in(part)]


def files_in(value: Any) -> tuple[ObjectId, ...]:
    """The files that a stored value refers to."""
    return tuple({reference.id for reference in references_in(value)})


async def restored(connection: Connection, value: Any, *, session_id: str) -> Any:
    """A session's stored value with its large parts in their places.

    No command if there are none, else one find for all of them by the index on ``files_id`` and ``n``; one more if there are large
    parts within large parts. Raises CorruptSession if one is missing.
    """
    while references := references_in(value):
        ids = list({reference.id for reference in references})
        chunks: dict[ObjectId, list[bytes]] = {file_id: [] for file_id in ids}
        cursor = connection.media_chunks.find({"files_id": {"$in": ids}}, projection={"files_id": 1, "data": 1})
        for chunk in await cursor.sort([("files_id", 1), ("n", 1)]).to_list(None):
            chunks[chunk["files_id"]].append(chunk["data"])
        contents = {_named(reference): _content(reference, chunks[reference.id], session_id) for reference in references}
        value = _filled(value, contents)
    return value


def _content(reference: DBRef, chunks: Sequence[bytes], session_id: str) -> Any:
    data = b"".join(chunks)
    if len(data) != reference.length:
        raise CorruptSession(
            f"session {session_id!r}: of the {reference.length} bytes stored under {reference.id} in {reference.collection} "
            f"only {len(data)} are there",
            session_id=session_id,
        )
    if reference.type == "bson":
        return bson.decode(data)[""]
    if reference.type == "text":
        return data.decode()
    _, head = _named(reference)
    return data if head is None else head + b64encode(data).decode()


def _named(reference: DBRef) -> tuple[ObjectId, str | None]:
    return reference.id, getattr(reference, "head", None)


def _filled(value: Any, contents: Mapping[tuple[ObjectId, str | None], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(part, contents) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, contents) for part in value]
    return contents[_named(value)] if isinstance(value, DBRef) else value


async def share(connection: Connection, session_id: str, with_session_id: str, *, but_of: Collection[str] = ()) -> None:
    """Let another session of the same owner refer to all that runs of ``session_id`` refer to, but these. One update."""
    which = {"metadata.sessions": session_id, "metadata.runs": {"$elemMatch": {"$nin": list(but_of)}}}
    await connection.media_files.update_many(which, {"$addToSet": {"metadata.sessions": with_session_id}})


async def free_session(
    connection: Connection, session_ids: Sequence[str], owned: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Let go of all that these sessions refer to, as far as it matches ``owned``; what no session refers to any more is deleted.

    A find; with media, three commands more, and two more if others share it. The sessions themselves are gone by now.
    """
    which = {"metadata.sessions": {"$in": list(session_ids)}, **owned}
    files = await connection.media_files.find(which, projection={"metadata.sessions": 1}).to_list(None)
    if files:
        await connection.media_files.update_many(which, {"$pullAll": {"metadata.sessions": list(session_ids)}})
        await _forget_forks_that_never_were(connection, files, set(session_ids))
        await _delete(connection, {"metadata.sessions": []})


async def _forget_forks_that_never_were(
    connection: Connection, files: Sequence[Mapping[str, Any]], gone: Collection[str]
) -> None:
    """Free the files that are shared only with sessions that are not there: of a fork whose process died before it stored it.

    A fork that is being made in this moment, from a session that is gone, finds that out and takes itself back.
    """
    left = {file["_id"]: [other for other in file["metadata"]["sessions"] if other not in gone] for file in files}
    others = {other for sharing in left.values() for other in sharing}
    if not others:
        return
    there = await connection.collection.find({"session_id": {"$in": list(others)}}, projection={"session_id": 1}).to_list(None)
    dead = others - {session["session_id"] for session in there}
    forsaken = [file_id for file_id, sharing in left.items() if sharing and dead.issuperset(sharing)]
    if forsaken:
        await connection.media_files.update_many({"_id": {"$in": forsaken}}, {"$pullAll": {"metadata.sessions": list(dead)}})


async def free_runs(connection: Connection, key: SessionKey, run_ids: Sequence[str]) -> None:
    """Let go of what these runs of a session refer to; what no other run refers to is deleted. A find; with media, five more.

    What other sessions share is left to them: they have runs of the same ids, and may keep what this session drops.
    """
    which = {"metadata.sessions": [key.session_id], **_owned(key), "metadata.runs": {"$in": list(run_ids)}}
    if run_ids and await connection.media_files.find_one(which, projection={"_id": 1}) is not None:
        await connection.media_files.update_many(which, {"$pullAll": {"metadata.runs": list(run_ids)}})
        await _delete(connection, {"metadata.sessions": [key.session_id], "metadata.runs": []})


async def also_of(connection: Connection, run_id: str, needed: Collection[ObjectId]) -> None:
    """Note that these files, which another run has, are this one's too. One update; none for no files."""
    if needed:
        await connection.media_files.update_many({"_id": {"$in": list(needed)}}, {"$addToSet": {"metadata.runs": run_id}})


async def free_unneeded(connection: Connection, key: SessionKey, run_id: str, needed: Collection[ObjectId]) -> None:
    """Let go of what was stored for this run but for these files; what no other run refers to is deleted. A find; five more if there is any."""
    which = {"metadata.sessions": [key.session_id], **_owned(key), "metadata.runs": run_id, "_id": {"$nin": list(needed)}}
    if await connection.media_files.find_one(which, projection={"_id": 1}) is not None:
        await connection.media_files.update_many(which, {"$pull": {"metadata.runs": run_id}})
        await _delete(connection, {"metadata.sessions": [key.session_id], "metadata.runs": []})


async def _delete(connection: Connection, unused: Mapping[str, Any]) -> None:
    """Delete the files that match ``unused``, unless somebody refers to one of them in this moment."""
    await connection.media_files.update_many(unused, {"$unset": {"metadata.sha256": "", "metadata.key": ""}})
    nameless = {**unused, "metadata.sha256": {"$exists": False}}
    files = await connection.media_files.find(nameless, projection={"_id": 1}).to_list(None)
    await delete_files(connection, [file["_id"] for file in files])


async def delete_files(connection: Connection, file_ids: Sequence[ObjectId]) -> None:
    """Delete files with all their chunks, those too that are being stored in this moment. Three commands; none for no files."""
    if file_ids:
        theirs = {"files_id": {"$in": list(file_ids)}}
        # While the files are there, what a crash leaves of their chunks can be found.
        await connection.media_chunks.delete_many(theirs)
        await connection.media_files.delete_many({"_id": {"$in": list(file_ids)}})
        # Whoever stores more chunks from now on finds that the file is gone, and deletes them.
        await connection.media_chunks.delete_many(theirs)
