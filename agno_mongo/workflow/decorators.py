"""``@pause``: a function that carries out a step only once a person was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from agno_mongo import checks
from agno_mongo.run.step_requirement import UserInputField
from agno_mongo.workflow.types import HumanReview

F = TypeVar("F", bound=Callable[..., Any])


def pause(
    name: str | None = None,
    requires_confirmation: bool = False,
    confirmation_message: str | None = None,
    requires_user_input: bool = False,
    user_input_message: str | None = None,
    user_input_schema: Sequence[UserInputField | Mapping[str, Any]] | None = None,
) -> Callable[[F], F]:
    """Have the run wait for a person before it comes to the function: wherever that is a step, or a Step's ``executor``.

    ``name`` is the step's, if it is given none; the rest is as in HumanReview. What the Step itself is given counts more: a ``human_review``
    whole, its parts each. The function stays what it was. Raises TypeError for ``@pause`` without brackets.
    """
    if callable(name):
        raise TypeError("@pause says what a person is asked: @pause(requires_confirmation=True)")
    asked: dict[str, Any] = {
        "requires_confirmation": requires_confirmation,
        "confirmation_message": confirmation_message,
        "requires_user_input": requires_user_input,
        "user_input_message": user_input_message,
        "user_input_schema": user_input_schema,
    }
    HumanReview(**asked)
    checks.text("name", name)

    def marked(function: F) -> F:
        checks.called("pause()", function)
        function.__pause__ = name, asked  # type: ignore[attr-defined]
        return function

    return marked


def pause_of(function: Callable[..., Any] | None) -> tuple[str | None, dict[str, Any]]:
    """The name of its step, and what ``pause`` says that a person is asked; nothing, if it says nothing."""
    name, asked = getattr(function, "__pause__", (None, {}))
    return name, asked
