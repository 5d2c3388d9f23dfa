"""The session documents: Beanie subtypes of one root, told apart by ``session_type`` in one collection.

Field names and shapes are Agno's; those from ``active_runs`` on are ours. The classes here define and validate; every
:class:`~agno_mongo.db.mongo.MongoDb` binds subclasses of its own (see :func:`bind_documents`), because Beanie binds a class to
one database for the whole process. An instance made from the classes here needs no database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from time import time
from typing import Annotated, Any, ClassVar, TypeVar, cast

from beanie import Document, init_beanie
from beanie.odm.fields import ExpressionField
from bson import ObjectId
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, PrivateAttr, field_validator, model_validator
from pydantic_core import core_schema

from agno_mongo import history
from agno_mongo.db import values
from agno_mongo.db.base import SessionType
from agno_mongo.db.upcasting import SCHEMA_VERSION, upcast
from agno_mongo.media import Audios, Files, Images, Videos
from agno_mongo.messages import Message, Metrics, StoredModel, ToolExecution
from agno_mongo.run import RunInput, RunOutput, RunStatus, TeamRunOutput, WorkflowRunOutput
from agno_mongo.run.base import BaseRunOutput

DEFAULT_SESSION_TABLE = "agno_sessions"

AnyRun = RunOutput | TeamRunOutput | WorkflowRunOutput


class _Read:
    """Marks a run that ``run_from_dict`` has validated. It is not validated again, nor tried as each of the three.

    Pydantic's InstanceOf would put all that the three consist of into the schema of every session class, and every database has classes of its own.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(BaseRunOutput)


class SessionSummary(StoredModel):
    """What the session was about. ``run_count`` is how many of its runs, from the first on, it takes in."""

    summary: str
    topics: list[str] | None = None
    updated_at: datetime | None = None
    run_count: int | None = None


class ActiveRun(StoredModel):
    """A run that was begun and has not finished: its input, and until when its process must have shown life.

    ``started_at`` and ``lease_until`` are Unix seconds, by the server's clock. ``messages``, ``tools``, ``events`` and ``metrics`` are there
    if the run keeps checkpoints, as far as its finished rounds of tools, ``inner`` the records of finished runs within it, ``steps`` a workflow's
    finished steps; ``continued_by`` if another process has taken it over.

    A paused run has ``status`` PAUSED, no lease, in ``pending`` the ids of the calls that wait for an answer, in ``run`` what else it is
    stored with, and in ``counted`` the tokens that the session's metrics have already. ``answers`` are those that it went on with.
    ``cancelled`` is when somebody wanted it to stop. ``store_tool_messages`` is False if nothing of what its tools were asked and answered is to
    be stored once it has ended, ``store_inner`` if nothing of the runs within it is.
    """

    input: Any = None
    images: Images | None = None
    audios: Audios | None = None
    videos: Videos | None = None
    files: Files | None = None
    started_at: float = 0
    lease_until: float = 0
    parent_run_id: str | None = None
    messages: list[Message] | None = None
    tools: list[ToolExecution] | None = None
    events: list[Any] | None = None
    metrics: Metrics | None = None
    inner: list[dict[str, Any]] | None = None
    steps: list[dict[str, Any]] | None = None
    continued_by: str | None = None
    status: str | None = None
    pending: list[str] | None = None
    answers: list[dict[str, Any]] | None = None
    run: dict[str, Any] | None = None
    counted: Metrics | None = None
    cancelled: float | None = None
    store_tool_messages: bool | None = None
    store_inner: bool | None = None

    def status_at(self, now: float) -> RunStatus:
        """How the run stands at that moment, in Unix seconds by the server's clock."""
        if self.lease_until > now:
            return RunStatus.running
        return RunStatus.paused if self.status == RunStatus.paused.value else RunStatus.interrupted

    @property
    def run_input(self) -> RunInput:
        """The input as the run has it."""
        return RunInput(input_content=self.input, images=self.images, audios=self.audios, videos=self.videos, files=self.files)


def run_from_dict(data: dict[str, Any]) -> AnyRun:
    """A stored run as the class that fits it, told by the component that it names."""
    if data.get("team_id") is not None:
        return TeamRunOutput.model_validate(data)
    if data.get("agent_id") is None and (data.get("workflow_id") is not None or "step_results" in data):
        return WorkflowRunOutput.model_validate(data)
    return RunOutput.model_validate(data)


class Session(Document):
    """What the three kinds of session have in common.

    ``runs`` are the nested runs, oldest first; ``user_id`` is the owner, fixed when the session is created;
    ``created_at`` and ``updated_at`` are Unix seconds, ``touched_at`` the same to the millisecond.
    """

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    session_id: str
    session_type: str = ""
    agent_id: str | None = None
    team_id: str | None = None
    workflow_id: str | None = None
    user_id: str | None = None
    session_data: dict[str, Any] | None = None
    agent_data: dict[str, Any] | None = None
    team_data: dict[str, Any] | None = None
    workflow_data: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    runs: list[Annotated[AnyRun, _Read]] | None = None
    summary: SessionSummary | None = None
    created_at: int = Field(default_factory=lambda: int(time()))
    updated_at: int | None = None

    active_runs: dict[str, ActiveRun] = Field(default_factory=dict)
    run_count: int = 0
    archived_runs: int = 0
    revision: int = 0
    state_revision: int | None = None
    touched_at: datetime | None = None
    forked_from: dict[str, Any] | None = None
    rewound_from: str | None = None
    retention: float | None = None
    expires_at: datetime | None = None
    schema_version: int = SCHEMA_VERSION

    # Where the runs stand that are not nested here; see agno_mongo.db.archive and agno_mongo.db.media.
    tail_bytes: int | None = Field(default=None, repr=False)
    archive_id: ObjectId | None = Field(default=None, repr=False)
    archive_lineage: list[dict[str, Any]] | None = Field(default=None, repr=False)
    has_media: bool | None = Field(default=None, repr=False)
    kept_until: datetime | None = Field(default=None, repr=False)

    TYPE: ClassVar[SessionType]

    _read_at: float | None = PrivateAttr(default=None)

    class Settings:
        name = DEFAULT_SESSION_TABLE
        is_root = True
        class_id = "session_type"

    def __init__(self, **data: Any) -> None:
        # Beanie's own constructor insists on a database, which a session in memory does not need.
        BaseModel.__init__(self, **data)

    @model_validator(mode="before")
    @classmethod
    def _from_stored(cls, data: Any) -> Any:
        """Lift a stored document to today's shape and turn BSON's values into Python's."""
        if isinstance(data, dict) and "_id" in data:
            return values.decode(upcast(data))
        return data

    @field_validator("runs", mode="before")
    @classmethod
    def _runs_by_kind(cls, runs: Any) -> Any:
        if not isinstance(runs, list):
            return runs
        return [run_from_dict(run) if isinstance(run, dict) else run for run in runs]

    @property
    def session_state(self) -> dict[str, Any]:
        """The stored state; an empty dict when there is none."""
        return dict((self.session_data or {}).get("session_state") or {})

    @property
    def session_name(self) -> str | None:
        """The name given by ``set_session_name``, or None."""
        return (self.session_data or {}).get("session_name")

    @property
    def component_id(self) -> str | None:
        """The id of the agent, team or workflow that the session belongs to."""
        return cast("str | None", getattr(self, self.TYPE.id_field))

    def set_read_at(self, moment: float) -> None:
        """Say when, by the server's clock, the session was read: leases are judged by that. Without it, by the clock of this machine."""
        self._read_at = moment

    @property
    def interrupted_runs(self) -> list[BaseRunOutput]:
        """Runs whose process died before they finished: the user's input, and status INTERRUPTED. Those of more than a day ago, which
        stand among ``runs``, as far as these are loaded.
        """
        return [run for run in [*(self.runs or ()), *self.unfinished_runs] if run.status == RunStatus.interrupted]

    @property
    def paused_runs(self) -> list[BaseRunOutput]:
        """Runs that wait for a person, oldest first. ``continue_run`` goes on with them."""
        return [run for run in self.unfinished_runs if run.status == RunStatus.paused]

    @property
    def unfinished_runs(self) -> list[BaseRunOutput]:
        """All runs begun and not finished, oldest first: RUNNING if their lease held when the session was read, PAUSED if they wait for
        a person, else INTERRUPTED.
        """
        begun = sorted(self.active_runs.items(), key=lambda item: item[1].started_at)
        now = time() if self._read_at is None else self._read_at
        return [self._unfinished(run_id, active, now) for run_id, active in begun]

    def _unfinished(self, run_id: str, active: ActiveRun, now: float) -> BaseRunOutput:
        return RUN_CLASSES[self.TYPE].model_validate(
            {
                **(active.run or {}),
                **RUN_CLASSES[self.TYPE].inner_fields(run_id, active.inner or ()),
                "run_id": run_id,
                "session_id": self.session_id,
                "user_id": self.user_id,
                "input": active.run_input,
                "messages": active.messages,
                "tools": active.tools,
                **({"events": active.events} if active.events is not None else {}),
                "metrics": active.metrics,
                "created_at": int(active.started_at),
                **({} if active.steps is None else {"steps": active.steps}),
                "status": active.status_at(now),
                self.TYPE.id_field: self.component_id,
            }
        )

    def get_run(self, run_id: str) -> BaseRunOutput | None:
        """The run with this id among those loaded, finished or not; a copy of its own."""
        for run in [*(self.runs or ()), *self.unfinished_runs]:
            if run.run_id == run_id:
                found: BaseRunOutput = run.model_copy(deep=True)
                return found
        return None

    def upsert_run(self, run: AnyRun) -> None:
        """Put ``run`` in the place of the run with the same id, or behind the others. In memory only."""
        self.runs = self.runs or []
        for index, existing in enumerate(self.runs):
            if existing.run_id == run.run_id:
                self.runs[index] = run
                return
        self.runs.append(run)

    def get_messages(
        self,
        *,
        last_n_runs: int | None = None,
        limit: int | None = None,
        skip_roles: Collection[str] | None = None,
        skip_statuses: Collection[RunStatus | str] | None = None,
        skip_history_messages: bool = True,
        agent_id: str | None = None,
        team_id: str | None = None,
        member_ids: Collection[str] | None = None,
        skip_member_messages: bool = True,
    ) -> list[Message]:
        """The messages of the loaded top-level runs, oldest first, the system message once; of one agent or team where it is named.

        Members' own messages come with ``skip_member_messages=False``, or only those of the agents that ``member_ids`` names.

        ``last_n_runs`` and ``limit`` count from the newest. Runs that never came to an answer are left out unless
        ``skip_statuses`` says otherwise.
        """
        runs: list[BaseRunOutput] = [run for run in self.runs or () if _is_of(run, agent_id=agent_id, team_id=team_id)]
        if member_ids is not None:
            runs = [run for run in runs if getattr(run, "agent_id", None) in member_ids]
        if member_ids is not None or not skip_member_messages:
            runs = history.by_themselves(runs)
        return history.conversation(
            runs,
            last_n_runs=last_n_runs,
            limit=limit,
            skip_roles=skip_roles or (),
            skip_statuses=skip_statuses,
            skip_history_messages=skip_history_messages,
        )

    def get_chat_history(self, last_n_runs: int | None = None) -> list[Message]:
        """The user's and the assistant's messages of the loaded runs, whatever their status."""
        return self.get_messages(skip_roles=(*history.SYSTEM_ROLES, "tool"), skip_statuses=(), last_n_runs=last_n_runs)

    def get_tool_calls(self, num_calls: int | None = None) -> list[dict[str, Any]]:
        """The tool calls of the loaded runs, the newest run's first; at most ``num_calls``."""
        messages = [message for run in reversed(self.runs or ()) for message in getattr(run, "messages", None) or ()]
        calls = [call for message in messages if not message.from_history for call in message.tool_calls or ()]
        return calls[:num_calls]

    def get_session_summary(self) -> SessionSummary | None:
        """The stored summary, or None."""
        return self.summary

    def to_dict(self, include_runs: bool = True) -> dict[str, Any]:
        """The session as plain values under Agno's names; without ``runs`` if asked."""
        stored: dict[str, Any] = self.model_dump(
            exclude={"id", "revision_id", "runs", "active_runs", *_LAYOUT, *_OTHER_COMPONENTS[self.TYPE]}
        )
        if include_runs:
            stored["runs"] = None if self.runs is None else [run.to_dict() for run in self.runs]
        stored["active_runs"] = {run_id: active.to_dict() for run_id, active in self.active_runs.items()}
        return stored

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """The session that ``to_dict`` gave, or one of Agno's."""
        return cls(**upcast(dict(data)))


class AgentSession(Session):
    """An agent's session."""

    TYPE: ClassVar[SessionType] = SessionType.AGENT
    session_type: str = "agent"

    # Beanie does not inherit class_id to a subtype's own Settings, and then reads fail silently.
    class Settings(Session.Settings):
        class_id = "session_type"
        class_id_value = "agent"


class TeamSession(Session):
    """A team's session; member runs stand in ``runs`` before the run that they belong to."""

    TYPE: ClassVar[SessionType] = SessionType.TEAM
    session_type: str = "team"

    class Settings(Session.Settings):
        class_id = "session_type"
        class_id_value = "team"

    def get_team_history(self, team_id: str | None = None, num_runs: int | None = None) -> list[tuple[str, str]]:
        """Input and answer of the loaded runs that came to one, oldest first, of the newest ``num_runs``; of a team within the team where it is named."""
        runs: list[BaseRunOutput] = list(self.runs or ())
        if team_id is not None:
            runs = history.by_themselves(run for run in runs if getattr(run, "team_id", None) == team_id)
        return history.turns_of(runs, num_runs)

    def get_team_history_context(self, team_id: str | None = None, num_runs: int | None = None) -> str | None:
        """The same as text for a prompt; None if there are none."""
        return history.team_context(self.get_team_history(team_id, num_runs))


class WorkflowSession(Session):
    """A workflow's session; a run holds every step's output."""

    TYPE: ClassVar[SessionType] = SessionType.WORKFLOW
    session_type: str = "workflow"

    class Settings(Session.Settings):
        class_id = "session_type"
        class_id_value = "workflow"

    def get_workflow_history(self, num_runs: int | None = None) -> list[tuple[str, str]]:
        """Input and answer of the loaded runs that came to one, oldest first, of the newest ``num_runs``."""
        return history.turns_of(self.runs or (), num_runs)

    def get_workflow_history_context(self, num_runs: int | None = None) -> str | None:
        """The same as text for a prompt; None if there are none."""
        return history.workflow_context(self.get_workflow_history(num_runs))


SESSION_CLASSES: dict[SessionType, type[Session]] = {cls.TYPE: cls for cls in (AgentSession, TeamSession, WorkflowSession)}
RUN_CLASSES: dict[SessionType, type[BaseRunOutput]] = {
    SessionType.AGENT: RunOutput,
    SessionType.TEAM: TeamRunOutput,
    SessionType.WORKFLOW: WorkflowRunOutput,
}
_LAYOUT = {"archived_runs", "tail_bytes", "archive_id", "archive_lineage", "has_media", "kept_until"}
_OTHER_COMPONENTS = {kind: {other.data_field for other in SessionType if other is not kind} for kind in SessionType}

SessionT = TypeVar("SessionT", bound=Session)


async def bind_documents(database: Any, collection_name: str) -> dict[SessionType, type[Session]]:
    """New subclasses of the three session classes, bound to one collection of one database.

    Takes two commands (``buildInfo``, ``listCollections``), both Beanie's. Not to be called from two threads at once.
    """
    with _left_as_they_are(Session, *SESSION_CLASSES.values()):
        bound = {kind: _subclass(cls) for kind, cls in SESSION_CLASSES.items()}
        await init_beanie(database=database, document_models=list(bound.values()), skip_indexes=True)
    for cls in bound.values():
        # Beanie gives a subtype the collection of its root, which is the shared class.
        cls.set_collection_name(collection_name)
        cls.set_collection(database[collection_name])  # type: ignore[no-untyped-call]
    return bound


def _is_of(run: Any, **wanted: str | None) -> bool:
    """True if the run is that of the agent or the team that is named, if any is."""
    return all(value is None or getattr(run, name, None) == value for name, value in wanted.items())


def _subclass(cls: type[SessionT]) -> type[SessionT]:
    class Bound(cls):  # type: ignore[misc, valid-type]
        # Of the three kinds a database mostly sees one. It is used on one event loop, so that nobody builds it twice at once.
        model_config = ConfigDict(defer_build=True)

        class Settings(cls.Settings):  # type: ignore[misc, name-defined]
            pass

    Bound.__name__ = Bound.__qualname__ = cls.__name__
    Bound.__doc__ = cls.__doc__
    return cast("type[SessionT]", Bound)


@contextmanager
def _left_as_they_are(*shared: type[Session]) -> Iterator[None]:
    """Undo, at the end, what Beanie does to the shared classes while it binds their subclasses.

    It binds the parents too, over whatever the user may have bound them to, and puts query expressions on them; pydantic then takes such
    an attribute of a parent for the default of a field.
    """
    before = {cls: dict(vars(cls)) for cls in shared}
    for cls in shared:
        for name in [name for name, value in before[cls].items() if isinstance(value, ExpressionField)]:
            delattr(cls, name)
    try:
        yield
    finally:
        for cls, attributes in before.items():
            for name in vars(cls).keys() - attributes.keys():
                type.__delattr__(cls, name)
            for name, value in attributes.items():
                if vars(cls).get(name) is not value:
                    type.__setattr__(cls, name, value)
