"""``Parallel``: steps that run at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar

from agno_mongo import checks, renamed
from agno_mongo.run.steps import StepOutput, StepType, deepest_content
from agno_mongo.run.workflow_events import ParallelExecutionCompletedEvent, ParallelExecutionStartedEvent
from agno_mongo.tools.calling import ended
from agno_mongo.workflow.journal import Path
from agno_mongo.workflow.preparing import as_nodes, called
from agno_mongo.workflow.step import review_of
from agno_mongo.workflow.steps import Group, close
from agno_mongo.workflow.types import NO_REVIEW, HumanReview, StepInput
from agno_mongo.workflow.walking import Branch, Node, Walk


class _Ended:
    """A branch has come to its end."""

    def __init__(self, failure: BaseException | None) -> None:
        self.failure = failure


class _Happenings:
    """Where what happens in the branches comes together. Once it is ``closed`` nobody listens any more."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue(1)
        self.closed = False

    async def of(self, events: AsyncGenerator[Any, None]) -> None:
        """Carry out one branch."""
        failure: BaseException | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    await self.queue.put(event)
        except BaseException as error:
            if self.closed:
                raise
            # What is cancelled within a branch has ended like any other that fails.
            failure = error
        await self.queue.put(_Ended(failure))


@renamed.older_settings_accepted
class Parallel(Group):
    """Steps that run at once, each given the same: ``Parallel(first, second, name="both")``.

    Each sees the state as it is when they begin and what it changes itself; what they changed is laid together key by key, counters and lists
    (``run_context.state``) are added up. If one fails the others run to their end, and then the whole fails. The next step is given all that they
    came to.
    """

    TYPE: ClassVar[StepType] = StepType.PARALLEL

    def __init__(
        self, *args: Any, name: str | None = None, description: str | None = None, human_review: HumanReview | None = None
    ) -> None:
        steps = list(args)
        if steps and isinstance(steps[0], str):
            own = steps.pop(0)
            name = own if name is None else name
        self.name = checks.text("name", name)
        self.description = checks.text("description", description)
        self.steps = as_nodes(called("Parallel", name), steps)
        self.human_review = review_of(self, human_review, {})
        self.human_review.refuse("Parallel", requires_confirmation=True, requires_user_input=True, **NO_REVIEW)

    def named(self, path: Path) -> str:  # noqa: ARG002 - wherever it stands
        """Its name, or Agno's word for it."""
        return self.name or "Parallel"

    async def carried_out(self, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> AsyncGenerator[Any, None]:
        """Run the steps at once."""
        event, data, nodes = walk.flow.execution.event, self.event_data(output, walk, path), self._nodes(self.steps)
        output.executor_type, output.executor_name = "parallel", output.step_name
        yield event(ParallelExecutionStartedEvent, **data, parallel_step_count=len(nodes))
        async with aclosing(self._at_once(nodes, output, given, walk, path)) as events:
            async for happening in events:
                yield happening
        close(output)
        if not output.is_paused:
            output.content = deepest_content(output)
            yield event(ParallelExecutionCompletedEvent, **data, parallel_step_count=len(nodes), step_results=output.steps or [])

    async def _at_once(
        self, nodes: list[Node], output: StepOutput, given: StepInput, walk: Walk, path: Path
    ) -> AsyncGenerator[Any, None]:
        """What happens in all branches, as it comes. Nothing is taken from a branch before what it gave last was read."""
        happenings = _Happenings()
        tasks = []
        for index, node in enumerate(nodes):
            inside = walk.into(output, path, scope=Branch(walk.scope))
            tasks.append(asyncio.ensure_future(happenings.of(node.events(given, inside, (*path, index)))))
        failures: list[BaseException] = []
        unfinished = len(tasks)
        try:
            while unfinished:
                happening = await happenings.queue.get()
                if not isinstance(happening, _Ended):
                    yield happening
                    continue
                unfinished -= 1
                failures += [happening.failure] if happening.failure is not None else []
        finally:
            happenings.closed = True
            await ended(*tasks)
        if failures:
            raise failures[0]
