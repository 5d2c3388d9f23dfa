"""What agents and teams share: a model with instructions, tools and a session, and one way to run it, with several faces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import cache, partial
from typing import Any, Final, Generic, Literal, TypeVar, cast, overload

from typing_extensions import Unpack

from agno_mongo import renamed, terminal
from agno_mongo.agent import media_input
from agno_mongo.agent.continuing import ContinueOptions, Continuing
from agno_mongo.agent.first_messages import check_options, fill, resolve_dependencies, runs_looked_back_on
from agno_mongo.agent.hooks import PreHooks, post_hook_events
from agno_mongo.agent.input_schema import fitting_input
from agno_mongo.agent.introducing import introduction
from agno_mongo.agent.media_input import MediaOptions
from agno_mongo.agent.output_schema import StructuredAnswer, output_schema
from agno_mongo.agent.prompt import stored_input, user_messages
from agno_mongo.agent.second_models import SecondModels
from agno_mongo.agent.settings import AgentSettings
from agno_mongo.blocking import blocking, portal
from agno_mongo.component.background_runs import carried_out, streamed
from agno_mongo.component.cancelling import Cancelling
from agno_mongo.component.continuing import Continuation
from agno_mongo.component.sessions import RunT, SessionT
from agno_mongo.db.arguments import check_run_id
from agno_mongo.db.keys import SessionKey
from agno_mongo.execution import Execution
from agno_mongo.ids import new_id
from agno_mongo.media import Media
from agno_mongo.messages import Message
from agno_mongo.model_loop import AnswerForm, ModelLoop
from agno_mongo.models.base import Model
from agno_mongo.own_session import OwnSession
from agno_mongo.run.agent import (
    CustomEvent,
    IntermediateRunContentEvent,
    RunCancelledEvent,
    RunContentEvent,
    RunErrorEvent,
    RunInput,
    RunPausedEvent,
    StateConflictEvent,
)
from agno_mongo.run.base import BaseRunOutput, RunStatus
from agno_mongo.run_settings import Settings
from agno_mongo.streams import Held

EventT = TypeVar("EventT")


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


class Actor(AgentSettings, Continuing[SessionT, RunT, EventT], Cancelling[SessionT, RunT], Generic[SessionT, RunT, EventT]):
    """What an agent and a team are: a model with instructions, tools and a session, and one way to run it."""

    # Running.

    @overload
    def arun(
        self,
        input: Any,
        *,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[RunOptions],
    ) -> Coroutine[Any, Any, RunT]: ...

    @overload
    def arun(
        self,
        input: Any,
        *,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[RunOptions],
    ) -> AsyncIterator[EventT | RunT]: ...

    @renamed.older_options_accepted
    def arun(
        self,
        input: Any,  # noqa: A002
        *,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[RunOptions],
    ) -> Coroutine[Any, Any, RunT] | AsyncIterator[EventT | RunT]:
        """Run on ``input`` (text, Message, a list of messages, or data) and store the run in its session.

        Await it for the RunOutput; with ``stream=True`` iterate over it, without ``await``: pieces of the answer (RunContentEvent)
        and what went wrong, with ``stream_events`` every step, with ``yield_run_output`` the RunOutput at the end. The input is stored
        before the model is asked, and the run whatever becomes of it: completed, failed, cancelled, or left by its reader.

        Raises StoreError and SessionError if the run could not be stored, UnstorableValueError if a part of it could not; a model's
        error gives a run with status ERROR, and is raised only with ``raise_model_errors``.
        """
        if streamed(stream, self.stream, background=background):
            every_step = bool(self.stream_events if stream_events is None else stream_events)
            return self._stream(input, options, every_step=every_step, with_output=yield_run_output)
        return self._run(input, options, background=background)

    @overload
    def run(
        self,
        input: Any,
        *,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunT: ...

    @overload
    def run(
        self,
        input: Any,
        *,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[RunOptions],
    ) -> Iterator[EventT | RunT]: ...

    @renamed.older_options_accepted
    def run(
        self,
        input: Any,  # noqa: A002
        *,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunT | Iterator[EventT | RunT]:
        """``arun``, waited for; with ``stream=True`` a plain iterator. Works in scripts, notebooks and running loops."""
        if streamed(stream, self.stream, background=background):
            events = self.arun(input, stream=True, stream_events=stream_events, yield_run_output=yield_run_output, **options)
            return portal.iterate(events)
        return portal.call(self._run(input, options, background=background))

    async def _run(
        self, given: Any, options: RunOptions, *, continued: Continuation[RunT] | None = None, background: bool = False
    ) -> RunT:
        execution, happening = await self._begun(given, options, continued, stream=False)
        return cast("RunT", await carried_out(execution, happening, background=background))

    async def _stream(
        self,
        given: Any,
        options: RunOptions,
        *,
        every_step: bool,
        with_output: bool,
        continued: Continuation[RunT] | None = None,
    ) -> AsyncGenerator[EventT | RunT, None]:
        execution, happening = await self._begun(given, options, continued, stream=True)
        run_id, shown = execution.run.run_id, _always_streamed(self.RUN_TYPE)
        async with Held(happening) as events:
            async for event in events:
                # Those of a run within this one come as that run gives them.
                if every_step or isinstance(event, shown) or event.run_id != run_id:
                    yield event
        if with_output:
            yield cast("RunT", execution.run)

    async def begun_within(
        self, outer: Execution, given: Any, options: RunOptions, *, stream: bool, own_session: bool = False
    ) -> tuple[Execution, AsyncGenerator[Any, None]]:
        """A run that is part of ``outer``, a member's in its team's, and its events, which carry it out when they are read.

        It has the session, the user and the database of the outer run, and is stored with it; ``own_session``: in its own session, too,
        if it has a database and a session.
        """
        return await self._begun(given, options, None, stream=stream, within=outer, own_session=own_session)

    async def goes_on_within(
        self, outer: Execution, run_id: str, options: Mapping[str, Any], *, stream: bool, own_session: bool = False
    ) -> tuple[Execution, AsyncGenerator[Any, None]]:
        """The same for a run of ``outer``'s that had paused: it goes on from what it has stored, with the answers that ``outer`` was given for it. Of the
        ``options`` it takes those that :meth:`acontinue_run` takes.
        """
        kept = {name: value for name, value in options.items() if name in ContinueOptions.__annotations__}
        continued: Continuation[RunT] = Continuation(run_id=run_id)
        return await self._begun(None, cast("RunOptions", kept), continued, stream=stream, within=outer, own_session=own_session)

    async def _begun(
        self,
        given: Any,
        options: RunOptions,
        continued: Continuation[RunT] | None,
        *,
        stream: bool,
        within: Execution | None = None,
        own_session: bool = False,
    ) -> tuple[Execution, AsyncGenerator[Any, None]]:
        """The bracket of a run, and what happens in it."""
        role = self.user_message_role
        if self.input_schema is not None and continued is None:
            options = cast("RunOptions", media_input.with_those_of(given, options))
            given = fitting_input(given, self.input_schema)
        given, media = await media_input.read(given, options)
        asked = None if continued is not None else media_input.with_media(user_messages(given, role=role), media, role)
        execution = self._execution(given, options, continued, media, within, own_session=own_session)
        return execution, execution.events(self._body(given, asked, options, stream=stream))

    def _execution(
        self,
        given: Any,
        options: RunOptions,
        continued: Continuation[RunT] | None,
        media: Mapping[str, list[Media]],
        within: Execution | None,
        *,
        own_session: bool,
    ) -> Execution:
        """The bracket of a run on ``given``, or of the run ``continued``, which goes on."""
        known = ContinueOptions if continued is not None else RunOptions
        renamed.refuse_unknown(
            "run()" if continued is None else "continue_run()", options, known.__annotations__, component=type(self)
        )
        check_options(options)
        key = within.key if within is not None else self._key_of(options, continued)
        run_id = options.get("run_id") if continued is None else continued.run_id
        run = self._new_run(
            run_id=new_id() if run_id is None else check_run_id(run_id),
            session_id=key.session_id,
            user_id=key.user_id,
            parent_run_id=None if within is None else within.run.run_id,
            input=RunInput(input_content=stored_input(given), **media_input.as_input(media)) if continued is None else None,
            model=self._model.id,
            model_provider=self._model.provider,
            metadata={**(self.metadata or {}), **(options.get("metadata") or {})} or None,
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
            **self._looking_back(options),
            raise_errors=self.raise_model_errors,
            raise_check_errors=self.raise_check_errors,
            reused_id=run_id is not None,
            continues=continued is not None,
            answers=None if continued is None else continued.answers,
            fault_of=self._fault_of_input,
            paused_run=None if continued is None else continued.run,
            recording=self._recording,
            own_session=self._own_session(key.user_id) if own_session else None,
            **({} if within is not None else self._of_a_session(key)),
        )
        return Execution(self.db, run, settings, within=within)

    def _key_of(self, options: RunOptions, continued: Continuation[RunT] | None) -> SessionKey:
        """Which session a call means."""
        user_id, wanted = self._user(options.get("user_id")), options.get("session_id")
        session_id = self._session_for(wanted, user_id) if continued is None else self._session_of(continued, wanted, user_id)
        return SessionKey(session_id=session_id, session_type=self.SESSION_TYPE, user_id=user_id)

    def _own_session(self, user_id: str | None) -> OwnSession | None:
        """The actor's session for a user's runs that are part of others; None if it has none of its own."""
        if self.db is None or self.session_id is None:
            return None
        key = SessionKey(session_id=self.session_id, session_type=self.SESSION_TYPE, user_id=user_id)
        return OwnSession(db=self.db, key=key, component=self._described())

    def _of_a_session(self, key: SessionKey) -> dict[str, Any]:
        """Settings of the bracket for a run that is stored by itself, and not within another."""
        return {
            "component": self._described(),
            "first_runs": introduction(self, self._new_run, key),
            "on_state_conflict": self.on_state_conflict,
            "concurrent_runs": self.concurrent_runs,
            "queue_timeout": self.queue_timeout,
            "checkpoint": self.checkpoint,
            "cache": self._session_cache if self.cache_session else None,
            "summaries": self._summaries if self.enable_session_summaries else None,
        }

    def _looking_back(self, options: RunOptions) -> dict[str, Any]:
        """Settings of the bracket that say how many earlier runs the run wants to see."""
        history_runs, runs_at_hand = runs_looked_back_on(self, options)
        return {"history_runs": history_runs, "runs_at_hand": runs_at_hand}

    def runs_of_turns(self, turns: int) -> int:
        """How many of a session's newest runs it takes, as a rule, to have those of so many turns."""
        return turns

    def _new_run(self, **fields: Any) -> Any:
        """A run of this actor's."""
        kind = self.SESSION_TYPE.value
        return self.RUN_TYPE(**{f"{kind}_id": self.id, f"{kind}_name": self.name}, **fields)

    def _body(
        self, given: Any, asked: Sequence[Message] | None, options: RunOptions, *, stream: bool
    ) -> Callable[[Execution], AsyncGenerator[Any, None]]:
        schema = self._answer_form(options)

        async def body(execution: Execution) -> AsyncGenerator[Any, None]:
            messages = execution.run.messages = execution.context.messages
            await resolve_dependencies(self, execution, options)
            asked_now = asked
            if self.pre_hooks:
                hooks = PreHooks(self.pre_hooks, given, execution)
                async with aclosing(hooks.events(self.as_arguments)) as events:
                    async for event in events:
                        yield event
                asked_now = hooks.asked(self.user_message_role)
            toolbox = await self._tools_for(execution.context)
            make_loop = partial(
                ModelLoop,
                run=execution.run,
                context=execution.context,
                offered=(offered := self._offered(execution, options, stream=stream)),
                event=execution.event,
                send_media=self.send_media_to_model,
            )
            second = self._second_models(schema, make_loop, execution)
            own_schema = schema if second is None else None
            markdown = self.markdown and schema is None
            await fill(messages, self, asked_now, options, execution, markdown=markdown, tools=toolbox.instructions)
            if own_schema is not None:
                own_schema.instruct(messages)
            form = self._form_of(own_schema, execution)
            loop = make_loop(
                model=self._model_of_a_run(None if own_schema is None else own_schema.fitted),
                messages=messages,
                functions=toolbox.functions,
                provided=toolbox.provided,
                tool_settings=self._tool_settings,
                stream=stream,
                after_tools=execution.checkpoint,
                answer_form=form,
                paused_round=execution.past.paused_round,
            )
            happening = loop.events() if second is None else second.events(loop)
            async with aclosing(self._told(happening, form, execution)) as events:
                async for event in events:
                    yield event
            if schema is not None and execution.run.status is not RunStatus.paused:
                schema.take_result(execution.run)
            self._take_answer(execution, offered)
            if self.post_hooks and execution.run.status is not RunStatus.paused:
                async with aclosing(post_hook_events(self.post_hooks, execution, self.as_arguments)) as events:
                    async for event in events:
                        yield event

        return body

    def _offered(self, execution: Execution, options: RunOptions, *, stream: bool) -> Mapping[str, Any]:  # noqa: ARG002 - a team's
        """What the run's tools may ask for by name, beside its context."""
        return {**self.as_arguments, "actor": self}

    def _told(
        self,
        happening: AsyncGenerator[Any, None],
        form: AnswerForm | None,  # noqa: ARG002 - a team's
        execution: Execution,  # noqa: ARG002
    ) -> AsyncGenerator[Any, None]:
        """The events of the conversation with the model, and what else is to be told of it."""
        return happening

    def _take_answer(self, execution: Execution, offered: Mapping[str, Any]) -> None:
        """Make of the run's answer what it stands for, where that is not the model's word."""

    def _form_of(self, schema: StructuredAnswer | None, execution: Execution) -> AnswerForm | None:  # noqa: ARG002 - a team's
        """What the model's answer must be to end the run."""
        return schema

    def _schema_of(self, options: RunOptions) -> Any:
        """What the call's answer must look like, or the actor's answers."""
        schema = options.get("output_schema")
        return self.output_schema if schema is None else schema

    def _answer_form(self, options: RunOptions) -> StructuredAnswer | None:
        schema = self._schema_of(options)
        if schema is None:
            return None
        natively = not self.use_json_mode if self.structured_outputs is None else self.structured_outputs
        model = self.parser_model or self.output_model or self._model
        return StructuredAnswer(output_schema(schema), cast("Model", model), natively=natively, parse=self.parse_response)

    def _second_models(
        self, schema: StructuredAnswer | None, loop: Callable[..., ModelLoop], execution: Execution
    ) -> SecondModels | None:
        """Who speaks after the run's own model; None if nobody does."""
        parser = None if schema is None else self.parser_model
        if parser is None and self.output_model is None:
            return None
        return SecondModels(
            output=cast("Model | None", self.output_model),
            output_prompt=self.output_model_prompt,
            parser=cast("Model | None", parser),
            parser_prompt=self.parser_model_prompt,
            schema=schema,
            loop=loop,
            event=execution.event,
            run=execution.run,
            messages=execution.context.messages,
        )

    def _described(self) -> dict[str, Any]:
        model = {"id": self._model.id, "provider": self._model.provider, "name": type(self.model).__name__}
        return {self.SESSION_TYPE.id_field: self.id, "name": self.name, "model": model}

    # The terminal.

    @renamed.older_options_accepted
    async def aprint_response(self, input: Any, **options: Unpack[PrintOptions]) -> None:  # noqa: A002
        """Run and print question and answer to the terminal, as they come or, without ``stream``, at once.

        The options are those of ``arun`` and PrintOptions.
        """
        await terminal.print_response(self, input, _known("print_response()", options, PrintOptions, type(self)))

    print_response = blocking(aprint_response)

    @renamed.older_options_accepted
    async def acli_app(self, input: str | None = None, **options: Unpack[ChatOptions]) -> None:  # noqa: A002
        """Talk on the terminal until Ctrl-D, ``/exit``, or ``exit``, ``quit`` or ``bye``. ``input`` is the first message.

        Enter sends, Alt-Enter begins a new line, Ctrl-C stops an answer; ``/help`` lists the commands: other sessions, a new one, its name,
        state and history. Where the standard input is no terminal its lines are taken as they are, and an error is raised. The options are those of
        ``arun`` and ChatOptions. See docs/terminal.md.
        """
        await terminal.load_chat()
        await terminal.chat_with(self, self._whose(_known("cli_app()", options, ChatOptions, type(self)))).arun(input)

    @renamed.older_options_accepted
    def cli_app(self, input: str | None = None, **options: Unpack[ChatOptions]) -> None:  # noqa: A002
        """``acli_app``, blocking: what is typed is read in this thread."""
        terminal.chat_with(self, self._whose(_known("cli_app()", options, ChatOptions, type(self)))).run(input)


def _known(method: str, options: Mapping[str, Any], known: Any, component: type) -> Mapping[str, Any]:
    renamed.refuse_unknown(method, options, known.__annotations__, component=component)
    return options


_ALWAYS_STREAMED: Final = (
    RunContentEvent,
    IntermediateRunContentEvent,
    CustomEvent,
    RunPausedEvent,
    RunCancelledEvent,
    RunErrorEvent,
    StateConflictEvent,
)


@cache
def _always_streamed(kind: type[BaseRunOutput]) -> tuple[type, ...]:
    return tuple(kind.EVENT_KINDS.get(event, event) for event in _ALWAYS_STREAMED)
