"""``UserControlFlowTools``: the model asks the user for what it has not been told, as if he were filling in a form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field

from agno_mongo.messages import UserInputField
from agno_mongo.tools.function import BadToolArgumentsError, Function
from agno_mongo.tools.toolkit import Toolkit

_INSTRUCTIONS: Final = """\
If you need something of the user that you have not been told, call get_user_input; do not ask in your answer, and do not make it up.
Ask for all that you need at once, and for nothing that you know. Give each field a name, a type and a clear description.
A field that the user leaves empty is an answer, too: take what you get, do not ask for it again, and go on with the task."""


class FormField(BaseModel):
    """What the user is to fill in."""

    field_name: str = Field(description="The name of the field")
    field_type: str = Field("str", description="Its type in Python: str, int, float, bool, list or dict")
    field_description: str = Field("", description="What the user is asked for")


class UserControlFlowTools(Toolkit):
    """Gives the model ``get_user_input``, a call of which pauses the run: ``requirement.provide_user_input({…})`` answers with the fields that the
    model has made up.

    ``instructions`` tell the model when to call it; ``add_instructions=False`` leaves them out of the system message.
    """

    def __init__(
        self,
        instructions: str | None = None,
        add_instructions: bool = True,
        enable_get_user_input: bool = True,
        all: bool = False,  # noqa: A002 - Agno's name
        **options: Any,
    ) -> None:
        form = Function(name="get_user_input", entrypoint=self.get_user_input, form=_fields)
        super().__init__(
            name="user_control_flow_tools",
            tools=[form] if all or enable_get_user_input else [],
            instructions=_INSTRUCTIONS if instructions is None else instructions,
            add_instructions=add_instructions,
            **options,
        )

    def get_user_input(self, user_input_fields: list[FormField]) -> str:
        """Have the user fill in a form with all the fields that you need.

        Args:
            user_input_fields: The fields.
        """
        _fields({"user_input_fields": user_input_fields})
        return "The form has no fields: the user was not asked."


def _fields(arguments: Mapping[str, Any]) -> list[UserInputField]:
    """What the user is asked. Raises BadToolArgumentsError for what is no form."""
    asked: list[FormField] = arguments["user_input_fields"]
    names = [field.field_name for field in asked]
    twice = [name for name, times in Counter([*names, *arguments]).items() if times > 1]
    if twice:
        raise BadToolArgumentsError(f"Two fields have the name {twice[0]!r}.")
    return [
        UserInputField(name=field.field_name, field_type=field.field_type, description=field.field_description or None)
        for field in asked
    ]
