"""What a paused run waits for, as questions that somebody answers line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agno_mongo.errors import ConfigurationError
from agno_mongo.terminal.parts import printable


class NotNowError(Exception):
    """Whoever was asked wants the run to stay paused."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, and what becomes of its answer. Answering raises ConfigurationError if it does not fit, NotNowError if the run is to wait on.

    ``waits`` says the same where nobody is asked.
    """

    text: str
    waits: str
    answer: Callable[[str], None]


def questions_of(run: Any) -> list[Question]:
    """What the run waits for: to be confirmed, to be given input, to be told a result."""
    return [question for requirement in run.active_requirements for question in _questions(requirement)]


def _questions(requirement: Any) -> Iterator[Question]:
    tool = requirement.tool_execution
    arguments = ", ".join(f"{name}={value!r}" for name, value in (tool.tool_args or {}).items())
    whose = f"{requirement.member_agent_name or requirement.member_agent_id}: " if requirement.member_run_id else ""
    call = printable(f"{whose}{tool.tool_name}({arguments})").replace("\n", " ")
    if requirement.needs_confirmation:
        yield Question(
            text=f"{call}: yes, no, or why not?",
            waits=f"waits for confirmation: {call}",
            answer=lambda line: _decide(requirement, line),
        )
    if requirement.needs_user_input:
        yield from _fields(requirement, call)
    if requirement.needs_external_execution:
        yield Question(
            text=f"{call}: what came of it?",
            waits=f"waits for its result: {call}",
            answer=requirement.set_external_execution_result,
        )


def _decide(requirement: Any, line: str) -> None:
    word = line.strip().lower()
    if word in {"y", "yes"}:
        requirement.confirm()
    else:
        requirement.reject(None if word in {"n", "no"} else line.strip())


def _fields(requirement: Any, call: str) -> Iterator[Question]:
    """A question for each field without a value; if all have one, whether that may be. The last answer gives all of them at once."""
    given: dict[str, Any] = {}
    fields = [field for field in requirement.user_input_schema or () if field.value is None]
    if not fields:
        yield Question(
            text=f"{call}: may it go on so? yes, or no",
            waits=f"waits for input: {call}",
            answer=lambda line: _agree(requirement, line),
        )
    for field in fields:
        about = ", ".join(filter(None, (field.description, None if field.required else "- for none")))
        asked = printable(f"{field.name}{f' ({about})' if about else ''}")
        yield Question(
            text=f"{call}: {asked}?",
            waits=f"waits for input: {call}: {asked}",
            answer=_filling(requirement, field, given, last=field is fields[-1]),
        )


def _agree(requirement: Any, line: str) -> None:
    if line.strip().lower() not in {"y", "yes"}:
        raise NotNowError
    requirement.provide_user_input({})


def _check(field: Any, value: Any) -> None:
    """Raise ConfigurationError for what is none of a plain type; of more than that only the tool's own check knows."""
    if isinstance(field.field_type, type):
        try:
            TypeAdapter(field.field_type).validate_python(value)
        except ValidationError as error:
            raise ConfigurationError(f"{field.name} is {field.field_type.__name__}: {error.errors()[0]['msg']}.") from error


def _filling(requirement: Any, field: Any, given: dict[str, Any], *, last: bool) -> Callable[[str], None]:
    def fill(line: str) -> None:
        value: Any = line.strip()
        if value == "-" and not field.required:
            value = None
        elif field.field_type not in {str, "str"}:
            # What is no JSON is text, a date say; the tool's own check decides.
            with suppress(ValueError):
                value = json.loads(value)
        if value is not None:
            _check(field, value)
        given[field.name] = value
        if last:
            requirement.provide_user_input(given)

    return fill
