"""Going on with a run whose process died."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from typing import Any, Literal, overload

from typing_extensions import Unpack

from agno_mongo.agent.first_messages import ContextOptions
from agno_mongo.agent.output_schema import Schema
from agno_mongo.blocking import portal
from agno_mongo.run.agent import RunOutput, RunOutputEvent


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


class Continuing:
    """``acontinue_run`` and ``continue_run``, on top of the component's one way of running."""

    stream: bool | None
    stream_events: bool | None

    async def _run(self, given: Any, options: Any, *, continued: str | None = None) -> RunOutput:
        raise NotImplementedError

    def _stream(
        self, given: Any, options: Any, *, every_step: bool, with_output: bool, continued: str | None = None
    ) -> AsyncGenerator[RunOutputEvent | RunOutput, None]:
        raise NotImplementedError

    @overload
    def acontinue_run(
        self,
        run_id: str,
        *,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> Coroutine[Any, Any, RunOutput]: ...

    @overload
    def acontinue_run(
        self,
        run_id: str,
        *,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> AsyncIterator[RunOutputEvent | RunOutput]: ...

    def acontinue_run(
        self,
        run_id: str,
        *,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> Coroutine[Any, Any, RunOutput] | AsyncIterator[RunOutputEvent | RunOutput]:
        """Go on with an interrupted run, in any process: a run whose own process died, and whose lease has run out.

        It keeps its id and its input. With ``checkpoint="tool-batch"`` it goes on from the rounds of tools that it had finished, with their
        changes to the state; without, it begins again. A round that was not finished is called again, so tools that must not be called
        twice should look for themselves. System message and history are made anew, and so is what the first call had set by ``session_state``
        and ``metadata``, unless a checkpoint has it. Awaited or streamed like ``arun``.

        Of several processes that try at once one goes on with it; the others, and whoever tries while it is alive, get SessionBusy. Raises
        RunAlreadyFinished and RunNotFound too. The first process, should it only have been stalled, can do nothing to the run any more: it
        gets RunTakenOver or RunAlreadyFinished.
        """
        if stream if stream is not None else self.stream:
            every_step = bool(self.stream_events if stream_events is None else stream_events)
            return self._stream(None, options, every_step=every_step, with_output=yield_run_output, continued=run_id)
        return self._run(None, options, continued=run_id)

    @overload
    def continue_run(
        self,
        run_id: str,
        *,
        stream: Literal[False] | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> RunOutput: ...

    @overload
    def continue_run(
        self,
        run_id: str,
        *,
        stream: Literal[True],
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> Iterator[RunOutputEvent | RunOutput]: ...

    def continue_run(
        self,
        run_id: str,
        *,
        stream: bool | None = None,
        stream_events: bool | None = None,
        yield_run_output: bool = False,
        **options: Unpack[ContinueOptions],
    ) -> RunOutput | Iterator[RunOutputEvent | RunOutput]:
        """``acontinue_run``, waited for; with ``stream=True`` a plain iterator."""
        if stream if stream is not None else self.stream:
            events = self.acontinue_run(
                run_id, stream=True, stream_events=stream_events, yield_run_output=yield_run_output, **options
            )
            return portal.iterate(events)
        return portal.call(self._run(None, options, continued=run_id))
