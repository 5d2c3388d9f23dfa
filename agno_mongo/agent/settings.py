"""An agent's settings, with Agno's names and defaults, and what they may be.

A concern of its own has a block of its own here; what becomes of it is in the module that the block names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any, ClassVar, cast

from agno_mongo import checks
from agno_mongo.agent import own_past
from agno_mongo.agent.assigning import Assignable, checks_of
from agno_mongo.agent.hooks import checked_hooks
from agno_mongo.agent.input_schema import checked_input_schema
from agno_mongo.agent.output_schema import Schema, output_schema
from agno_mongo.agent.prompt import Example, Instructions, SystemMessage, checked_system_message, examples
from agno_mongo.agent.tool_settings import TOOL_CHECKS, HasTools
from agno_mongo.db.arguments import check_id
from agno_mongo.db.base import SessionType
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.session_cache import SessionCache
from agno_mongo.db.store import OnStateConflict
from agno_mongo.errors import ConfigurationError
from agno_mongo.guardrails import BaseGuardrail
from agno_mongo.models.base import Model, default_model
from agno_mongo.models.fallback import FallbackConfig, models_of
from agno_mongo.models.persistent import Fitted, RetryPolicy, persistent
from agno_mongo.models.utils import get_model
from agno_mongo.recording import Recording
from agno_mongo.run.events import RunEvent
from agno_mongo.run_settings import CheckpointWhen, ConcurrentRuns
from agno_mongo.summaries import SessionSummaryManager, Summaries
from agno_mongo.tool_calls import DEFAULT_TOOL_ROUNDS
from agno_mongo.tools.function import Function
from agno_mongo.tools.toolbox import Tools


def checked_database(name: str, value: Any) -> MongoDb | None:
    """A database, or None; else ConfigurationError."""
    if value is not None and not isinstance(value, MongoDb):
        raise ConfigurationError(f"{name}= takes a MongoDb, EmbeddedMongoDb or InMemoryDb, not {type(value).__name__}")
    return value


def _checked_second_model(name: str, value: Any) -> Model | None:
    return None if value is None else get_model(value, setting=name)


@dataclass(kw_only=True, eq=False, repr=False)
class AgentSettings(Assignable, HasTools):
    """What an agent is made of. Every field may be given to ``Agent()`` by its name."""

    # Who answers, and who is asked: agno_mongo.models.
    model: Model | str | None = None
    name: str | None = None
    id: str | None = None

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

    # What is stored of a run: agno_mongo.run.stored, agno_mongo.execution.
    store_media: bool = True
    store_tool_messages: bool = True
    store_history_messages: bool = False
    store_events: bool = False
    events_to_skip: Collection[RunEvent | str] | None = None
    cache_session: bool = False

    # Images, sounds, videos and files: agno_mongo.media, agno_mongo.agent.media_input.
    send_media_to_model: bool = True

    # What becomes of a model's failures: agno_mongo.models.persistent.
    retries: int = 0
    delay_between_retries: float = 1.0
    exponential_backoff: bool = False
    fallback_models: Sequence[Model | str] | None = None
    fallback_config: FallbackConfig | None = None

    # The history that the model is shown: agno_mongo.history.
    add_history_to_context: bool = False
    num_history_runs: int | None = None
    num_history_messages: int | None = None
    num_history_tokens: int | None = None
    max_tool_calls_from_history: int | None = None

    # Summaries of the session: agno_mongo.summaries.
    enable_session_summaries: bool = False
    session_summary_manager: SessionSummaryManager | None = None
    summary_every: int = 1
    summary_in_background: bool = True

    # The system message: agno_mongo.agent.system.
    system_message: SystemMessage | None = None
    system_message_role: str = "system"
    build_context: bool = True
    description: str | None = None
    role: str | None = None
    instructions: Instructions | None = None
    use_instruction_tags: bool = False
    expected_output: str | None = None
    additional_context: str | None = None
    markdown: bool = False
    add_name_to_context: bool = False
    add_datetime_to_context: bool = False
    datetime_format: str | None = None
    timezone_identifier: str | None = None
    add_session_state_to_context: bool = False
    add_session_summary_to_context: bool | None = None
    resolve_in_context: bool = True

    # What else the model is sent first: agno_mongo.agent.first_messages.
    additional_input: Sequence[Example] | None = None
    introduction: str | None = None
    dependencies: Mapping[str, Any] | None = None
    add_dependencies_to_context: bool = False
    user_message_role: str = "user"
    build_user_context: bool = True

    # Tools for the session's own past and state: agno_mongo.agent.own_past.
    read_chat_history: bool = False
    read_tool_call_history: bool = False
    search_past_sessions: bool = False
    num_past_sessions_to_search: int | None = 20
    num_past_session_runs_in_search: int | None = 3
    enable_agentic_state: bool = False

    # Tools: agno_mongo.tools, agno_mongo.model_loop.
    tools: Tools | None = None
    tool_choice: str | dict[str, Any] | None = None
    tool_call_limit: int | None = None
    tool_hooks: Sequence[Callable[..., Any]] | None = None
    tool_timeout: float | None = None
    max_tool_rounds: int | None = DEFAULT_TOOL_ROUNDS

    # Structured input and output: agno_mongo.agent.input_schema, agno_mongo.agent.output_schema.
    input_schema: Any = None
    output_schema: Schema | None = None
    structured_outputs: bool | None = None
    use_json_mode: bool = False
    parse_response: bool = True

    # Models that speak after the agent's own: agno_mongo.agent.second_models.
    parser_model: Model | str | None = None
    parser_model_prompt: str | None = None
    output_model: Model | str | None = None
    output_model_prompt: str | None = None

    # Checks of input and answer: agno_mongo.agent.hooks.
    pre_hooks: Sequence[Callable[..., Any] | BaseGuardrail] | None = None
    post_hooks: Sequence[Callable[..., Any] | BaseGuardrail] | None = None
    raise_check_errors: bool = False

    # What a caller sees of a run.
    stream: bool | None = None
    stream_events: bool | None = None
    raise_model_errors: bool = False

    # The terminal: agno_mongo.terminal.
    show_tool_calls: bool = True

    SESSION_TYPE: ClassVar[SessionType] = SessionType.AGENT
    _checked: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "model": lambda name, value: default_model() if value is None else get_model(value, setting=name),
        "db": checked_database,
        "name": lambda name, value: checks.instance_of(name, value, str),
        "id": lambda name, value: checks.instance_of(name, value, str),
        "session_id": lambda name, value: None if value is None else check_id(name, value),
        "user_id": lambda name, value: None if value is None else check_id(name, value),
        "session_state": lambda name, value: checks.mapping(name, value) or {},
        "metadata": checks.mapping,
        "on_state_conflict": lambda name, value: checks.one_of(name, value, ("ours", "raise")),
        "concurrent_runs": lambda name, value: checks.one_of(name, value, ("allow", "reject", "queue")),
        "queue_timeout": checks.seconds,
        "checkpoint": lambda name, value: checks.one_of(name, value, ("runs", "tool-batch")),
        "session_summary_manager": lambda name, value: checks.instance_of(name, value, SessionSummaryManager),
        "summary_every": lambda name, value: checks.count(name, value) or 1,
        "retries": lambda name, value: checks.count(name, value, least=0),
        "delay_between_retries": checks.seconds,
        "fallback_models": models_of,
        "fallback_config": lambda name, value: checks.instance_of(name, value, FallbackConfig),
        "num_history_runs": checks.count,
        "num_history_messages": checks.count,
        "events_to_skip": lambda name, value: events_named(name, [RunEvent.run_content] if value is None else value),
        "stream": lambda name, value: value if value is None else checks.flag(name, value),
        "stream_events": lambda name, value: value if value is None else checks.flag(name, value),
        "input_schema": checked_input_schema,
        "output_schema": lambda _name, value: value if value is None or output_schema(value) else None,
        "structured_outputs": lambda name, value: checks.instance_of(name, value, bool),
        "parser_model": _checked_second_model,
        "parser_model_prompt": checks.text,
        "output_model": _checked_second_model,
        "output_model_prompt": checks.text,
        "pre_hooks": checked_hooks,
        "post_hooks": checked_hooks,
        **TOOL_CHECKS,
        "num_history_tokens": checks.count,
        "max_tool_calls_from_history": lambda name, value: checks.count(name, value, least=0),
        "system_message": checked_system_message,
        "system_message_role": checks.role,
        "user_message_role": checks.role,
        "description": checks.text,
        "role": checks.text,
        "expected_output": checks.text,
        "additional_context": checks.text,
        "introduction": checks.text,
        "datetime_format": checks.text,
        "timezone_identifier": checks.time_zone,
        "add_session_summary_to_context": lambda name, value: value if value is None else checks.flag(name, value),
        "additional_input": examples,
        "dependencies": checks.mapping,
        "num_past_sessions_to_search": checks.count,
        "num_past_session_runs_in_search": checks.count,
    }
    """How a setting is checked, and made into what the agent keeps. Flags are checked by their annotation."""

    @property
    def as_arguments(self) -> dict[str, Any]:
        """What is built of the settings, by the names under which functions of the user's ask for it."""
        return {"agent": self}

    def company(self) -> str | None:
        """What the system message says of those that one works with; None for nothing."""
        return None

    def __post_init__(self) -> None:
        given = self.model
        for name, check in checks_of(type(self)).items():
            if check is not None:
                vars(self)[name] = check(name, getattr(self, name))
        if self.fallback_models and self.fallback_config is not None:
            raise ConfigurationError(
                "fallback_models and fallback_config were both given; fallback_config(on_error=…) takes the models too"
            )
        self.id = self.id or checks.id_of(self.name or "") or self.SESSION_TYPE.value
        self.set_tools(self.tools or ())
        self._session_cache = SessionCache()
        self._default_model = self.model if given is None else None
        self._is_made = True

    @property
    def has_default_model(self) -> bool:
        """True if no model was given: a team lends its own then."""
        return self.model is self._default_model

    @property
    def _model(self) -> Model:
        """The model that is there once the settings are checked; one that was assigned by name since is looked up now."""
        if isinstance(self.model, str):
            self.model = get_model(self.model)
        return cast("Model", self.model)

    def _model_of_a_run(self, fitted: Fitted | None = None) -> Model:
        """The model, with all that is done about its failures. Made for each run: it remembers who answered. ``fitted``: requests for each model."""
        if not (self.retries or self.fallback_models or self.fallback_config or getattr(self._model, "retries", 0)):
            return self._model
        policy = RetryPolicy(
            retries=self.retries,
            delay_between_retries=self.delay_between_retries,
            exponential_backoff=self.exponential_backoff,
        )
        fallbacks = self.fallback_config or FallbackConfig(on_error=self.fallback_models or ())
        return persistent(self._model, policy=policy, fallbacks=fallbacks, fitted=fitted)

    @property
    def _summaries(self) -> Summaries:
        """How the agent's sessions are summed up."""
        manager = self.session_summary_manager or SessionSummaryManager()
        return Summaries(
            manager=manager,
            model=self._model_of_a_run() if manager.model is None else persistent(get_model(manager.model)),
            every=self.summary_every,
            in_background=self.summary_in_background,
        )

    @property
    def _recording(self) -> Recording:
        """What the bracket is to store of a run."""
        skipped = (str(getattr(event, "value", event)) for event in self.events_to_skip or ()) if self.store_events else ()
        return Recording(
            store_media=self.store_media,
            store_tool_messages=self.store_tool_messages,
            store_history_messages=self.store_history_messages,
            store_events=self.store_events,
            events_to_skip=frozenset(skipped),
        )

    def _own_tools(self) -> list[Function]:
        return own_past.tools_for(self)


def events_named(name: str, given: Any, kinds: type[Enum] = RunEvent) -> list[Any]:
    """The events that a setting names, by the names of ``kinds`` or their texts."""
    if isinstance(given, str) or not isinstance(given, Collection):
        wanted = f"{kinds.__name__}.run_content"
        raise ConfigurationError(f"{name}= takes a list of events such as {wanted}, not {checks.shown(given)}")
    known = [event.value for event in kinds]
    for event in given:
        if event not in known:
            nearest = get_close_matches(str(event), known, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigurationError(f"{name}= names {event!r}, which is no event{hint}")
    return [kinds(event) for event in given]
