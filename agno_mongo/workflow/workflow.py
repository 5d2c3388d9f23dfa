"""``Workflow``: steps in order, each run of which is stored whole in one session."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping
from typing import Any, Final, Literal, cast, overload

from typing_extensions import Unpack

from agno_mongo import renamed, terminal
from agno_mongo.agent import media_input
from agno_mongo.agent.first_messages import check_options
from agno_mongo.agent.input_schema import fitting_input
from agno_mongo.agent.prompt import stored_input
from agno_mongo.blocking import blocking, portal
from agno_mongo.component.background_runs import carried_out, streamed
from agno_mongo.db.arguments import check_run_id
from agno_mongo.db.base import SessionType
from agno_mongo.db.keys import SessionKey
from agno_mongo.errors import ConfigurationError, WorkflowChanged
from agno_mongo.execution import Execution
from agno_mongo.ids import new_id
from agno_mongo.media import Media
from agno_mongo.messages import ToolExecution
from agno_mongo.resuming import Past
from agno_mongo.run.base import RunInput
from agno_mongo.run.events import CustomEvent, IntermediateRunContentEvent, RunContentEvent
from agno_mongo.run.mermaid import chart_of_pipeline
from agno_mongo.run.workflow import WorkflowRunOutput
from agno_mongo.run.workflow_events import (
    StateConflictEvent,
    StepErrorEvent,
    StepExecutorPausedEvent,
    StepOutputEvent,
    StepPausedEvent,
    WorkflowCancelledEvent,
    WorkflowCompletedEvent,
    WorkflowErrorEvent,
    WorkflowPausedEvent,
    WorkflowRunOutputEvent,
    WorkflowStartedEvent,
)
from agno_mongo.run_settings import Settings
from agno_mongo.streams import Held
from agno_mongo.team.members import everyone
from agno_mongo.terminal.look import text_of_input
from agno_mongo.workflow.continuing import Continuing, WorkflowContinuation, continuation_of
from agno_mongo.workflow.journal import Journal, Path
from agno_mongo.workflow.options import ChatOptions, ContinueOptions, RunOptions
from agno_mongo.workflow.pipeline import Pipeline, Within, actors_of, history_runs_of
from agno_mongo.workflow.settings import WorkflowSettings
from agno_mongo.workflow.types import StepInput, WorkflowExecutionInput
from agno_mongo.workflow.walking import Flow


@renamed.older_settings_accepted
class Workflow(WorkflowSettings, Continuing):
    """Steps in order, with a session that has each run whole.

    ``steps``: a list of Step, Steps, Parallel, Condition, Loop and Router, of agents, teams, functions and other workflows; or one function of
    ``(workflow, execution_input)``. Each step is given what the ones before have come to (StepInput); the run's ``content`` is what the last has come to.
    ``input_schema``: what a run's input must fit. ``agent``: a WorkflowAgent, who answers an input from earlier runs or runs the workflow.

    ``db``, ``session_id``, ``user_id``, ``session_state``, ``overwrite_db_session_state``, ``on_state_conflict``, ``concurrent_runs``, ``queue_timeout``,
    ``metadata`` and ``cache_session`` are what they are for an agent. All steps share the session's state. ``checkpoint="steps"`` stores each step as it finishes, one
    update for each, so that ``continue_run`` goes on at the first unfinished one if the process dies.

    A run is two commands, however many steps it has. Stored is the tree of steps, each with its input, output, times, status and tries, and the whole run of
    each agent, team or workflow that carried one out; not the latter without ``store_executor_outputs``. ``store_media``, ``store_events`` and
    ``events_to_skip`` are an agent's.

    ``stream`` and ``stream_events`` are the defaults of ``run()``; without ``stream_executor_events`` a stream has the workflow's own events only. A step
    that fails for good ends the run with status ERROR: what a function raised is raised, the failure of an agent only with ``raise_model_errors``.
    ``dependencies``, ``add_dependencies_to_context`` and ``add_session_state_to_context`` are handed to the agents.
    ``add_workflow_history_to_steps``: show each agent input and output of the last ``num_history_runs`` runs (3).
    """

    SESSION_TYPE = SessionType.WORKFLOW
    RUN_TYPE = WorkflowRunOutput
    store_tool_messages = True

    def __repr__(self) -> str:
        return f"Workflow(id={self.id!r}, steps={len(self._nodes()) or 'a function'}, db={self.db!r})"

    # Running.

    @overload
    def arun(
        self,
        input: Any = None,
        *,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[RunOptions],
    ) -> Coroutine[Any, Any, WorkflowRunOutput]: ...

    @overload
    def arun(
        self,
        input: Any = None,
        *,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[RunOptions],
    ) -> AsyncIterator[WorkflowRunOutputEvent | WorkflowRunOutput]: ...

    @renamed.older_options_accepted
    def arun(
        self,
        input: Any = None,  # noqa: A002
        *,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[RunOptions],
    ) -> Coroutine[Any, Any, WorkflowRunOutput] | AsyncIterator[WorkflowRunOutputEvent | WorkflowRunOutput]:
        """Run the workflow on ``input`` (text, data, messages) and store the run in its session.

        Await it for the WorkflowRunOutput; with ``stream=True`` iterate over it, without ``await``: the beginning, what agents and functions say, what
        went wrong, and the end; with ``stream_events`` every step, with ``yield_run_output`` the WorkflowRunOutput at the end. The input is stored before
        the first step begins, and the run whatever becomes of it: completed, failed, cancelled, or left by its reader.

        Raises what a step's function raised, once the run is stored; StoreError and SessionError if it could not be, UnstorableValueError if a part of
        it could not.
        """
        if streamed(stream, self.stream, background=background):
            every_step = bool(self.stream_events if stream_events is None else stream_events)
            return self._stream(input, options, every_step=every_step, with_output=yield_run_output)
        return self._run(input, options, background=background)

    @overload
    def run(
        self,
        input: Any = None,
        *,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[RunOptions],
    ) -> WorkflowRunOutput: ...

    @overload
    def run(
        self,
        input: Any = None,
        *,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[RunOptions],
    ) -> Iterator[WorkflowRunOutputEvent | WorkflowRunOutput]: ...

    @renamed.older_options_accepted
    def run(
        self,
        input: Any = None,  # noqa: A002
        *,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[RunOptions],
    ) -> WorkflowRunOutput | Iterator[WorkflowRunOutputEvent | WorkflowRunOutput]:
        """``arun``, waited for; with ``stream=True`` a plain iterator. Works in scripts, notebooks and running loops."""
        if streamed(stream, self.stream, background=background):
            events = self.arun(input, stream=True, stream_events=stream_events, yield_run_output=yield_run_output, **options)
            return portal.iterate(events)
        return portal.call(self._run(input, options, background=background))

    async def _run(
        self, given: Any, options: RunOptions, *, continued: WorkflowContinuation | None = None, background: bool = False
    ) -> WorkflowRunOutput:
        execution, happening = await self._begun(given, options, continued, stream=False)
        run: WorkflowRunOutput = await carried_out(execution, happening, background=background)
        return run

    async def _stream(
        self,
        given: Any,
        options: RunOptions,
        *,
        every_step: bool,
        with_output: bool,
        continued: WorkflowContinuation | None = None,
    ) -> AsyncGenerator[WorkflowRunOutputEvent | WorkflowRunOutput, None]:
        execution, happening = await self._begun(given, options, continued, stream=True)
        async with Held(happening) as events:
            async for event in events:
                if every_step or isinstance(event, _ALWAYS_STREAMED):
                    yield event
        if with_output:
            yield execution.run

    async def begun_within(
        self,
        outer: Any,
        given: Any,
        options: RunOptions,
        *,
        stream: bool,
        flow: Flow | None = None,
        path: Path = (),
        around: StepInput | None = None,
        again: bool = False,
    ) -> tuple[Execution, AsyncGenerator[Any, None]]:
        """A run that is a step of ``outer``, and its events, which carry it out when they are read. ``flow`` and ``path`` are that run's and the step's,
        ``around`` what the step was given; ``again``: it has failed before.
        """
        if around is not None and around.additional_data:
            options = {**options, "additional_data": around.additional_data}
        within = Within(outer=outer)
        if flow is not None:
            within = Within(outer=outer, journal=flow.journal, path=path, answered=flow.answered, again=again)
        return await self._begun(given, options, None, stream=stream, within=within)

    def in_a_step(self, flow: Flow, path: Path, given: StepInput, *, again: bool) -> dict[str, Any]:
        """What a workflow is told that is a step."""
        return {"flow": flow, "path": path, "around": given, "again": again}

    async def _begun(
        self,
        given: Any,
        options: RunOptions,
        continued: WorkflowContinuation | None,
        *,
        stream: bool,
        within: Within | None = None,
    ) -> tuple[Execution, AsyncGenerator[Any, None]]:
        """The bracket of a run, and what happens in it."""
        if continued is None and self.input_schema is not None:
            given = fitting_input(given, self.input_schema)
        given, media = await media_input.read(given, options)
        execution = self._execution(given, options, continued, media, within)
        pipeline = Pipeline(
            workflow=self,
            nodes=self._nodes(),
            given=None
            if continued is not None
            else WorkflowExecutionInput(input=given, additional_data=options.get("additional_data"), **media),
            options={name: options[name] for name in _FOR_STEPS if options.get(name) is not None},
            stream=stream,
            within=within,
        )
        return execution, pipeline.events(execution)

    def _execution(
        self,
        given: Any,
        options: RunOptions,
        continued: WorkflowContinuation | None,
        media: Mapping[str, list[Media]],
        within: Within | None,
    ) -> Execution:
        known = ContinueOptions if continued is not None else RunOptions
        renamed.refuse_unknown("run()" if continued is None else "continue_run()", options, known.__annotations__)
        check_options(options)
        key = within.outer.key if within is not None else self._key_of(options, continued)
        run_id = options.get("run_id") if continued is None else continued.run_id
        if within is not None:
            run_id = within.run_id()
        run = self._new_run(
            key,
            run_id=new_id() if run_id is None else check_run_id(run_id),
            parent_run_id=None if within is None else within.outer.run.run_id,
            input=None
            if given is None and not media
            else RunInput(input_content=stored_input(given), **media_input.as_input(media)),
        )
        settings = Settings(
            key=key,
            component_id=self.id,
            whose=self,
            default_state=dict(self.session_state or {}),
            run_state=options.get("session_state") or {},
            overwrite_state=self.overwrite_db_session_state and options.get("session_state") is not None,
            metadata=dict(self.metadata) if self.metadata is not None else None,
            run_metadata=options.get("metadata"),
            history_runs=history_runs_of(self),
            raise_errors=self.raise_model_errors,
            raise_check_errors=self.raise_model_errors,
            reused_id=run_id is not None and within is None,
            continues=continued is not None,
            answers=None if continued is None else continued.answers,
            fault_of=self._fault_of_input,
            check_past=lambda past: self._refuse_other_steps(past, run),
            paused_run=None if continued is None else continued.run,
            recording=self._recording,
            **({} if within is not None else self._of_a_session()),
        )
        return Execution(self.db, run, settings, within=None if within is None else within.outer)

    def _fault_of_input(self, execution: ToolExecution, member_id: str | None) -> str | None:
        """What is wrong with what a person has filled in, for a tool of those who carry out steps, or of their members. Of several of one id one has to
        take it.
        """
        faults = [
            actor._fault_of_input(execution, member_id if actor.id != member_id else None)  # noqa: SLF001 - as it checks its own
            for actor in actors_of(self)
            if member_id in {one.id for one in (actor, *everyone(actor))}
        ]
        return faults[0] if faults and all(faults) else None

    def _new_run(self, key: SessionKey, **fields: Any) -> WorkflowRunOutput:
        own = {"workflow_id": self.id, "workflow_name": self.name}
        return WorkflowRunOutput(**own, session_id=key.session_id, user_id=key.user_id, **fields)

    def _of_a_session(self) -> dict[str, Any]:
        """Settings of the bracket for a run that is stored by itself, and not within another."""
        return {
            "component": {"workflow_id": self.id, "name": self.name, "description": self.description, "steps": self.outline()},
            "on_state_conflict": self.on_state_conflict,
            "concurrent_runs": self.concurrent_runs,
            "queue_timeout": self.queue_timeout,
            "checkpoint": self.checkpoint,
            "cache": self._session_cache if self.cache_session else None,
        }

    def _key_of(self, options: RunOptions, continued: WorkflowContinuation | None) -> SessionKey:
        """Which session a call means."""
        user_id, wanted = self._user(options.get("user_id")), options.get("session_id")
        session_id = self._session_for(wanted, user_id) if continued is None else self._session_of(continued, wanted, user_id)
        return SessionKey(session_id=session_id, session_type=self.SESSION_TYPE, user_id=user_id)

    def outline(self) -> list[dict[str, Any]]:
        """Name, kind and parts of each step, as they are stored with the session."""
        return [node.outline((index,)) for index, node in enumerate(self._nodes())]

    def _model_of_a_run(self) -> Any:
        """Who names a session: the workflow's agent."""
        if self.agent is None:
            raise ConfigurationError(
                "a workflow has no model that could name a session; name it, or give it an agent=WorkflowAgent(…)"
            )
        return self.agent._model_of_a_run()  # noqa: SLF001 - an agent of its own

    @property
    def _summaries(self) -> Any:
        raise ConfigurationError("a workflow has no model that could sum up a session; its runs have what came of each step")

    # The terminal.

    @renamed.older_options_accepted
    async def aprint_response(
        self,
        input: Any = None,  # noqa: A002
        *,
        stream: bool | None = None,  # noqa: ARG002 - Agno's: the tree is live anyway
        show_message: bool = True,
        show_step_details: bool = True,
        show_time: bool = True,
        markdown: bool = True,
        console: Any = None,
        **options: Unpack[RunOptions],
    ) -> None:
        """Run the workflow and show the tree of its steps on the terminal, each with its status and its time as they go on, then the answer.

        ``show_step_details``: with the beginning of what each came to. ``console``: a rich Console of one's own. The other options are those of ``arun``.
        """
        look = {"markdown": markdown, "details": show_step_details, "times": show_time}
        question = text_of_input(input) if show_message and input is not None else None
        await self._shown(input, options, {**look, "question": question}, console)

    print_response = blocking(aprint_response)

    async def _shown(
        self,
        given: Any,
        options: Mapping[str, Any],
        look: Mapping[str, Any],
        console: Any,
        paused: WorkflowRunOutput | None = None,
    ) -> WorkflowRunOutput:
        """Run, or go on with a run that was answered, and show the tree of its steps."""
        tree = await terminal.load_tree()
        continued = None if paused is None else continuation_of(paused)
        execution, events = await self._begun(given, cast("RunOptions", options), continued, stream=True)
        await tree.print_workflow(execution.run, events, tree.TreeLook(**look), console)
        run: WorkflowRunOutput = execution.run
        return run

    async def acli_app(self, input: str | None = None, **options: Unpack[ChatOptions]) -> None:  # noqa: A002
        """Talk to the workflow on the terminal, as :meth:`Agent.acli_app`: each line is a run, shown as :meth:`aprint_response` shows it, and what it waits
        for is asked. The options are those of ``arun`` and ChatOptions.
        """
        await terminal.load_chat()
        await self._chat(options).arun(input)

    def cli_app(self, input: str | None = None, **options: Unpack[ChatOptions]) -> None:  # noqa: A002
        """``acli_app``, blocking: what is typed is read in this thread."""
        self._chat(options).run(input)

    def _chat(self, options: ChatOptions, lines: Any = None) -> Any:
        renamed.refuse_unknown("cli_app()", options, ChatOptions.__annotations__)
        rest: dict[str, Any] = self._whose(options)
        shown = {"markdown": rest.pop("markdown", True), "details": rest.pop("show_step_details", True), "waits": False}
        shown["times"] = rest.pop("show_time", True)

        async def show(given: Any, of_run: Mapping[str, Any], paused: WorkflowRunOutput | None) -> WorkflowRunOutput:
            return await self._shown(given, of_run, shown, rest.get("console"), paused)

        return terminal.tree_chat_with(self, rest, show, lines)

    def to_mermaid(self) -> str:
        """The steps as a Mermaid flowchart. A run has one of its own, with times."""
        return chart_of_pipeline(self.outline())

    def _refuse_other_steps(self, past: Past, run: WorkflowRunOutput) -> None:
        if past.outline is None:
            return
        fault = Journal.first_fault(past.outline, self.outline())
        if fault is not None:
            step, what = fault
            raise WorkflowChanged(
                f"run {run.run_id!r} of session {run.session_id!r} cannot go on: step {step!r} {what} when it began; have it continued by "
                "the workflow that began it, or cancel it",
                session_id=run.session_id or "",
                run_id=run.run_id or "",
                step=step,
            )


_FOR_STEPS: Final = ("dependencies", "add_dependencies_to_context", "add_session_state_to_context")

_ALWAYS_STREAMED: Final = (
    RunContentEvent,
    IntermediateRunContentEvent,
    CustomEvent,
    StepOutputEvent,
    StepErrorEvent,
    StepPausedEvent,
    StepExecutorPausedEvent,
    WorkflowStartedEvent,
    WorkflowCompletedEvent,
    WorkflowPausedEvent,
    WorkflowCancelledEvent,
    WorkflowErrorEvent,
    StateConflictEvent,
)
