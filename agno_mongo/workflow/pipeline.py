"""The body of a workflow's run: its steps one after the other, and what they come to together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any, Final

from agno_mongo.agent.actor import Actor
from agno_mongo.agent.first_messages import DEFAULT_HISTORY_RUNS, runs_looked_back_on
from agno_mongo.db import values
from agno_mongo.errors import ConfigurationError
from agno_mongo.execution import Execution
from agno_mongo.history import turns_of, workflow_context
from agno_mongo.ids import new_id
from agno_mongo.messages import text_of
from agno_mongo.resuming import settled
from agno_mongo.run.base import BaseRunOutput, RunStatus
from agno_mongo.run.events import BaseRunOutputEvent, RunContentEvent
from agno_mongo.run.step_requirement import ErrorRequirement, StepRequirement
from agno_mongo.run.steps import StepOutput, come_to
from agno_mongo.run.workflow import WorkflowRunOutput, executor_run_from_dict
from agno_mongo.run.workflow_events import StepOutputEvent, WorkflowAgentCompletedEvent, WorkflowAgentStartedEvent
from agno_mongo.team.members import everyone
from agno_mongo.workflow.asking import path_of
from agno_mongo.workflow.calling import pieces_of, value_of
from agno_mongo.workflow.executing import refuse_unfinished
from agno_mongo.workflow.journal import Journal, Path
from agno_mongo.workflow.settings import WorkflowSettings
from agno_mongo.workflow.step import Step
from agno_mongo.workflow.types import StepInput, WorkflowExecutionInput
from agno_mongo.workflow.walking import Flow, Node, Walk

_MEDIA: Final = ("images", "videos", "audio", "files")


@dataclass(frozen=True, kw_only=True)
class Within:
    """The run that a workflow is a step of: the journal that its steps write into, and the step's path. ``again``: the step has failed before, and is
    tried once more.
    """

    outer: Any
    journal: Journal | None = None
    path: Path = ()
    answered: Mapping[str, StepRequirement | ErrorRequirement] = field(default_factory=dict)
    again: bool = False

    def run_id(self) -> str:
        """The id of the workflow's run: the same when the outer one goes on after a crash, another for each try."""
        if self.journal is None:
            return new_id()
        before = None if self.again else self.journal.chosen(self.path, "run_id")
        if before is None:
            before = new_id()
            self.journal.choose(self.path, run_id=before)
        return str(before)


def history_runs_of(workflow: WorkflowSettings, around: tuple[WorkflowSettings, ...] = ()) -> int:
    """How many earlier runs the workflow's steps want to see, at most. Raises ConfigurationError for a workflow that is ``around`` itself."""
    if any(one is workflow for one in around):
        raise ConfigurationError(f"workflow {workflow.name or workflow.id!r} is a step of itself, and would never end")
    wanted = [workflow.num_history_runs if workflow.add_workflow_history_to_steps else 0]
    if workflow.agent is not None:
        wanted.append(workflow.agent.num_runs_shown)
    pending: list[Any] = list(workflow._nodes())  # noqa: SLF001 - the settings' own
    while pending:
        node = pending.pop()
        pending += node.parts()
        if isinstance(node, Step):
            wanted.append(node.num_history_runs if node.add_workflow_history else 0)
            if node.workflow is not None:
                wanted.append(history_runs_of(node.workflow, (*around, workflow)))
            elif node.executor_type != "function":
                # Their own earlier runs are in the workflow's.
                wanted += map(_history_runs_of, (node.active_executor, *everyone(node.active_executor)))
    return max(wanted)


def actors_of(workflow: WorkflowSettings) -> Iterator[Actor[Any, Any, Any]]:
    """The agents and teams that carry out its steps, at any depth."""
    pending: list[Any] = list(workflow._nodes())  # noqa: SLF001 - the settings' own
    while pending:
        node = pending.pop()
        pending += node.parts()
        if isinstance(node, Step) and node.workflow is not None:
            pending += node.workflow._nodes()  # noqa: SLF001 - as above
        elif isinstance(node, Step) and isinstance(node.active_executor, Actor):
            yield node.active_executor


def _history_runs_of(actor: Any) -> int:
    """How many of its earlier runs an agent or a team wants to see, or to show its members."""
    runs, at_hand = runs_looked_back_on(actor, {})
    # A budget of tokens does not say how many runs it takes.
    own = runs or (DEFAULT_HISTORY_RUNS if at_hand else 0)
    return max(own, actor.num_team_history_runs) if getattr(actor, "add_team_history_to_members", False) else own


@dataclass(kw_only=True, eq=False)
class Pipeline:
    """One run of a workflow. ``given`` is its input, None for a run that goes on; ``options`` are those of the call that its executors get."""

    workflow: Any
    nodes: Sequence[Node]
    given: WorkflowExecutionInput | None
    options: Mapping[str, Any]
    stream: bool
    within: Within | None
    _flow: Flow | None = field(default=None, init=False)

    async def events(self, execution: Execution) -> AsyncGenerator[Any, None]:
        """The events of the whole run. When they end the run has the runs of those who carried out its steps."""
        async with aclosing(execution.events(self._body)) as events:
            async for event in events:
                if event.run_id == execution.run.run_id:
                    self._with_runs(execution.run)
                yield event

    def _with_runs(self, run: WorkflowRunOutput) -> None:
        if self._flow is not None and self._flow.runs and self.workflow.store_executor_outputs:
            run.step_executor_runs = self._flow.runs

    async def _body(self, execution: Execution) -> AsyncGenerator[Any, None]:
        run: WorkflowRunOutput = execution.run
        flow = self._flow = self._flow_of(execution)
        given = self.given or _given_again(run)
        if self.within is None and execution.keeps_checkpoints:
            execution.fixed = self._fixed(run)
        if self.workflow.agent is not None and self.within is None:
            async with aclosing(self._decided(given, flow)) as events:
                async for event in events:
                    yield event
            if given.input is None:
                return
        async with aclosing(self._carried_out(given, flow)) as events:
            async for event in events:
                yield event
        await self._close(run, flow)

    def _fixed(self, run: WorkflowRunOutput) -> dict[str, Any]:
        """What the run's entry says from the first checkpoint on: of which steps the workflow consists."""
        return {"run": values.encode({"workflow_name": run.workflow_name, "outline": self.workflow.outline()}, path="steps")}

    def _flow_of(self, execution: Execution) -> Flow:
        workflow, within = self.workflow, self.within
        own = within is None or within.journal is None
        options = {name: value for name in _SHARED if (value := getattr(workflow, name)) is not None} | dict(self.options)
        if workflow.dependencies and self.options.get("dependencies"):
            options["dependencies"] = {**workflow.dependencies, **self.options["dependencies"]}
        execution.context.dependencies = options.get("dependencies")
        flow = Flow(
            execution=execution,
            journal=Journal(execution) if own else within.journal,  # type: ignore[arg-type, union-attr]
            prefix=() if own else within.path,  # type: ignore[union-attr]
            stream=self.stream,
            stream_executor_events=workflow.stream_executor_events,
            options=options,
            history_runs=workflow.num_history_runs if workflow.add_workflow_history_to_steps else 0,
            answered={one.id: one for one in execution.run.all_requirements} if own else within.answered,  # type: ignore[union-attr]
            runs=[executor_run_from_dict(values.decode(record)) for record in settled(execution.past.inner)],
        )
        execution.run.step_requirements = execution.run.error_requirements = None
        return flow

    def _carried_out(self, given: WorkflowExecutionInput, flow: Flow) -> AsyncGenerator[Any, None]:
        if not self.nodes:
            return self._by_function(given, flow)
        execution = flow.execution
        outputs = execution.run.step_results = []
        walk = Walk(flow=flow, scope=execution, outputs=outputs, path=flow.prefix)
        return walk.through(self.nodes, StepInput(**vars(given), workflow_session=execution.session))

    async def _close(self, run: WorkflowRunOutput, flow: Flow) -> None:
        """What the steps have come to; or what the run waits for."""
        if flow.requirements:
            waiting = next((index for index, output in enumerate(run.step_results) if output.is_paused), None)
            run.status = RunStatus.paused
            # Of steps at once any may have come to its question first.
            flow.requirements.sort(key=lambda one: path_of(one.id))
            run.step_requirements = [one for one in flow.requirements if isinstance(one, StepRequirement)] or None
            run.error_requirements = [one for one in flow.requirements if isinstance(one, ErrorRequirement)] or None
            now = await flow.execution.now()
            for one in run.step_requirements or ():
                one.begin_timeout(now)
            if waiting is not None:
                run.paused_step_index, run.paused_step_name = waiting, run.step_results[waiting].step_name
            await flow.journal.write()
            flow.execution.fixed = self._fixed(run)
            run.keep_steps(flow.execution.steps)
            return
        if run.step_results:
            run.content = come_to(run.step_results)
            for name in _MEDIA:
                made = [medium for output in run.step_results for medium in getattr(output, name) or ()]
                setattr(run, name, made or None)
        run.content_type = "str" if run.content is None or isinstance(run.content, str) else type(run.content).__name__

    async def _by_function(self, given: WorkflowExecutionInput, flow: Flow) -> AsyncGenerator[Any, None]:
        """A workflow whose steps are one function of ``(workflow, execution_input)``, or of ``(execution_input)``."""
        context, run, event = flow.execution.context, flow.execution.run, flow.execution.event
        function = self.workflow.steps
        takes = [name for name in signature(function).parameters if name not in {"run_context", "session_state"}]
        if len(takes) > 1:
            function = partial(function, self.workflow)
        offered = {"run_context": context, "session_state": context.session_state}
        said: list[Any] = []
        async with aclosing(pieces_of(await value_of(function, given, offered))) as pieces:
            async for is_yielded, piece in pieces:
                if isinstance(piece, BaseRunOutputEvent):
                    if isinstance(piece, RunContentEvent) and piece.content is not None:
                        said.append(piece.content)
                    yield piece
                    continue
                content = piece.content if isinstance(piece, (BaseRunOutput, StepOutput)) else piece
                said.append(content)
                if is_yielded:
                    yield event(StepOutputEvent, content=content)
        run.content = said[0] if len(said) == 1 else "".join(map(text_of, said)) or None

    async def _decided(self, given: WorkflowExecutionInput, flow: Flow) -> AsyncGenerator[Any, None]:
        """Ask the workflow's agent whether to run. If not, its answer is the run's, and ``given`` has no input any more."""
        execution, workflow = flow.execution, self.workflow
        run: WorkflowRunOutput = execution.run
        if (query := flow.journal.chosen((), "query")) is not None:
            given.input = query
            return
        history = workflow_context(turns_of(execution.session.runs or (), workflow.agent.num_runs_shown))
        agent, wanted = workflow.agent.deciding(workflow.description, history)
        yield execution.event(WorkflowAgentStartedEvent)
        inner, happening = await agent.begun_within(execution, given.input, {}, stream=flow.stream)
        run.workflow_agent_run_id = inner.run.run_id
        try:
            async with aclosing(happening) as events:
                async for event in events:
                    yield event
        finally:
            flow.runs.append(inner.run)
        refuse_unfinished(inner.run, workflow.agent.name, workflow.agent.name)
        yield execution.event(WorkflowAgentCompletedEvent, content=None if wanted else inner.run.content)
        if wanted:
            given.input = wanted[0]
            flow.journal.choose((), query=wanted[0])
            return
        run.content, given.input = inner.run.content, None


_SHARED: Final = ("dependencies", "add_dependencies_to_context", "add_session_state_to_context")


def _given_again(run: WorkflowRunOutput) -> WorkflowExecutionInput:
    """The input of a run that goes on."""
    given = run.input
    if given is None:
        return WorkflowExecutionInput()
    return WorkflowExecutionInput(
        input=given.input_content, images=given.images, audio=given.audios, videos=given.videos, files=given.files
    )
