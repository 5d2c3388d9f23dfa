"""The offline demonstration model: no key, no network, no intelligence.

It answers from the conversation it is sent and from nothing else, so that what it remembers is what the database gave back.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agno_mongo.messages import Message, Metrics
from agno_mongo.models.base import ModelDelta, ModelRequest

_CAPITALS = {
    "argentina": "Buenos Aires",
    "australia": "Canberra",
    "brazil": "Brasília",
    "canada": "Ottawa",
    "china": "Beijing",
    "egypt": "Cairo",
    "france": "Paris",
    "germany": "Berlin",
    "india": "New Delhi",
    "italy": "Rome",
    "japan": "Tokyo",
    "kenya": "Nairobi",
    "mexico": "Mexico City",
    "spain": "Madrid",
    "united kingdom": "London",
    "united states": "Washington, D.C.",
}
_NAME = re.compile(r"\bmy name is\s+([^\W\d_][\w'’-]*(?:\s+[A-Z][\w'’-]*)*)", re.IGNORECASE)
_ASKS_NAME = re.compile(r"\b(what(?:'s| is)|do you (?:know|remember))\s+my name\b|\bwho am i\b", re.IGNORECASE)
_ASKS_LAST = re.compile(r"\b(last|previous)\s+(question|message)\b", re.IGNORECASE)
_ASKS_ALL = re.compile(r"\bwhat (?:did we|have we) (?:talk|discuss|sp[eo]k)", re.IGNORECASE)
_CAPITAL = re.compile(r"\bcapital of (?:the )?([a-z ]+)", re.IGNORECASE)


@dataclass
class DemoModel:
    """A stand-in for a model. It knows the last question, the name it was told, and a few capitals."""

    id: str = "demo"
    name: str = "DemoModel"
    provider: str = "offline"
    supports_native_structured_outputs: bool = True

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        """The answer, word by word when streamed. Token counts are words. Where a schema is asked for, its texts are the answer."""
        said = [message.get_content_string() for message in request.messages if message.role == "user"]
        answer = _answer(said[-1] if said else "", said[:-1], request.messages)
        if schema := ((request.response_format or {}).get("json_schema") or {}).get("schema"):
            answer = json.dumps(_filled_in(schema, schema, answer), ensure_ascii=False)
        pieces = re.findall(r"\S+\s*", answer) if request.stream else [answer]
        for piece in pieces:
            yield ModelDelta(content=piece)
        read = sum(len(message.get_content_string().split()) for message in request.messages)
        written = len(answer.split())
        counted = Metrics(input_tokens=read, output_tokens=written, total_tokens=read + written)
        yield ModelDelta(metrics=counted, finish_reason="stop")


def _answer(asked: str, before: Sequence[str], messages: Sequence[Message]) -> str:
    skills: tuple[Callable[[str, Sequence[str]], str | None], ...] = (_last_question, _name, _told, _topics, _capital)
    answers = [answer for skill in skills if (answer := skill(asked, before)) is not None]
    if answers:
        return " ".join(answers)
    return (
        "I am the offline demonstration model and only know what is in this conversation: your last question, your "
        f"name, a few capitals. So far I was sent {len(messages)} message{'s' * (len(messages) != 1)}."
    )


def _filled_in(schema: Any, root: Mapping[str, Any], text: str) -> Any:
    """The least that has the form of ``schema``, with ``text`` for its texts. Limits are not looked at."""
    if not isinstance(schema, Mapping):
        return text
    if "$ref" in schema:
        return _filled_in(root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2]), root, text)
    if stated := [*schema.get("enum", ()), *(schema[key] for key in ("const", "default") if key in schema)]:
        return stated[0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return _filled_in(next((part for part in schema[key] if part == {"type": "null"}), schema[key][0]), root, text)
    if schema.get("type") == "object":
        return {name: _filled_in(part, root, text) for name, part in schema.get("properties", {}).items()}
    empty: dict[Any, Any] = {"array": [], "integer": 0, "number": 0, "boolean": False, "null": None}
    kind = schema.get("type")
    return empty.get(kind if isinstance(kind, str) else "string", text)


def _last_question(asked: str, before: Sequence[str]) -> str | None:
    if not _ASKS_LAST.search(asked):
        return None
    questions = [text for text in before if text.rstrip().endswith("?")] or list(before)
    return f'Your last question was: "{questions[-1]}"' if questions else "I do not know: this is the first thing you ask me."


def _name(asked: str, before: Sequence[str]) -> str | None:
    if not _ASKS_NAME.search(asked):
        return None
    names = [match[1] for text in [*before, asked] for match in _NAME.finditer(text)]
    return f"Your name is {names[-1]}." if names else "You have not told me your name in this conversation."


def _told(asked: str, _before: Sequence[str]) -> str | None:
    match = _NAME.search(asked)
    return f"Nice to meet you, {match[1]}." if match else None


def _topics(asked: str, before: Sequence[str]) -> str | None:
    if not _ASKS_ALL.search(asked):
        return None
    if not before:
        return "We have not talked about anything yet."
    return "You said:\n" + "\n".join(f"- {text}" for text in before)


def _capital(asked: str, _before: Sequence[str]) -> str | None:
    match = _CAPITAL.search(asked)
    country = match[1].strip().lower() if match else ""
    if not country:
        return None
    capital = _CAPITALS.get(country)
    return f"The capital of {country.title()} is {capital}." if capital else None
