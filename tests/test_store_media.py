"""``store_media=False``: the model sees images, sounds and files; the database keeps a note of them."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import bson
import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.errors import ConfigurationError
from agno_mongo.messages import Message, without_media
from agno_mongo.testing import ScriptedModel, ToolCall

IMAGE = bytes(range(256)) * 1000
URL = f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}"
NOTE = f"[image/png, 256000 bytes, sha256 {hashlib.sha256(IMAGE).hexdigest()}: not stored]"
ADDRESS = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}


def question(*parts: dict[str, Any]) -> Message:
    return Message(role="user", content=[{"type": "text", "text": "What is this?"}, *parts])


async def stored(db: InMemoryDb) -> dict[str, Any]:
    found: dict[str, Any] = await (await db._connection()).collection.find_one({"session_id": "s"})
    return found


@pytest.mark.parametrize("several", [False, True])
async def test_media_are_sent_whole_stored_as_a_note_and_harmless_later(several: bool) -> None:
    db = InMemoryDb()
    small_while_it_runs: list[bool] = []

    async def look(_request: Any) -> str:
        document = await stored(db)
        small_while_it_runs.append(len(bson.encode(document)) < 5_000 and NOTE in str(document["active_runs"]))
        return "a gradient"

    model = ScriptedModel(look, "yes")
    agent = Agent(model=model, db=db, session_id="s", store_media=False, add_history_to_context=True)
    asked = question({"type": "image_url", "image_url": {"url": URL}}, ADDRESS)
    run = await agent.arun([asked] if several else asked)
    assert model.requests[0].messages[-1].content[1]["image_url"]["url"] == URL  # type: ignore[index]
    assert small_while_it_runs == [True]
    assert run.messages is not None
    assert run.messages[0].content[1]["image_url"]["url"] == URL, "what the caller has is left alone"  # type: ignore[index]
    document = await stored(db)
    assert len(bson.encode(document)) < 5_000
    connection = await db._connection()
    assert await connection.media_files.count_documents({}) == 0
    await agent.arun("Are you sure?")
    expected = [{"type": "text", "text": "What is this?"}, {"type": "text", "text": NOTE}, ADDRESS]
    assert model.requests[1].messages[0].content == expected
    found = await agent.aget_run_output(run.run_id or "")
    assert found is not None
    assert NOTE in str(found.input)


async def test_a_checkpoint_has_a_note_too() -> None:
    db = InMemoryDb()
    seen: list[str] = []

    async def look(_request: Any) -> str:
        seen.append(str((await stored(db))["active_runs"]))
        return "a gradient"

    def zoom() -> str:
        """Look closer."""
        return "closer"

    model = ScriptedModel(ToolCall("zoom"), look)
    agent = Agent(model=model, db=db, session_id="s", store_media=False, checkpoint="tool-batch", tools=[zoom])
    await agent.arun(question({"type": "image_url", "image_url": {"url": URL}}))
    assert "closer" in seen[0]
    assert URL not in seen[0]
    assert model.requests[1].messages[0].content[1]["image_url"]["url"] == URL  # type: ignore[index]


async def test_media_are_stored_unless_told_otherwise() -> None:
    agent = Agent(model=ScriptedModel("a gradient"), db=InMemoryDb(), session_id="s")
    await agent.arun(question({"type": "image_url", "image_url": {"url": URL}}))
    [message, _] = await agent.aget_session_messages()
    assert message.content[1]["image_url"]["url"] == URL  # type: ignore[index]


def note(media_type: str, data: bytes) -> str:
    return f"[{media_type}, {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}: not stored]"


@pytest.mark.parametrize(
    ("part", "media_type", "data"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/svg+xml;charset=utf-8,%3Csvg%2F%3E"}}, "image/svg+xml", b"<svg/>"),
        ({"type": "image_url", "image_url": "DATA:image/gif;name=x.gif;base64,R0lG"}, "image/gif", b"GIF"),
        ({"type": "input_image", "image_url": "data:;base64,R0lG"}, "text/plain", b"GIF"),
        ({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}, "audio/wav", b"RIFF"),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}}, "application/pdf", b"%PDF"),
        ({"type": "file", "file": {"file_data": "no base64", "mime_type": "text/csv"}}, "text/csv", None),
        ({"type": "image", "content": b"GIF", "format": "gif"}, "image/gif", b"GIF"),
        ({"type": "video", "data": b"GIF"}, "video", b"GIF"),
    ],
)  # fmt: skip
def test_every_part_that_carries_bytes_becomes_a_text_part(part: dict[str, Any], media_type: str, data: bytes | None) -> None:
    [kept] = without_media([part])
    assert kept["type"] == "text"
    if data is not None:
        assert kept["text"] == note(media_type, data)
    assert kept["text"].startswith(f"[{media_type}, ")


@pytest.mark.parametrize(
    "value",
    [
        "data:image/png;base64,R0lG",
        [ADDRESS, {"type": "file", "file": {"file_id": "file-1"}}, {"type": "text", "text": "data:image/png;base64,R0lG"}],
        {"type": "image_url"},
        {"type": "image_url", "image_url": None},
        {"role": "user", "content": None, "n": 1, "type": ["image"]},
        7,
    ],
)
def test_all_else_is_left_as_it_is(value: Any) -> None:
    assert without_media(value) == value


def test_bytes_anywhere_else_become_a_text() -> None:
    given = {"role": "user", "images": [{"id": "1", "content": b"GIF"}], "more": (b"GIF",)}
    expected = {"role": "user", "images": [{"id": "1", "not_stored": note("bytes", b"GIF")}], "more": [note("bytes", b"GIF")]}
    assert without_media(given) == expected
    assert given["more"] == (b"GIF",)


EMBEDDED = "data:image/png;base64," + "iVBORw0KGgo" * 20


@pytest.mark.parametrize(
    "value",
    [
        f"see ![a picture]({EMBEDDED}) there",
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo" * 20}}],
        [{"type": "image_url", "image_url": {"url": f" {EMBEDDED}"}}],
        '[{"type": "image_url", "image_url": {"url": "' + EMBEDDED + '"}}]',
    ],
)
def test_media_in_a_text_and_in_other_providers_parts_are_noted_too(value: Any) -> None:
    noted = str(without_media(value))
    assert "iVBORw0KGgo" not in noted
    assert "[image/png, " in noted


def test_a_setting_that_keeps_media_or_not_is_one_of_two() -> None:
    with pytest.raises(ConfigurationError, match="store_media= takes True or False, not 'no'"):
        Agent(model=ScriptedModel(), store_media="no")  # type: ignore[arg-type]
