"""What a paused run waits for, as questions that somebody answers line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agno_mongo.errors import ConfigurationError
from agno_mongo.messages import ToolExecution, text_of
from agno_mongo.run.requirement import RunRequirement
from agno_mongo.run.step_requirement import ErrorRequirement, StepRequirement, UserInputField
from agno_mongo.run.steps import deepest_content
from agno_mongo.run.workflow import WorkflowRunOutput
from agno_mongo.terminal.parts import call_text, printable


class NotNowError(Exception):
    """Whoever was asked wants the run to stay paused."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, and what becomes of its answer. Answering raises ConfigurationError if it does not fit, NotNowError if the run is to wait on.

    ``waits`` says the same where nobody is asked. What was answered before may have settled it: then it is not ``open`` any more.
    """

    text: str
    waits: str
    answer: Callable[[str], None]
    is_open: Callable[[], bool] = lambda: True


def questions_of(run: Any) -> list[Question]:
    """What the run waits for: to be confirmed, to be given input, to be told a result; of a workflow's also what waits at its steps."""
    if isinstance(run, WorkflowRunOutput):
        return [question for requirement in run.all_requirements for question in _at_a_step(requirement)]
    return [question for requirement in run.active_requirements for question in _questions(requirement)]


def _at_a_step(requirement: StepRequirement | ErrorRequirement) -> Iterator[Question]:
    step = printable(requirement.step_name or requirement.step_id)
    if requirement.is_resolved or requirement.is_timed_out:
        return
    if isinstance(requirement, ErrorRequirement):
        failed = f"{step} has failed: {printable(requirement.error_message)}"
        yield Question(text=f"{failed}: retry, or skip?", waits=failed, answer=partial(_decide_on_failure, requirement))
        return
    for call in requirement.executor_requirements or ():
        if not call.is_resolved():
            yield from _questions(call, step)
    if requirement.needs_output_review:
        yield from _look_at(requirement, step)
    if requirement.needs_confirmation:
        asked = f"{step}: {printable(requirement.confirmation_message or 'may it run?')}"
        yield Question(text=f"{asked} yes, no, or why not?", waits=asked, answer=partial(_decide, requirement))
    if requirement.needs_route_selection:
        choices = ", ".join(requirement.available_choices or ())
        asked = f"{step}: {printable(requirement.user_input_message or 'where to?')} {printable(choices)}"
        yield Question(text=asked, waits=asked, answer=partial(_choose, requirement), is_open=partial(_goes_on, requirement))
    if requirement.needs_user_input:
        asked = f"{step}: {printable(requirement.user_input_message or 'fill in')}"
        for question in _fields(requirement, asked, lambda values: requirement.set_user_input(**values)):
            yield replace(question, is_open=partial(_goes_on, requirement))


def _goes_on(requirement: StepRequirement) -> bool:
    """False for a step that was rejected: it needs no more."""
    return requirement.confirmed is not False


def _look_at(requirement: StepRequirement, step: str) -> Iterator[Question]:
    output = "" if requirement.step_output is None else printable(text_of(deepest_content(requirement.step_output)))
    asked = f"{step}: {printable(requirement.output_review_message or 'is it good?')}"
    shown = f"{asked}\n{output}"
    yield Question(
        text=f"{shown}\nyes, no, why not, or = and what it should be", waits=shown, answer=partial(_judge, requirement)
    )


def _judge(requirement: StepRequirement, line: str) -> None:
    if line.strip().startswith("="):
        requirement.edit(line.strip()[1:].strip())
    else:
        _decide(requirement, line)


def _choose(requirement: StepRequirement, line: str) -> None:
    requirement.select(*(choice.strip() for choice in line.split(",")))


def _decide_on_failure(requirement: ErrorRequirement, line: str) -> None:
    word = line.strip().lower()
    if word not in {"retry", "skip"}:
        raise ConfigurationError(f"it is retry or skip, not {line.strip()!r}")
    requirement.retry() if word == "retry" else requirement.skip()


def _questions(requirement: RunRequirement, step: str | None = None) -> Iterator[Question]:
    tool = requirement.tool_execution
    if tool is None:
        return
    who = str(requirement.member_agent_name or requirement.member_agent_id) if requirement.member_run_id else None
    whose = "".join(f"{name}: " for name in dict.fromkeys((step, who)) if name is not None)
    call = printable(whose).replace("\n", " ") + call_text(tool.tool_name, None if _is_form(tool) else tool.tool_args)
    if requirement.needs_confirmation:
        yield Question(
            text=f"{call}: yes, no, or why not?",
            waits=f"waits for confirmation: {call}",
            answer=lambda line: _decide(requirement, line),
        )
    if requirement.needs_user_input:
        yield from _fields(requirement, call, requirement.provide_user_input)
    if requirement.needs_external_execution:
        yield Question(
            text=f"{call}: what came of it?",
            waits=f"waits for its result: {call}",
            answer=requirement.set_external_execution_result,
        )


def _is_form(tool: ToolExecution) -> bool:
    """True if the fields are what the model has made up, and not the tool's own."""
    return bool(tool.requires_user_input) and "user_input_fields" in (tool.tool_args or {})


def _decide(requirement: Any, line: str) -> None:
    word = line.strip().lower()
    if word in {"y", "yes"}:
        requirement.confirm()
    else:
        requirement.reject(None if word in {"n", "no"} else line.strip())


def _fields(requirement: Any, call: str, give: Callable[[dict[str, Any]], None]) -> Iterator[Question]:
    """A question for each field without a value; if all have one, whether that may be. The last answer gives all of them at once."""
    given: dict[str, Any] = {}
    fields = [field for field in requirement.user_input_schema or () if field.value is None]
    if not requirement.user_input_schema and isinstance(requirement, StepRequirement):
        yield Question(text=f"{call}?", waits=call, answer=lambda line: give({"input": line.strip()}))
    elif not fields:
        yield Question(
            text=f"{call}: may it go on so? yes, or no",
            waits=f"waits for input: {call}",
            answer=lambda line: _agree(give, line),
        )
    for field in fields:
        about = ", ".join(filter(None, (field.description, None if field.required else "- for none")))
        asked = printable(f"{field.name}{f' ({about})' if about else ''}")
        yield Question(
            text=f"{call}: {asked}?",
            waits=f"waits for input: {call}: {asked}",
            answer=_filling(give, field, given, last=field is fields[-1]),
        )


def _agree(give: Callable[[dict[str, Any]], None], line: str) -> None:
    if line.strip().lower() not in {"y", "yes"}:
        raise NotNowError
    give({})


def _check(field: Any, value: Any) -> None:
    """Raise ConfigurationError for what is none of a plain type, or not allowed; of more than that only the tool's own check knows."""
    if isinstance(field.field_type, type):
        try:
            TypeAdapter(field.field_type).validate_python(value)
        except ValidationError as error:
            raise ConfigurationError(f"{field.name} is {field.field_type.__name__}: {error.errors()[0]['msg']}.") from error
    if isinstance(field, UserInputField) and (fault := field.fault(value)):
        raise ConfigurationError(fault)


def _filling(give: Callable[[dict[str, Any]], None], field: Any, given: dict[str, Any], *, last: bool) -> Callable[[str], None]:
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
            give(given)

    return fill
