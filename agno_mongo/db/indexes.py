"""Making indexes where there may be older ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pymongo import IndexModel
from pymongo.errors import OperationFailure

_CONFLICTS: Final = frozenset({85, 86})
"""The server's codes for an index that is there with other options, or under another name."""


async def make_indexes(database: Any, collection: Any, indexes: Sequence[IndexModel]) -> None:
    """Make the indexes that are missing. One command.

    Three or four if there is an index that expires documents by the same field at another time, made by hand or by another program: it is
    brought in line (``collMod``), under the name that it has.
    """
    try:
        await collection.create_indexes(list(indexes))
    except OperationFailure as error:
        if error.code not in _CONFLICTS:
            raise
        found = {tuple(index["key"].items()): index async for index in await collection.list_indexes()}
        others = [index for index in indexes if not _expires(index) or _key(index) not in found]
        for index in indexes:
            there = found.get(_key(index))
            if _expires(index) and there is not None and there.get("expireAfterSeconds") != index.document["expireAfterSeconds"]:
                changed = {"keyPattern": dict(_key(index)), "expireAfterSeconds": index.document["expireAfterSeconds"]}
                await database.command({"collMod": collection.name, "index": changed})
        await collection.create_indexes(others)


def _key(index: IndexModel) -> tuple[tuple[str, Any], ...]:
    return tuple(index.document["key"].items())


def _expires(index: IndexModel) -> bool:
    return "expireAfterSeconds" in index.document
