"""A workflow's settings, with Agno's names and defaults, and what they may be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Final

from agno_mongo import checks
from agno_mongo.agent.input_schema import checked_input_schema
from agno_mongo.db.arguments import check_id
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.session_cache import SessionCache
from agno_mongo.db.store import OnStateConflict
from agno_mongo.errors import ConfigurationError
from agno_mongo.recording import Recording
from agno_mongo.run.events import RunEvent
from agno_mongo.run.workflow_events import WorkflowRunEvent
from agno_mongo.run_settings import CheckpointWhen, ConcurrentRuns
from agno_mongo.workflow.agent import WorkflowAgent
from agno_mongo.workflow.decorators import pause_of
from agno_mongo.workflow.preparing import as_nodes
from agno_mongo.workflow.steps import Steps
from agno_mongo.workflow.walking import Node

_EVENTS: Final = [event.value for event in (*WorkflowRunEvent, *RunEvent)]
_TOLD_ELSEWHERE: Final = (RunEvent.run_content, WorkflowRunEvent.step_output)
"""Events that are not stored unless they are asked for: what they say stands in the run."""


@dataclass(kw_only=True, eq=False, repr=False)
class WorkflowSettings:
    """What a workflow is made of. Every field may be given to ``Workflow()`` by its name."""

    name: str | None = None
    id: str | None = None
    description: str | None = None
    steps: Sequence[Any] | Steps | Callable[..., Any] | None = None
    agent: WorkflowAgent | None = None

    # The session: agno_mongo.execution.
    db: MongoDb | None = None
    session_id: str | None = None
    user_id: str | None = None
    session_state: Mapping[str, Any] | None = None
    overwrite_db_session_state: bool = False
    on_state_conflict: OnStateConflict = "ours"
    concurrent_runs: ConcurrentRuns = "allow"
    queue_timeout: float = 60.0
    checkpoint: CheckpointWhen = "runs"
    metadata: Mapping[str, Any] | None = None
    cache_session: bool = False

    # What is stored of a run: agno_mongo.recording.
    store_media: bool = True
    store_events: bool = False
    events_to_skip: Collection[RunEvent | WorkflowRunEvent | str] | None = None
    store_executor_outputs: bool = True

    # What a caller sees of a run.
    stream: bool | None = None
    stream_events: bool | None = None
    stream_executor_events: bool = True
    raise_model_errors: bool = False

    # What steps are given.
    input_schema: Any = None
    dependencies: Mapping[str, Any] | None = None
    add_dependencies_to_context: bool | None = None
    add_session_state_to_context: bool | None = None
    add_workflow_history_to_steps: bool = False
    num_history_runs: int = 3

    _checked: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "name": checks.text,
        "id": checks.text,
        "description": checks.text,
        "agent": lambda name, value: checks.instance_of(name, value, WorkflowAgent),
        "db": lambda name, value: checks.instance_of(name, value, MongoDb),
        "session_id": lambda name, value: None if value is None else check_id(name, value),
        "user_id": lambda name, value: None if value is None else check_id(name, value),
        "session_state": lambda name, value: checks.mapping(name, value) or {},
        "metadata": checks.mapping,
        "dependencies": checks.mapping,
        "on_state_conflict": lambda name, value: checks.one_of(name, value, ("ours", "raise")),
        "concurrent_runs": lambda name, value: checks.one_of(name, value, ("allow", "reject", "queue")),
        "queue_timeout": checks.seconds,
        "checkpoint": lambda name, value: checks.one_of(name, value, ("runs", "steps")),
        "stream": lambda name, value: checks.instance_of(name, value, bool),
        "stream_events": lambda name, value: checks.instance_of(name, value, bool),
        "add_dependencies_to_context": lambda name, value: checks.instance_of(name, value, bool),
        "add_session_state_to_context": lambda name, value: checks.instance_of(name, value, bool),
        "num_history_runs": lambda name, value: checks.count(name, value) or 3,
        "input_schema": checked_input_schema,
        "events_to_skip": lambda name, value: _events_named(name, _TOLD_ELSEWHERE if value is None else value),
    }

    def __post_init__(self) -> None:
        for field in fields(self):
            check = checks.flag if field.type == "bool" else WorkflowSettings._checked.get(field.name)
            if check is not None:
                setattr(self, field.name, check(field.name, getattr(self, field.name)))
        self.id = self.id or checks.id_of(self.name or "") or "workflow"
        self._session_cache = SessionCache()
        self._prepared: tuple[list[Any], list[Node]] = [], []
        self._nodes()

    def _nodes(self) -> list[Node]:
        """The steps as they are now; none if they are one function."""
        if self.steps is None or isinstance(self.steps, (str, bytes)):
            raise ConfigurationError(f"workflow {self.name or self.id!r} has no steps; steps= takes a list, Steps or a function")
        if isinstance(self.steps, Node):
            return [self.steps]
        if callable(self.steps):
            if pause_of(self.steps) is not None:
                raise ConfigurationError(
                    f"steps= of workflow {self.name or self.id!r} is one function with @pause, and no step: nobody would be asked. Put it in a list"
                )
            return []
        if not isinstance(self.steps, Sequence) or not self.steps:
            return as_nodes(f"workflow {self.name or self.id!r}", self.steps)
        given, nodes = self._prepared
        if len(given) != len(self.steps) or any(one is not other for one, other in zip(given, self.steps, strict=True)):
            nodes = as_nodes(f"workflow {self.name or self.id!r}", self.steps)
            self._prepared = list(self.steps), nodes
        return nodes

    @property
    def _recording(self) -> Recording:
        skipped = (getattr(event, "value", event) for event in self.events_to_skip or ())
        return Recording(
            store_media=self.store_media,
            store_events=self.store_events,
            events_to_skip=frozenset(skipped) if self.store_events else frozenset(),
            store_inner=self.store_executor_outputs,
        )


def _events_named(name: str, given: Any) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Collection):
        raise ConfigurationError(f"{name}= takes a list of events such as WorkflowRunEvent.step_started, not {given!r}")
    named = [str(getattr(event, "value", event)) for event in given]
    for event in named:
        if event not in _EVENTS:
            nearest = get_close_matches(str(event), _EVENTS, n=1)
            raise ConfigurationError(
                f"{name}= names {event!r}, which is no event" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
            )
    return named
