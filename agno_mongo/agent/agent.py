"""``Agent``: a model with instructions, tools, and a session that outlives the process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, overload
from uuid import uuid4

from typing_extensions import Unpack

from agno_mongo import renamed, terminal
from agno_mongo.agent import media_input
from agno_mongo.agent.continuing import Continuation, ContinueOptions, Continuing
from agno_mongo.agent.first_messages import check_options, fill, resolve_dependencies, runs_looked_back_on
from agno_mongo.agent.hooks import post_hook_events, pre_hook_events
from agno_mongo.agent.input_schema import fitting_input
from agno_mongo.agent.introducing import introduction
from agno_mongo.agent.media_input import MediaOptions
from agno_mongo.agent.output_schema import StructuredAnswer, output_schema
from agno_mongo.agent.prompt import stored_input, user_messages
from agno_mongo.agent.settings import AgentSettings
from agno_mongo.blocking import blocking, portal
from agno_mongo.component.cancelling import Cancelling
from agno_mongo.db.arguments import check_run_id
from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import AgentSession
from agno_mongo.db.keys import SessionKey
from agno_mongo.execution import Execution, Settings
from agno_mongo.media import Media
from agno_mongo.messages import Message
from agno_mongo.model_loop import ModelLoop
from agno_mongo.run.agent import (
    CustomEvent,
    IntermediateRunContentEvent,
    RunCancelledEvent,
    RunContentEvent,
    RunErrorEvent,
    RunInput,
    RunOutput,
    RunOutputEvent,
    RunPausedEvent,
    StateConflictEvent,
)
from agno_mongo.run.base import RunStatus
from agno_mongo.streams import Held
from agno_mongo.tools.signature import FILLED_IN_TYPES


class RunOptions(ContinueOptions, MediaOptions, total=False):
    """What a single run may set differently from its agent, and what goes with its input: ``images``, ``audio``, ``videos``, ``files``.

    ``session_id`` and ``user_id`` say whose conversation goes on; ``session_state`` is laid over what is stored; ``run_id`` is a
    new id of the caller's own.
    """

    run_id: str | None


class PrintOptions(RunOptions, terminal.ShowOptions, total=False):
    """What ``print_response`` takes: ``show_message=False`` leaves out the question."""

    show_message: bool


class ChatOptions(RunOptions, terminal.ShowOptions, terminal.PromptOptions, total=False):
    """What ``cli_app`` takes."""


@renamed.older_settings_accepted
class Agent(AgentSettings, Continuing, Cancelling[AgentSession, RunOutput]):
    """A model with instructions, tools and a session.

    ``model``: who answers; OpenAIChat by default; a text such as ``"openai:gpt-5-mini"`` names one. ``db``: where sessions live; without one
    nothing is remembered.
    ``session_id`` and ``user_id``: whose conversation, unless a call says otherwise. Without a ``session_id`` the agent makes one up
    and goes on with it for as long as the same user calls.

    ``session_state``: what a new session starts with; stored state beats it later. Instructions read it as ``{key}``, tools
    through ``run_context.session_state``. ``overwrite_db_session_state``: a call's ``session_state`` replaces what is stored.
    ``on_state_conflict``: when two runs changed the same key at once, ``"ours"`` keeps the later run's value,
    ``"raise"`` the earlier's and raises StateConflictError.
    ``concurrent_runs``: what a run does that meets others in its session: go on beside them (``"allow"``), raise SessionBusy (``"reject"``), or
    wait until all who came before it have finished (``"queue"``), at most ``queue_timeout`` seconds.
    ``checkpoint``: ``"tool-batch"`` stores a run after each round of tools too, one update more for each, so that a crash leaves those rounds;
    ``continue_run`` goes on from there.

    ``add_history_to_context``: show the model earlier runs of the session: the last ``num_history_runs`` that came to an answer (3 if no
    limit is set), at most ``num_history_messages`` messages, the newest whole runs of ``num_history_tokens`` tokens, at most
    ``max_tool_calls_from_history`` tool calls. ``introduction``: what the assistant says first in a new session, stored as a run of its own.

    The system message is made of ``description``, ``role`` (what the agent is for, which a team's leader is told too), ``instructions`` (text, a list, or a function; in tags with ``use_instruction_tags``),
    ``markdown``, the name (``add_name_to_context``), ``expected_output``, ``additional_context``, then the session's summary and state
    (``add_session_summary_to_context``, ``add_session_state_to_context``) and the time (``add_datetime_to_context``,
    ``timezone_identifier``, ``datetime_format``); or it is ``system_message``. ``build_context=False`` leaves it out,
    ``resolve_in_context=False`` leaves ``{key}`` as it is. ``additional_input`` are examples that each run is shown and none stores.
    ``dependencies`` are values, or functions called when a run begins, for tools (``run_context.dependencies``), for ``{key}``, and with
    ``add_dependencies_to_context`` for the model, behind the input.

    ``tools``: functions, methods, what ``@tool`` made of them, Toolkits, and dicts for what the provider runs itself; or a function that makes the
    list for each run. ``tool_choice`` is OpenAI's; what forces a call does so in the first request only. ``tool_call_limit``: how many calls a run may
    make; further ones are refused. ``tool_hooks`` are called around every call. ``tool_timeout``: seconds that a call may take.
    ``max_tool_rounds``: after so many rounds of tools (50) the model has to answer without them; one that does not fails with TooManyToolRounds.
    ``read_chat_history``, ``read_tool_call_history`` and ``search_past_sessions`` give the model tools for what was said earlier, in this session and
    in others of the same user; ``enable_agentic_state`` one that changes the state.

    ``enable_session_summaries``: sum up the session after every ``summary_every`` runs, by its model or as ``session_summary_manager`` says; in the
    background, for which ``db.close()`` waits, or before the run is over with ``summary_in_background=False``.

    ``retries``, after ``delay_between_retries`` seconds, twice as many each time with ``exponential_backoff``: how often the model is asked again
    after a failure that may pass. ``fallback_models``: who is asked when it has failed for good; ``fallback_config``: by the kind of failure.
    ``output_schema``: a pydantic model class or a JSON schema that the answer must fit; ``run.content`` is then an instance, or a dict. The provider
    is given the schema; with ``use_json_mode``, or ``structured_outputs=False``, the system message says it. An answer that does not fit is asked
    for once more; one that still does not makes the run an ERROR (OutputSchemaError). ``parse_response=False`` leaves the answer as text.
    ``input_schema``: what a run's input must fit. ``pre_hooks``, ``post_hooks``: functions that look at the input before the model is asked, and at
    the answer before it is stored; they may change it, or refuse it by raising InputCheckError or OutputCheckError: then the run has status
    ERROR, and with ``raise_check_errors`` the refusal is raised too, once the run is stored.

    ``stream`` and ``stream_events`` are the defaults of ``run()``. A model's error ends the run with status ERROR; with
    ``raise_model_errors`` it is raised too, once the run is stored. ``metadata`` is stored with session and run.
    ``store_media=False``: images, sounds and files are sent to the model, and stored as a note that says type, length and SHA-256.
    ``send_media_to_model=False``: they are stored, and the model is not shown them, nor those of earlier runs.
    ``store_tool_messages=False``: nothing is stored of what tools were asked and answered, but that they were called.
    ``store_history_messages``: a run is stored with the history it was shown, too. ``store_events``: its events are stored with it, but for
    ``events_to_skip`` (``[RunEvent.run_content]``). ``cache_session``: the newest runs of the sessions last used are kept in memory and sent again
    only if somebody else has written to the session meanwhile.
    """

    SESSION_TYPE = SessionType.AGENT
    RUN_TYPE = RunOutput

    def __repr__(self) -> str:
        return f"Agent(id={self.id!r}, model={self.model!r}, db={self.db!r})"

    # Running.

    @overload
    def arun(
        self,
        input: Any,
        *,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[RunOptions],
    ) -> Coroutine[Any, Any, RunOutput]: ...

    @overload
    def arun(
        self,
        input: Any,
        *,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[RunOptions],
    ) -> AsyncIterator[RunOutputEvent | RunOutput]: ...

    @renamed.older_options_accepted
    def arun(
        self,
        input: Any,  # noqa: A002
        *,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[RunOptions],
    ) -> Coroutine[Any, Any, RunOutput] | AsyncIterator[RunOutputEvent | RunOutput]:
        """Run the agent on ``input`` (text, Message, a list of messages, or data) and store the run in its session.

        Await it for the RunOutput; with ``stream=True`` iterate over it, without ``await``: pieces of the answer (RunContentEvent)
        and what went wrong, with ``stream_events`` every step, with ``yield_run_output`` the RunOutput at the end. The input is stored
        before the model is asked, and the run whatever becomes of it: completed, failed, cancelled, or left by its reader.

        Raises StoreError and SessionError if the run could not be stored, UnstorableValueError if a part of it could not; a model's
        error gives a run with status ERROR, and is raised only with ``raise_model_errors``.
        """
        if stream if stream is not None else self.stream:
            every_step = bool(self.stream_events if stream_events is None else stream_events)
            return self._stream(input, options, every_step=every_step, with_output=yield_run_output)
        return self._run(input, options)

    @overload
    def run(
        self,
        input: Any,
        *,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunOutput: ...

    @overload
    def run(
        self,
        input: Any,
        *,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[RunOptions],
    ) -> Iterator[RunOutputEvent | RunOutput]: ...

    @renamed.older_options_accepted
    def run(
        self,
        input: Any,  # noqa: A002
        *,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunOutput | Iterator[RunOutputEvent | RunOutput]:
        """``arun``, waited for; with ``stream=True`` a plain iterator. Works in scripts, notebooks and running loops."""
        if stream if stream is not None else self.stream:
            events = self.arun(input, stream=True, stream_events=stream_events, yield_run_output=yield_run_output, **options)
            return portal.iterate(events)
        return portal.call(self._run(input, options))

    async def _run(self, given: Any, options: RunOptions, *, continued: Continuation | None = None) -> RunOutput:
        role = self.user_message_role
        given = self._fitting(given, continued)
        given, media = await media_input.read(given, options)
        asked = None if continued is not None else media_input.with_media(user_messages(given, role=role), media, role)
        execution = self._execution(given, options, continued, media)
        async with aclosing(execution.events(self._body(given, asked, options, stream=False))) as events:
            async for _ in events:
                pass
        run: RunOutput = execution.run
        return run

    async def _stream(
        self, given: Any, options: RunOptions, *, every_step: bool, with_output: bool, continued: Continuation | None = None
    ) -> AsyncGenerator[RunOutputEvent | RunOutput, None]:
        role = self.user_message_role
        given = self._fitting(given, continued)
        given, media = await media_input.read(given, options)
        asked = None if continued is not None else media_input.with_media(user_messages(given, role=role), media, role)
        execution = self._execution(given, options, continued, media)
        async with Held(execution.events(self._body(given, asked, options, stream=True))) as events:
            async for event in events:
                if every_step or isinstance(event, _ALWAYS_STREAMED):
                    yield event
        if with_output:
            yield execution.run

    def _execution(
        self, given: Any, options: RunOptions, continued: Continuation | None, media: Mapping[str, list[Media]]
    ) -> Execution:
        """The bracket of a run on ``given``, or of the run ``continued``, which goes on."""
        known = ContinueOptions if continued is not None else RunOptions
        renamed.refuse_unknown("run()" if continued is None else "continue_run()", options, known.__annotations__)
        check_options(options)
        user_id = self._user(options.get("user_id"))
        wanted = options.get("session_id")
        session_id = self._session_for(wanted, user_id) if continued is None else self._session_of(continued, wanted, user_id)
        run_id = options.get("run_id") if continued is None else continued.run_id
        run = RunOutput(
            run_id=str(uuid4()) if run_id is None else check_run_id(run_id),
            agent_id=self.id,
            agent_name=self.name,
            session_id=session_id,
            user_id=user_id,
            input=RunInput(input_content=stored_input(given), **media_input.as_input(media)) if continued is None else None,
            model=self._model.id,
            model_provider=self._model.provider,
            metadata={**(self.metadata or {}), **(options.get("metadata") or {})} or None,
        )
        history_runs, runs_at_hand = runs_looked_back_on(self, options)
        settings = Settings(
            key=SessionKey(session_id=session_id, session_type=SessionType.AGENT, user_id=user_id),
            component_id=self.id,
            component=self._described(),
            default_state=dict(self.session_state or {}),
            run_state=options.get("session_state") or {},
            overwrite_state=self.overwrite_db_session_state and options.get("session_state") is not None,
            metadata=dict(self.metadata) if self.metadata is not None else None,
            run_metadata=options.get("metadata"),
            history_runs=history_runs,
            runs_at_hand=runs_at_hand,
            first_runs=introduction(self, session_id, user_id),
            on_state_conflict=self.on_state_conflict,
            concurrent_runs=self.concurrent_runs,
            queue_timeout=self.queue_timeout,
            checkpoint=self.checkpoint,
            raise_errors=self.raise_model_errors,
            raise_check_errors=self.raise_check_errors,
            reused_id=run_id is not None,
            continues=continued is not None,
            answers=None if continued is None else continued.answers,
            fault_of=self._fault_of_input,
            paused_run=None if continued is None else continued.run,
            recording=self._recording,
            cache=self._session_cache if self.cache_session else None,
            summaries=self._summaries if self.enable_session_summaries else None,
        )
        return Execution(self.db, run, settings)

    def _body(
        self, given: Any, asked: Sequence[Message] | None, options: RunOptions, *, stream: bool
    ) -> Callable[[Execution], AsyncGenerator[RunOutputEvent, None]]:
        form = self._answer_form(options)

        async def body(execution: Execution) -> AsyncGenerator[RunOutputEvent, None]:
            messages = execution.run.messages = execution.context.messages
            await resolve_dependencies(self, execution, options)
            if self.pre_hooks:
                async with aclosing(pre_hook_events(self.pre_hooks, given, execution, self)) as events:
                    async for event in events:
                        yield event
            toolbox = await self._tools_for(execution.context)
            markdown = self.markdown and form is None
            asked_now = None if self.pre_hooks else asked
            await fill(messages, self, asked_now, options, execution, markdown=markdown, tools=toolbox.instructions)
            if form is not None:
                form.instruct(messages)
            loop = ModelLoop(
                model=self._model_of_a_run(),
                run=execution.run,
                messages=messages,
                functions=toolbox.functions,
                provided=toolbox.provided,
                tool_settings=self._tool_settings,
                context=execution.context,
                agent=self,
                event=execution.event,
                stream=stream,
                after_tools=execution.checkpoint,
                send_media=self.send_media_to_model,
                answer_form=form,
                paused_round=execution.past.paused_round,
            )
            async with aclosing(loop.events()) as events:
                async for event in events:
                    yield event
            if self.post_hooks and execution.run.status is not RunStatus.paused:
                async with aclosing(post_hook_events(self.post_hooks, execution, self)) as events:
                    async for event in events:
                        yield event

        return body

    def _fitting(self, given: Any, continued: Continuation | None) -> Any:
        """The input as an instance of ``input_schema``, if there is one. A run that goes on has had its input checked."""
        if self.input_schema is None or continued is not None:
            return given
        return fitting_input(given, self.input_schema)

    def _answer_form(self, options: RunOptions) -> StructuredAnswer | None:
        schema = options.get("output_schema")
        schema = self.output_schema if schema is None else schema
        if schema is None:
            return None
        natively = not self.use_json_mode if self.structured_outputs is None else self.structured_outputs
        return StructuredAnswer(output_schema(schema), self._model, natively=natively, parse=self.parse_response)

    def _described(self) -> dict[str, Any]:
        model = {"id": self._model.id, "provider": self._model.provider, "name": type(self.model).__name__}
        return {"agent_id": self.id, "name": self.name, "model": model}

    # The terminal.

    @renamed.older_options_accepted
    async def aprint_response(self, input: Any, **options: Unpack[PrintOptions]) -> None:  # noqa: A002
        """Run the agent and print question and answer to the terminal, as they come or, without ``stream``, at once.

        The options are those of ``arun`` and PrintOptions.
        """
        await terminal.print_response(self, input, _known("print_response()", options, PrintOptions))

    print_response = blocking(aprint_response)

    @renamed.older_options_accepted
    async def acli_app(self, input: str | None = None, **options: Unpack[ChatOptions]) -> None:  # noqa: A002
        """Talk to the agent on the terminal until Ctrl-D, ``/exit``, or ``exit``, ``quit`` or ``bye``. ``input`` is the first message.

        Enter sends, Alt-Enter begins a new line, Ctrl-C stops an answer; ``/help`` lists the commands: other sessions, a new one, its name,
        state and history. Where the standard input is no terminal its lines are taken as they are, and an error is raised. The options are those of
        ``arun`` and ChatOptions. See docs/terminal.md.
        """
        await terminal.load_chat()
        await terminal.chat_with(self, self._whose(_known("cli_app()", options, ChatOptions))).arun(input)

    @renamed.older_options_accepted
    def cli_app(self, input: str | None = None, **options: Unpack[ChatOptions]) -> None:  # noqa: A002
        """``acli_app``, blocking: what is typed is read in this thread."""
        terminal.chat_with(self, self._whose(_known("cli_app()", options, ChatOptions))).run(input)

    def _whose(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with the session and the user that they mean."""
        user_id = self._user(options.get("user_id"))
        return {**options, "user_id": user_id, "session_id": self._session_for(options.get("session_id"), user_id)}


def _known(method: str, options: Mapping[str, Any], known: Any) -> Mapping[str, Any]:
    renamed.refuse_unknown(method, options, known.__annotations__)
    return options


_ALWAYS_STREAMED = (
    RunContentEvent,
    IntermediateRunContentEvent,
    CustomEvent,
    RunPausedEvent,
    RunCancelledEvent,
    RunErrorEvent,
    StateConflictEvent,
)

FILLED_IN_TYPES[Agent] = "agent"
