"""``@pause``: a function that carries out a step only once a person was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.run.step_requirement import UserInputField
from agno_mongo.workflow.types import HumanReview

F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "_agno_mongo_pause"


@dataclass(frozen=True, kw_only=True)
class Pause:
    """What a function says of its step: its ``name``, and the parts of a HumanReview."""

    name: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)


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
    whole, its parts each. The function stays what it was. Raises TypeError for ``@pause`` without brackets, ConfigurationError for what cannot be
    marked: under ``@staticmethod`` and ``@classmethod`` it can, above them not.
    """
    if callable(name):
        raise TypeError("@pause says what a person is asked: @pause(requires_confirmation=True)")
    asked = {
        "requires_confirmation": requires_confirmation,
        "confirmation_message": confirmation_message,
        "requires_user_input": requires_user_input,
        "user_input_message": user_input_message,
        "user_input_schema": user_input_schema,
    }
    HumanReview(**asked)  # type: ignore[arg-type] # it looks at each
    said = Pause(name=checks.text("name", name), asked=asked)

    def marked(function: F) -> F:
        if not callable(function) or isinstance(function, (staticmethod, classmethod)):
            raise ConfigurationError(
                f"@pause() marks a function, not {function!r}; it stands below @staticmethod and @classmethod"
            )
        try:
            setattr(function, _MARK, said)
        except AttributeError as error:
            raise ConfigurationError(f"@pause() cannot mark {function!r}; give its Step human_review=") from error
        return function

    return marked


def pause_of(function: Any) -> Pause | None:
    """What ``pause`` has said of the function, or of the one that a partial or an object calls; None if it has said nothing."""
    while isinstance(function, partial) and not hasattr(function, _MARK):
        function = function.func
    said = getattr(function, _MARK, None) or getattr(type(function).__call__, _MARK, None)
    return said if isinstance(said, Pause) else None
