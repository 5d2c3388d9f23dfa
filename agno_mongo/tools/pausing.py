"""Calls that wait for a person: what is asked, and whether it may be asked at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agno_mongo.messages import ToolExecution, UserInputField
from agno_mongo.tools.function import BadToolArgumentsError, Function


class WaitsWithinError(Exception):
    """A run that a tool has begun within this one waits for a person, and the call with it. It is made again when the run goes on."""


def asks(function: Function, arguments: Any, execution: ToolExecution) -> bool:
    """Mark what the call needs of a person; True if it waits.

    A call that was answered does not wait again. Nor does one whose arguments are wrong: nobody is asked about it, and the model hears of it.
    """
    if execution.was_asked:
        return execution.is_paused
    try:
        _check(function, arguments, execution)
        form = None if function.form is None else function.form(function.validated(arguments))
    except BadToolArgumentsError:
        return False
    if form is not None:
        execution.requires_user_input, execution.user_input_schema = bool(form) or None, form or None
        return bool(form)
    execution.requires_confirmation = function.requires_confirmation or None
    execution.external_execution_required = function.external_execution or None
    execution.external_execution_silent = function.external_execution_silent or None
    if function.requires_user_input:
        execution.requires_user_input = True
        hidden = function.user_input_fields or ()
        execution.tool_args = {name: sent for name, sent in (execution.tool_args or {}).items() if name not in hidden}
        execution.user_input_schema = _fields(function, execution.tool_args or {})
    return True


def filled_in(function: Function, execution: ToolExecution) -> str | None:
    """What somebody has filled into a form, as the model is told it; None for any other call."""
    if function.form is None or not execution.answered:
        return None
    values = [{"name": field.name, "value": field.value} for field in execution.user_input_schema or ()]
    # They are the result, and no arguments.
    known = (function.parameters or {}).get("properties", {})
    execution.tool_args = {name: sent for name, sent in (execution.tool_args or {}).items() if name in known}
    return f"User inputs retrieved: {json.dumps(values, ensure_ascii=False)}"


def fault_of(function: Function | None, execution: ToolExecution) -> str | None:
    """What is wrong with the arguments that somebody has filled in; None if nothing is, or if there is no such tool any more."""
    if function is None or not execution.answered:
        return None
    if function.form is not None:
        return next((fault for field in execution.user_input_schema or () if (fault := _misfit(field))), None)
    try:
        function.validated(execution.tool_args)
    except BadToolArgumentsError as error:
        return str(error)
    return None


def _misfit(field: UserInputField) -> str | None:
    try:
        TypeAdapter(field.field_type if isinstance(field.field_type, type) else Any).validate_python(field.value)
    except ValidationError as error:
        return f"{field.name}: {error.errors(include_url=False)[0]['msg']}"
    return None


def _check(function: Function, arguments: Any, execution: ToolExecution) -> None:
    if not function.requires_user_input or function.form is not None:
        function.validated(arguments)
    elif execution.tool_args is None:
        raise BadToolArgumentsError(f"The arguments of {function.name} are no JSON object.")


def _fields(function: Function, sent: Mapping[str, Any]) -> list[UserInputField]:
    """Every parameter as a field, with what the model gave for it, but for those that it does not see."""
    hidden = function.user_input_fields or ()
    fields = []
    for name, info in function.arguments.model_fields.items():
        shown = info.alias or name
        value = None if shown in hidden else sent.get(shown)
        required = info.is_required()
        field_type = info.annotation if isinstance(info.annotation, type) else str(info.annotation)
        fields.append(
            UserInputField(name=shown, field_type=field_type, description=info.description, value=value, required=required)
        )
    return fields
