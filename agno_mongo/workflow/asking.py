"""A person who looks at what a step has come to, or at a round of a loop: the question, and what becomes of the answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agno_mongo.messages import text_of
from agno_mongo.run.base import RunStatus
from agno_mongo.run.step_requirement import ErrorRequirement, StepRequirement
from agno_mongo.run.steps import SKIPPED, StepOutput, deepest_content
from agno_mongo.run.workflow_events import StepContinuedEvent, StepOutputReviewEvent
from agno_mongo.workflow.calling import value_of
from agno_mongo.workflow.journal import Journal, Path
from agno_mongo.workflow.types import HumanReview, StepInput

REJECTIONS, FEEDBACK, REVIEWED = "rejections", "feedback", "reviewed"
"""What the journal has of a step that is looked at: how often it was sent back, with which words last, and that it was accepted."""

WAITS, TRIES = "waits", "tries"
"""What it has of a step whose agent or team has paused: its run's id, and which try of the step it is."""

ANSWERED = "answered"
"""What a person has said before it ran."""

FAILURES = "failures"
"""How often a step that had failed for good was tried again because somebody wanted it."""


def place_of(path: Path) -> str:
    """A path as text."""
    return ".".join(map(str, path))


def path_of(requirement_id: str) -> Path:
    """Where the step stands that a requirement is about."""
    return tuple(int(part) for part in requirement_id.partition("/")[0].split("."))


def waits(output: StepOutput) -> None:
    """Let the output say that its step waits for a person."""
    output.is_paused, output.status = True, RunStatus.paused.value


def feedback_of(answered: StepRequirement, output: StepOutput) -> dict[str, str]:
    """What whoever does it again is told, under Agno's names."""
    told = {"previous_output": deepest_content(output), "rejection_feedback": answered.rejection_feedback}
    return {name: text_of(value) for name, value in told.items() if value}


def rejected(output: StepOutput, answered: StepRequirement, execution: Any) -> None:
    """Leave the step out as somebody wants it: with all that it made, or with the run."""
    output.status, output.success, output.is_paused = SKIPPED, False, False
    output.error = f"rejected: {answered.rejection_feedback}" if answered.rejection_feedback else "rejected"
    for name in ("content", "images", "videos", "audio", "files"):
        setattr(output, name, None)
    if answered.on_reject == "cancel":
        output.status = RunStatus.cancelled.value
        execution.stop()


@dataclass(kw_only=True, eq=False)
class Review:
    """The question whether a step's ``output`` is good enough. ``requirement`` is what is asked, as far as the step says it; ``again``: it was sent back.
    ``asks_again``: whoever was asked before the step ran is asked again then.
    """

    flow: Any
    review: HumanReview
    path: Path
    output: StepOutput
    data: Mapping[str, Any]
    requirement: StepRequirement
    asks_again: bool = False
    again: bool = field(default=False, init=False)

    async def events(self) -> AsyncGenerator[Any, None]:
        """Ask, or do as was answered."""
        journal, event = self.flow.journal, self.flow.execution.event
        count = journal.chosen(self.path, REJECTIONS) or 0
        answered = self.flow.answered.get(f"{place_of(self.path)}/output/{count}")
        if answered is not None and not journal.chosen(self.path, REVIEWED):
            self._take(answered, journal, count)
            yield event(StepContinuedEvent, **self.data)
        elif await self._is_due(journal):
            waits(self.output)
            journal.put(self.path, self.output)
            message = self.review.output_review_message or f"Is the output of {self.output.step_name!r} good?"
            self.flow.requirements.append(asked_of_output(self.requirement, self.output, message, self.review, count))
            yield event(StepOutputReviewEvent, **self.data, output_review_message=message)

    async def _is_due(self, journal: Journal) -> bool:
        if journal.chosen(self.path, REVIEWED) or self.output.status != RunStatus.completed.value:
            return False
        wanted = self.review.requires_output_review
        if callable(wanted):
            wanted = bool(await value_of(wanted, self.output, {}))
        if not wanted:
            journal.choose(self.path, **{REVIEWED: True})
        return bool(wanted)

    def _take(self, answered: StepRequirement, journal: Journal, count: int) -> None:
        if answered.confirmed:
            take_edited(self.output, answered)
        elif answered.on_reject == "retry" and count < self.review.max_retries:
            self.again = True
            journal.forget(self.path, *(() if self.asks_again else (ANSWERED,)))
            journal.choose(self.path, **{REJECTIONS: count + 1, FEEDBACK: feedback_of(answered, self.output)})
            return
        else:
            if answered.on_reject == "retry":
                # As often as it may be sent back; Agno's run ends there, too.
                answered = answered.model_copy(update={"on_reject": "cancel"})
            rejected(self.output, answered, self.flow.execution)
        journal.choose(self.path, **{REVIEWED: True})
        journal.put(self.path, self.output)


@dataclass(kw_only=True, eq=False)
class RoundReview:
    """The question whether a round of a loop is good enough; ``made`` is what its last step came to, ``path`` the round's. ``goes_on``: there is to be
    another.
    """

    flow: Any
    review: HumanReview
    path: Path
    made: StepOutput
    requirement: StepRequirement
    _answered: StepRequirement | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        message = self.review.iteration_review_message or f"Is this round of {self.requirement.step_name!r} good?"
        self._asked = asked_of_output(self.requirement, self.made, message, self.review, 0, "iteration")
        answered = self.flow.answered.get(self._asked.id)
        if (before := self.flow.journal.chosen(self.path, REVIEWED)) is not None:
            self._answered = StepRequirement.model_validate(before)
        elif answered is not None:
            self._answered = answered.model_copy(update={"step_output": None})
            self.flow.journal.choose(self.path, **{REVIEWED: self._answered.to_dict()})

    @property
    def goes_on(self) -> bool:
        """True if it was sent back."""
        answered = self._answered
        return answered is not None and answered.confirmed is False and answered.on_reject == "retry"

    def event(self, data: Mapping[str, Any]) -> Any:
        """What is said of it."""
        event = self.flow.execution.event
        if self._answered is not None:
            return event(StepContinuedEvent, **data)
        return event(StepOutputReviewEvent, **data, output_review_message=self._asked.output_review_message)

    def told(self, given: StepInput) -> StepInput:
        """What the next round is given."""
        if self._answered is None:
            return given
        told = feedback_of(self._answered, self.made)
        return replace(given, additional_data={**(given.additional_data or {}), **told})

    def close(self, output: StepOutput) -> None:
        """Let the loop's output say that it waits, or how it was judged."""
        if self._answered is None:
            waits(output)
            self.flow.requirements.append(self._asked)
        elif self._answered.confirmed:
            take_edited(output, self._answered)
        else:
            rejected(output, self._answered, self.flow.execution)


def asked_of_failure(flow: Any, path: Path, output: StepOutput, error: Exception) -> None:
    """Have the flow wait for somebody to say what becomes of a step that has failed for good."""
    waits(output)
    output.success, output.error = False, str(error) or type(error).__name__
    count = flow.journal.chosen(path, FAILURES) or 0
    flow.requirements.append(
        ErrorRequirement(
            id=_of_failure(path, count),
            step_id=output.step_id or "",
            step_name=output.step_name,
            step_index=path[-1],
            error_message=output.error,
            error_type=type(error).__name__,
            retry_count=count,
        )
    )


def decision_of(flow: Any, path: Path) -> ErrorRequirement | None:
    """What somebody has said becomes of a step that had failed for good; None if nobody was asked."""
    count = flow.journal.chosen(path, FAILURES) or 0
    decided: ErrorRequirement | None = flow.answered.get(_of_failure(path, count))
    if decided is not None and decided.should_retry:
        flow.journal.choose(path, **{FAILURES: count + 1, TRIES: None})
    return decided


def _of_failure(path: Path, count: int) -> str:
    return f"{place_of(path)}/error/{count}"


def asked_of_output(
    requirement: StepRequirement, output: StepOutput, message: str, review: HumanReview, count: int, kind: str = "output"
) -> StepRequirement:
    """What a person is asked who looks at what has come of a step."""
    return requirement.model_copy(
        update={
            "id": f"{requirement.id}/{kind}/{count}",
            "requires_confirmation": False,
            "requires_user_input": False,
            "requires_route_selection": False,
            "requires_output_review": True,
            "is_post_execution": True,
            "output_review_message": message,
            "step_output": output,
            "retry_count": count,
            "max_retries": review.max_retries,
        }
    )


def take_edited(output: StepOutput, answered: StepRequirement) -> None:
    """Put what somebody has made of the output in its place."""
    if answered.edited_output is not None:
        output.content, output.edited = answered.edited_output, True
