"""A step carried out by itself: what a step's own tests do, and whoever has no need of a workflow around it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from copy import deepcopy
from typing import Any, Final, TypedDict

from typing_extensions import Unpack

from agno_mongo import renamed
from agno_mongo.blocking import blocking, portal
from agno_mongo.db.base import SessionType
from agno_mongo.db.keys import SessionKey
from agno_mongo.errors import ConfigurationError
from agno_mongo.execution import Execution
from agno_mongo.ids import new_id
from agno_mongo.run.base import RunContext
from agno_mongo.run.events import CustomEvent, IntermediateRunContentEvent, RunContentEvent
from agno_mongo.run.steps import StepOutput
from agno_mongo.run.workflow import WorkflowRunOutput
from agno_mongo.run.workflow_events import (
    StepOutputEvent,
    WorkflowCancelledEvent,
    WorkflowCompletedEvent,
    WorkflowErrorEvent,
    WorkflowPausedEvent,
    WorkflowStartedEvent,
)
from agno_mongo.run_settings import Settings
from agno_mongo.workflow.journal import Journal
from agno_mongo.workflow.types import StepInput
from agno_mongo.workflow.walking import Flow, Node, Walk


class Around(TypedDict, total=False):
    """What would be a workflow's: ``session_state``, or that of a ``run_context``, is changed in place; the ids are those that events tell."""

    session_id: str | None
    user_id: str | None
    session_state: dict[str, Any] | None
    run_context: RunContext | None
    workflow_run_response: WorkflowRunOutput | None


class Executable(Node):
    """A part of a pipeline that can be carried out by itself. Nothing of it is stored."""

    async def aexecute(self, step_input: StepInput, **around: Unpack[Around]) -> StepOutput:
        """What the step gives for ``step_input``. Raises what a workflow's run would fail with."""
        outputs: list[StepOutput] = []
        async with aclosing(self._events_alone(step_input, around, outputs, stream=False)) as events:
            async for _ in events:
                pass
        return outputs[0]

    execute = blocking(aexecute)

    async def aexecute_stream(
        self, step_input: StepInput, *, stream_events: bool = False, **around: Unpack[Around]
    ) -> AsyncGenerator[Any, None]:
        """The pieces of what agents and functions say, with ``stream_events`` every step; the step's output at the end."""
        outputs: list[StepOutput] = []
        async with aclosing(self._events_alone(step_input, around, outputs, stream=True)) as events:
            async for event in events:
                is_whole = isinstance(event, StepOutputEvent) and event.step_output is not None
                if not is_whole and (stream_events or isinstance(event, _SAID)):
                    yield event
        yield outputs[0]

    def execute_stream(self, step_input: StepInput, *, stream_events: bool = False, **around: Unpack[Around]) -> Iterator[Any]:
        """``aexecute_stream`` as a plain iterator."""
        return portal.iterate(self.aexecute_stream(step_input, stream_events=stream_events, **around))

    async def _events_alone(
        self, given: StepInput, around: Around, outputs: list[StepOutput], *, stream: bool
    ) -> AsyncGenerator[Any, None]:
        """What happens in the step, in a run that nothing else is part of."""
        if not isinstance(given, StepInput):
            raise ConfigurationError(f"a step takes a StepInput, not {type(given).__name__}: {given!r}")
        renamed.refuse_unknown("execute()", around, Around.__annotations__)
        context, state = around.get("run_context"), around.get("session_state")
        if state is None and context is not None:
            state = context.session_state
        execution = _execution_alone(around, {} if state is None else state)

        async def body(_: Execution) -> AsyncGenerator[Any, None]:
            flow = Flow(execution=execution, journal=Journal(execution), stream=stream)
            if context is not None:
                execution.context.dependencies = context.dependencies
            async with aclosing(self.events(given, Walk(flow=flow, scope=execution, outputs=outputs), (0,))) as events:
                async for event in events:
                    yield event

        async with aclosing(execution.events(body)) as events:
            async for event in events:
                if event.run_id != execution.run.run_id or not isinstance(event, _OF_THE_RUN):
                    yield event
        if state is not None:
            state.clear()
            state.update(execution.context.session_state)


_OF_THE_RUN: Final = (
    WorkflowStartedEvent,
    WorkflowCompletedEvent,
    WorkflowPausedEvent,
    WorkflowCancelledEvent,
    WorkflowErrorEvent,
)
"""What is told of the run that a step by itself is not."""

_SAID: Final = (RunContentEvent, IntermediateRunContentEvent, CustomEvent, StepOutputEvent)


def _execution_alone(around: Around, state: Mapping[str, Any]) -> Execution:
    run = around.get("workflow_run_response") or WorkflowRunOutput()
    session_id = around.get("session_id") or run.session_id or new_id()
    user_id = around.get("user_id") or run.user_id
    own = WorkflowRunOutput(
        run_id=run.run_id or new_id(),
        workflow_id=run.workflow_id,
        workflow_name=run.workflow_name,
        session_id=session_id,
        user_id=user_id,
    )
    key = SessionKey(session_id=session_id, session_type=SessionType.WORKFLOW, user_id=user_id)
    settings = Settings(
        key=key, component_id=run.workflow_id, default_state=deepcopy(dict(state)), raise_errors=True, raise_check_errors=True
    )
    return Execution(None, own, settings)
