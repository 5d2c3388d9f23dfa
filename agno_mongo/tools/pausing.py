"""Calls that wait for a person: what is asked, and whether it may be asked at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    except BadToolArgumentsError:
        return False
    execution.requires_confirmation = function.requires_confirmation or None
    execution.external_execution_required = function.external_execution or None
    execution.external_execution_silent = function.external_execution_silent or None
    if function.requires_user_input:
        execution.requires_user_input = True
        hidden = function.user_input_fields or ()
        execution.tool_args = {name: sent for name, sent in (execution.tool_args or {}).items() if name not in hidden}
        execution.user_input_schema = _fields(function, execution.tool_args or {})
    return True


def fault_of(function: Function | None, execution: ToolExecution) -> str | None:
    """What is wrong with the arguments that somebody has filled in; None if nothing is, or if there is no such tool any more."""
    if function is None or not execution.answered:
        return None
    try:
        function.validated(execution.tool_args)
    except BadToolArgumentsError as error:
        return str(error)
    return None


def _check(function: Function, arguments: Any, execution: ToolExecution) -> None:
    if not function.requires_user_input:
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
