"""``Condition``: steps that run only if something holds, and others that run if not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.run.step_requirement import StepRequirement
from agno_mongo.run.steps import SKIPPED, StepOutput, StepType
from agno_mongo.run.workflow_events import ConditionExecutionCompletedEvent, ConditionExecutionStartedEvent
from agno_mongo.workflow.calling import called_with_one, value_of
from agno_mongo.workflow.journal import Path
from agno_mongo.workflow.preparing import as_nodes, called
from agno_mongo.workflow.step import review_of
from agno_mongo.workflow.steps import Group, close, summarized
from agno_mongo.workflow.types import NO_REVIEW, HumanReview, StepInput
from agno_mongo.workflow.walking import Node, Walk


class Condition(Group):
    """``steps`` run if the ``evaluator`` says True, ``else_steps`` if it says False.

    The evaluator is True or False, or a function of ``(step_input)`` that gives it, with ``run_context`` or ``session_state`` if it likes; what it raises
    fails the run. If a person has to confirm (``human_review``) it is not asked: yes takes ``steps``; no takes ``else_steps``, or what ``on_reject`` says.
    """

    TYPE: ClassVar[StepType] = StepType.CONDITION
    DEFAULT_ON_REJECT: ClassVar[str] = "else"

    def __init__(
        self,
        steps: Sequence[Any],
        evaluator: Callable[..., Any] | bool = True,
        else_steps: Sequence[Any] | None = None,
        name: str | None = None,
        description: str | None = None,
        human_review: HumanReview | None = None,
        **asked: Any,
    ) -> None:
        self.name = checks.text("name", name)
        self.description = checks.text("description", description)
        where = called("Condition", name)
        self.steps = as_nodes(where, steps)
        self.else_steps = as_nodes(where, else_steps or (), part="else_steps", may_be_empty=True)
        if isinstance(evaluator, str):
            raise ConfigurationError(f"the evaluator of {where} is True, False or a function, not text: {evaluator!r}")
        if not isinstance(evaluator, bool):
            checks.called(f"the evaluator of {where}", evaluator)
            called_with_one(f"the evaluator of {where}", evaluator)
        self.evaluator = evaluator
        self.human_review = review_of(self, human_review, asked)
        self.human_review.refuse("Condition", requires_user_input=True, **NO_REVIEW)

    def parts(self) -> Sequence[Node]:
        """The steps within it, both ways."""
        return [*self._nodes(self.steps), *self._nodes(self.else_steps)]

    def outline(self, path: Path) -> dict[str, Any]:
        """Name, kind and parts, both ways."""
        ways = {"steps": self._nodes(self.steps), "else_steps": self._nodes(self.else_steps)}
        parts = {
            name: [node.outline((*path, index)) for index, node in enumerate(nodes)] for name, nodes in ways.items() if nodes
        }
        return {"name": self.named(path), "type": self.TYPE.value, **parts}

    def goes_another_way(self, answered: StepRequirement) -> bool:
        """No may mean the other steps."""
        return answered.on_reject == "else"

    async def carried_out(self, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> AsyncGenerator[Any, None]:
        """Look which way it goes, once, and go there."""
        event, data = walk.flow.execution.event, self.event_data(output, walk, path)
        holds = await self._holds(given, walk, path)
        branch = "if" if holds else "else" if self.else_steps else None
        output.chosen = branch
        yield event(ConditionExecutionStartedEvent, **data, condition_result=holds)
        if branch is not None:
            nodes = self._nodes(self.steps if holds else self.else_steps)
            async with aclosing(walk.into(output, path).through(nodes, given)) as events:
                async for happening in events:
                    yield happening
        close(output)
        executed = output.steps or []
        if output.is_paused:
            return
        if branch is None:
            output.status = SKIPPED
            output.content = f"{output.step_name} not met: {summarized(len(self.steps))} left out"
        else:
            output.content = f"{summarized(len(executed))} of {output.step_name} completed ({branch})"
        yield event(
            ConditionExecutionCompletedEvent,
            **data,
            condition_result=holds,
            branch=branch,
            executed_steps=len(executed),
            step_results=executed,
        )

    async def _holds(self, given: StepInput, walk: Walk, path: Path) -> bool:
        journal = walk.flow.journal
        if (before := journal.chosen(path, "holds")) is not None:
            return bool(before)
        answered = self._answer(walk, path) if self.human_review.asks else None
        if answered is not None:
            holds = bool(answered.confirmed)
        elif isinstance(self.evaluator, bool):
            holds = self.evaluator
        else:
            context = walk.scope.context
            offered = {"run_context": context, "session_state": context.session_state}
            holds = bool(await value_of(self.evaluator, given, offered))
        journal.choose(path, holds=holds)
        return holds
