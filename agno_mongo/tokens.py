"""How many tokens a message takes: counted by tiktoken where it is installed, else a quarter of its bytes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import Future
from importlib import import_module
from threading import Lock, Thread
from typing import Any, Final

from agno_mongo.messages import Message

_log = logging.getLogger("agno_mongo")

PER_MESSAGE: Final = 4
"""Tokens that a message takes beside its text: its role, its beginning and its end."""

PER_MEDIUM: Final = 800
"""Tokens that stand for an image, a sound or a file: what OpenAI takes for an image of a thousand pixels square."""

_NEWEST_ENCODING: Final = "o200k_base"
"""For models that tiktoken does not know."""

_PIECE: Final = 4096
"""Characters that are given to tiktoken at once: the time for a text without spaces grows with its square."""

_COUNTED: Final = 100_000
"""Characters of the longest text that is counted; what is longer is estimated, since counting takes the loop's time."""

_PATIENCE: Final = 5.0
_REMEMBERED: Final = 4096
"""Messages whose tokens are remembered: those of a history are counted again with every run."""


class TokenCounter:
    """Counts a message's tokens: its text, the calls it makes, and a fixed number for each image, sound or file.

    ``tokens_of`` counts a text.
    """

    def __init__(self, tokens_of: Callable[[str], int], *, remembers: bool = False) -> None:
        self._tokens_of = tokens_of
        self._remembers = remembers
        self._known: dict[str, int] = {}

    def __call__(self, message: Message) -> int:
        """The message's tokens."""
        if not self._remembers:
            return self._counted(message)
        known = self._known.get(message.id)
        if known is None:
            known = self._known[message.id] = self._counted(message)
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return known

    def _counted(self, message: Message) -> int:
        calls = [call.get("function") for call in message.tool_calls or ()]
        texts = [message.get_content_string(), *(json.dumps(call, default=str) for call in calls)]
        return PER_MESSAGE + sum(map(self._tokens_of, texts)) + PER_MEDIUM * (len(message.media) + _media_in(message.content))


def estimated(text: str) -> int:
    """A quarter of the text's bytes in UTF-8, rounded up: what English and code come to, and somewhat less than Chinese does."""
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return (size + 3) // 4


ESTIMATE: Final = TokenCounter(estimated)


async def counter_for(model: str) -> TokenCounter:
    """The counter of a model's tokens. It is made once; tiktoken then loads its table, from the internet if it has none yet.

    Where tiktoken is missing, or cannot load the table, the tokens are estimated; and until it has, if that takes more than 5 seconds.
    """
    loading = _loading.get(model) or _begin(model)
    if not loading.done() and model not in _late:
        await asyncio.wait([asyncio.wrap_future(loading)], timeout=_PATIENCE)
    if loading.done():
        return loading.result()
    _late.add(model)
    return ESTIMATE


_loading: dict[str, Future[TokenCounter]] = {}
_late: set[str] = set()
_lock = Lock()


def _begin(model: str) -> Future[TokenCounter]:
    """Begin to load, in a thread that no loop and no interpreter waits for when it ends."""
    with _lock:
        if model not in _loading:
            loading: Future[TokenCounter] = Future()
            _loading[model] = loading
            Thread(target=lambda: loading.set_result(_new_counter(model)), name="agno_mongo-tokens", daemon=True).start()
        return _loading[model]


def _new_counter(model: str) -> TokenCounter:
    try:
        return counter_by(_encoding_of(import_module("tiktoken"), model))
    except ModuleNotFoundError:
        return ESTIMATE
    except Exception as error:  # noqa: BLE001 - tiktoken raises whatever its download does
        _log.warning("tokens of %r are estimated: tiktoken could not load its table: %s", model, error)
        return ESTIMATE


def _encoding_of(tiktoken: Any, model: str) -> Any:
    try:
        return tiktoken.encoding_for_model(model)
    except KeyError:
        return tiktoken.get_encoding(_NEWEST_ENCODING)


def counter_by(encoding: Any) -> TokenCounter:
    """The counter that an Encoding of tiktoken makes."""

    def tokens_of(text: str) -> int:
        if len(text) > _COUNTED:
            return estimated(text)
        pieces = (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
        return sum(len(encoding.encode_ordinary(piece)) for piece in pieces)

    return TokenCounter(tokens_of, remembers=True)


def _media_in(content: Any) -> int:
    if not isinstance(content, list):
        return 0
    return sum(1 for part in content if isinstance(part, dict) and not isinstance(part.get("text"), str))
