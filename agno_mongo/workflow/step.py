"""``Step``: one piece of work, carried out by an agent, a team, a function or another workflow."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import fields
from typing import Any, ClassVar

from agno_mongo import checks, renamed
from agno_mongo.agent.actor import Actor
from agno_mongo.db.base import SessionType
from agno_mongo.errors import CheckError, ConfigurationError, StepFailed
from agno_mongo.run.steps import SKIPPED, StepOutput, StepType
from agno_mongo.run.workflow_events import (
    StepCompletedEvent,
    StepContinuedEvent,
    StepErrorEvent,
    StepPausedEvent,
    StepStartedEvent,
)
from agno_mongo.tools.signature import name_of
from agno_mongo.workflow.alone import Executable
from agno_mongo.workflow.asking import TRIES, WAITS, asked_of_failure, decision_of
from agno_mongo.workflow.calling import called_with_one
from agno_mongo.workflow.decorators import Pause, pause_of
from agno_mongo.workflow.executing import executor_events, function_events, within_time
from agno_mongo.workflow.journal import Path
from agno_mongo.workflow.types import HumanReview, StepInput
from agno_mongo.workflow.walking import Node, Walk


@renamed.older_settings_accepted
class Step(Executable):
    """One piece of work.

    Exactly one of ``agent``, ``team``, ``executor`` (a function) and ``workflow`` carries it out. A function takes ``(step_input)``, and if it
    likes ``run_context`` or ``session_state``; it may be a coroutine function or a generator, and a plain one runs in a thread. It returns a
    StepOutput, or anything else as the content of one.

    ``max_retries``: how often it is tried again after a failure (3), after ``delay_between_retries`` seconds (0), twice as many each time with
    ``exponential_backoff``. ``timeout``: seconds that one try may take. ``skip_on_failure``: if it has failed for good the workflow goes on, else the
    run ends with status ERROR. ``add_workflow_history``, ``num_history_runs``: show it earlier runs of the workflow, whatever the workflow says.
    ``human_review``: ask a person before it runs. ``requires_confirmation``, ``requires_user_input`` and ``on_reject`` say the same directly, ``@pause`` at
    the function. ``hitl_timeout`` and ``on_timeout``: its ``timeout``, which is a person's.
    """

    TYPE: ClassVar[StepType] = StepType.STEP
    IS_LEAF: ClassVar[bool] = True

    def __init__(
        self,
        name: str | None = None,
        agent: Actor[Any, Any, Any] | None = None,
        team: Actor[Any, Any, Any] | None = None,
        executor: Callable[..., Any] | None = None,
        workflow: Any = None,
        step_id: str | None = None,
        description: str | None = None,
        max_retries: int = 3,
        skip_on_failure: bool = False,
        strict_input_validation: bool = False,
        add_workflow_history: bool | None = None,
        num_history_runs: int = 3,
        human_review: HumanReview | None = None,
        *,
        timeout: float | None = None,
        delay_between_retries: float = 0.0,
        exponential_backoff: bool = False,
        requires_confirmation: bool | None = None,
        confirmation_message: str | None = None,
        requires_user_input: bool | None = None,
        user_input_message: str | None = None,
        user_input_schema: Any = None,
        on_reject: str | None = None,
        on_error: str | None = None,
        hitl_timeout: float | None = None,
        on_timeout: str | None = None,
    ) -> None:
        given = {"agent": agent, "team": team, "executor": executor, "workflow": workflow}
        chosen = [kind for kind, value in given.items() if value is not None]
        self.name = checks.text("name", name)
        if len(chosen) != 1:
            what = f"{' and '.join(chosen)} were given" if chosen else "none was given"
            raise ConfigurationError(f"step {name!r} takes one of agent=, team=, executor= and workflow=; {what}")
        self.agent, self.team, self.executor, self.workflow = agent, team, executor, workflow
        self.active_executor: Any = given[chosen[0]]
        self.executor_type = "function" if chosen[0] == "executor" else chosen[0]
        self._check_executor()
        pauses = (pause_of(executor) if executor is not None else None) or Pause()
        if executor is not None and name is None:
            self.name = pauses.name or name_of(executor)
        self.step_id = checks.text("step_id", step_id)
        self.description = checks.text("description", description)
        self.max_retries = checks.count("max_retries", max_retries, least=0) or 0
        self.skip_on_failure = checks.flag("skip_on_failure", skip_on_failure)
        self.strict_input_validation = checks.flag("strict_input_validation", strict_input_validation)
        self.add_workflow_history = checks.instance_of("add_workflow_history", add_workflow_history, bool)
        self.num_history_runs = checks.count("num_history_runs", num_history_runs) or 3
        self.timeout = checks.time_limit("timeout", timeout)
        self.delay_between_retries = checks.seconds("delay_between_retries", delay_between_retries)
        self.exponential_backoff = checks.flag("exponential_backoff", exponential_backoff)
        asked = {
            "requires_confirmation": requires_confirmation,
            "confirmation_message": confirmation_message,
            "requires_user_input": requires_user_input,
            "user_input_message": user_input_message,
            "user_input_schema": user_input_schema,
            "on_reject": on_reject,
            "on_error": on_error,
            "timeout": hitl_timeout,
            "on_timeout": on_timeout,
        }
        self.human_review = review_of(self, human_review, asked, pauses.asked)
        self.human_review.refuse("Step", requires_iteration_review=True)

    def __repr__(self) -> str:
        return f"Step(name={self.name!r}, {self.executor_type}={self.executor_name!r})"

    @property
    def executor_name(self) -> str:
        """The name of who carries it out."""
        if self.executor_type == "function":
            return name_of(self.active_executor)
        return str(getattr(self.active_executor, "name", None) or getattr(self.active_executor, "id", None) or self.executor_type)

    def _check_executor(self) -> None:
        kind, executor = self.executor_type, self.active_executor
        if kind == "function":
            checks.called(f"executor= of step {self.name!r}", executor)
            called_with_one(f"the function {name_of(executor)!r} of step {self.name!r}", executor)
            return
        wanted = SessionType(kind)
        if getattr(type(executor), "SESSION_TYPE", None) is not wanted:
            raise ConfigurationError(f"{kind}= of step {self.name!r} takes {wanted.name.title()}, not {type(executor).__name__}")

    def begun(self, path: Path, **own: Any) -> StepOutput:
        """The output of the step while it goes on."""
        own |= {"executor_type": self.executor_type, "executor_name": self.executor_name}
        if self.step_id is not None:
            own["step_id"] = self.step_id
        if self.executor_type == "workflow":
            own["step_type"] = StepType.WORKFLOW.value
        return super().begun(path, **own)

    def outline(self, path: Path) -> dict[str, Any]:
        """Name, kind and parts."""
        own = {"name": self.named(path), "type": self.executor_type}
        return own | ({"steps": self.workflow.outline()} if self.workflow is not None else {})

    def named(self, path: Path) -> str:
        """The step's name, else that of who carries it out."""
        return self.name or getattr(self.active_executor, "name", None) or super().named(path)

    async def carried_out(self, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> AsyncGenerator[Any, None]:
        """Try until it goes well, or until it has been tried often enough. A step that had failed is left out if somebody has said so."""
        event, data = walk.flow.execution.event, self.event_data(output, walk, path)
        if (decided := decision_of(walk.flow, path)) is not None:
            yield event(StepContinuedEvent, **data)
            if decided.should_skip:
                _skipped(output, decided.error_message)
                return
        if not walk.scope.waits_within(walk.flow.journal.chosen(path, WAITS)):
            yield event(StepStartedEvent, **data)
        async with aclosing(self._tries(output, given, walk, path, data)) as events:
            async for happening in events:
                yield happening
        if output.is_paused:
            return
        if not output.success and self.human_review.on_error == "fail":
            raise RuntimeError(output.error or f"step {output.step_name!r} says that it has failed")
        yield event(StepCompletedEvent, **data, content=output.content, step_response=output)

    async def _tries(
        self, output: StepOutput, given: StepInput, walk: Walk, path: Path, data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        event = walk.flow.execution.event
        # A pause is no failure: the try in which it paused goes on.
        first = walk.flow.journal.chosen(path, TRIES) or 1
        for attempt in range(first, max(self.max_retries, first - 1) + 2):
            output.tries = attempt
            try:
                async with aclosing(self._try(output, given, walk, path, data)) as events:
                    async for happening in events:
                        yield happening
            except Exception as error:
                again = attempt <= self.max_retries and _may_try_again(error)
                yield event(StepErrorEvent, **data, error=str(error) or type(error).__name__, attempt=attempt, will_retry=again)
                if not again and not self._settles(error, output, walk, path):
                    raise
            else:
                return
            if not again:
                break
            await asyncio.sleep(self._delay(attempt))
        if output.is_paused:
            yield event(StepPausedEvent, **data)

    def _settles(self, error: Exception, output: StepOutput, walk: Walk, path: Path) -> bool:
        """True if the run need not end because the step has failed for good: it is left out, or somebody is asked."""
        if self.human_review.on_error == "pause":
            asked_of_failure(walk.flow, path, output, error)
        elif self._may_fail:
            _skipped(output, str(error) or type(error).__name__)
        else:
            return False
        return True

    @property
    def _may_fail(self) -> bool:
        on_error = self.human_review.on_error
        return self.skip_on_failure if on_error is None else on_error == "skip"

    def _delay(self, attempt: int) -> float:
        return self.delay_between_retries * (2 ** (attempt - 1) if self.exponential_backoff else 1)

    def _try(
        self, output: StepOutput, given: StepInput, walk: Walk, path: Path, data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        events = self._events_of_try(output, given, walk, path, data)
        return events if self.timeout is None else within_time(events, self.timeout, data["step_name"])

    def _events_of_try(
        self, output: StepOutput, given: StepInput, walk: Walk, path: Path, data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        if self.executor_type == "function":
            return function_events(self.active_executor, output, given, walk, data)
        history_runs = walk.flow.history_runs
        if self.add_workflow_history is not None:
            history_runs = self.num_history_runs if self.add_workflow_history else 0
        return executor_events(self.active_executor, output, given, walk, path, data, history_runs)


def _may_try_again(error: Exception) -> bool:
    # A check that refuses would refuse again.
    return error.may_try_again if isinstance(error, StepFailed) else not isinstance(error, (CheckError, ConfigurationError))


def _skipped(output: StepOutput, error: str) -> None:
    output.success, output.status = False, SKIPPED
    output.error = error
    output.content = None


def review_of(
    step: Node, review: HumanReview | None, asked: dict[str, Any], pauses: Mapping[str, Any] | None = None
) -> HumanReview:
    """The review that a step was given, whole or in parts. Raises ConfigurationError for both, TypeError for what is no part of one."""
    known = [*inspect.signature(type(step).__init__).parameters, *(field.name for field in fields(HumanReview))]
    renamed.refuse_unknown(type(step).__name__, asked, known, table="HumanReview")
    checks.instance_of("human_review", review, HumanReview)
    given = {name: value for name, value in asked.items() if value is not None}
    if review is not None and given:
        raise ConfigurationError(f"human_review= and {next(iter(given))}= were both given; a HumanReview takes it too")
    return review or HumanReview(**{**(pauses or {}), **given})
