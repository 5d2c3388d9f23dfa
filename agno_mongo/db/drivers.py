"""Three kinds of client behind one API, PyMongo's asynchronous one, which is the one Beanie 2 speaks.

PyMongo's ``AsyncMongoClient`` is used as it is. Motor's and mongomock-motor's objects are wrapped: only the methods that
differ are written here, all others pass through. Nobody else in the package asks which client there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timezone
from threading import RLock
from typing import Any

import bson
from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.errors import DocumentTooLarge, WriteError

from agno_mongo.errors import ConfigurationError

MAX_BSON_SIZE = 16 * 1024 * 1024
WRITE_CONCERN = WriteConcern(w="majority", j=True)
"""On a standalone server a majority is itself, and the journal makes an acknowledged write outlive a kill."""

_OPTIONS: dict[str, Any] = {
    "codec_options": CodecOptions(),
    "write_concern": WRITE_CONCERN,
    # What a run wrote, its next command must find.
    "read_preference": ReadPreference.PRIMARY,
}


def is_mock(client: Any) -> bool:
    """True for mongomock-motor's client, which keeps everything in this process."""
    # The mock passes itself off as Motor, in its class's __module__ too; its base class tells.
    return any(base.__module__.partition(".")[0] == "mongomock_motor" for base in type(client).__mro__)


def is_motor(client: Any) -> bool:
    """True for Motor's asyncio client."""
    return type(client).__module__.partition(".")[0] == "motor" and not is_mock(client)


def check_client(client: Any) -> None:
    """Raise ConfigurationError for anything that is none of the three clients."""
    if isinstance(client, AsyncMongoClient) or is_mock(client) or is_motor(client):
        return
    hint = "; that is PyMongo's blocking client, use pymongo.AsyncMongoClient" if _is_blocking(client) else ""
    raise ConfigurationError(
        "client= takes pymongo.AsyncMongoClient, motor's AsyncIOMotorClient or mongomock_motor's "
        f"AsyncMongoMockClient, not {type(client).__module__}.{type(client).__qualname__}{hint}"
    )


def _is_blocking(client: Any) -> bool:
    return type(client).__name__ == "MongoClient"


def database_of(client: Any, name: str) -> Any:
    """The database ``name`` with PyMongo's asynchronous API, the write concern set, values decoded in one way.

    Whatever the client's own defaults are: naive datetimes in UTC, UUIDs as Binary, for :mod:`agno_mongo.db.values` to read.
    """
    if is_mock(client):
        return _MockDatabase(client[name])
    if is_motor(client):
        return _Database(client.get_database(name, **_OPTIONS))
    return client.get_database(name, **_OPTIONS)


async def close_client(client: Any) -> None:
    """Close a client of any kind."""
    closing = client.close()
    if closing is not None:
        await closing


class _Lifted:
    """Passes on what it does not define."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Client(_Lifted):
    """Beanie leaves its name with the client; neither Motor nor the mock takes it."""

    append_metadata = None


class _Cursor(_Lifted):
    """A cursor whose ``to_list`` heeds its length and whose other methods chain."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in {"sort", "limit", "skip", "batch_size", "hint"}:
            return method

        def chained(*args: Any, **kwargs: Any) -> _Cursor:
            method(*args, **kwargs)
            return self

        return chained

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for document in self._inner:
            yield document

    async def to_list(self, length: int | None = None) -> list[Any]:
        if length is None:
            return [document async for document in self._inner]
        found: list[Any] = []
        while len(found) < length:
            try:
                found.append(await self._inner.__anext__())
            except StopAsyncIteration:
                break
        return found


class _Collection(_Lifted):
    """What Motor and the mock share: ``aggregate``, ``list_indexes`` and ``watch`` are not awaited, PyMongo's are."""

    def find(self, *args: Any, **kwargs: Any) -> _Cursor:
        return _Cursor(self._inner.find(*args, **kwargs))

    async def aggregate(self, *args: Any, **kwargs: Any) -> _Cursor:
        return _Cursor(self._inner.aggregate(*args, **kwargs))

    async def list_indexes(self, *args: Any, **kwargs: Any) -> _Cursor:
        return _Cursor(self._inner.list_indexes(*args, **kwargs))

    async def watch(self, *args: Any, **kwargs: Any) -> Any:
        # Opened by its first request, at the place that it was given here.
        return self._inner.watch(*args, **kwargs)


class _Database(_Lifted):
    collection_class: Callable[[Any], Any] = _Collection

    @property
    def client(self) -> _Client:
        return _Client(self._inner.client)

    def __getitem__(self, name: str) -> Any:
        return self.get_collection(name)

    def get_collection(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return type(self).collection_class(self._inner.get_collection(name, *args, **kwargs))


_MOCK_LOCK = RLock()
"""mongomock's read-modify-write commands are not atomic between threads; the real server's are."""

_MOCK_WRITES = frozenset(
    {"find_one_and_delete", "insert_one", "insert_many", "update_one", "update_many", "replace_one", "delete_one", "delete_many"}
)


class _MockCollection(_Collection):
    """The mock made like the server where it would let a mistake pass: the 16 MB limit, threads, documents after an update, and
    updates that do not fit what is stored, which it would apply in part or wrongly.
    """

    async def find_one_and_update(self, *args: Any, projection: Any = None, **kwargs: Any) -> Any:
        """The mock looks for the document after the update by the filter, which the update may have made untrue."""
        update = _guarded(self._inner.find_one_and_update)
        with _MOCK_LOCK:
            found = await self._inner.find_one(args[0])
            if found is not None:
                _refuse_what_does_not_fit(found, args[1])
            if found is None or not kwargs.get("return_document"):
                return await update(*args, projection=projection, **kwargs)
            await update(*args, **kwargs)
            return await self._inner.find_one({"_id": found["_id"]}, projection=projection)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        return _guarded(method) if name in _MOCK_WRITES else method

    def with_options(self, **_options: Any) -> _MockCollection:
        return self


def _guarded(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def command(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("session", None)
        kwargs.pop("comment", None)
        size = sum(len(bson.encode({"": part})) for part in args)
        if size > MAX_BSON_SIZE:
            raise DocumentTooLarge(f"BSON document too large ({size} bytes), the limit is {MAX_BSON_SIZE}")
        with _MOCK_LOCK:
            # The mock's coroutines never wait, so the lock is not held across a suspension.
            return await method(*args, **kwargs)

    return command


def _refuse_what_does_not_fit(document: Any, update: Any) -> None:
    for operator in ("$set", "$max", "$inc", "$push") if isinstance(update, dict) else ():
        for path, argument in update.get(operator, {}).items():
            _refuse_as_the_server(document, operator, path.split("."), argument)


def _refuse_as_the_server(document: Any, operator: str, path: list[str], argument: Any) -> None:
    found: Any = document
    for name in path:
        if isinstance(found, list) and name.isdigit():
            found = {str(index): part for index, part in enumerate(found)}
        if not isinstance(found, dict):
            raise WriteError(f"Cannot create field {name!r} in element {found!r}", 28)
        if name not in found:
            return
        found = found[name]
    if operator == "$push" and not isinstance(found, list):
        raise WriteError(f"The field {path[-1]!r} must be an array but is {found!r}", 2)
    if operator == "$inc" and (isinstance(found, bool) or not isinstance(found, (int, float))):
        raise WriteError(f"Cannot apply $inc to a value of non-numeric type: {found!r}", 14)
    if operator == "$inc" and isinstance(found + argument, int) and not -(2**63) <= found + argument < 2**63:
        raise WriteError(f"Failed to apply $inc operations to current value {found!r}", 2)


class _MockDatabase(_Database):
    collection_class = _MockCollection

    async def list_collection_names(self, *_args: Any, **_kwargs: Any) -> list[str]:
        names: list[str] = await self._inner.list_collection_names()
        return names

    async def command(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        name = command if isinstance(command, str) else next(iter(command))
        if name in {"ping", "hello"}:
            return {"ok": 1.0, "isWritablePrimary": True, "localTime": datetime.now(timezone.utc).replace(tzinfo=None)}
        return await self._inner.command(command, *args, **kwargs)


def loop_of(client: Any) -> asyncio.AbstractEventLoop | None:
    """The loop that a client is already bound to, as far as it tells."""
    loop = getattr(client, "_loop", None) if isinstance(client, AsyncMongoClient) else None
    if is_motor(client):
        loop = client.io_loop if getattr(client, "_io_loop", None) is not None else None
    return loop if isinstance(loop, asyncio.AbstractEventLoop) else None
