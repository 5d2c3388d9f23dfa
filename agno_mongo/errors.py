"""Every exception of the package.

    AgnoMongoError
     ├─ ConfigurationError          a setting that cannot work (also a ValueError)
     │   └─ InputSchemaError        a run's input that does not fit the agent's input_schema
     ├─ StoreError                  anything that went wrong between us and the database
     │   ├─ StoreUnavailable        no server answers, or none that takes writes
     │   ├─ StoreAuthenticationError   wrong credentials
     │   ├─ StorePermissionError    the database user may not do this (a read-only user, say)
     │   ├─ DocumentTooLarge        over MongoDB's 16 MB for one document
     │   ├─ CorruptSession          what is stored is no session
     │   └─ EmbeddedServerError     the embedded mongod cannot be found, started or reached
     ├─ SessionError                the command reached the session and was refused; nothing changed
     │   ├─ SessionNotFound
     │   ├─ SessionOwnedByAnotherUser
     │   ├─ SessionTypeMismatch
     │   ├─ SessionChanged          somebody else wrote to it since it was read
     │   ├─ SessionBusy             other runs are going on there, and this one does not wait for them any longer
     │   ├─ UserRequired
     │   ├─ RunNotFound
     │   ├─ RunAlreadyFinished
     │   ├─ RunIsPaused             it waits for a person, and what was given is not the answer
     │   ├─ WorkflowChanged         it was begun by a workflow of other steps
     │   └─ RunTakenOver            its lease had run out, and another process went on with it
     ├─ StateConflictError          two runs changed the same key and the policy is "raise"; the run is kept
     ├─ StateTypeError              a counter that is no number, a list that is none (also a TypeError)
     ├─ UnstorableValueError        a value that BSON cannot hold (also a ValueError)
     ├─ MediaError                  an image, a sound or a file that cannot be read, or is none (also a ValueError)
     ├─ ModelError                  the model's provider failed
     │   ├─ ModelTimeout
     │   ├─ ModelRateLimited
     │   ├─ ModelAuthenticationError
     │   ├─ ContextWindowExceeded   the conversation is longer than the model can read
     │   ├─ IncompleteResponse      a stream that ended without a finish reason
     │   ├─ OutputSchemaError       answers that do not fit the agent's output_schema, the repaired one neither
     │   └─ TooManyToolRounds       it called tools again and again, and would not answer without
     ├─ StepFailed                  a step of a workflow failed for good
     ├─ CheckError                  a hook refused
     │   ├─ InputCheckError         the input
     │   └─ OutputCheckError        the answer
     ├─ AgentRunException           what a tool raises to have its say in how the run goes on
     │   ├─ RetryAgentRun           the model is told, and asked again
     │   └─ StopAgentRun            the run ends here
     └─ EventLoopError              a blocking call, or a client, used where it would deadlock

Errors of the driver and of the ``openai`` client are translated where they are caught and stay attached as
``__cause__``. What the message says is also there as attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any


class AgnoMongoError(Exception):
    """Base of every exception of this package."""

    @property
    def message(self) -> str:
        """What went wrong, as text."""
        return str(self)


class ConfigurationError(AgnoMongoError, ValueError):
    """A setting or an argument that cannot work. Raised before anything is sent."""


class InputSchemaError(ConfigurationError):
    """A run's input does not fit the agent's ``input_schema``. Nothing was stored.

    ``errors`` are the faults, one text for each, which begins with the name of the field.
    """

    def __init__(self, message: str, *, errors: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.errors = list(errors)


class EventLoopError(AgnoMongoError, RuntimeError):
    """A blocking call where it would wait for itself, or a client on a loop that is not its own."""


class StoreError(AgnoMongoError):
    """A database command failed. ``__cause__`` is the driver's error."""


class StoreUnavailable(StoreError):
    """No server answered within the time-out, or none of those that did takes writes."""


class StoreAuthenticationError(StoreError):
    """The server refused the credentials."""


class StorePermissionError(StoreError):
    """The database user lacks the right to do this."""


class DocumentTooLarge(StoreError):
    """What was to be written is over MongoDB's limit of 16 MB for one document. Nothing was written."""


class CorruptSession(StoreError):
    """What is stored under ``session_id`` cannot be read as a session. Nothing was changed."""

    def __init__(self, message: str, *, session_id: str) -> None:
        super().__init__(message)
        self.session_id = session_id


class EmbeddedServerError(StoreError):
    """The embedded mongod could not be found, started or reached."""


class SessionError(AgnoMongoError):
    """The session refused the command; nothing was read or changed.

    ``session_id`` says which session.
    """

    def __init__(self, message: str, *, session_id: str) -> None:
        super().__init__(message)
        self.session_id = session_id


class SessionNotFound(SessionError):
    """There is no such session, or no more: it was deleted while the run went on."""


class SessionOwnedByAnotherUser(SessionError):
    """The session belongs to somebody else. Neither the owner nor anything stored is told.

    ``user_id`` is the user who asked.
    """

    def __init__(self, message: str, *, session_id: str, user_id: str | None) -> None:
        super().__init__(message, session_id=session_id)
        self.user_id = user_id


class SessionTypeMismatch(SessionError):
    """An agent was given a team's session, or the like.

    ``expected`` and ``actual`` are ``"agent"``, ``"team"`` or ``"workflow"``.
    """

    def __init__(self, message: str, *, session_id: str, expected: str, actual: str) -> None:
        super().__init__(message, session_id=session_id)
        self.expected = expected
        self.actual = actual


class SessionChanged(SessionError):
    """The session was written to since it was read; nothing was overwritten. Read it again and repeat the change."""


class SessionBusy(SessionError):
    """Other runs are going on in the session, and this one does not wait for them, or not any longer. Nothing of it is stored.

    ``runs_ahead`` is how many they are, ``lease_until`` until when they count as alive should none of them show life any more.
    """

    def __init__(self, message: str, *, session_id: str, runs_ahead: int, lease_until: datetime) -> None:
        super().__init__(message, session_id=session_id)
        self.runs_ahead = runs_ahead
        self.lease_until = lease_until


class UserRequired(SessionError):
    """The db was made with ``require_user_id=True`` and the call names no user."""


class RunNotFound(SessionError):
    """The session has no run with this ``run_id``."""

    def __init__(self, message: str, *, session_id: str, run_id: str) -> None:
        super().__init__(message, session_id=session_id)
        self.run_id = run_id


class RunAlreadyFinished(SessionError):
    """A run with this ``run_id`` is already stored in the session, from another call; ``get_run_output(run_id)`` reads it."""

    def __init__(self, message: str, *, session_id: str, run_id: str) -> None:
        super().__init__(message, session_id=session_id)
        self.run_id = run_id


class RunIsPaused(SessionError):
    """The run waits for a person: it goes on once each of its calls that wait is answered. It stays paused.

    ``missing`` are the ids of the calls, or steps, that have no answer, ``unknown`` those that were answered and do not wait.
    """

    def __init__(
        self, message: str, *, session_id: str, run_id: str, missing: tuple[str, ...] = (), unknown: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, session_id=session_id)
        self.run_id = run_id
        self.missing = missing
        self.unknown = unknown


class RunTakenOver(SessionError):
    """The run showed no life until its lease ran out, and another process went on with it. What this one did since is not stored."""

    def __init__(self, message: str, *, session_id: str, run_id: str) -> None:
        super().__init__(message, session_id=session_id)
        self.run_id = run_id


class WorkflowChanged(SessionError):
    """The run was begun by a workflow whose steps were others: it cannot go on, and stays as it is. ``step`` names the first that is not what it was."""

    def __init__(self, message: str, *, session_id: str, run_id: str, step: str) -> None:
        super().__init__(message, session_id=session_id)
        self.run_id = run_id
        self.step = step


class StepFailed(AgnoMongoError):
    """A step of a workflow failed: the run of whoever carried it out ended without an answer, or took too long. ``step`` is its name;
    ``may_try_again`` is False where another try would end in the same way.
    """

    def __init__(self, message: str, *, step: str, may_try_again: bool = True) -> None:
        super().__init__(message)
        self.step = step
        self.may_try_again = may_try_again


class StateConflictError(AgnoMongoError):
    """Another run changed the same state keys. The run itself was stored; its changes to ``paths`` were not."""

    def __init__(self, message: str, *, session_id: str, run_id: str, paths: list[str]) -> None:
        super().__init__(message)
        self.session_id = session_id
        self.run_id = run_id
        self.paths = paths


class StateTypeError(AgnoMongoError, TypeError):
    """``increment`` met a state key that holds no number, or ``append`` one that holds no list; nothing was changed.

    ``path`` names the key, ``value`` is what stands there.
    """

    def __init__(self, message: str, *, path: str, value: Any) -> None:
        super().__init__(message)
        self.path = path
        self.value = value


class UnstorableValueError(AgnoMongoError, ValueError):
    """BSON has no place for a value. ``path`` names where it sits, ``value`` is the value."""

    def __init__(self, message: str, *, path: str, value: Any) -> None:
        super().__init__(message)
        self.path = path
        self.value = value


class MediaError(AgnoMongoError, ValueError):
    """An image, a sound, a video or a file that cannot be read, is empty, or is none. Nothing was stored, and nothing sent.

    ``where`` names it: ``images[0]``.
    """

    def __init__(self, message: str, *, where: str) -> None:
        super().__init__(message)
        self.where = where


class ModelError(AgnoMongoError):
    """The model's provider failed.

    ``status_code`` is the HTTP status, or None where there was none. ``temporary``: the same request may succeed later; by default that is so for
    the statuses 408, 409, 425, 429 and from 500. ``retry_after`` is how many seconds the provider asks to wait, or None. ``model`` is the model's id;
    ``model_id`` and ``model_name`` say the same for code that was written for Agno.
    """

    _temporary = False

    def __init__(
        self,
        message: str,
        status_code: int | None = None,
        model_name: str | None = None,
        model_id: str | None = None,
        *,
        model: str | None = None,
        temporary: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.model = model or model_id or model_name
        self.model_name = model_name or self.model
        self.model_id = model_id or self.model
        self.status_code = status_code
        self.temporary = self._temporary or _may_pass(status_code) if temporary is None else temporary
        self.retry_after = retry_after


def _may_pass(status_code: int | None) -> bool:
    return status_code is not None and (status_code in {408, 409, 425, 429} or status_code >= 500)  # noqa: PLR2004 - HTTP's


class ModelTimeout(ModelError):
    """The provider did not answer in time, after the client's own retries."""

    _temporary = True


class ModelRateLimited(ModelError):
    """The provider answered 429, after the client's own retries. Not ``temporary`` if a quota is spent."""

    def __init__(self, message: str, status_code: int | None = 429, *models: str | None, **more: Any) -> None:
        super().__init__(message, status_code, *models, **more)


class ModelAuthenticationError(ModelError):
    """The provider refused the API key, or there is none."""


class ContextWindowExceeded(ModelError):
    """The conversation is longer than the model can read. Show it less history, or ask a model that reads more."""


class IncompleteResponse(ModelError):
    """The answer is not whole: it ended without a finish reason, or was cut off before it said anything, or within its tool calls."""

    _temporary = True


class OutputSchemaError(ModelError):
    """The model's answer does not fit the agent's ``output_schema``, nor did the one that it gave when it was told so.

    ``answer`` is the last answer as text, ``errors`` what is wrong with it, one text for each fault.
    """

    def __init__(self, message: str, *, model: str | None = None, answer: str = "", errors: Sequence[str] = ()) -> None:
        super().__init__(message, model=model)
        self.answer = answer
        self.errors = list(errors)


class CheckTrigger(Enum):
    """Why a hook refused, in Agno's words."""

    OFF_TOPIC = "off_topic"
    INPUT_NOT_ALLOWED = "input_not_allowed"
    OUTPUT_NOT_ALLOWED = "output_not_allowed"
    VALIDATION_FAILED = "validation_failed"
    PROMPT_INJECTION = "prompt_injection"
    PII_DETECTED = "pii_detected"


class CheckError(AgnoMongoError):
    """A hook refused. The run is stored with status ERROR, and with ``message`` as its content.

    ``check_trigger`` is a CheckTrigger or a text of one's own, ``error_id`` the same as text, ``additional_data`` what else the hook told.
    """

    type = "check_error"
    _default_trigger = CheckTrigger.VALIDATION_FAILED

    def __init__(
        self, message: str, check_trigger: CheckTrigger | str | None = None, additional_data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.check_trigger = self._default_trigger if check_trigger is None else check_trigger
        self.error_id = str(getattr(self.check_trigger, "value", self.check_trigger))
        self.additional_data = additional_data


class InputCheckError(CheckError):
    """A hook refused the input. Raise it in one of the ``pre_hooks``: the model is not asked."""

    type = "input_check_error"
    _default_trigger = CheckTrigger.INPUT_NOT_ALLOWED


class OutputCheckError(CheckError):
    """A hook refused the answer. Raise it in one of the ``post_hooks``: later prompts are not shown the answer."""

    type = "output_check_error"
    _default_trigger = CheckTrigger.OUTPUT_NOT_ALLOWED


class TooManyToolRounds(ModelError):
    """The model went on calling tools when the run had ``rounds`` rounds of them, its agent's ``max_tool_rounds``, and it was told to answer."""

    def __init__(self, message: str, *, model: str | None = None, rounds: int) -> None:
        super().__init__(message, model=model)
        self.rounds = rounds


class AgentRunException(AgnoMongoError):
    """Raised by a tool, or by a hook around it, to say how the run goes on. The model is told ``exc`` as the tool's result.

    ``user_message`` and ``agent_message`` (text or a Message) and ``messages`` (Messages, or dicts) follow the results of this round in the
    conversation. ``stop_execution``: the run ends after this round.
    """

    def __init__(
        self,
        exc: object,
        user_message: Any = None,
        agent_message: Any = None,
        messages: Sequence[Any] | None = None,
        stop_execution: bool = False,
    ) -> None:
        super().__init__(exc)
        self.user_message = user_message
        self.agent_message = agent_message
        self.messages = messages
        self.stop_execution = stop_execution


class RetryAgentRun(AgentRunException):
    """The model is told what was not right, and may call the tool again."""

    def __init__(
        self, exc: object, user_message: Any = None, agent_message: Any = None, messages: Sequence[Any] | None = None
    ) -> None:
        super().__init__(exc, user_message, agent_message, messages, stop_execution=False)


class StopAgentRun(AgentRunException):
    """The run ends, completed. Its answer is ``agent_message``, or else what the exception says."""

    def __init__(
        self, exc: object, user_message: Any = None, agent_message: Any = None, messages: Sequence[Any] | None = None
    ) -> None:
        super().__init__(exc, user_message, agent_message, messages, stop_execution=True)
