"""Going on with a run that has paused, or whose process died."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar, cast, overload

from typing_extensions import Unpack

from agno_mongo.agent.first_messages import ContextOptions
from agno_mongo.agent.output_schema import Schema
from agno_mongo.blocking import portal
from agno_mongo.component.background_runs import streamed
from agno_mongo.component.continuing import Continuation, GoingOn, run_meant
from agno_mongo.component.sessions import RunT, SessionT
from agno_mongo.messages import ToolExecution
from agno_mongo.run.base import BaseRunOutput
from agno_mongo.run.requirement import RunRequirement, answers_of

Requirements = Sequence[RunRequirement | dict[str, Any]] | None
Tools = Sequence[ToolExecution | dict[str, Any]] | None
EventT = TypeVar("EventT")
KindT = TypeVar("KindT", bound=BaseRunOutput)


class ContinueOptions(ContextOptions, total=False):
    """What a run that goes on may set differently from its agent.

    ``session_id`` and ``user_id`` say whose conversation it is part of; ``session_state`` is laid over what is stored.
    ``output_schema`` is what this run's answer must look like.
    """

    session_id: str | None
    user_id: str | None
    session_state: dict[str, Any] | None
    metadata: dict[str, Any] | None
    output_schema: Schema | None


class Continuing(GoingOn[SessionT, RunT], ABC, Generic[SessionT, RunT, EventT]):
    """``acontinue_run`` and ``continue_run``, on top of the component's one way of running."""

    @abstractmethod
    async def _run(
        self, given: Any, options: Any, *, continued: Continuation[RunT] | None = None, background: bool = False
    ) -> RunT:
        """Carry the run out, and give it back once it is stored."""

    @abstractmethod
    def _stream(
        self, given: Any, options: Any, *, every_step: bool, with_output: bool, continued: Continuation[RunT] | None = None
    ) -> AsyncGenerator[EventT | RunT, None]:
        """The events of the run, which carry it out when they are read."""

    @overload
    def acontinue_run(
        self,
        run_response: RunT | str | None = None,
        *,
        run_id: str | None = None,
        requirements: Requirements = None,
        updated_tools: Tools = None,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> Coroutine[Any, Any, RunT]: ...

    @overload
    def acontinue_run(
        self,
        run_response: RunT | str | None = None,
        *,
        run_id: str | None = None,
        requirements: Requirements = None,
        updated_tools: Tools = None,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> AsyncIterator[EventT | RunT]: ...

    def acontinue_run(
        self,
        run_response: RunT | str | None = None,
        *,
        run_id: str | None = None,
        requirements: Requirements = None,
        updated_tools: Tools = None,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> Coroutine[Any, Any, RunT] | AsyncIterator[EventT | RunT]:
        """Go on with a paused run that was answered, or with an interrupted one, in any process, however much later.

        The run is named by ``run_id``, or by ``run_response``, the paused RunOutput itself (or its id). A paused run takes ``requirements``
        (those of the run, each answered; or the dicts that a client sent back), or ``updated_tools`` (its tools, with ``confirmed``, input or
        ``result`` filled in); with ``run_response`` its own requirements count. Of an answer only the answer is used: what is called, and
        with which arguments, the store knows. Every call that waits needs an answer, and no other may have one: else RunIsPaused, and the
        run stays paused. Calls that were made before the pause are not made again. The run may pause again.

        A run whose own process died, and whose lease has run out, takes no answers, or those that it was last given: these are stored before anything is
        called. With ``checkpoint="tool-batch"`` it goes on from the rounds of tools that it had finished, with their
        changes to the state; without, it begins again, or where it was answered last. A round that was not finished is called again, so tools
        that must not be called twice should look for themselves.

        The run keeps its id and its input. System message and history are made anew, and so is what the first call of an interrupted run had set by
        ``session_state`` and ``metadata``, unless a checkpoint has it. Awaited or streamed like ``arun``.

        Of several that try at once one goes on with it; the others, and whoever tries while it is alive, get SessionBusy. Raises
        RunAlreadyFinished and RunNotFound too. The first process, should it only have been stalled, can do nothing to the run any more: it
        gets RunTakenOver or RunAlreadyFinished.
        """
        continued = _continuation(run_response, run_id, requirements, updated_tools)
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
        run_response: RunT | str | None = None,
        *,
        run_id: str | None = None,
        requirements: Requirements = None,
        updated_tools: Tools = None,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> RunT: ...

    @overload
    def continue_run(
        self,
        run_response: RunT | str | None = None,
        *,
        run_id: str | None = None,
        requirements: Requirements = None,
        updated_tools: Tools = None,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> Iterator[EventT | RunT]: ...

    def continue_run(
        self,
        run_response: RunT | str | None = None,
        *,
        run_id: str | None = None,
        requirements: Requirements = None,
        updated_tools: Tools = None,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        background: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> RunT | Iterator[EventT | RunT]:
        """``acontinue_run``, waited for; with ``stream=True`` a plain iterator."""
        which: dict[str, Any] = {"run_id": run_id, "requirements": requirements, "updated_tools": updated_tools}
        if streamed(stream, self.stream, background=background):
            events = self.acontinue_run(
                run_response, **which, stream=True, stream_events=stream_events, yield_run_output=yield_run_output, **options
            )
            return portal.iterate(events)
        return portal.call(self.acontinue_run(run_response, **which, stream=False, background=background, **options))


def _continuation(
    run_response: RunT | str | None, run_id: str | None, requirements: Requirements, updated_tools: Tools
) -> Continuation[RunT]:
    meant, run = run_meant(run_response, run_id, BaseRunOutput, "RunOutput")
    if run is not None and run.is_paused and requirements is None and updated_tools is None:
        requirements, updated_tools = getattr(run, "requirements", None) or [], getattr(run, "tools", None)
    return Continuation(run_id=meant, answers=answers_of(requirements, updated_tools), run=cast("RunT | None", run))
