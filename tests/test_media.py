"""Images, sounds, videos and files: given to a run, sent in OpenAI's format, stored once, and read back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import bson
import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import MediaError
from agno_mongo.media import Audio, File, Image, Video, loaded, once
from agno_mongo.messages import Message
from agno_mongo.models.openai import OpenAIChat, parts
from agno_mongo.models.openai.response_items import input_items
from agno_mongo.run import RunOutput
from agno_mongo.run.base import RunInput
from agno_mongo.run.stored import without_tool_messages
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.llm_servers import AIMock, Answer


def png(padding: int = 0) -> bytes:
    """A whole PNG of one pixel, with so many bytes of text in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    text = chunk(b"tEXt", b"Comment\0" + b"x" * padding) if padding else b""
    return b"\x89PNG\r\n\x1a\n" + head + text + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")


PIXEL = png()
LARGE = png(200_000)
WAV = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0"
MP4 = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(40)
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


def agent_on(db: MongoDb | None, *script: Any, **settings: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(*script)
    return Agent(model=model, db=db, session_id="s", **settings), model


async def document(db: MongoDb) -> dict[str, Any]:
    found: dict[str, Any] = await (await db._connection()).collection.find_one({"session_id": "s"})
    return found


async def files_of(db: MongoDb) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await (await db._connection()).media_files.find({}).to_list(None)
    return found


async def stored_run(agent: Agent) -> RunOutput:
    run = await agent.aget_last_run_output()
    assert run is not None
    return run


class TestWhatIsNoMedium:
    """Bad input is told before anything of the run is stored."""

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (
                {"images": [Image(content=b"This is no image.")]},
                r"images\[0\] is not an image: it begins with b'This is no image",
            ),
            ({"images": [Image(content=PDF)]}, r"images\[0\] is not an image: its bytes are application/pdf"),
            ({"images": [Image(content=b"no", format="png")]}, "is not an image"),
            ({"images": [Image(content=PIXEL), Image(content=b"")]}, r"images\[1\] is empty"),
            ({"images": [Image(filepath="no/such.png")]}, r"images\[0\] cannot be read from 'no/such.png': No such file"),
            ({"images": [Image(filepath=".")]}, r"images\[0\] cannot be read from '.': Is a directory"),
            ({"images": [Image(filepath="a\0b")]}, r"images\[0\] cannot be read"),
            ({"images": [Image(url="ftp://example.org/a.png")]}, r"is no http address"),
            ({"images": [Image(url="file:///etc/hostname")]}, r"is no http address"),
            ({"images": [Image(url="data:image/png;base64,???")]}, r"whose Base64 is broken"),
            ({"images": [Image(url="data:image/png;base64,aGVsbG8=")]}, "is not an image"),
            ({"images": Image(content=PIXEL)}, "images= takes a list of Image, not Image"),
            ({"images": "photo.png"}, "images= takes a list of Image, not str"),
            ({"images": ["photo.png"]}, r"images\[0\] is str, not Image\(filepath=…\)"),
            ({"images": [File(content=b"x")]}, r"images\[0\] is File, not Image"),
            ({"audio": [Audio(content=b"hello")]}, r"audio\[0\] is no sound of a known kind; if it is one, say so"),
            ({"audio": [Audio(content=PIXEL)]}, r"audio\[0\] is not a sound: its bytes are image/png"),
            ({"videos": [Video(content=b"hello")]}, r"videos\[0\] is not a video"),
            ({"files": [File(content="")]}, r"files\[0\] is empty"),
            ({"files": [File(filepath="no/such.pdf")]}, r"files\[0\] cannot be read"),
            ({"files": [File(url="http://127.0.0.1:9/a.pdf")]}, r"files\[0\] cannot be downloaded"),
        ],
    )
    async def test_is_refused_and_nothing_is_stored(self, options: dict[str, Any], words: str) -> None:
        db = InMemoryDb()
        agent, model = agent_on(db)
        with pytest.raises(MediaError, match=words) as caught:
            await agent.arun("What is this?", **options)
        assert caught.value.where.startswith(next(iter(options)))
        with pytest.raises(MediaError, match=words):
            [event async for event in agent.arun("What is this?", stream=True, **options)]
        assert await db.count_sessions() == 0
        assert model.requests == []

    async def test_within_a_message_is_refused_too(self) -> None:
        db = InMemoryDb()
        agent, _ = agent_on(db)
        for given in (Message(role="user", images=[Image(content=b"no")]), {"role": "user", "images": [{"filepath": "no/such"}]}):
            with pytest.raises(MediaError):
                await agent.arun(given)
            with pytest.raises(MediaError):
                await agent.arun([given])
        assert await db.count_sessions() == 0

    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("images", {"filepath": "/etc/hostname"}),
            ("files", {"filepath": "/etc/hostname"}),
            ("files", {"url": "http://127.0.0.1:9/"}),
        ],
    )
    async def test_is_what_a_stranger_could_make_the_process_read(self, name: str, place: dict[str, str]) -> None:
        agent, _ = agent_on(InMemoryDb())
        for given in ({"role": "user", name: [place]}, [{"role": "user", "content": "x", name: [place]}]):
            with pytest.raises(MediaError, match=rf"{name}\[0\] of a message that is a dict is a place to read from"):
                await agent.arun(given)

    @pytest.mark.parametrize("kind", [Image, Audio, Video, File])
    def test_has_one_source(self, kind: Any) -> None:
        with pytest.raises(ValueError, match=rf"{kind.__name__} takes one of url=, filepath= and content=; given was none"):
            kind()
        with pytest.raises(ValueError, match="given was url and content"):
            kind(url="https://example.org", content=b"x")

    def test_is_text_that_is_no_base64(self) -> None:
        with pytest.raises(ValueError, match="content is bytes, or text in Base64"):
            Image(content="nothing!")  # type: ignore[arg-type]


class TestGivenToARun:
    async def test_media_are_part_of_the_users_message_and_of_the_input(self, tmp_path: Path) -> None:
        (tmp_path / "photo.png").write_bytes(PIXEL)
        agent, model = agent_on(InMemoryDb(), "a red dot")
        run = await agent.arun(
            "What is this?",
            images=[Image(filepath=tmp_path / "photo.png", detail="low"), Image(url="https://example.org/cat.png")],
            audio=[Audio(content=WAV)],
            videos=[Video(content=MP4)],
            files=[File(content=PDF, filename="a.pdf")],
        )
        [asked] = model.requests[0].messages
        assert asked.content == "What is this?"
        for found in (asked, (await stored_run(agent)).messages[0], run.messages[0]):  # type: ignore[index]
            photo, cat = found.images or ()
            assert (photo.content, photo.mime_type, photo.detail, photo.filepath) == (PIXEL, "image/png", "low", None)
            assert (cat.url, cat.content) == ("https://example.org/cat.png", None)
            assert [(part.content, part.mime_type) for part in found.audio or ()] == [(WAV, "audio/wav")]
            assert [(part.content, part.mime_type) for part in found.videos or ()] == [(MP4, "video/mp4")]
            assert [(part.content, part.mime_type, part.filename) for part in found.files or ()] == [
                (PDF, "application/pdf", "a.pdf")
            ]
        given = (await stored_run(agent)).input
        assert given is not None
        assert given.input_content == "What is this?"
        assert [image.content for image in given.images or ()] == [PIXEL, None]
        assert [sound.content for sound in given.audios or ()] == [WAV]

    async def test_media_may_come_without_words_and_in_messages(self) -> None:
        agent, model = agent_on(InMemoryDb(), "1", "2", "3")
        await agent.arun(None, images=[Image(content=PIXEL)])
        said = Message(role="user", content="and this?", images=[Image(content=PIXEL)])
        await agent.arun([Message(role="assistant", content="Yes?"), said], images=[Image(content=LARGE)])
        await agent.arun({"role": "user", "content": "this?", "images": [{"content": PIXEL}]})
        assert [len(request.messages[-1].images or ()) for request in model.requests] == [1, 2, 1]
        assert said.images is not None
        assert len(said.images) == 1, "what the caller has is left alone"
        session = await agent.aget_session()
        assert session is not None
        stored = [run.messages[-2].images for run in session.runs]  # type: ignore[union-attr]
        assert [[image.content for image in images or ()] for images in stored] == [[PIXEL], [PIXEL, LARGE], [PIXEL]]

    async def test_history_shows_the_model_the_images_again(self, db: MongoDb) -> None:
        agent, model = agent_on(db, "a dot", "red", add_history_to_context=True)
        await agent.arun("What is this?", images=[Image(content=LARGE)])
        await agent.arun("Its colour?")
        [before, _, now] = model.requests[1].messages
        assert [image.content for image in before.images or ()] == [LARGE]
        assert before.from_history
        assert now.images is None

    async def test_without_send_media_to_model_they_are_stored_and_not_shown(self) -> None:
        db = InMemoryDb()
        agent, _ = agent_on(db, "a dot")
        await agent.arun("What is this?", images=[Image(content=PIXEL)])
        blind, model = agent_on(db, "I cannot see.", send_media_to_model=False, add_history_to_context=True)
        await blind.arun("And this?", images=[Image(content=LARGE)], files=[File(content=PDF)])
        assert [message.media for message in model.requests[0].messages] == [[], [], []]
        run = await stored_run(blind)
        assert run.input is not None
        assert [image.content for image in run.input.images or ()] == [LARGE]


class TestStored:
    async def test_small_bytes_stand_once_in_the_run_and_are_whole_when_read(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "a dot", "dots")
        await agent.arun("What is this?", images=[Image(content=PIXEL)])
        await agent.arun(Message(role="user", content="And this?", images=[Image(content=PIXEL)]))
        found = await document(db)
        assert bson.encode(found).count(PIXEL) == 2, "once a run"
        assert base64.b64encode(PIXEL) not in bson.encode(found)
        session = await agent.aget_session()
        assert session is not None
        for run in session.runs or ():
            assert isinstance(run, RunOutput)
            assert run.messages is not None
            assert [image.content for image in run.messages[0].images or ()] == [PIXEL]

    async def test_large_bytes_are_one_file_for_input_and_message_and_for_every_run(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "a dot", "the same dot", "again")
        address = f"data:image/png;base64,{base64.b64encode(LARGE).decode()}"
        await agent.arun("What is this?", images=[Image(content=LARGE)])
        await agent.arun("And this?", images=[Image(url=address)])
        raw = Message(role="user", content=[{"type": "image_url", "image_url": {"url": address}}])
        await agent.arun(raw)
        [file] = await files_of(db)
        assert (file["length"], file["metadata"]["type"]) == (len(LARGE), "bytes")
        assert len(bson.encode(await document(db))) < 10_000
        session = await agent.aget_session()
        assert session is not None
        first, second, third = session.runs  # type: ignore[misc]
        assert [image.content for run in (first, second) for image in run.messages[0].images or ()] == [LARGE, LARGE]
        assert third.messages[0].content == raw.content
        assert third.input.input_content["content"] == raw.content

    @pytest.mark.parametrize("body", ["AAA", "AA\n" + "A" * 100_000, "A" * 100_001, "=" * 100_000, "é" * 100_000])
    async def test_an_address_that_is_odd_comes_back_to_the_letter(self, body: str) -> None:
        agent, _ = agent_on(InMemoryDb(), "odd")
        text = f"data:image/png;base64,{body}"
        await agent.arun(text)
        assert (await stored_run(agent)).messages[0].content == text  # type: ignore[index]

    async def test_one_content_under_two_beginnings_keeps_both(self) -> None:
        db = InMemoryDb()
        agent, _ = agent_on(db, "two")
        body = base64.b64encode(LARGE).decode()
        texts = [f"data:image/png;base64,{body}", f"DATA:image/PNG;name=x.png;base64,{body}"]
        await agent.arun(texts)
        assert (await stored_run(agent)).input.input_content == texts  # type: ignore[union-attr]
        assert len([file for file in await files_of(db) if file["metadata"]["type"] == "bytes"]) == 1

    async def test_the_input_is_there_with_its_media_before_the_model_is_asked(self, db: MongoDb) -> None:
        seen: list[RunOutput] = []

        async def look(_request: Any) -> str:
            session = await agent.aget_session()
            assert session is not None
            seen.extend(session.unfinished_runs)  # type: ignore[arg-type]
            return "a dot"

        agent, _ = agent_on(db, look)
        await agent.arun("What is this?", images=[Image(content=LARGE)], files=[File(content="a,b\n", filename="t.csv")])
        [begun] = seen
        assert begun.input is not None
        assert begun.input.input_content == "What is this?"
        assert [image.content for image in begun.input.images or ()] == [LARGE]
        assert [(file.content, file.mime_type) for file in begun.input.files or ()] == [(b"a,b\n", "text/csv")]

    async def test_an_interrupted_run_goes_on_with_its_media(self, db: MongoDb) -> None:
        def zoom() -> str:
            """Look closer."""
            return "closer"

        agent, model = agent_on(db, ToolCall("zoom"), "a dot", tools=[zoom], checkpoint="tool-batch")

        async def die(_request: Any) -> str:
            connection = await db._connection()
            await connection.collection.update_one({"session_id": "s"}, {"$set": {"active_runs.r.lease_until": 0}})
            going_on, model = agent_on(db, "a dot", tools=[zoom])
            await going_on.acontinue_run("r")
            asked.append(model.requests[0].messages[0])
            return "late"

        asked: list[Message] = []
        model.script[1] = die
        with pytest.raises(Exception, match="finished"):
            await agent.arun("What is this?", images=[Image(content=LARGE)], run_id="r")
        assert [image.content for image in asked[0].images or ()] == [LARGE]
        run = await stored_run(agent)
        assert [image.content for image in run.messages[0].images or ()] == [LARGE]  # type: ignore[index]
        assert run.input is not None
        assert [image.content for image in run.input.images or ()] == [LARGE]

    async def test_a_run_that_began_and_went_no_further_goes_on_with_its_media(self) -> None:
        db = InMemoryDb()
        agent, model = agent_on(db)

        async def die(_request: Any) -> str:
            connection = await db._connection()
            await connection.collection.update_one({"session_id": "s"}, {"$set": {"active_runs.r.lease_until": 0}})
            going_on, model = agent_on(db, "a dot")
            await going_on.acontinue_run("r")
            asked.extend(model.requests[0].messages)
            return "late"

        asked: list[Message] = []
        model.script.append(die)
        with pytest.raises(Exception, match="finished"):
            await agent.arun("What is this?", images=[Image(content=PIXEL)], run_id="r")
        assert [(message.content, [image.content for image in message.images or ()]) for message in asked] == [
            ("What is this?", [PIXEL])
        ]

    @pytest.mark.parametrize("data", [PIXEL, LARGE])
    async def test_without_store_media_a_note_stands_for_the_bytes(self, data: bytes) -> None:
        db = InMemoryDb()
        agent, model = agent_on(db, "a dot", "yes", store_media=False, add_history_to_context=True)
        await agent.arun("What is this?", images=[Image(content=data), Image(url="https://example.org/cat.png")])
        await agent.arun("Sure?")
        assert [image.content for image in model.requests[0].messages[0].images or ()] == [data, None]
        note = f"[image/png, {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}: not stored]"
        shown = model.requests[1].messages[0]
        assert [(image.content, image.not_stored, image.url) for image in shown.images or ()] == [
            (None, note, None),
            (None, None, "https://example.org/cat.png"),
        ]
        assert parts.chat_content(shown)[1] == {"type": "text", "text": note}
        assert data not in bson.encode(await document(db))
        assert await files_of(db) == []

    async def test_an_image_of_30_megabytes_comes_back(self, mongo_db: MongoDb) -> None:
        image = png(30_000_000)
        agent, _ = agent_on(mongo_db, "large")
        await agent.arun("How large is this?", images=[Image(content=image)])
        run = await stored_run(agent)
        assert run.messages is not None
        assert [found.content == image for found in run.messages[0].images or ()] == [True]
        assert len(bson.encode(await document(mongo_db))) < 5_000

    async def test_what_agno_stored_is_read(self) -> None:
        encoded = base64.b64encode(PIXEL).decode()
        run = RunOutput.from_dict(
            {
                "run_id": "r",
                "input": {
                    "input_content": "this?",
                    "images": [{"id": "i", "content": encoded}],
                    "audios": [{"content": "UklGRg=="}],
                },
                "messages": [
                    {"role": "user", "images": [{"id": "i", "content": encoded, "mime_type": "image/png"}]},
                    {
                        "role": "user",
                        "images": ["https://example.org/cat.png"],
                        "files": [{"content": "a;b", "mime_type": "text/csv"}],
                    },
                    {"role": "user", "images": [{"media_reference": {"storage_key": "k"}}], "files": [{"content": "JVBERg=="}]},
                ],
                "images": [{"id": "o", "filepath": "made.png"}],
            }
        )
        assert run.input.images[0].content == PIXEL
        assert run.messages[0].images[0].content == PIXEL
        assert run.messages[1].images[0].url == "https://example.org/cat.png"
        assert [message.files[0].content for message in run.messages[1:]] == [b"a;b", b"%PDF"]
        assert run.images[0].filepath == "made.png"

    @pytest.mark.parametrize("tool_messages", [True, False])
    def test_what_tools_made_stands_once_in_the_run_and_is_whole_when_read(self, tool_messages: bool) -> None:
        drawn = [Image(content=PIXEL)]
        said = Message(role="tool", content="drawn", tool_call_id="1", images=drawn)
        run = RunOutput(run_id="r", messages=[said], images=drawn)
        record = once(run.to_dict() if tool_messages else without_tool_messages(run.to_dict()))
        assert bson.encode(record).count(PIXEL) == 1
        assert RunOutput.from_dict(record).images == drawn

    def test_a_run_with_media_goes_through_json_and_back(self) -> None:
        images = [Image(content=PIXEL)]
        run = RunOutput(
            run_id="r", input=RunInput(input_content="x", images=images), messages=[Message(role="user", images=images)]
        )
        again = RunOutput.from_dict(json.loads(run.to_json()))
        assert again.messages[0].images == images
        assert RunOutput.from_dict(run.to_dict()).messages[0].images == images

    def test_a_medium_says_what_it_is_and_not_its_bytes(self) -> None:
        image = Image(content=PIXEL, id="i", mime_type="image/png")
        assert repr(image) == f"Image(id='i', content={len(PIXEL)} bytes, mime_type='image/png')"
        assert Image.from_base64(image.to_base64() or "").content == PIXEL
        assert image.to_dict(include_base64_content=False) == {"id": "i", "mime_type": "image/png"}


class TestInOpenAIsFormat:
    async def test_images_sounds_and_files_are_parts_of_the_content(self, aimock: AIMock) -> None:
        aimock.script(Answer(text="Many things."))
        agent = Agent(model=OpenAIChat(id="m", base_url=aimock.base_url, api_key="test"), raise_model_errors=True)
        await agent.arun(
            "What is this?",
            images=[Image(content=PIXEL, detail="low"), Image(url="https://example.org/cat.png")],
            audio=[Audio(content=WAV)],
            files=[File(content=PDF, filename="a.pdf"), File(id="file-1")],
        )
        [message] = aimock.journal()[0]["messages"]
        assert message["content"] == [
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{base64.b64encode(PDF).decode()}"},
            },
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "text", "text": "What is this?"},
            {
                "type": "image_url",
                "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}", "detail": "low"},
            },
            {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
            {"type": "input_audio", "input_audio": {"data": base64.b64encode(WAV).decode(), "format": "wav"}},
        ]

    def test_what_tools_returned_follows_their_round_in_a_message_of_the_users(self) -> None:
        from agno_mongo.models.openai.chat import _messages

        conversation = [
            Message(role="user", content="Draw."),
            Message(role="assistant", tool_calls=[{"id": "1"}, {"id": "2"}]),
            Message(role="tool", content="drawn", tool_call_id="1", images=[Image(url="https://example.org/1.png")]),
            Message(role="tool", content="done", tool_call_id="2"),
            Message(role="assistant", content="Here."),
        ]
        sent = _messages(conversation, {})
        assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user", "assistant"]
        assert sent[2]["content"] == "drawn"
        assert sent[4]["content"][1] == {"type": "image_url", "image_url": {"url": "https://example.org/1.png"}}

    def test_a_video_is_a_note(self, caplog: pytest.LogCaptureFixture) -> None:
        content = parts.chat_content(Message(role="user", content="See?", videos=[Video(content=MP4)]))
        assert content == [{"type": "text", "text": "See?"}, {"type": "text", "text": "[a video that cannot be shown]"}]
        assert "take no videos" in caplog.text

    def test_the_responses_api_has_parts_of_its_own(self) -> None:
        url = "https://example.org/cat.png"
        asked = Message(role="user", content="See?", images=[Image(url=url)], files=[File(id="file-1")])
        gone = Message(role="tool", tool_call_id="c", content="drawn", images=[Image.from_dict({"not_stored": "gone"})])
        items = input_items([asked, gone], roles={}, model="gpt-5")
        assert items[0]["content"] == [
            {"type": "input_file", "file_id": "file-1"},
            {"type": "input_text", "text": "See?"},
            {"type": "input_image", "image_url": url, "detail": "auto"},
        ]
        assert items[1]["output"] == "drawn"
        assert items[2]["content"][1] == {"type": "input_text", "text": "gone"}


class _Shelf(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = {"/a.wav": WAV, "/doc": PDF}.get(self.path)
        self.send_response(200 if data else 404)
        self.send_header("Content-Type", "application/pdf" if self.path == "/doc" else "audio/wav")
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def shelf() -> Iterator[str]:
    """The address of a server with a sound and a document."""
    with HTTPServer(("127.0.0.1", 0), _Shelf) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestAddresses:
    async def test_of_sounds_and_files_are_downloaded_once(self, shelf: str) -> None:
        sound = await loaded(Audio(url=f"{shelf}/a.wav"))
        assert (sound.content, sound.mime_type, sound.url) == (WAV, "audio/wav", f"{shelf}/a.wav")
        file = await loaded(File(url=f"{shelf}/doc"))
        assert (file.content, file.mime_type, file.filename) == (PDF, "application/pdf", "doc")
        assert await asyncio.to_thread(Image(url=f"{shelf}/a.wav").get_content_bytes) == WAV
        assert await File(url=f"{shelf}/doc").aget_content_bytes() == PDF

    async def test_where_nothing_is_are_refused_before_anything_is_stored(self, shelf: str) -> None:
        db = InMemoryDb()
        agent, _ = agent_on(db)
        with pytest.raises(MediaError, match=r"files\[0\] cannot be downloaded: .*/missing.pdf answered with status 404"):
            await agent.arun("Read this.", files=[File(url=f"{shelf}/missing.pdf")])
        assert await db.count_sessions() == 0

    async def test_of_images_are_the_providers_to_look_at(self) -> None:
        image = Image(url="https://example.org/cat.png")
        assert await loaded(image) is image


@pytest.mark.parametrize(
    ("medium", "mime_type"),
    [
        (Image(content=b"<svg/>", mime_type="image/svg+xml"), "image/svg+xml"),
        (Image(content=PIXEL, mime_type="image/jpeg"), "image/png"),
        (Image(content=base64.b64encode(PIXEL).decode()), "image/png"),  # type: ignore[arg-type]
        (Audio(content=b"\0\1\2\3", format="pcm16"), "audio/pcm16"),
        (Audio(content=MP4), "video/mp4"),
        (File(content="plain words"), "text/plain"),
        (File(content=b"\xff\xfe\xfd"), "application/octet-stream"),
        (File(content="a,b", name="table.csv"), "text/csv"),
        (File(content=b"x", mime_type="application/x-own"), "application/x-own"),
    ],
)
async def test_the_type_is_told_by_the_bytes_and_by_what_is_said_of_them(medium: Any, mime_type: str) -> None:
    assert (await loaded(medium)).mime_type == mime_type
