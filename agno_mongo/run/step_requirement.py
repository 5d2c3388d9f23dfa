"""What a paused workflow waits for at a step, and the answers that let it go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, ClassVar, Final, Literal, TypeVar

from pydantic import AwareDatetime, Field, ValidationError, field_serializer, field_validator

from agno_mongo.errors import ConfigurationError
from agno_mongo.messages import StoredModel
from agno_mongo.messages import UserInputField as ToolInputField
from agno_mongo.run.requirement import Answer, RunRequirement, answers_of, key_of_call
from agno_mongo.run.steps import StepOutput, plain_content

SELECTED: Final = "selected_choices"
EDITED: Final = "edited_output"
DECISION: Final = "decision"


class UserInputField(ToolInputField):
    """A value that a person gives before a step runs: ``field_type`` is ``str``, ``int``, ``float``, ``bool``, ``list`` or ``dict``, or its name;
    ``allowed_values`` are those that it may have.
    """

    allowed_values: list[Any] | None = None

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value for this field; None if nothing is."""
        if value is None or value == "":
            return f"field {self.name!r} has no value" if self.required else None
        kind = self.field_type
        fits = isinstance(value, (int, float) if kind is float else kind) if isinstance(kind, type) else True
        if not fits or (isinstance(value, bool) and kind in {int, float}):
            return f"field {self.name!r} is {kind.__name__}, not {value!r}"
        if self.allowed_values and value not in self.allowed_values:
            return f"field {self.name!r} is one of {', '.join(map(repr, self.allowed_values))}, not {value!r}"
        return None


class StepRequirement(StoredModel):
    """What one step waits for: to be confirmed, to be given input, or, at a router, for a choice. ``id`` names the place of the step.

    Answer with :meth:`confirm`, :meth:`reject`, :meth:`set_user_input` or :meth:`select`, then hand the requirement to
    ``continue_run(step_requirements=…)``. An answer that was not asked for raises ConfigurationError.

    Where what came of the step waits for somebody to look at it (``requires_output_review``), that is the ``step_output``: :meth:`confirm`, :meth:`edit` or
    :meth:`reject` it. ``retry_count`` is how often it was sent back.

    With a ``timeout``, in seconds from when the run has paused, what is handed to ``continue_run`` after ``timeout_at`` does not count, answered or not:
    ``on_timeout`` is what happens then (``"approve"``, ``"skip"`` or ``"cancel"``). Nobody watches the clock meanwhile.

    Where the agent or team that carries out the step waits (``requires_executor_input``), the ``executor_requirements`` are its calls, and its members',
    and are what is answered; ``executor_run_id`` is its run.
    """

    id: str
    step_id: str
    step_name: str | None = None
    step_index: int | None = None
    step_type: str | None = None
    requires_confirmation: bool = False
    confirmation_message: str | None = None
    confirmed: bool | None = None
    on_reject: str = "skip"
    requires_user_input: bool = False
    user_input_message: str | None = None
    user_input_schema: list[UserInputField] | None = None
    user_input: dict[str, Any] | None = None
    requires_route_selection: bool = False
    available_choices: list[str] | None = None
    allow_multiple_selections: bool = False
    selected_choices: list[str] | None = None
    rejection_feedback: str | None = None
    step_input: dict[str, Any] | None = Field(default=None)
    requires_output_review: bool = False
    output_review_message: str | None = None
    is_post_execution: bool = False
    step_output: StepOutput | None = None
    edited_output: Any = None
    retry_count: int = 0
    max_retries: int | None = None
    timeout: float | None = None
    timeout_at: AwareDatetime | None = None
    on_timeout: str = "cancel"
    requires_executor_input: bool = False
    executor_requirements: list[RunRequirement] | None = None
    executor_id: str | None = None
    executor_name: str | None = None
    executor_run_id: str | None = None
    executor_type: str | None = None

    @field_validator("on_reject", "on_timeout", mode="before")
    @classmethod
    def _plain_word(cls, value: Any) -> Any:
        return getattr(value, "value", value)

    @field_serializer("timeout_at")
    def _as_text(self, value: datetime | None) -> str | None:
        # As Agno's, so that it is JSON as it stands.
        return None if value is None else value.isoformat()

    def begin_timeout(self, now: float) -> None:
        """Somebody can be asked from ``now`` on (Unix seconds, by the server's clock), and has ``timeout`` seconds."""
        if self.timeout is not None:
            self.timeout_at = datetime.fromtimestamp(now + self.timeout, timezone.utc)

    @property
    def needs_confirmation(self) -> bool:
        """True until somebody has said yes or no."""
        return self.requires_confirmation and self.confirmed is None

    @property
    def needs_output_review(self) -> bool:
        """True until somebody has accepted, edited or rejected what came of the step."""
        return self.requires_output_review and self.confirmed is None

    @property
    def needs_user_input(self) -> bool:
        """True until the input was given."""
        if not self.requires_user_input or self.confirmed is False:
            return False
        if not self.user_input_schema:
            return not self.user_input
        return any(field.required and field.value is None for field in self.user_input_schema)

    @property
    def needs_route_selection(self) -> bool:
        """True until somebody has chosen."""
        return self.requires_route_selection and self.confirmed is not False and not self.selected_choices

    @property
    def needs_executor_resolution(self) -> bool:
        """True until every call that waits within the step is answered."""
        return any(not one.is_resolved() for one in self.executor_requirements or ())

    @property
    def is_timed_out(self) -> bool:
        """True once it is too late for an answer, by this machine's clock. The server's counts."""
        return self.timeout_at is not None and datetime.now(timezone.utc) >= self.timeout_at

    @property
    def is_resolved(self) -> bool:
        """True once everything is answered. A step that was rejected needs no more."""
        before = self.needs_confirmation or self.needs_user_input or self.needs_route_selection
        return not (before or self.needs_output_review or self.needs_executor_resolution)

    def to_dict(self) -> dict[str, Any]:
        """The requirement as plain values, with what came of the step as that is stored."""
        told = self.model_dump(exclude_none=True, exclude={"step_output", "edited_output"})
        if self.edited_output is not None:
            told["edited_output"] = plain_content(self.edited_output)
        return told if self.step_output is None else {**told, "step_output": self.step_output.to_dict()}

    def pending(self) -> list[str]:
        """What has no answer yet, as it is stored: the place of the step, or the calls within it."""
        if self.requires_executor_input:
            waiting = (one for one in self.executor_requirements or () if not one.is_resolved())
            return [key_of_call(one.id, one.member_run_id) for one in waiting]
        return [] if self.is_resolved else [self.id]

    def confirm(self) -> None:
        """The step may run; or what came of it is good."""
        self._decide(confirmed=True, feedback=None)

    def reject(self, feedback: str | None = None) -> None:
        """The step does not run, or what came of it is not good; its ``on_reject`` says what happens instead."""
        self._decide(confirmed=False, feedback=feedback)

    def edit(self, new_output: Any) -> None:
        """What came of the step is good like this."""
        if not self.requires_output_review:
            raise ConfigurationError(f"step {self.step_name!r} has no output that could be edited")
        if new_output is None:
            raise ConfigurationError(f"the output of step {self.step_name!r} cannot be edited into nothing; reject it")
        self._decide(confirmed=True, feedback=None)
        self.edited_output = new_output

    def _decide(self, *, confirmed: bool, feedback: str | None) -> None:
        self.edited_output = None
        if not (self.requires_confirmation or self.requires_output_review):
            raise ConfigurationError(f"step {self.step_name!r} waits for no confirmation")
        self.confirmed, self.rejection_feedback = confirmed, feedback

    def set_user_input(self, validate: bool = True, **values: Any) -> None:
        """Give the fields their values. With ``validate`` a value that does not fit raises ConfigurationError, and nothing is taken."""
        if not self.requires_user_input:
            raise ConfigurationError(f"step {self.step_name!r} waits for no input")
        if validate and (fault := self.fault_of_input(values)):
            raise ConfigurationError(f"step {self.step_name!r}: {fault}")
        self.user_input = {**(self.user_input or {}), **values}
        for field in self.user_input_schema or ():
            field.value = self.user_input.get(field.name, field.value)

    def fault_of_input(self, values: Mapping[str, Any]) -> str | None:
        """What is wrong with the values for the step's fields; None if nothing is."""
        if not self.user_input_schema:
            return None
        fields = {field.name: field for field in self.user_input_schema}
        if unknown := [name for name in values if name not in fields]:
            return f"there is no field {unknown[0]!r}; there is {', '.join(fields)}"
        faults = (field.fault(values.get(name, field.value)) for name, field in fields.items())
        return next((fault for fault in faults if fault), None)

    def get_user_input(self, name: str) -> Any:
        """The value that was given; None if none was."""
        return (self.user_input or {}).get(name)

    def select(self, *choices: str) -> None:
        """Choose where the router goes, by the names of its choices."""
        if not self.requires_route_selection:
            raise ConfigurationError(f"step {self.step_name!r} waits for no choice")
        if fault := self.fault_of_choice(choices):
            raise ConfigurationError(f"router {self.step_name!r}: {fault}")
        self.selected_choices = list(choices)

    def select_single(self, choice: str) -> None:
        """Choose one way."""
        self.select(choice)

    def select_multiple(self, choices: Sequence[str]) -> None:
        """Choose several ways, which are gone one after the other."""
        self.select(*choices)

    def fault_of_choice(self, choices: Sequence[str]) -> str | None:
        """What is wrong with the names chosen; None if nothing is."""
        known = self.available_choices or []
        if unknown := [choice for choice in choices if choice not in known]:
            return f"there is no choice {unknown[0]!r}; there is {', '.join(map(repr, known))}"
        if len(choices) > 1 and not self.allow_multiple_selections:
            return "it takes one choice"
        return None

    def answers(self) -> tuple[Answer, ...]:
        """What was answered, without the question."""
        if self.requires_executor_input:
            return answers_of(self.executor_requirements, None) or ()
        return (self._answer(),) if self.is_resolved or self.is_timed_out else ()

    def _answer(self) -> Answer:
        values: dict[str, Any] = dict(self.user_input or {})
        for field in self.user_input_schema or ():
            if field.value is not None:
                values[field.name] = field.value
        if self.selected_choices:
            values[SELECTED] = list(self.selected_choices)
        if self.edited_output is not None:
            values[EDITED] = plain_content(self.edited_output)
        return Answer(tool_call_id=self.id, confirmed=self.confirmed, note=self.rejection_feedback, values=values or None)

    def take(self, answer: Answer) -> str | None:
        """Take an answer as it was given, and return None; or say what is wrong with it, and change nothing."""
        if self.timeout_at is not None and (answer.answered_at or 0.0) >= self.timeout_at.timestamp():
            self._time_is_up()
            return None
        given = dict(answer.values or {})
        choices = given.pop(SELECTED, None) if self.requires_route_selection else None
        edited = given.pop(EDITED, None) if self.requires_output_review else None
        if (self.requires_confirmation or self.requires_output_review) and answer.confirmed is None:
            return "it is neither confirmed nor rejected"
        if answer.confirmed is not False:
            if self.requires_user_input and (fault := self.fault_of_input(given)):
                return fault
            if self.requires_route_selection and not choices:
                return "nothing was chosen"
            if choices and (fault := self.fault_of_choice(choices)):
                return fault
        self.confirmed, self.rejection_feedback = answer.confirmed, answer.note
        self.user_input = given or None
        self.selected_choices, self.edited_output = choices, edited
        return None

    def _time_is_up(self) -> None:
        self.confirmed = self.on_timeout == "approve"
        self.user_input = self.selected_choices = self.edited_output = self.rejection_feedback = None
        if not self.confirmed:
            self.on_reject, self.rejection_feedback = self.on_timeout, "nobody has answered in time"


class ErrorRequirement(StoredModel):
    """A step that has failed for good, and waits for a person to say whether it is tried again or left out.

    Answer with :meth:`retry` or :meth:`skip`, then hand it to ``continue_run(error_requirements=…)``. ``retry_count`` is how often it was tried again so.
    """

    id: str
    step_id: str
    step_name: str | None = None
    step_index: int | None = None
    error_message: str = ""
    error_type: str | None = None
    retry_count: int = 0
    decision: Literal["retry", "skip"] | None = None

    requires_executor_input: ClassVar[bool] = False
    is_timed_out: ClassVar[bool] = False

    @property
    def needs_decision(self) -> bool:
        """True until somebody has decided."""
        return self.decision is None

    @property
    def is_resolved(self) -> bool:
        """True once somebody has decided."""
        return self.decision is not None

    @property
    def should_retry(self) -> bool:
        """True if it is to be tried again."""
        return self.decision == "retry"

    @property
    def should_skip(self) -> bool:
        """True if it is to be left out."""
        return self.decision == "skip"

    def retry(self) -> None:
        """Try it again."""
        self.decision = "retry"

    def skip(self) -> None:
        """Go on without it."""
        self.decision = "skip"

    def pending(self) -> list[str]:
        """What has no answer yet, as it is stored."""
        return [] if self.is_resolved else [self.id]

    def answers(self) -> tuple[Answer, ...]:
        """What was answered, without the question."""
        return (Answer(tool_call_id=self.id, values={DECISION: self.decision}),) if self.is_resolved else ()

    def take(self, answer: Answer) -> str | None:
        """Take an answer as it was given, and return None; or say what is wrong with it, and change nothing."""
        decision = (answer.values or {}).get(DECISION)
        if decision not in {"retry", "skip"}:
            return "it is neither tried again nor left out"
        self.decision = decision
        return None


RequirementT = TypeVar("RequirementT", StepRequirement, ErrorRequirement)


def step_answers(
    requirements: Sequence[Any] | None, kind: type[RequirementT], name: str = "step_requirements"
) -> tuple[Answer, ...] | None:
    """The answers that are in them, as objects or as dicts; those without an answer are left out. None if there are none to look at.

    Raises ConfigurationError for what is no requirement of this ``kind``.
    """
    if requirements is None:
        return None
    if not isinstance(requirements, (list, tuple)):
        raise ConfigurationError(f"{name}= takes a list, not {type(requirements).__name__}")
    return tuple(answer for requirement in _parsed(requirements, kind) for answer in requirement.answers())


def _parsed(requirements: Iterable[Any], kind: type[RequirementT]) -> Iterable[RequirementT]:
    for given in requirements:
        if isinstance(given, kind):
            yield given
            continue
        try:
            yield kind.model_validate(given)
        except ValidationError as error:
            raise ConfigurationError(f"{given!r} is no {kind.__name__}: {error}") from error
