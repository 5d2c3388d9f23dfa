"""A server that says what it is told, for what neither mock server would say, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2


def at(base_url: str, **settings: Any) -> dict[str, Any]:
    """Settings of a model at a test's server: it gives up at once, and loads no certificates, which takes 30 ms for each client."""
    http_client = {} if "http_client" in settings else {"http_client": httpx2.AsyncClient(verify=False, timeout=10)}
    return {"base_url": base_url, "api_key": "test", "max_retries": 0, "client_params": http_client, **settings}


@dataclass(frozen=True)
class Said:
    """One answer: a JSON object, or a list of server-sent events (``broken``: the connection ends there, within the answer)."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    broken: bool = False


@dataclass
class Sayer:
    """``url`` is what ``base_url`` wants; ``asked`` are the bodies of the requests, ``heads`` their first lines."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)


@asynccontextmanager
async def saying(*answers: Said | dict[str, Any] | list[Any]) -> AsyncIterator[Sayer]:
    """A server that answers each request with the next of ``answers``."""
    left = [answer if isinstance(answer, Said) else Said(answer) for answer in answers]
    sayer = Sayer("")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line.split(":")[1] for line in headers.lower().splitlines() if line.startswith("content-length:"))
        sayer.heads.append(headers)
        sayer.asked.append(json.loads(await reader.readexactly(int(length))))
        said = left.pop(0)
        streamed = isinstance(said.body, list)
        body = _events(said.body) if streamed else json.dumps(said.body).encode()
        about = {"content-type": "text/event-stream" if streamed else "application/json", **said.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in about.items())
        length = len(body) + 1000 * said.broken
        writer.write(f"HTTP/1.1 {said.status} .\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sayer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield sayer
    finally:
        server.close()
        await server.wait_closed()


def _events(events: list[Any]) -> bytes:
    return b"".join(_event(event) for event in events)


def _event(event: Any) -> bytes:
    name = b"event: " + event["type"].encode() + b"\n" if "type" in event else b""
    return name + b"data: " + json.dumps(event).encode() + b"\n\n"


def completion(message: dict[str, Any], finish_reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    """A chat completion with one choice."""
    choices = [{"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish_reason}]
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-test", "choices": choices, **more}


def chunk(delta: dict[str, Any] | None = None, *, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A piece of a chat completion."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason, **more.pop("choice", {})}]
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test", "choices": choices, **more}


def response(*output: dict[str, Any], id: str = "resp_1", status: str = "completed", **more: Any) -> dict[str, Any]:  # noqa: A002
    """A response of the Responses API."""
    return {
        "id": id, "object": "response", "created_at": 1, "status": status, "model": "gpt-test", "output": list(output),
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None, **more,
    }  # fmt: skip


def text_item(text: str, id: str = "msg_1", **more: Any) -> dict[str, Any]:  # noqa: A002
    """A message among the output items."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": id, "role": "assistant", "status": "completed", "content": content, **more}


def call_item(name: str, arguments: dict[str, Any], call_id: str = "call_1") -> dict[str, Any]:
    """A function call among the output items."""
    sent = json.dumps(arguments)
    return {
        "type": "function_call",
        "id": f"fc_{call_id}",
        "call_id": call_id,
        "name": name,
        "arguments": sent,
        "status": "completed",
    }


def thought_item(text: str, id: str = "rs_1", encrypted: str | None = "sealed") -> dict[str, Any]:  # noqa: A002
    """A reasoning item among the output items."""
    summary = [{"type": "summary_text", "text": text}]
    return {"type": "reasoning", "id": id, "summary": summary, **({"encrypted_content": encrypted} if encrypted else {})}


def streamed(*output: dict[str, Any], **about: Any) -> list[dict[str, Any]]:
    """The events of a response with these output items; a message and a thought come in two pieces."""
    events: list[dict[str, Any]] = [{"type": "response.created", "response": response(**{**about, "status": "in_progress"})}]
    for index, item in enumerate(output):
        events.append({"type": "response.output_item.added", "output_index": index, "item": item})
        if item["type"] == "message":
            events += _pieces("response.output_text.delta", item["content"][0]["text"], output_index=index, content_index=0)
        if item["type"] == "reasoning":
            events += _pieces(
                "response.reasoning_summary_text.delta", item["summary"][0]["text"], output_index=index, summary_index=0
            )
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    status = about.get("status", "completed")
    events.append({"type": f"response.{status}", "response": response(*output, **about)})
    return [{"sequence_number": number, **event} for number, event in enumerate(events)]


def _pieces(kind: str, text: str, **where: Any) -> list[dict[str, Any]]:
    middle = len(text) // 2
    return [{"type": kind, "item_id": "i", "delta": piece, **where} for piece in (text[:middle], text[middle:])]
