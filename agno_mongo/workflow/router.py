"""``Router``: one of several ways, chosen when the step is reached."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.run.step_requirement import StepRequirement
from agno_mongo.run.steps import SKIPPED, StepOutput, StepType
from agno_mongo.run.workflow_events import RouterExecutionCompletedEvent, RouterExecutionStartedEvent
from agno_mongo.workflow.calling import called_with_one, value_of
from agno_mongo.workflow.journal import Path
from agno_mongo.workflow.preparing import as_node, as_nodes, called
from agno_mongo.workflow.step import review_of
from agno_mongo.workflow.steps import Group, Steps, close, summarized
from agno_mongo.workflow.types import HumanReview, StepInput
from agno_mongo.workflow.walking import Node, Walk


class Router(Group):
    """Runs those of ``choices`` that ``selector`` names, in the order in which it names them.

    ``selector`` is a function of ``(step_input)``, with ``run_context``, ``session_state`` or ``step_choices`` if it likes; it gives the name of a
    choice, the choice itself, or a list of either. A name that is none fails the run. A list among the choices is a group of steps. With
    ``human_review=HumanReview(requires_user_input=True)`` a person chooses.
    """

    TYPE: ClassVar[StepType] = StepType.ROUTER
    ASKS_AGAIN: ClassVar[bool] = True

    def __init__(
        self,
        choices: Sequence[Any],
        selector: Callable[..., Any] | None = None,
        name: str | None = None,
        description: str | None = None,
        human_review: HumanReview | None = None,
        **asked: Any,
    ) -> None:
        self.name = checks.text("name", name)
        self.description = checks.text("description", description)
        where = called("Router", name)
        grouped = [
            Steps(name=f"steps_group_{index}", steps=one) if isinstance(one, list) else one
            for index, one in enumerate(choices or ())
        ]
        self.choices = as_nodes(where, grouped, part="choices")
        self.human_review = review_of(self, human_review, asked)
        self.human_review.refuse("Router", requires_iteration_review=True)
        if isinstance(selector, str):
            raise ConfigurationError(f"the selector of {where} is a function, not text: {selector!r}")
        if selector is not None:
            checks.called(f"the selector of {where}", selector)
            called_with_one(f"the selector of {where}", selector)
        elif not self.human_review.requires_user_input:
            raise ConfigurationError(f"{where} needs a selector=, or a person who chooses: HumanReview(requires_user_input=True)")
        self.selector = selector

    @property
    def steps(self) -> list[Any]:  # type: ignore[override]
        """The choices."""
        return self.choices

    def _named_choices(self) -> dict[str, Node]:
        return {node.named((index,)): node for index, node in enumerate(self._nodes(self.choices))}

    def requirement(self, output: StepOutput, given: StepInput, path: Path) -> StepRequirement:
        """What a person is asked: to choose, or whether the step may run."""
        asked = super().requirement(output, given, path)
        if not self.human_review.requires_user_input:
            return asked
        asked.requires_user_input, asked.requires_route_selection = False, True
        asked.available_choices = list(self._named_choices())
        asked.allow_multiple_selections = self.human_review.allow_multiple_selections
        return asked

    async def carried_out(self, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> AsyncGenerator[Any, None]:
        """Choose, once, and go there."""
        event, data = walk.flow.execution.event, self.event_data(output, walk, path)
        names, nodes = await self._chosen(given, walk, path)
        output.chosen = names
        yield event(RouterExecutionStartedEvent, **data, selected_steps=names)
        async with aclosing(walk.into(output, path).through(nodes, given)) as events:
            async for happening in events:
                yield happening
        close(output)
        executed = output.steps or []
        if not output.is_paused:
            output.content = f"{summarized(len(executed))} of {output.step_name} completed"
            output.status = output.status if executed else SKIPPED
            yield event(
                RouterExecutionCompletedEvent, **data, selected_steps=names, executed_steps=len(executed), step_results=executed
            )

    async def _chosen(self, given: StepInput, walk: Walk, path: Path) -> tuple[list[str], list[Node]]:
        journal, known = walk.flow.journal, self._named_choices()
        before = journal.chosen(path, "names")
        if before is not None:
            return list(before), [known[name] for name in before if name in known]
        answered = self._answer(walk, path) if self.human_review.requires_user_input else None
        if answered is not None:
            found: Any = answered.selected_choices
        else:
            assert self.selector is not None
            context = walk.scope.context
            offered = {"run_context": context, "session_state": context.session_state, "step_choices": self._nodes(self.choices)}
            found = await value_of(self.selector, given, offered)
        chosen = [self._resolved(one, known, path) for one in (found if isinstance(found, list) else [found]) if one is not None]
        names = [name for name, _ in chosen]
        if all(name in known for name in names):
            journal.choose(path, names=names)
        return names, [node for _, node in chosen]

    def _resolved(self, found: Any, known: dict[str, Node], path: Path) -> tuple[str, Node]:
        """The choice that a selector means. A step that is none of the choices is taken as it is."""
        if isinstance(found, str):
            if found not in known:
                raise ConfigurationError(
                    f"Router {self.named(path)!r}: its selector chose {found!r}; there is {', '.join(map(repr, known))}"
                )
            return found, known[found]
        for name, node in known.items():
            if found is node or found is getattr(node, "active_executor", node):
                return name, node
        node = as_node(f"what the selector of Router {self.named(path)!r} chose", found)
        return node.named(path), node
