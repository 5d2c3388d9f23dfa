"""The one place where the driver's errors become ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pymongo.errors
from bson.errors import BSONError

from agno_mongo.errors import (
    AgnoMongoError,
    ConfigurationError,
    DocumentTooLarge,
    EventLoopError,
    StoreAuthenticationError,
    StoreError,
    StorePermissionError,
    StoreUnavailable,
)

_UNAUTHORIZED: Final = 13
_AUTHENTICATION_FAILED: Final = 18
_ATLAS_ERROR: Final = 8000
_TOO_LARGE: Final = frozenset({10334, 17419, 17420, 17280})
_TOO_LARGE_FOR_CACHE: Final = 388
_LATER: Final = frozenset(
    {
        *(6, 7, 89, 9001, 202, 407, 91331),  # a shard or another server did not answer the one that was asked
        *(91, 189, 10107, 11600, 11602, 13435, 13436, 133),  # stepping down, shutting down, or no primary at the moment
        *(24, 46, 112, 262, 290, 365, 453, 10045600),  # locks, conflicts and time limits of the server's own
        *(134, 402, 406, 412, 433, 449, 450, 462),  # under load, or not ready yet
    }
)
"""Codes with which a server says that it could not do it now, and that it may succeed later: what its ``error_codes.yml`` calls retriable or
overloaded, and its conflicts and time limits. The driver knows some of them, and has tried once more.
"""

PATH_NOT_VIABLE: Final = frozenset({2, 28})
"""The server's codes for a path that leads through something that is no document."""

NOT_VIABLE: Final = PATH_NOT_VIABLE | {14}
"""The same, and those for a number added to what is none, or a value appended to what is no list."""


@contextmanager
def translated(what: str, address: Callable[[], str]) -> Iterator[None]:
    """Errors of the driver leave the block as ours, saying ``what`` was tried and at which ``address``."""
    try:
        yield
    except (pymongo.errors.PyMongoError, BSONError, RuntimeError) as error:
        if isinstance(error, AgnoMongoError):
            raise
        ours = _ours(error, what, address)
        if ours is None:
            raise
        raise ours from error


def _ours(error: Exception, what: str, address: Callable[[], str]) -> AgnoMongoError | None:
    if isinstance(error, RuntimeError):
        return _loop_error(error)
    if isinstance(error, pymongo.errors.DocumentTooLarge) or getattr(error, "code", None) in _TOO_LARGE:
        return DocumentTooLarge(f"{what}: over MongoDB's limit of 16 MB for one document; nothing was written ({error})")
    if isinstance(error, (pymongo.errors.ConfigurationError, pymongo.errors.InvalidURI)):
        return ConfigurationError(f"{what}: the MongoDB settings cannot work: {error}")
    if isinstance(error, pymongo.errors.OperationFailure):
        return _refused(error, what, address())
    if isinstance(error, pymongo.errors.ConnectionFailure):
        return StoreUnavailable(f"{what}: no MongoDB server answers at {address()}: {_first_sentence(error)}")
    return StoreError(f"{what}: {error}")


def _refused(error: pymongo.errors.OperationFailure, what: str, address: str) -> StoreError:
    reason = (error.details or {}).get("errmsg") or _first_sentence(error)
    if error.code == _TOO_LARGE_FOR_CACHE:
        return StoreError(
            f"{what}: the cache of the MongoDB server at {address} is too small for it (wiredTigerCacheSizeGB): {reason}"
        )
    if error.timeout or error.code in _LATER or error.has_error_label("RetryableWriteError"):
        # Out of time, or met by a primary that was stepping down: later it may well succeed.
        return StoreUnavailable(f"{what}: the MongoDB server at {address} could not do it now: {reason}")
    if error.code in {_AUTHENTICATION_FAILED, _ATLAS_ERROR}:
        return StoreAuthenticationError(f"{what}: the MongoDB server at {address} refused the user name or password")
    if error.code == _UNAUTHORIZED and "requires authentication" in str(error):
        return StoreAuthenticationError(
            f"{what}: the MongoDB server at {address} wants a user name and password; "
            "put them into the URL: mongodb://user:password@host/"
        )
    if error.code == _UNAUTHORIZED:
        return StorePermissionError(
            f"{what}: the database user may not do this at {address}; it needs the role readWrite ({reason})"
        )
    return StoreError(f"{what}: the MongoDB server at {address} refused: {reason}")


def _loop_error(error: RuntimeError) -> EventLoopError | None:
    text = str(error)
    if "different event loop" in text or "different loop" in text or "loop is closed" in text:
        return EventLoopError(
            "the client given to MongoDb(client=…) belongs to another event loop. A client lives on the loop of its first use: "
            "give MongoDb the address instead, MongoDb(db_url=…), which keeps a client for every loop"
        )
    return None


def _first_sentence(error: Exception) -> str:
    # The driver appends its whole view of the cluster.
    return str(error).split(", Timeout:")[0].split(" (configured timeouts")[0]
