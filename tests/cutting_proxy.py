"""A proxy on the loopback interface that cuts a connection in the middle of the server's reply to a chosen command."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import bson
from pymongo.uri_parser import parse_uri

from tests.crashing import described

_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
_BODY_AT = _HEADER.size + 5


@dataclass(kw_only=True)
class Cut:
    """Which replies are cut: those to the next ``times`` commands that are described by ``command``, after ``after`` bytes.

    The server has done what it was told by then; with ``unsent`` the command is lost on its way to the server; with ``late`` it
    comes there once ``release`` is set, whatever its sender has done meanwhile. ``answered`` is set when the server has done it.
    """

    command: str
    times: int = 1
    after: int = 0
    unsent: bool = False
    late: bool = False
    release: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.left = self.times

    def applies_to(self, what: str) -> bool:
        """Count it, if it does."""
        if not self.left or not what.startswith(self.command):
            return False
        self.left -= 1
        return True

    @property
    def made(self) -> int:
        return self.times - self.left


class CuttingProxy:
    """``url`` leads to the mongod behind; ``seen`` are the commands that came by, described; ``cut`` is what is to be cut, if anything."""

    def __init__(self, port: int) -> None:
        self.url = f"mongodb://127.0.0.1:{port}/?directConnection=true"
        self.seen: list[str] = []
        self.cut: Cut | None = None

    def applying(self, what: str) -> Cut | None:
        """The cut to be made at this command, if there is one."""
        return self.cut if self.cut is not None and self.cut.applies_to(what) else None

    async def carry_up(self, client: asyncio.StreamReader, server: asyncio.StreamWriter, doomed: dict[int, Cut]) -> None:
        """Commands from the client to the server; the ids of those whose reply will be cut go into ``doomed``."""
        while True:
            message = await _message(client)
            _, request_id, _, code = _HEADER.unpack_from(message)
            if code == _OP_MSG:
                what = described(bson.decode(_first_document(message)))
                self.seen.append(what)
                cut = self.applying(what)
                if cut is not None:
                    if cut.unsent:
                        return
                    if cut.late:
                        await cut.release.wait()
                    doomed[request_id] = cut
            server.write(message)
            await server.drain()
            if request_id in doomed:
                # Its sender may have left, which must not keep the server from doing it.
                await doomed[request_id].answered.wait()

    async def carry_down(self, server: asyncio.StreamReader, client: asyncio.StreamWriter, doomed: dict[int, Cut]) -> None:
        """Replies from the server to the client, until one that is to be cut."""
        while True:
            message = await _message(server)
            cut = doomed.get(_HEADER.unpack_from(message)[2])
            if cut is not None:
                cut.answered.set()
                client.write(message[: cut.after])
                await client.drain()
                return
            client.write(message)
            await client.drain()


def _first_document(message: bytes) -> bytes:
    length = int.from_bytes(message[_BODY_AT : _BODY_AT + 4], "little")
    return message[_BODY_AT : _BODY_AT + length]


async def _message(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(_HEADER.size)
    return header + await reader.readexactly(_HEADER.unpack(header)[0] - _HEADER.size)


@asynccontextmanager
async def cutting_proxy(mongo_url: str) -> AsyncIterator[CuttingProxy]:
    """A proxy before the mongod at ``mongo_url``, which ends with the block and all its connections with it."""
    host, port = parse_uri(mongo_url)["nodelist"][0]
    connections: set[asyncio.Task[None]] = set()

    async def serve(from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        opened = asyncio.open_unix_connection(host) if host.startswith("/") else asyncio.open_connection(host, port)
        from_server, to_server = await opened
        doomed: dict[int, Cut] = {}
        pumps = {
            asyncio.create_task(proxy.carry_up(from_client, to_server, doomed)),
            asyncio.create_task(proxy.carry_down(from_server, to_client, doomed)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in (to_client, to_server):
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    def accept(from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        connections.add(task := asyncio.create_task(serve(from_client, to_client)))
        task.add_done_callback(connections.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy = CuttingProxy(listener.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        listener.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await listener.wait_closed()
