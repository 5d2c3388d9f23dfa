"""The replica set of one member that an embedded mongod is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from agno_mongo.db.mongod.binary import WAY_OUT
from agno_mongo.db.mongod.process import Server
from agno_mongo.errors import EmbeddedServerError

REPLICA_SET = "rs0"
# MongoDB's error codes: src/mongo/base/error_codes.yml
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94


def mend_replica_set(client: MongoClient[dict[str, Any]], server: Server) -> None:
    """Initiate the replica set, or rename its one member to the socket's path. Does nothing if all is well.

    The member's name is the socket's path, which follows the folder's: a folder that was moved, or is reached
    by another TMPDIR, holds the old one, and its server takes itself for a stranger.
    """
    member = {"_id": 0, "host": server.socket}
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as exc:
        if exc.code != _NOT_YET_INITIALIZED:
            raise
        with _ignored(_ALREADY_INITIALIZED):  # its stored configuration was just being loaded
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member]})
        return
    hosts = [str(known["host"]) for known in config["members"]]
    if hosts == [server.socket]:
        return
    # Anything else is a member of somebody's real replica set: forcing it out of that is not ours to do.
    if config["_id"] != REPLICA_SET or len(hosts) != 1 or not hosts[0].endswith(".sock"):
        message = (
            f"{server.folder} holds a member of the replica set {config['_id']!r} of {', '.join(hosts)}, not "
            f"the data of an embedded server. Pass another path, {WAY_OUT}."
        )
        raise EmbeddedServerError(message)
    config["members"][0]["host"] = server.socket
    config["version"] += 1
    client.admin.command("replSetReconfig", config, force=True)


@contextlib.contextmanager
def _ignored(code: int) -> Iterator[None]:
    try:
        yield
    except OperationFailure as exc:
        if exc.code != code:
            raise
