"""What the bracket around a run is told about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from agno_mongo.db.keys import SessionKey
from agno_mongo.db.session_cache import SessionCache
from agno_mongo.db.store import OnStateConflict
from agno_mongo.own_session import OwnSession
from agno_mongo.recording import Recording
from agno_mongo.resuming import FaultOf, Past
from agno_mongo.run.base import BaseRunOutput
from agno_mongo.run.requirement import Answer
from agno_mongo.summaries import Summaries

LEASE = 60.0
"""Seconds for which a run counts as alive without a sign of life. Renewed every 5 s while the run goes on (``upkeep.RENEWED_EVERY``)."""

ConcurrentRuns = Literal["allow", "reject", "queue"]
CheckpointWhen = Literal["runs", "tool-batch", "steps"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the component (an agent, say) wants of the bracket.

    ``whose`` is the component itself. ``default_state`` is what a new session starts with, ``run_state`` what this call lays over it; ``overwrite_state`` puts
    ``run_state`` in the place of all that is stored. ``history_runs`` is how many finished runs the body will look back on;
    ``runs_at_hand`` how many of the newest to read where only these tell whether it will ``look_back_further``. ``first_runs`` are
    what a new session begins with, as they are stored.
    ``raise_errors`` raises a model's error after the run is stored with status ERROR, ``raise_check_errors`` a hook's refusal.
    ``concurrent_runs`` says what a run does that meets others in its session; ``queue_timeout`` is in seconds. ``checkpoint`` is ``"tool-batch"`` if a run is stored after each
    round of tools too, ``"steps"`` if after each of its steps. ``continues``: the run is an interrupted or paused one, which goes on, with these ``answers``; ``fault_of`` says what
    is wrong with a call that was answered, ``check_past`` raises WorkflowChanged if the run cannot go on from there, and ``paused_run`` is the run itself, which counts where there is no database. ``metadata``
    is the component's, ``run_metadata`` the call's; the session's own comes in between.

    ``recording`` says what of the run is stored. ``cache`` has the newest runs of sessions that need not be sent again. ``summaries`` says when
    the session is summed up. ``own_session`` is where a run within another is kept as well, once it has ended.
    """

    key: SessionKey
    component_id: str | None
    whose: Any = None
    component: dict[str, Any] = field(default_factory=dict)
    default_state: dict[str, Any] = field(default_factory=dict)
    run_state: dict[str, Any] = field(default_factory=dict)
    overwrite_state: bool = False
    metadata: dict[str, Any] | None = None
    run_metadata: dict[str, Any] | None = None
    history_runs: int = 0
    runs_at_hand: int = 0
    first_runs: Sequence[dict[str, Any]] = ()
    on_state_conflict: OnStateConflict = "ours"
    raise_errors: bool = False
    raise_check_errors: bool = False
    reused_id: bool = False
    concurrent_runs: ConcurrentRuns = "allow"
    queue_timeout: float = 60.0
    checkpoint: CheckpointWhen = "runs"
    continues: bool = False
    answers: tuple[Answer, ...] | None = None
    fault_of: FaultOf = lambda _tool, _of: None
    check_past: Callable[[Past], None] = lambda _: None
    paused_run: BaseRunOutput | None = None
    recording: Recording = field(default_factory=Recording)
    cache: SessionCache | None = None
    summaries: Summaries | None = None
    own_session: OwnSession | None = None
    lease: ClassVar[float] = LEASE

    @property
    def runs_wanted(self) -> int:
        """How many of the newest runs the run begins with."""
        return max(self.history_runs, self.runs_at_hand)
