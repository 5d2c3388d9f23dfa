"""The one command that stores a session's summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pymongo.errors
from pymongo import ReturnDocument

from agno_mongo.db.connections import Connection
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.translation import NOT_VIABLE

METRICS = "session_data.session_metrics"


async def store(
    connection: Connection, key: SessionKey, summary: Mapping[str, Any], counters: Mapping[str, float]
) -> dict[str, Any] | None:
    """Put the summary in the place of one that takes in no more runs, add its tokens, and return what is stored then.

    One findAndModify by ``session_id``, owner and type; a find more if a newer summary stands there, or if the session is gone: None then, and nothing
    is made. Runs that finish meanwhile are not touched. A session that was taken back to fewer runs keeps what it has. When it was last
    used stays as it was.
    """
    count = summary["run_count"]
    older = [{"summary.run_count": {"$exists": False}}, {"summary.run_count": {"$lte": count}}]
    which = {**key.filter, "run_count": {"$gte": count}, "$or": older}
    update: dict[str, Any] = {"$set": {"summary": dict(summary)}, "$inc": {"revision": 1}}
    counted = {f"{METRICS}.{name}": amount for name, amount in counters.items() if amount}
    wanted = {"summary": 1, "_id": 0}
    try:
        found = await _modify(connection, which, {**update, "$inc": {**update["$inc"], **counted}}, wanted)
    except (pymongo.errors.WriteError, pymongo.errors.OperationFailure) as error:
        if error.code not in NOT_VIABLE:
            raise
        # Metrics that are stored as something else than numbers cannot be added to.
        found = await _modify(connection, which, update, wanted)
    return found if found is not None else await connection.collection.find_one(key.filter, projection=wanted)


async def _modify(
    connection: Connection, which: Mapping[str, Any], update: Mapping[str, Any], wanted: Mapping[str, Any]
) -> dict[str, Any] | None:
    found: dict[str, Any] | None = await connection.collection.find_one_and_update(
        dict(which), dict(update), projection=dict(wanted), return_document=ReturnDocument.AFTER
    )
    return found
