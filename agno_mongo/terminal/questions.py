"""What a paused run waits for, as questions that somebody answers line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agno_mongo.terminal.parts import printable


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, and what becomes of its answer. Answering raises ConfigurationError if it does not fit."""

    text: str
    answer: Callable[[str], None]


def questions_of(run: Any) -> list[Question]:
    """What the run waits for: to be confirmed, to be given input, to be told a result."""
    return [question for requirement in run.active_requirements for question in _questions(requirement)]


def _questions(requirement: Any) -> Iterator[Question]:
    tool = requirement.tool_execution
    arguments = ", ".join(f"{name}={value!r}" for name, value in (tool.tool_args or {}).items())
    call = printable(f"{tool.tool_name}({arguments})").replace("\n", " ")
    if requirement.needs_confirmation:
        yield Question(text=f"{call}: yes, no, or why not?", answer=lambda line: _decide(requirement, line))
    if requirement.needs_user_input:
        for field in requirement.user_input_schema or ():
            if field.value is None:
                about = f" ({field.description})" if field.description else ""
                yield Question(text=printable(f"{call}: {field.name}{about}?"), answer=_filling(requirement, field))
    if requirement.needs_external_execution:
        yield Question(text=f"{call}: what came of it?", answer=requirement.set_external_execution_result)


def _decide(requirement: Any, line: str) -> None:
    word = line.strip().lower()
    if word in {"y", "yes"}:
        requirement.confirm()
    else:
        requirement.reject(None if word in {"n", "no"} else line.strip())


def _filling(requirement: Any, field: Any) -> Callable[[str], None]:
    def fill(line: str) -> None:
        value: Any = line.strip()
        if field.field_type not in {str, "str"}:
            # What is no JSON is text, a date say; the tool's own check decides.
            with suppress(ValueError):
                value = json.loads(value)
        if not requirement.is_resolved():
            requirement.provide_user_input({field.name: value})

    return fill
