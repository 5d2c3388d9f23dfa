"""What a paused run waits for, and the answers that let it go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from agno_mongo.errors import ConfigurationError
from agno_mongo.ids import new_id
from agno_mongo.messages import StoredModel, ToolExecution, UserInputField, text_of

_MANY: Final = 20
"""Faults that are told at once."""

PauseType = Literal["confirmation", "user_input", "external_execution"]


class RunRequirement(StoredModel):
    """What one call of a tool waits for: to be confirmed, to be given input, or to be executed outside.

    ``tool_execution`` is the call; ``id`` is the call's id. Answer with :meth:`confirm`, :meth:`reject`, :meth:`provide_user_input` or
    :meth:`set_external_execution_result`, then hand the requirement to ``continue_run(requirements=…)``. An answer that was not asked for
    raises ConfigurationError.
    """

    id: str = Field(default_factory=new_id)
    created_at: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))
    tool_execution: ToolExecution | None = None
    confirmation: bool | None = None
    confirmation_note: str | None = None
    user_input_schema: list[UserInputField] | None = None
    external_execution_result: str | None = None
    member_agent_id: str | None = None
    member_agent_name: str | None = None
    member_run_id: str | None = None

    @model_validator(mode="after")
    def _one_with_its_call(self) -> Self:
        """What was answered beside the call, by a client that sends JSON, is put there too; the fields are the call's own."""
        tool = self.tool_execution
        if tool is None:
            return self
        if tool.confirmed is None and self.confirmation is not None:
            tool.confirmed, tool.confirmation_note = self.confirmation, self.confirmation_note
        if tool.result is None and tool.external_execution_required:
            tool.result = self.external_execution_result
        if tool.user_input_schema is not None:
            given = {field.name: field.value for field in self.user_input_schema or () if field.value is not None}
            for field in tool.user_input_schema:
                field.value = given.get(field.name, field.value)
        self.user_input_schema = tool.user_input_schema
        return self

    @classmethod
    def of(cls, tool: ToolExecution) -> RunRequirement:
        """The requirement of a call that waits, or did."""
        return cls(
            id=tool.tool_call_id or new_id(),
            created_at=datetime.fromtimestamp(tool.created_at, timezone.utc),
            tool_execution=tool,
            confirmation=tool.confirmed,
            confirmation_note=tool.confirmation_note,
            external_execution_result=tool.result if tool.external_execution_required is False else None,
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The requirement that ``to_dict`` gave, or that came back as JSON. Raises ConfigurationError if it is none."""
        requirement: Self = _parsed(cls, data)
        return requirement

    @property
    def needs_confirmation(self) -> bool:
        """True until somebody has said yes or no."""
        tool = self.tool_execution
        return tool is not None and bool(tool.requires_confirmation) and self.confirmation is None and tool.confirmed is None

    @property
    def needs_user_input(self) -> bool:
        """True until the input was given."""
        tool = self.tool_execution
        return tool is not None and bool(tool.requires_user_input) and not tool.answered

    @property
    def needs_external_execution(self) -> bool:
        """True until there is a result."""
        tool = self.tool_execution
        return tool is not None and bool(tool.external_execution_required) and tool.result is None

    @property
    def pause_type(self) -> PauseType:
        """What kind of answer it is that is waited for; where there are several, the most that is asked."""
        tool = self.tool_execution
        if tool is not None and tool.external_execution_required is not None:
            return "external_execution"
        return "user_input" if tool is not None and tool.requires_user_input is not None else "confirmation"

    def is_resolved(self) -> bool:
        """True once everything is answered. A call that was rejected needs no more."""
        if self.tool_execution is not None and self.tool_execution.confirmed is False:
            return True
        return not (self.needs_confirmation or self.needs_user_input or self.needs_external_execution)

    def confirm(self) -> None:
        """The call may be made."""
        self._decide(confirmed=True, note=None)

    def reject(self, note: str | None = None) -> None:
        """The call is not made; the model is told so, and told ``note``."""
        self._decide(confirmed=False, note=note)

    def _decide(self, *, confirmed: bool, note: str | None) -> None:
        if not self.needs_confirmation or self.tool_execution is None:
            raise ConfigurationError(f"{self._named()} waits for no confirmation")
        self.confirmation = self.tool_execution.confirmed = confirmed
        self.confirmation_note = self.tool_execution.confirmation_note = note

    def provide_user_input(self, values: Mapping[str, Any]) -> None:
        """Fill in fields by their names. It is answered once every field that is required has a value; until the run goes on, values can be
        given anew.
        """
        if self.tool_execution is None or not self.tool_execution.requires_user_input:
            raise ConfigurationError(f"{self._named()} waits for no input")
        fields = {field.name: field for field in self.user_input_schema or ()}
        if unknown := [name for name in values if name not in fields]:
            raise ConfigurationError(f"{self._named()} has no field {unknown[0]!r}; it has {', '.join(fields) or 'none'}")
        for name, value in values.items():
            fields[name].value = value
        self.tool_execution.answered = _filled_in(self.tool_execution) or None

    def set_external_execution_result(self, result: Any) -> None:
        """What came of the call outside: text, or a value that becomes text as a tool's result does."""
        if not self.needs_external_execution or self.tool_execution is None:
            raise ConfigurationError(f"{self._named()} waits for no result from outside")
        self.external_execution_result = self.tool_execution.result = text_of(result)

    def _named(self) -> str:
        return f"the call of {self.tool_execution.tool_name!r}" if self.tool_execution is not None else "this requirement"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What somebody has answered to one call. Nothing of the call itself but its id: what is called, and with what, the store knows, which also
    says when it was ``answered_at`` (Unix seconds, by the server's clock).
    """

    tool_call_id: str
    member_run_id: str | None = None
    confirmed: bool | None = None
    note: str | None = None
    values: Mapping[str, Any] | None = None
    result: str | None = None
    answered_at: float | None = None

    @property
    def key(self) -> str:
        """Which call it answers, among those that the run and the runs within it wait for."""
        return key_of_call(self.tool_call_id, self.member_run_id)

    def to_dict(self) -> dict[str, Any]:
        """The answer as it is stored."""
        return {name: value for name, value in vars(self).items() if value is not None}


def key_of_call(tool_call_id: str | None, member_run_id: str | None = None) -> str:
    """A call that waits, as it is stored: by its id; if it is one of a run within the run, with that run's id before it."""
    return tool_call_id or "" if member_run_id is None else f"{member_run_id}/{tool_call_id}"


def requirements_of(tools: Iterable[ToolExecution] | None) -> list[RunRequirement] | None:
    """The requirements of the calls that wait for a person, or did; None if there are none."""
    return [RunRequirement.of(tool) for tool in tools or () if tool.was_asked] or None


def answers_of(requirements: Sequence[Any] | None, updated_tools: Sequence[Any] | None) -> tuple[Answer, ...] | None:
    """The answers that are in them, as objects or as dicts; those without an answer are left out. None if neither was given.

    Raises ConfigurationError for what is neither, and for two answers to one call.
    """
    if requirements is None and updated_tools is None:
        return None
    asked = [_parsed(RunRequirement, given) for given in _listed("requirements", requirements)]
    calls: list[tuple[Any, str | None]] = [(requirement.tool_execution, requirement.member_run_id) for requirement in asked]
    calls += [(_parsed(ToolExecution, given), None) for given in _listed("updated_tools", updated_tools)]
    answered = ((tool, of_run) for tool, of_run in calls if tool is not None and tool.tool_call_id is not None)
    return all_answers([_answer_of(tool, of_run) for tool, of_run in answered if _has_answer(tool)])


def all_answers(*given: Sequence[Answer] | None) -> tuple[Answer, ...] | None:
    """The answers of several, each once; None if none of them is. Raises ConfigurationError for two to one call that differ."""
    if all(answers is None for answers in given):
        return None
    found: dict[str, Answer] = {}
    for answer in (one for answers in given for one in answers or ()):
        if found.setdefault(answer.key, answer) != answer:
            raise ConfigurationError(f"the call {answer.key!r} has two answers that differ")
    return tuple(found.values())


def take_answer(tool: ToolExecution, answer: Answer) -> str | None:
    """Let a waiting call go on as it was answered, and return None; or say what is wrong with the answer, and change nothing."""
    if fault := _fault(tool, answer):
        return fault
    if tool.requires_confirmation:
        tool.confirmed, tool.confirmation_note = answer.confirmed, answer.note
    if tool.confirmed is False:
        tool.result, tool.tool_call_error = _rejection(answer.note), True
    elif tool.requires_user_input:
        _fill_in(tool, answer.values or {})
    if tool.external_execution_required and tool.confirmed is not False:
        tool.result, tool.tool_call_error = answer.result, False
    for flag in ("requires_confirmation", "requires_user_input", "external_execution_required"):
        if getattr(tool, flag):
            setattr(tool, flag, False)
    return None


def _fault(tool: ToolExecution, answer: Answer) -> str | None:
    if tool.requires_confirmation and answer.confirmed is None:
        return "it is neither confirmed nor rejected"
    if tool.requires_confirmation and not answer.confirmed:
        return None
    if tool.external_execution_required and answer.result is None:
        return "it has no result"
    fields = {field.name: field for field in tool.user_input_schema or ()} if tool.requires_user_input else {}
    given = answer.values or {}
    if unknown := [name for name in given if name not in fields]:
        return f"it has no field {unknown[0]!r}"
    missing = [field.name for field in fields.values() if field.required and given.get(field.name, field.value) is None]
    return f"its field {missing[0]!r} has no value" if missing else None


def _fill_in(tool: ToolExecution, values: Mapping[str, Any]) -> None:
    for field in tool.user_input_schema or ():
        field.value = values.get(field.name, field.value)
    filled = {field.name: field.value for field in tool.user_input_schema or () if field.value is not None}
    tool.tool_args, tool.answered = {**(tool.tool_args or {}), **filled}, True


def _rejection(note: str | None) -> str:
    return f"The user has rejected this call: {note}" if note else "The user has rejected this call."


def _has_answer(tool: ToolExecution) -> bool:
    if not tool.was_asked:
        # A client need not send back what it was told.
        return tool.confirmed is not None
    if tool.requires_confirmation and tool.confirmed is not True:
        return tool.confirmed is False
    if tool.requires_user_input and not (tool.answered or _filled_in(tool)):
        return False
    return tool.is_paused and not (tool.external_execution_required and tool.result is None)


def _answer_of(tool: ToolExecution, member_run_id: str | None) -> Answer:
    values = {field.name: field.value for field in tool.user_input_schema or () if field.value is not None}
    return Answer(
        tool_call_id=tool.tool_call_id or "",
        member_run_id=member_run_id,
        confirmed=tool.confirmed,
        note=tool.confirmation_note,
        values=values if tool.requires_user_input else None,
        result=tool.result if tool.external_execution_required else None,
    )


def _filled_in(tool: ToolExecution) -> bool:
    return all(field.value is not None for field in tool.user_input_schema or () if field.required)


def _listed(name: str, given: Any) -> Sequence[Any]:
    if given is not None and not isinstance(given, (list, tuple)):
        raise ConfigurationError(f"{name}= takes a list, not {type(given).__name__}")
    return given or ()


def _parsed(kind: Any, given: Any) -> Any:
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{type(given).__name__} is no {kind.__name__}")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        # What was given may be large, and may be nobody else's to read.
        found = error.errors(include_url=False, include_context=False, include_input=False)
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in found[:_MANY])
        raise ConfigurationError(f"a dict that is no {kind.__name__}: {faults}") from None
