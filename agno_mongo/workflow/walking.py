"""One run through a workflow's steps: what they share, and where each stands."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from time import perf_counter, time
from typing import Any, ClassVar

from agno_mongo.db import state as states
from agno_mongo.db import values
from agno_mongo.db.documents import Session
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.store import RunBegin, RunBegun
from agno_mongo.execution import Execution
from agno_mongo.run.base import RunContext, RunStatus
from agno_mongo.run.step_requirement import ErrorRequirement, StepRequirement
from agno_mongo.run.steps import StepOutput, StepType, status_of
from agno_mongo.run.workflow_events import RouterPausedEvent, StepContinuedEvent, StepPausedEvent
from agno_mongo.workflow.asking import ANSWERED, FEEDBACK, Review, place_of, rejected, waits
from agno_mongo.workflow.journal import Journal, Path
from agno_mongo.workflow.types import HumanReview, StepInput
from agno_mongo.working_state import encoded_additions, encoded_state, lay_on


class Branch:
    """The state of steps that run beside others: their own copy, whose changes are laid on the run's when each of them has finished. To a run within
    it is what the run itself would be.
    """

    def __init__(self, outer: Any) -> None:
        self._within = outer
        self.run: Any = outer.run
        self.key: SessionKey = outer.key
        self.root_db: MongoDb | None = outer.root_db
        self.session: Session = outer.session
        self._base: dict[str, Any] = outer.state_now()
        around: RunContext = outer.context
        self.context = replace(around, session_state=values.decode(self._base))
        self.context.state.check = around.state.check

    def begun_within(self, begin: RunBegin) -> RunBegun:
        """What a run within the branch begins with."""
        begun: RunBegun = self._within.begun_within(begin)
        return replace(begun, state=self.state_now())

    def state_now(self) -> dict[str, Any]:
        """The state as the branch has it now, encoded."""
        return encoded_state(self.context.session_state, self._base)[0]

    def stop(self) -> None:
        """End the run that the branch is part of."""
        self._within.stop()

    def adopt(self, records: Sequence[dict[str, Any]], changes: Sequence[states.Change], counters: Mapping[str, float]) -> None:
        """Take over what a run within the branch has come to."""
        self._within.adopt(records, (), counters)
        lay_on(self.context, changes)

    def waits_within(self, run_id: str | None) -> bool:
        """True if a run of this id has paused and did not go on yet."""
        waits: bool = self._within.waits_within(run_id)
        return waits

    def handed_over(self, run_id: str) -> dict[str, Any]:
        """What a run that has paused goes on from."""
        entry: dict[str, Any] = self._within.handed_over(run_id)
        return entry

    def hand_on(self) -> None:
        """Lay what the branch changed since the last time on the state around it."""
        with self.context.state.held() as additions:
            state, _ = encoded_state(self.context.session_state, self._base)
            changes = states.changes_of(self._base, state, encoded_additions(additions))
            self.context.state.forget()
        self._base = state
        self._within.adopt((), changes, {})
        self._within.hand_on()


@dataclass(kw_only=True, eq=False)
class Flow:
    """What all steps of one run share. ``prefix`` is the path of the step that the workflow is, within another; ``stream``: answers come in pieces;
    ``options`` are handed to those who carry out steps. ``history_runs``: how many earlier runs each step is shown, 0 for none. ``answered`` are the
    requirements that the run goes on with, by their ids; ``requirements`` those for which it has to wait. ``runs`` are those of the executors.
    """

    execution: Execution
    journal: Journal
    prefix: Path = ()
    stream: bool = False
    stream_executor_events: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    history_runs: int = 0
    answered: Mapping[str, StepRequirement | ErrorRequirement] = field(default_factory=dict)
    requirements: list[StepRequirement | ErrorRequirement] = field(default_factory=list)
    runs: list[Any] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class Walk:
    """Where in a flow some neighbouring steps stand: ``path`` is that of the step around them, ``outputs`` is where theirs go. ``scope`` is whose state
    they see: the run's Execution, or a Branch.
    """

    flow: Flow
    scope: Any
    outputs: list[StepOutput]
    path: Path = ()
    parent_id: str | None = None
    iteration: int | None = None

    @property
    def is_outermost(self) -> bool:
        """True for the workflow's own steps, which stand in no other."""
        return self.path == self.flow.prefix

    def into(self, output: StepOutput, path: Path, *, scope: Any = None, iteration: int | None = None) -> Walk:
        """The walk through the steps within a step."""
        if output.steps is None:
            output.steps = []
        return Walk(
            flow=self.flow,
            scope=scope or self.scope,
            outputs=output.steps,
            path=path,
            parent_id=output.step_id,
            iteration=iteration if iteration is not None else self.iteration,
        )

    async def through(self, steps: Sequence[Node], given: StepInput) -> AsyncGenerator[Any, None]:
        """One step after the other, each given what the ones before have come to. Ends early after a step that says so, or that waits."""
        for index, step in enumerate(steps):
            async with aclosing(step.events(given, self, (*self.path, index))) as events:
                async for event in events:
                    yield event
            output = self.outputs[-1]
            if output.is_paused or output.stop:
                return
            given = given.after(output)


class Node(ABC):
    """A part of a pipeline."""

    TYPE: ClassVar[StepType]
    IS_LEAF: ClassVar[bool] = False

    name: str | None
    description: str | None
    human_review: HumanReview

    def named(self, path: Path) -> str:
        """The step's name, or one by its place."""
        return self.name or f"{self.TYPE.value.lower()}_{path[-1] + 1}"

    def outline(self, path: Path) -> dict[str, Any]:
        """Name, kind and parts: what must not change while a run waits."""
        parts = [part.outline((*path, index)) for index, part in enumerate(self.parts())]
        return {"name": self.named(path), "type": self.TYPE.value} | ({"steps": parts} if parts else {})

    def parts(self) -> Sequence[Node]:
        """The steps within it."""
        return ()

    def begun(self, path: Path, **own: Any) -> StepOutput:
        """The output of the step while it goes on, with what it has of its ``own``."""
        common = {
            "step_name": self.named(path),
            "step_id": place_of(path),
            "step_type": self.TYPE.value,
            "status": RunStatus.running.value,
            "started_at": time(),
        }
        return StepOutput(**{**common, **own})

    @abstractmethod
    def carried_out(self, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> AsyncGenerator[Any, None]:
        """Do what the step does, and put what comes of it into ``output``."""

    def event_data(self, output: StepOutput, walk: Walk, path: Path) -> dict[str, Any]:
        """What each event says of the step."""
        own = path[len(walk.flow.prefix) :]
        return {
            "step_name": output.step_name,
            "step_index": own[0] if len(own) == 1 else own,
            "step_id": output.step_id,
            "parent_step_id": walk.parent_id,
        }

    def events(self, given: StepInput, walk: Walk, path: Path) -> AsyncGenerator[Any, None]:
        """Carry the step out, if it has not finished before: then its output is all there is. Whatever happens, its output says so."""
        if self.human_review.requires_output_review:
            return self._reviewed(given, walk, path)
        if self._finished(walk, path) is not None:
            return _nothing()
        return self._from_first_to_last(self._begun(walk, path), given, walk, path)

    async def _reviewed(self, given: StepInput, walk: Walk, path: Path) -> AsyncGenerator[Any, None]:
        """The same, until whoever looks at what came of it does not want it again."""
        output = self._finished(walk, path)
        while True:
            if output is None:
                output = self._begun(walk, path)
                async with aclosing(self._from_first_to_last(output, given, walk, path)) as events:
                    async for event in events:
                        yield event
            review = self._review_of(output, given, walk, path)
            async with aclosing(review.events()) as events:
                async for event in events:
                    yield event
            if not review.again:
                return
            walk.outputs[:] = [one for one in walk.outputs if one is not output]
            output = None

    def _finished(self, walk: Walk, path: Path) -> StepOutput | None:
        """The output of the step if it had finished before."""
        output = walk.flow.journal.finished(path)
        if output is not None:
            walk.outputs.append(output)
            if output.is_paused:
                # As it was stored while somebody looked at it, or was about to.
                output.is_paused, output.status = False, RunStatus.completed.value
        return output

    def _begun(self, walk: Walk, path: Path) -> StepOutput:
        output = self.begun(path, iteration=walk.iteration)
        walk.outputs.append(output)
        return output

    def _review_of(self, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> Review:
        requirement, data = self.requirement(output, given, path), self.event_data(output, walk, path)
        return Review(
            flow=walk.flow,
            review=self.human_review,
            path=path,
            output=output,
            data=data,
            requirement=requirement,
            asks_again=self.ASKS_AGAIN,
        )

    async def _from_first_to_last(
        self, output: StepOutput, given: StepInput, walk: Walk, path: Path
    ) -> AsyncGenerator[Any, None]:
        """Ask whether the step may run, and carry it out."""
        journal = walk.flow.journal
        if feedback := journal.chosen(path, FEEDBACK):
            given = replace(given, additional_data={**(given.additional_data or {}), **feedback})
        began = perf_counter()
        try:
            answered = None
            if self.human_review.asks:
                answered = self._answer(walk, path)
                yield self._asked(output, given, walk, path, answered)
                if answered is None:
                    return
                given = _with_answer(given, answered)
            if answered is not None and answered.confirmed is False and not self.goes_another_way(answered):
                rejected(output, answered, walk.flow.execution)
                if answered.on_reject == "cancel":
                    yield walk.flow.execution.event(StepContinuedEvent, **self.event_data(output, walk, path))
            else:
                async with aclosing(self.carried_out(output, given, walk, path)) as events:
                    async for event in events:
                        yield event
        except BaseException as error:
            _ended_by(output, error)
            # A branch's state is kept as the run's own is, whatever happens.
            walk.scope.hand_on()
            raise
        finally:
            output.duration = perf_counter() - began
        if output.status == RunStatus.running:
            output.status = status_of(output.success)
        walk.scope.hand_on()
        if not output.is_paused:
            await journal.note(path, output, at_once=self.IS_LEAF)

    # A person who is asked.

    def goes_another_way(self, answered: StepRequirement) -> bool:  # noqa: ARG002 - a condition's
        """True if no is an answer that leads elsewhere."""
        return False

    def requirement(self, output: StepOutput, given: StepInput, path: Path) -> StepRequirement:
        """What a person is asked."""
        review = self.human_review
        asked = given.previous_step_content if given.previous_step_content is not None else given.input
        return StepRequirement(
            id=place_of(path),
            step_id=output.step_id or "",
            step_name=output.step_name,
            step_index=path[-1],
            step_type=self.TYPE.value,
            requires_confirmation=review.requires_confirmation,
            confirmation_message=review.confirmation_message,
            on_reject=str(review.on_reject or self.DEFAULT_ON_REJECT),
            requires_user_input=review.requires_user_input,
            user_input_message=review.user_input_message,
            user_input_schema=review.fields_to_fill(),
            timeout=review.timeout,
            on_timeout=str(review.on_timeout),
            step_input={"input": given.get_input_as_string(), "previous_step_content": asked},
        )

    DEFAULT_ON_REJECT: ClassVar[str] = "skip"
    ASKS_AGAIN: ClassVar[bool] = False
    """True if whoever is asked before it runs is asked again when its output was sent back."""

    def _answer(self, walk: Walk, path: Path) -> StepRequirement | None:
        answered = walk.flow.answered.get(place_of(path))
        if isinstance(answered, StepRequirement):
            walk.flow.journal.choose(path, **{ANSWERED: answered.to_dict()})
            return answered
        before = walk.flow.journal.chosen(path, ANSWERED)
        return None if before is None else StepRequirement.model_validate(before)

    def _asked(self, output: StepOutput, given: StepInput, walk: Walk, path: Path, answered: StepRequirement | None) -> Any:
        data, event = self.event_data(output, walk, path), walk.flow.execution.event
        if answered is not None:
            return event(StepContinuedEvent, **data)
        requirement = self.requirement(output, given, path)
        walk.flow.requirements.append(requirement)
        waits(output)
        if requirement.requires_route_selection:
            return event(
                RouterPausedEvent,
                **data,
                available_choices=requirement.available_choices or [],
                user_input_message=requirement.user_input_message,
                allow_multiple_selections=requirement.allow_multiple_selections,
            )
        names = ("requires_confirmation", "confirmation_message", "requires_user_input", "user_input_message")
        fields = [one.to_dict() for one in requirement.user_input_schema or ()] or None
        return event(StepPausedEvent, **data, **{name: getattr(requirement, name) for name in names}, user_input_schema=fields)


async def _nothing() -> AsyncGenerator[Any, None]:
    for event in list[Any]():
        yield event


def _with_answer(given: StepInput, answered: StepRequirement) -> StepInput:
    if not answered.user_input:
        return given
    return replace(given, additional_data={**(given.additional_data or {}), "user_input": dict(answered.user_input)})


def _ended_by(output: StepOutput, error: BaseException) -> None:
    output.success = False
    if isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError):
        output.status = RunStatus.error.value
        output.error = output.error or str(error) or type(error).__name__
    elif output.status == RunStatus.running.value:
        output.status = RunStatus.cancelled.value
