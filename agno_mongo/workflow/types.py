"""What passes between a workflow, its steps and whoever watches over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Final

from pydantic import BaseModel
from typing_extensions import Self

from agno_mongo import checks, renamed
from agno_mongo.db.documents import Session
from agno_mongo.errors import ConfigurationError
from agno_mongo.history import turns_of, workflow_context
from agno_mongo.media import Audio, File, Image, Media, Video
from agno_mongo.messages import Message, text_of
from agno_mongo.run.events import plain
from agno_mongo.run.step_requirement import StepRequirement, UserInputField
from agno_mongo.run.steps import StepMetrics, StepOutput, StepType, WorkflowMetrics, deepest_content, found_in, was_left_out

__all__ = [
    "HumanReview",
    "OnError",
    "OnReject",
    "OnTimeout",
    "StepInput",
    "StepMetrics",
    "StepOutput",
    "StepRequirement",
    "StepType",
    "UserInputField",
    "WorkflowExecutionInput",
    "WorkflowMetrics",
]


class OnReject(str, Enum):
    """What happens when a person rejects a step: it is left out, the run is cancelled, a condition's other steps are taken, or, where its output was looked
    at, it is done again.
    """

    skip = "skip"
    cancel = "cancel"
    else_branch = "else"
    retry = "retry"


class OnError(str, Enum):
    """What happens when a step has failed for good: the run fails, goes on without it, or waits for a person to say."""

    fail = "fail"
    skip = "skip"
    pause = "pause"


class OnTimeout(str, Enum):
    """What happens when nobody has answered in time: the run is cancelled, goes on without the step, or as if somebody had said yes."""

    cancel = "cancel"
    skip = "skip"
    approve = "approve"


@renamed.older_settings_accepted
@dataclass(kw_only=True)
class HumanReview:
    """Where a person is asked before or after a step runs, and what happens then.

    ``requires_confirmation``: somebody has to say yes; ``on_reject``: what no means (``"skip"``, ``"cancel"``, at a condition ``"else"``).
    ``requires_user_input``: somebody has to fill in ``user_input_schema`` (UserInputFields, or dicts); at a router, to choose, one way or, with
    ``allow_multiple_selections``, several. ``on_error``: ``"fail"``, ``"skip"`` or ``"pause"`` where the step has failed for good: a person says then whether it is tried again or
    left out; None leaves it to the step's ``skip_on_failure``.

    ``requires_output_review``: somebody looks at what a step or a router has come to, always or where a function of the StepOutput says so, and accepts it,
    edits it or rejects it; ``on_reject`` may be ``"retry"`` then: it is done again with what was said, ``max_retries`` times (3) before the run is cancelled.
    ``requires_iteration_review``: somebody looks at each round of a loop; yes ends the loop, ``"retry"`` is the next round. The messages are shown to
    whoever is asked.

    ``timeout``: how many seconds there are to answer, None without end; ``on_timeout``: what happens when the run is continued after that, whatever the
    answer: ``"cancel"``, ``"skip"`` or, where nothing but a yes is wanted, ``"approve"``. What the step's agent waits for, and a step that has failed, have all
    the time in the world.
    """

    requires_confirmation: bool = False
    confirmation_message: str | None = None
    requires_user_input: bool = False
    user_input_message: str | None = None
    user_input_schema: Sequence[UserInputField | Mapping[str, Any]] | None = None
    allow_multiple_selections: bool = False
    on_reject: OnReject | str | None = None
    on_error: OnError | str | None = None
    requires_output_review: bool | Callable[..., Any] = False
    output_review_message: str | None = None
    requires_iteration_review: bool = False
    iteration_review_message: str | None = None
    max_retries: int = 3
    timeout: float | None = None
    on_timeout: OnTimeout | str = "cancel"

    def __post_init__(self) -> None:
        flags = ["requires_confirmation", "requires_user_input", "allow_multiple_selections", "requires_iteration_review"]
        for name in flags if callable(self.requires_output_review) else [*flags, "requires_output_review"]:
            checks.flag(name, getattr(self, name))
        checks.count("max_retries", self.max_retries, least=0)
        for name, known in (("on_reject", OnReject), ("on_error", OnError), ("on_timeout", OnTimeout)):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, checks.one_of(name, getattr(value, "value", value), tuple(one.value for one in known)))
        fields = self.user_input_schema
        if fields is not None:
            self.user_input_schema = [one if isinstance(one, UserInputField) else UserInputField(**one) for one in fields]
        looks = self.requires_output_review or self.requires_iteration_review
        if self.on_reject == "retry" and (self.requires_confirmation or not looks):
            raise ConfigurationError(
                'on_reject="retry" is for what a person has looked at: it takes requires_output_review or requires_iteration_review, and no '
                "requires_confirmation"
            )
        self._check_timeout()

    def _check_timeout(self) -> None:
        checks.time_limit("timeout", self.timeout)
        if self.timeout is not None and self.timeout > _CENTURY:
            raise ConfigurationError(f"timeout={self.timeout:g} is longer than a hundred years; leave it out for no end")
        if self.timeout is not None and not (self.asks or self.requires_output_review or self.requires_iteration_review):
            raise ConfigurationError(
                "timeout= is for what this HumanReview asks, and it asks nothing: give it requires_confirmation, requires_user_input, "
                "requires_output_review or requires_iteration_review"
            )
        if self.on_timeout == "approve" and self.requires_user_input:
            raise ConfigurationError(
                'on_timeout="approve" cannot give the input that requires_user_input wants; take "skip" or "cancel"'
            )

    def fields_to_fill(self) -> list[UserInputField] | None:
        """The fields of ``user_input_schema``, each a copy: a person's answers are put into them, and are that run's alone."""
        return [UserInputField.model_validate(deepcopy(dict(one))) for one in self.user_input_schema or ()] or None

    @property
    def asks(self) -> bool:
        """True if somebody is asked."""
        return self.requires_confirmation or self.requires_user_input

    def refuse(self, kind: str, **unfit: bool) -> None:
        """Raise ConfigurationError for what a step of this kind cannot do."""
        for name, is_wrong in unfit.items():
            if is_wrong and getattr(self, name):
                raise ConfigurationError(f"a {kind} takes no human_review with {name}")


_CENTURY: Final = 100 * 365.25 * 24 * 3600

NO_REVIEW: Final = {"requires_output_review": True, "requires_iteration_review": True}
"""What a step takes not that only holds others together."""


@dataclass
class _Given:
    """An input, with what goes with it."""

    input: Any = None
    additional_data: dict[str, Any] | None = None
    images: list[Any] | None = None
    videos: list[Any] | None = None
    audio: list[Any] | None = None
    files: list[Any] | None = None

    def get_input_as_string(self) -> str | None:
        """The workflow's input as text: data as JSON, messages as what they say. None if there is none."""
        if self.input is None:
            return None
        parts = self.input if isinstance(self.input, list) else [self.input]
        if parts and all(isinstance(part, Message) for part in parts):
            return "\n".join(part.get_content_string() for part in parts)
        if isinstance(self.input, BaseModel):
            return self.input.model_dump_json(indent=2, exclude_none=True)
        return text_of(self.input)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {part.name: plain(getattr(self, part.name)) for part in fields(self) if part.name != "workflow_session"}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """What ``to_dict`` gave; objects of a schema stay data."""
        known = {part.name for part in fields(cls)}
        return cls(**{name: _REVIVED.get(name, _as_it_is)(value) for name, value in data.items() if name in known})


@dataclass
class WorkflowExecutionInput(_Given):
    """What a workflow was given: what its ``steps`` are called with, if they are one function."""


@dataclass
class StepInput(_Given):
    """What a step is given.

    ``input`` and ``additional_data`` are the workflow's, ``previous_step_content`` is what the step before has come to, ``previous_step_outputs`` are all
    earlier outputs by the names of their steps. Images, sounds, videos and files are the workflow's and those that steps made.
    """

    previous_step_content: Any = None
    previous_step_outputs: dict[str, StepOutput] | None = None
    workflow_session: Session | None = field(default=None, repr=False)

    def get_step_output(self, step_name: str) -> StepOutput | None:
        """The output of an earlier step, at any depth; None if there is none of that name."""
        outputs = self.previous_step_outputs or {}
        return outputs.get(step_name) or found_in(outputs.values(), step_name)

    def get_step_content(self, step_name: str) -> Any:
        """What an earlier step has come to; of steps that ran at once a dict of all their contents, by name. None if there is no such step."""
        output = self.get_step_output(step_name)
        if output is None:
            return None
        if output.step_type == StepType.PARALLEL.value and output.steps:
            named = {step.step_name: deepest_content(step) for step in output.steps}
            return {name: content for name, content in named.items() if name and content is not None}
        return deepest_content(output)

    def get_all_previous_content(self) -> str:
        """What all earlier steps have come to, each under its name."""
        told = ((name, output.content) for name, output in (self.previous_step_outputs or {}).items() if not was_left_out(output))
        return "\n\n".join(
            f"=== {name} ===\n{text_of(content)}" for name, content in told if content is not None and content != ""
        )

    def get_last_step_content(self) -> Any:
        """What the step before has come to; None if this is the first."""
        return self.previous_step_content

    def get_workflow_history(self, num_runs: int | None = None) -> list[tuple[str, str]]:
        """Input and answer of earlier runs of the session, oldest first; of the newest ``num_runs`` that are at hand."""
        return [] if self.workflow_session is None else turns_of(self.workflow_session.runs or (), num_runs)

    def get_workflow_history_context(self, num_runs: int | None = None) -> str | None:
        """The same as text for a prompt; None if there are none."""
        return workflow_context(self.get_workflow_history(num_runs))

    def after(self, output: StepOutput) -> StepInput:
        """What the step after the one that gave ``output`` is given."""
        media = {name: getattr(self, name) for name in _MEDIA}
        media |= {name: [*(media[name] or ()), *made] for name in _MEDIA if (made := getattr(output, name))}
        return StepInput(
            input=self.input,
            additional_data=self.additional_data,
            previous_step_content=self.previous_step_content if was_left_out(output) else deepest_content(output),
            previous_step_outputs={**(self.previous_step_outputs or {}), output.step_name or "": output},
            workflow_session=self.workflow_session,
            **media,
        )


def _listed(kind: type[Media]) -> Callable[[Any], Any]:
    return lambda given: None if given is None else [one if isinstance(one, kind) else kind.from_dict(one) for one in given]


def _as_it_is(value: Any) -> Any:
    return value


_MEDIA: Final = ("images", "videos", "audio", "files")

_REVIVED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "images": _listed(Image),
    "videos": _listed(Video),
    "audio": _listed(Audio),
    "files": _listed(File),
    "previous_step_outputs": lambda outputs: outputs and {name: StepOutput.model_validate(one) for name, one in outputs.items()},
}

Selector = Callable[..., Any]
