"""What came of a workflow's steps: the tree that is stored with its run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from pydantic import BaseModel, Field, PrivateAttr, field_validator

from agno_mongo.media import Audios, Files, Images, Videos
from agno_mongo.messages import Metrics, StoredModel, plain_data, text_of
from agno_mongo.run.base import RunStatus

SKIPPED: Final = "SKIPPED"
"""The status of a step that was left out, or that failed and was allowed to."""


class StepType(str, Enum):
    """What kind of step it is, in Agno's words."""

    FUNCTION = "Function"
    STEP = "Step"
    STEPS = "Steps"
    LOOP = "Loop"
    PARALLEL = "Parallel"
    CONDITION = "Condition"
    ROUTER = "Router"
    WORKFLOW = "Workflow"


class StepOutput(StoredModel):
    """What a step gives, and what is stored of it. A step's function may return one, or anything else as its ``content``.

    ``content``, ``images``, ``videos``, ``audio`` and ``files`` are handed to the steps that follow; ``success=False`` with ``error`` says that it
    did not go well, ``stop=True`` that no further step is to run. The rest is filled in: who carried it out (``executor_type``, ``executor_name``),
    the id of that run (``step_run_id``), its tokens (``metrics``), the ``steps`` within it; ``input``: what it was given; ``status``: how it stands;
    ``tries``: how often it was tried; ``started_at`` (Unix seconds) and ``duration`` (seconds); ``iteration``: which round of a loop.
    """

    content: Any = None
    step_name: str | None = None
    step_id: str | None = None
    step_type: str | None = None
    executor_type: str | None = None
    executor_name: str | None = None
    step_run_id: str | None = None
    images: Images | None = None
    videos: Videos | None = None
    audio: Audios | None = None
    files: Files | None = None
    metrics: Metrics | None = None
    success: bool = True
    error: str | None = None
    stop: bool = False
    is_paused: bool = False
    steps: list[StepOutput] | None = None
    input: Any = None
    status: str | None = None
    tries: int | None = None
    started_at: float | None = None
    duration: float | None = None
    iteration: int | None = None
    edited: bool | None = Field(default=None, description="A person has put another content in its place.")
    chosen: Any = Field(default=None, description="Which way a condition or a router went.")

    _of_workflow: list[StepOutput] | None = PrivateAttr(default=None)

    @field_validator("step_type", mode="before")
    @classmethod
    def _plain_type(cls, value: Any) -> Any:
        return value.value if isinstance(value, Enum) else value

    def to_dict(self) -> dict[str, Any]:
        """The output as it is stored, without what is empty: objects of a schema as data, the steps within it too."""
        stored = {name: value for name, value in vars(self).items() if value is not None and name not in _DUMPED_APART}
        if self.model_extra:
            stored |= {name: value for name, value in self.model_extra.items() if value is not None}
        stored |= {name: plain_content(stored[name]) for name in ("content", "input") if name in stored}
        stored |= {
            name: [part.model_dump(exclude_none=True, exclude_defaults=True) for part in listed]
            for name in _MEDIA
            if (listed := getattr(self, name))
        }
        if self.metrics is not None and (metrics := self.metrics.to_dict()):
            stored["metrics"] = metrics
        if self.steps is not None:
            stored["steps"] = [step.to_dict() for step in self.steps]
        return stored

    def find_within(self, steps: list[StepOutput]) -> None:
        """Have the steps of the workflow that carried the step out be found by their names. They are stored with its own run."""
        self._of_workflow = steps

    def found(self, name: str) -> StepOutput | None:
        """The step of that name within it, at any depth, itself if there is none there; the last of several, None if it is none of them."""
        return found_in(self.steps or self._of_workflow or (), name) or (self if self.step_name == name else None)


_MEDIA: Final = ("images", "videos", "audio", "files")
_DUMPED_APART: Final = frozenset({*_MEDIA, "metrics", "steps"})


def plain_content(value: Any) -> Any:
    """A content as it is stored: objects of a schema as data."""
    return plain_data(value) if isinstance(value, BaseModel) else value


def deepest_content(output: StepOutput) -> Any:
    """What a step has come to: its content, or that of the last step within it; of steps at once the contents of all, as one text. None if it was left
    out, whatever it says of that.
    """
    if was_left_out(output):
        return None
    if not output.steps or output.edited:
        return output.content
    if output.step_type != StepType.PARALLEL.value:
        return come_to(output.steps)
    parts = [(step.step_name, deepest_content(step)) for step in output.steps]
    told = [f"=== {name} ===\n{text_of(content)}" for name, content in parts if content is not None and text_of(content).strip()]
    return "\n\n".join(told) if told else output.content


def come_to(outputs: Sequence[StepOutput]) -> Any:
    """What steps in order have come to: the last of them that was not left out."""
    told = (deepest_content(output) for output in reversed(outputs) if not was_left_out(output))
    return next(told, None)


def was_left_out(output: StepOutput) -> bool:
    """True for a step that was left out, or failed and was allowed to, and for one that has no other steps than such."""
    return output.status == SKIPPED or (bool(output.steps) and all(map(was_left_out, output.steps or ())))


def all_outputs(outputs: Iterable[StepOutput]) -> Iterator[StepOutput]:
    """The outputs and all within them, each before those within it."""
    for output in outputs:
        yield output
        if output.steps:
            yield from all_outputs(output.steps)


def found_in(outputs: Iterable[StepOutput], name: str) -> StepOutput | None:
    """The step of that name, at any depth; the last of several."""
    found = None
    for output in outputs:
        found = output.found(name) or found
    return found


def total_of(outputs: Iterable[StepOutput]) -> Metrics:
    """The tokens of all the executors' runs."""
    total = Metrics()
    for output in all_outputs(outputs):
        if output.metrics is not None and not output.steps:
            total.add(output.metrics)
    return total


class StepMetrics(StoredModel):
    """The tokens of one step."""

    step_name: str | None = None
    executor_type: str | None = None
    executor_name: str | None = None
    metrics: Metrics | None = None

    def to_dict(self) -> dict[str, Any]:
        """Whose they are, and the counters that are not zero."""
        own = self.model_dump(exclude_none=True, exclude={"metrics"})
        return own if self.metrics is None else {**own, "metrics": self.metrics.to_dict()}


class WorkflowMetrics(Metrics):
    """The tokens of a workflow's run: all its steps' together, and each step's under ``steps``."""

    steps: dict[str, StepMetrics] | None = None

    @classmethod
    def of(cls, outputs: Iterable[StepOutput]) -> WorkflowMetrics:
        """The metrics of these steps. Of several steps of one name the last counts under it; in the sum all do."""
        counted = list(outputs)
        steps = {
            output.step_name or "": StepMetrics(
                step_name=output.step_name,
                executor_type=output.executor_type,
                executor_name=output.executor_name,
                metrics=output.metrics,
            )
            for output in all_outputs(counted)
            if output.metrics is not None and not output.steps
        }
        return cls(**total_of(counted).model_dump(), steps=steps or None)

    def to_dict(self) -> dict[str, Any]:
        """The counters that are not zero, each step's too."""
        own = super().to_dict()
        return own if self.steps is None else {**own, "steps": {name: step.to_dict() for name, step in self.steps.items()}}

    def counters(self) -> dict[str, float]:
        """Nothing: the executors' own runs are what counts in the session."""
        return {}


def tree_of(finished: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The tree of finished steps of which each is stored with its path. What has not finished is not there, what finished within it is."""
    outputs: dict[tuple[int, ...], dict[str, Any]] = {}
    for step in finished:
        at = tuple(step["path"])
        if "forgotten" in step:
            outputs = {path: output for path, output in outputs.items() if path[: len(at)] != at}
        elif "output" in step:
            outputs[at] = {**step["output"]}
    roots: list[dict[str, Any]] = []
    for path in sorted(outputs):
        above = next((path[:depth] for depth in range(len(path) - 1, 0, -1) if path[:depth] in outputs), None)
        (roots if above is None else outputs[above].setdefault("steps", [])).append(outputs[path])
    return roots


def status_of(success: bool) -> str:
    """How a step stands that has come to its end."""
    return str((RunStatus.completed if success else RunStatus.error).value)
