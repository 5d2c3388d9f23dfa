"""``Loop``: steps that run again and again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.run.steps import StepOutput, StepType
from agno_mongo.run.workflow_events import (
    LoopExecutionCompletedEvent,
    LoopExecutionStartedEvent,
    LoopIterationCompletedEvent,
    LoopIterationStartedEvent,
)
from agno_mongo.workflow.asking import RoundReview
from agno_mongo.workflow.calling import called_with_one, value_of
from agno_mongo.workflow.journal import Path
from agno_mongo.workflow.preparing import as_nodes, called
from agno_mongo.workflow.step import review_of
from agno_mongo.workflow.steps import Group, close, summarized
from agno_mongo.workflow.types import HumanReview, StepInput
from agno_mongo.workflow.walking import Walk


@dataclass(kw_only=True)
class _Rounds:
    """How far a loop has come: what its events ``said`` of it, the ``results`` of its rounds, and the ``look`` that a person has at the last of them."""

    said: dict[str, Any]
    results: list[list[StepOutput]] = field(default_factory=list)
    look: RoundReview | None = None
    goes_on: bool = True


class Loop(Group):
    """Steps that run in order, again and again: until ``end_condition`` says True of the outputs of a round, at most ``max_iterations`` times (3).

    ``end_condition`` is a function of the list of StepOutputs; what it raises fails the run. Each round is given what the loop was given, with
    ``forward_iteration_output`` what the round before has come to. With ``human_review=HumanReview(requires_iteration_review=True)`` a person looks at each
    round after which there would be another.
    """

    TYPE: ClassVar[StepType] = StepType.LOOP

    def __init__(
        self,
        steps: Sequence[Any],
        name: str | None = None,
        description: str | None = None,
        max_iterations: int = 3,
        end_condition: Callable[..., Any] | None = None,
        forward_iteration_output: bool = False,
        human_review: HumanReview | None = None,
        **asked: Any,
    ) -> None:
        self.name = checks.text("name", name)
        self.description = checks.text("description", description)
        where = called("Loop", name)
        self.steps = as_nodes(where, steps)
        if max_iterations is None:
            raise ConfigurationError(f"{where} would never end: max_iterations is a whole number from 1, not None")
        self.max_iterations = checks.count(f"max_iterations of {where}", max_iterations) or 1
        if end_condition is not None:
            checks.called(f"the end_condition of {where}", end_condition)
            called_with_one(f"the end_condition of {where}", end_condition)
        self.end_condition = end_condition
        self.forward_iteration_output = checks.flag("forward_iteration_output", forward_iteration_output)
        self.human_review = review_of(self, human_review, asked)
        self.human_review.refuse("Loop", requires_user_input=True, requires_output_review=True)

    async def carried_out(self, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> AsyncGenerator[Any, None]:
        """Run the steps round by round."""
        event, data = walk.flow.execution.event, self.event_data(output, walk, path)
        rounds = _Rounds(said={**data, "max_iterations": self.max_iterations})
        yield event(LoopExecutionStartedEvent, **rounds.said)
        while rounds.goes_on:
            async with aclosing(self._round(rounds, output, given, walk, path)) as events:
                async for happening in events:
                    yield happening
            if rounds.look is not None:
                yield rounds.look.event(data)
                given = rounds.look.told(given)
            if self.forward_iteration_output:
                for step in rounds.results[-1]:
                    given = given.after(step)
        close(output)
        if rounds.look is not None:
            rounds.look.close(output)
        elif not output.is_paused:
            number = len(rounds.results)
            output.content = f"{summarized(len(output.steps or ()))} of {output.step_name} completed in {number} rounds"
        if not output.is_paused:
            results = rounds.results
            yield event(LoopExecutionCompletedEvent, **rounds.said, total_iterations=len(results), all_results=results)

    async def _round(
        self, rounds: _Rounds, output: StepOutput, given: StepInput, walk: Walk, path: Path
    ) -> AsyncGenerator[Any, None]:
        event, index, rounds.look = walk.flow.execution.event, len(rounds.results), None
        said = {**rounds.said, "iteration": index + 1}
        yield event(LoopIterationStartedEvent, **said)
        inside = walk.into(output, (*path, index), iteration=index + 1)
        before = len(inside.outputs)
        async with aclosing(inside.through(self._nodes(self.steps), given)) as events:
            async for happening in events:
                yield happening
        made = inside.outputs[before:]
        rounds.results.append(made)
        rounds.goes_on = False
        if any(step.is_paused for step in made):
            return
        done = any(step.stop for step in made) or await self._is_over(made, walk, (*path, index))
        rounds.goes_on = not done and index + 1 < self.max_iterations
        if rounds.goes_on and self.human_review.requires_iteration_review and made:
            rounds.look = self._look_at(made[-1], output, given, walk, (*path, index))
            rounds.goes_on = rounds.look.goes_on
        yield event(LoopIterationCompletedEvent, **said, iteration_results=made, should_continue=rounds.goes_on)

    def _look_at(self, made: StepOutput, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> RoundReview:
        asked = self.requirement(output, given, path)
        return RoundReview(flow=walk.flow, review=self.human_review, path=path, made=made, requirement=asked)

    async def _is_over(self, made: list[StepOutput], walk: Walk, path: Path) -> bool:
        if self.end_condition is None:
            return False
        journal = walk.flow.journal
        before = journal.chosen(path, "is_over")
        if before is None:
            context = walk.scope.context
            offered = {"run_context": context, "session_state": context.session_state}
            before = bool(await value_of(self.end_condition, made, offered))
            journal.choose(path, is_over=before)
        return bool(before)
