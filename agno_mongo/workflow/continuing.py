"""Going on with a workflow's run that has paused, or whose process died."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from typing import Any, Literal, TypeAlias, overload

from typing_extensions import Unpack

from agno_mongo.agent.continuing import Requirements
from agno_mongo.blocking import portal
from agno_mongo.component.background_runs import streamed
from agno_mongo.component.cancelling import Cancelling
from agno_mongo.component.continuing import Continuation, GoingOn, run_meant
from agno_mongo.db.documents import WorkflowSession
from agno_mongo.run.requirement import all_answers, answers_of
from agno_mongo.run.step_requirement import ErrorRequirement, StepRequirement, step_answers
from agno_mongo.run.workflow import WorkflowRunOutput
from agno_mongo.run.workflow_events import WorkflowRunOutputEvent
from agno_mongo.workflow.options import ContinueOptions

StepRequirements = Sequence[StepRequirement | dict[str, Any]] | None
ErrorRequirements = Sequence[ErrorRequirement | dict[str, Any]] | None


WorkflowContinuation: TypeAlias = Continuation[WorkflowRunOutput]


class Continuing(GoingOn[WorkflowSession, WorkflowRunOutput], Cancelling[WorkflowSession, WorkflowRunOutput], ABC):
    """``acontinue_run`` and ``continue_run``, on top of the workflow's one way of running."""

    @abstractmethod
    async def _run(
        self, given: Any, options: Any, *, continued: WorkflowContinuation | None = None, background: bool = False
    ) -> WorkflowRunOutput:
        """Carry the run out, and give it back once it is stored."""

    @abstractmethod
    def _stream(
        self, given: Any, options: Any, *, every_step: bool, with_output: bool, continued: WorkflowContinuation | None = None
    ) -> AsyncGenerator[WorkflowRunOutputEvent | WorkflowRunOutput, None]:
        """The events of the run, which carry it out when they are read."""

    @overload
    def acontinue_run(
        self,
        run_response: WorkflowRunOutput | str | None = None,
        *,
        run_id: str | None = None,
        step_requirements: StepRequirements = None,
        requirements: Requirements = None,
        error_requirements: ErrorRequirements = None,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> Coroutine[Any, Any, WorkflowRunOutput]: ...

    @overload
    def acontinue_run(
        self,
        run_response: WorkflowRunOutput | str | None = None,
        *,
        run_id: str | None = None,
        step_requirements: StepRequirements = None,
        requirements: Requirements = None,
        error_requirements: ErrorRequirements = None,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> AsyncIterator[WorkflowRunOutputEvent | WorkflowRunOutput]: ...

    def acontinue_run(
        self,
        run_response: WorkflowRunOutput | str | None = None,
        *,
        run_id: str | None = None,
        step_requirements: StepRequirements = None,
        requirements: Requirements = None,
        error_requirements: ErrorRequirements = None,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> Coroutine[Any, Any, WorkflowRunOutput] | AsyncIterator[WorkflowRunOutputEvent | WorkflowRunOutput]:
        """Go on with a paused run that was answered, or with an interrupted one, in any process, however much later.

        The run is named by ``run_id``, or by ``run_response``, the paused run itself (or its id). A paused run takes ``step_requirements``: those of the
        run, each answered, or the dicts that a client sent back; with ``run_response`` its own count. Calls of agents and teams within steps may also be
        answered by ``requirements``, the run's; a step that has failed, by ``error_requirements``. Of an answer only the answer is used. Every step and call that waits needs one, and no other may have
        one: else RunIsPaused, and the run stays paused. An agent that had waited goes on where it was: calls that were made are not made again. It may
        pause again.

        A run whose own process died, and whose lease has run out, takes no answers. With ``checkpoint="steps"`` it goes on at its first step that had not
        finished, with the state that the others left; without, it begins again, or where it was answered last. A step that had not finished is
        carried out again, so one that must not happen twice should look for itself.

        The run keeps its id and its input. Raises WorkflowChanged, which names the step, if the workflow's steps are not those that began the run;
        SessionBusy while the run is alive or if another process was quicker, RunAlreadyFinished and RunNotFound. Nothing has changed then.
        """
        continued = _continuation(run_response, run_id, step_requirements, error_requirements, requirements)
        if continued.run is not None:
            of_run: ContinueOptions = {"session_id": continued.run.session_id, "user_id": continued.run.user_id}
            options = {**of_run, **options}
        if streamed(stream, self.stream, background=background):
            every_step = bool(self.stream_events if stream_events is None else stream_events)
            return self._stream(None, options, every_step=every_step, with_output=yield_run_output, continued=continued)
        return self._run(None, options, continued=continued, background=background)

    @overload
    def continue_run(
        self,
        run_response: WorkflowRunOutput | str | None = None,
        *,
        run_id: str | None = None,
        step_requirements: StepRequirements = None,
        requirements: Requirements = None,
        error_requirements: ErrorRequirements = None,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> WorkflowRunOutput: ...

    @overload
    def continue_run(
        self,
        run_response: WorkflowRunOutput | str | None = None,
        *,
        run_id: str | None = None,
        step_requirements: StepRequirements = None,
        requirements: Requirements = None,
        error_requirements: ErrorRequirements = None,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> Iterator[WorkflowRunOutputEvent | WorkflowRunOutput]: ...

    def continue_run(
        self,
        run_response: WorkflowRunOutput | str | None = None,
        *,
        run_id: str | None = None,
        step_requirements: StepRequirements = None,
        requirements: Requirements = None,
        error_requirements: ErrorRequirements = None,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> WorkflowRunOutput | Iterator[WorkflowRunOutputEvent | WorkflowRunOutput]:
        """``acontinue_run``, waited for; with ``stream=True`` a plain iterator."""
        which: dict[str, Any] = {
            "run_id": run_id,
            "step_requirements": step_requirements,
            "requirements": requirements,
            "error_requirements": error_requirements,
        }
        if streamed(stream, self.stream, background=background):
            events = self.acontinue_run(
                run_response, **which, stream=True, stream_events=stream_events, yield_run_output=yield_run_output, **options
            )
            return portal.iterate(events)
        return portal.call(self.acontinue_run(run_response, **which, stream=False, background=background, **options))


def continuation_of(run: WorkflowRunOutput) -> WorkflowContinuation:
    """A paused run that was answered, and goes on."""
    return _continuation(run, None, None, None, None)


def _continuation(
    run_response: WorkflowRunOutput | str | None,
    run_id: str | None,
    steps: StepRequirements,
    errors: ErrorRequirements,
    calls: Requirements,
) -> WorkflowContinuation:
    which, run = run_meant(run_response, run_id, WorkflowRunOutput, "WorkflowRunOutput")
    if run is not None and run.is_paused and steps is None and errors is None and calls is None:
        steps, errors = run.step_requirements or [], run.error_requirements
    answers = all_answers(
        step_answers(steps, StepRequirement),
        step_answers(errors, ErrorRequirement, "error_requirements"),
        answers_of(calls, None),
    )
    return WorkflowContinuation(run_id=which, answers=answers, run=run)
