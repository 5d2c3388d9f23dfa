"""Names of Agno's earlier versions: taken with a warning that says what they are called today, or refused with what to do instead."""

from __future__ import annotations

import asyncio
import copy
import inspect
import io
import logging
import warnings
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agno_mongo.agent import Agent
from agno_mongo.agent.actor import RunOptions
from agno_mongo.agent.continuing import ContinueOptions
from agno_mongo.agent.settings import AgentSettings
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError
from agno_mongo.models.ollama import Ollama
from agno_mongo.models.openai import OpenAIChat, OpenAIResponses
from agno_mongo.renamed import MISSING, OLDER
from agno_mongo.team import Team
from agno_mongo.team.settings import TeamSettings
from agno_mongo.testing import ScriptedModel
from agno_mongo.workflow import HumanReview, Workflow
from agno_mongo.workflow.settings import WorkflowSettings

SETTINGS = {field.name for field in fields(AgentSettings)}
TODAY = {
    "Agent": SETTINGS,
    "Team": {field.name for field in fields(TeamSettings)},
    "Workflow": {field.name for field in fields(WorkflowSettings)},
    "HumanReview": {field.name for field in fields(HumanReview)},
    "run()": {*RunOptions.__annotations__, "input", "stream_events", "yield_run_output"},
    "continue_run()": {*ContinueOptions.__annotations__, *inspect.signature(Agent.continue_run).parameters},
    "delete_session()": set(inspect.signature(Agent.delete_session).parameters),
    "get_session_messages()": set(inspect.signature(Agent.get_session_messages).parameters),
    "MongoDb": set(inspect.signature(MongoDb.__init__).parameters),
    "methods": set(dir(Agent)),
    "model": set(inspect.signature(OpenAIChat).parameters),
}

AGNOS = [
    "add_datetime_to_context",
    "add_dependencies_to_context",
    "add_history_to_context",
    "add_knowledge_to_context",
    "add_learnings_to_context",
    "add_location_to_context",
    "add_memories_to_context",
    "add_name_to_context",
    "add_search_knowledge_instructions",
    "add_session_state_to_context",
    "add_session_summary_to_context",
    "additional_context",
    "additional_input",
    "build_context",
    "build_user_context",
    "cache_callables",
    "cache_session",
    "callable_knowledge_cache_key",
    "callable_tools_cache_key",
    "checkpoint",
    "compaction",
    "compress_tool_results",
    "compression_manager",
    "datetime_format",
    "db",
    "debug_level",
    "debug_mode",
    "delay_between_retries",
    "dependencies",
    "description",
    "enable_agentic_knowledge_filters",
    "enable_agentic_memory",
    "enable_agentic_state",
    "enable_session_summaries",
    "events_to_skip",
    "expected_output",
    "exponential_backoff",
    "fallback_config",
    "fallback_models",
    "filesystem",
    "followup_model",
    "followups",
    "id",
    "input_schema",
    "instructions",
    "introduction",
    "knowledge",
    "knowledge_filters",
    "knowledge_retriever",
    "learning",
    "markdown",
    "max_tool_calls_from_history",
    "media_storage",
    "memory_manager",
    "metadata",
    "model",
    "name",
    "num_followups",
    "num_history_messages",
    "num_history_runs",
    "num_past_session_runs_in_search",
    "num_past_sessions_to_search",
    "offload_tool_results",
    "output_model",
    "output_model_prompt",
    "output_schema",
    "overwrite_db_session_state",
    "parse_response",
    "parser_model",
    "parser_model_prompt",
    "post_hooks",
    "pre_hooks",
    "read_chat_history",
    "read_tool_call_history",
    "reasoning_agent",
    "reasoning_model",
    "references_format",
    "resolve_in_context",
    "retries",
    "role",
    "sandbox",
    "save_response_to_file",
    "search_knowledge",
    "search_past_sessions",
    "send_media_to_model",
    "session_id",
    "session_state",
    "session_summary_manager",
    "skills",
    "store_events",
    "store_history_messages",
    "store_media",
    "store_tool_messages",
    "stream",
    "stream_events",
    "structured_outputs",
    "system_message",
    "system_message_role",
    "telemetry",
    "timezone_identifier",
    "tool_call_limit",
    "tool_choice",
    "tool_hooks",
    "tools",
    "update_knowledge",
    "update_memory_on_run",
    "use_instruction_tags",
    "use_json_mode",
    "user_id",
    "user_message_role",
]
"""The settings of an agent in Agno 3.1.10."""

OF_TEAMS = [
    "add_member_tools_to_context",
    "add_team_history_to_members",
    "callable_members_cache_key",
    "delegate_to_all_members",
    "determine_input_for_members",
    "get_member_information_tool",
    "max_iterations",
    "members",
    "mode",
    "num_team_history_runs",
    "respond_directly",
    "share_member_interactions",
    "show_members_responses",
    "store_member_responses",
    "stream_member_events",
    "telemetry",
]
"""The settings of a team in Agno 3.1.10 that an agent does not have, and one that it does."""

OF_WORKFLOWS = [
    "add_dependencies_to_context",
    "add_session_state_to_context",
    "add_workflow_history_to_steps",
    "agent",
    "cache_session",
    "db",
    "debug_level",
    "debug_mode",
    "dependencies",
    "description",
    "events_to_skip",
    "id",
    "input_schema",
    "media_storage",
    "metadata",
    "name",
    "num_history_runs",
    "overwrite_db_session_state",
    "session_id",
    "session_state",
    "steps",
    "store_events",
    "store_executor_outputs",
    "store_media",
    "stream",
    "stream_events",
    "stream_executor_events",
    "telemetry",
    "user_id",
]
"""The settings of a workflow in Agno 3.1.10."""

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # mongomock's, on Python 3.12


@pytest.mark.parametrize(("table", "older", "today"), [(table, *row) for table, rows in OLDER.items() for row in rows.items()])
def test_every_older_name_leads_to_one_that_is_there(table: str, older: str, today: str) -> None:
    assert today in TODAY[table]
    assert older not in TODAY[table] or table == "methods"
    assert older not in MISSING.get(table, ())


@pytest.mark.parametrize("table", MISSING)
def test_what_is_said_to_be_missing_is_missing(table: str) -> None:
    assert not set(MISSING[table]) & (TODAY[table] | set(OLDER.get(table, ())))


@pytest.mark.parametrize("setting", AGNOS)
def test_every_setting_of_agno_has_its_effect_or_an_error_that_says_what_to_do(setting: str) -> None:
    assert (setting in SETTINGS) != (setting in MISSING["Agent"])


@pytest.mark.parametrize("setting", OF_TEAMS)
def test_every_setting_of_agnos_teams_has_its_effect_or_an_error_that_says_what_to_do(setting: str) -> None:
    assert (setting in TODAY["Team"]) != (setting in MISSING["Team"])


@pytest.mark.parametrize("setting", OF_WORKFLOWS)
def test_every_setting_of_agnos_workflows_has_its_effect_or_an_error_that_says_what_to_do(setting: str) -> None:
    assert (setting in TODAY["Workflow"]) != (setting in MISSING["Workflow"])


def test_the_page_for_who_comes_from_agno_names_every_setting() -> None:
    page = (Path(__file__).parent.parent / "docs" / "agno.md").read_text()
    assert [name for name in sorted(SETTINGS | TODAY["Team"] | TODAY["Workflow"]) if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("older", "today", "value"),
    [
        ("storage", "db", InMemoryDb()),
        ("agent_id", "id", "guide"),
        ("add_history_to_messages", "add_history_to_context", True),
        ("num_history_responses", "num_history_runs", 5),
        ("extra_data", "metadata", {"a": 1}),
        ("stream_intermediate_steps", "stream_events", True),
    ],
)
def test_older_settings_are_taken_with_a_warning_at_the_callers_line(older: str, today: str, value: Any) -> None:
    with pytest.warns(DeprecationWarning, match=rf"Agent\({older}=…\) is an older name of Agent\({today}=…\)") as caught:
        agent = Agent(model=ScriptedModel(), **{older: value})
    assert caught[0].filename == __file__
    assert getattr(agent, today) == value
    with pytest.raises(TypeError, match="both were given"):
        Agent(model=ScriptedModel(), **{older: value, today: value})


def test_an_agent_of_ones_own_takes_older_settings_too() -> None:
    class Guide(Agent):
        def __init__(self, **settings: Any) -> None:
            super().__init__(model=ScriptedModel(), **settings)

    with pytest.warns(DeprecationWarning, match="num_history_runs") as caught:
        assert Guide(num_history_responses=5).num_history_runs == 5
    assert caught[0].filename == __file__


@pytest.mark.parametrize("db", [partial(MongoDb, "mongodb://localhost"), InMemoryDb, EmbeddedMongoDb])
def test_older_settings_of_a_database_are_taken(db: Any) -> None:
    with pytest.warns(DeprecationWarning, match="session_table") as caught:
        assert db(session_collection="mine").session_table == "mine"
    assert caught[0].filename == __file__
    with pytest.raises(TypeError, match="MongoDb has no setting 'memory_collection'; sessions, archive and media"):
        db(memory_collection="mine")


def test_older_options_of_a_run_are_taken_in_every_way_to_run() -> None:
    model = ScriptedModel("1", "2", "3", "4", "5")
    agent, out = Agent(model=model), Console(file=io.StringIO())
    calls = [
        lambda: agent.run(message="1"),
        lambda: asyncio.run(agent.arun(messages=["2"])),
        lambda: list(agent.run("3", stream=True, stream_intermediate_steps=True)),
        lambda: agent.print_response(message="4", console=out),
        lambda: asyncio.run(agent.aprint_response(message="5", console=out)),
    ]
    for call in calls:
        with pytest.warns(DeprecationWarning, match="is an older name of") as caught:
            call()
        assert caught[0].filename == __file__
    assert model.asked == ["1", "2", "3", "4", "5"]
    with pytest.raises(TypeError, match="'message' is an older name of 'input'; both were given"):
        agent.run(input="a", message="b")


def test_the_older_name_of_get_session_messages_works() -> None:
    agent = Agent(model=ScriptedModel("ok"), db=InMemoryDb(), session_id="s")
    agent.run("go")
    with pytest.warns(DeprecationWarning, match=r"is an older name of get_session_messages\(\)") as caught:
        messages = agent.get_messages_for_session()
    assert caught[0].filename == __file__
    assert [message.content for message in messages] == ["go", "ok"]
    with pytest.warns(DeprecationWarning, match="aget_session_messages"):
        assert len(asyncio.run(agent.aget_messages_for_session())) == 2


def test_the_older_ways_to_rename_a_session_work() -> None:
    agent = Agent(model=ScriptedModel("ok", "Going"), db=InMemoryDb(), session_id="s")
    agent.run("go")
    with pytest.warns(DeprecationWarning, match=r"rename_session\(\) is an older name of set_session_name\(\)"):
        agent.rename_session("My trip")
    assert agent.get_session_name() == "My trip"
    with pytest.warns(DeprecationWarning, match=r"auto_rename_session\(\) is an older name of set_session_name\(\)"):
        agent.auto_rename_session()
    assert agent.get_session_name() == "Going"
    with pytest.raises(TypeError, match="at most 2"), pytest.warns(DeprecationWarning, match="rename_session"):
        agent.rename_session("My trip", "s", "what else")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("add_history_to_contxt", "did you mean 'add_history_to_context'?"),
        ("num_history_response", "did you mean 'num_history_responses'?"),
        ("memory", "memories of a user are not there"),
        ("knowledge", "a tool that searches"),
        ("compaction", "history is limited by"),
        ("reasoning", "pass a model that reasons"),
        ("telemetry", "nothing is ever sent"),
        ("session_name", "set_session_name()"),
        ("qqq", "no setting 'qqq'"),
    ],
)
def test_a_setting_that_is_none_is_refused_with_what_to_do_instead(setting: str, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        Agent(model=ScriptedModel(), **{setting: 1})
    assert words in str(caught.value)


async def test_a_setting_that_is_none_and_asks_for_nothing_is_taken() -> None:
    nothing: dict[str, Any] = {"telemetry": False, "debug_mode": False}
    agent = Agent(model=ScriptedModel("a", "b"), knowledge=None, reasoning=False, **nothing)  # type: ignore[call-arg]
    assert (await agent.arun("go", debug_mode=None)).content == "a"  # type: ignore[call-overload]
    team = Team([agent], model=ScriptedModel("b"), **nothing)
    workflow = Workflow(steps=[team], **nothing)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Whenever the garbage collector comes upon what another test has left.
        warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
        assert (await workflow.arun("go")).content == "b"
    with pytest.raises(TypeError, match="no setting 'telemetery'"):
        Agent(telemetery=False)  # type: ignore[call-arg]


def test_debug_mode_lets_what_is_logged_for_debugging_through() -> None:
    logger = logging.getLogger("agno_mongo")
    before = logger.level
    try:
        Agent(model=ScriptedModel(), debug_mode=True)  # type: ignore[call-arg]
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: OpenAIChat(streaming=True), r"OpenAIChat has no setting 'streaming'; say it to run\(\): stream=True"),  # type: ignore[call-arg]
        (lambda: OpenAIChat(client=1), "async_client"),  # type: ignore[call-arg]
        (lambda: OpenAIChat(temprature=1), "did you mean 'temperature'"),  # type: ignore[call-arg]
        (lambda: OpenAIResponses(system_prompt="x"), r"Agent\(instructions=…\)"),  # type: ignore[call-arg]
        (lambda: Ollama(cache_response=True), "Ollama has no setting 'cache_response'; answers are not cached"),  # type: ignore[call-arg]
    ],
)
def test_a_models_setting_that_is_none_is_refused_with_what_to_do_instead(made: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        made()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"markdown": True}, r"run\(\) has no setting 'markdown'; it is a setting of Agent\(…\)"),
        ({"retries": 3}, r"it is a setting of Agent\(…\)"),
        ({"tools": []}, r"it is a setting of Agent\(…\)"),
        ({"run_context": {}}, "a run makes its own"),
    ],
)
async def test_a_setting_that_is_given_to_a_run_is_refused_with_whose_it_is(option: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        await Agent(model=ScriptedModel()).arun("go", **option)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda agent: agent.continue_run(run_id="r", fork=True), r"continue_run\(\) has no setting 'fork'; db.fork_session"),
        (lambda agent: agent.continue_run(run_id="r", input="Go on."), "a message of its own"),
        (lambda agent: agent.continue_run(run_id="r", regenerate=True), "db.rewind_session"),
        (lambda agent: agent.continue_run(run_id="r", debug_mode=True), "set its level"),
        (lambda agent: agent.delete_session("s", delete_media=True), r"adelete_session\(\) .* deleted with it"),
        (lambda agent: agent.get_session_messages("s", member_ids=["a"]), "has one member's"),
        (lambda agent: agent.run("go", websocket=object()), "send what you get"),
    ],
)
def test_what_agnos_methods_take_and_these_do_not_is_refused_with_what_to_do_instead(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call(Agent(model=ScriptedModel(), db=InMemoryDb()))


POSITIONAL = {
    "run": ["input"],
    "continue_run": ["run_response"],
    "print_response": ["input"],
    "cli_app": ["input", "session_id", "user_id", "user"],
    "get_session": ["session_id", "user_id"],
    "get_session_messages": ["session_id", "last_n_runs", "limit"],
    "get_chat_history": ["session_id", "last_n_runs"],
    "get_session_state": ["session_id"],
    "update_session_state": ["session_state_updates", "session_id"],
    "get_session_name": ["session_id"],
    "set_session_name": ["session_id", "autogenerate", "session_name"],
    "get_session_metrics": ["session_id"],
    "get_run_output": ["run_id", "session_id", "user_id"],
    "get_last_run_output": ["session_id"],
    "delete_session": ["session_id", "user_id", "delete_media"],
    "cancel_run": ["run_id"],
}
"""What methods of agents, teams and workflows take by position in Agno 3.1.10."""


@pytest.mark.parametrize("component", [Agent, Team, Workflow])
@pytest.mark.parametrize("method", POSITIONAL)
def test_what_is_given_by_position_is_what_it_is_in_agno(component: type, method: str) -> None:
    for name in (method, f"a{method}"):
        parameters = inspect.signature(getattr(component, name)).parameters.values()
        ours = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]
        common = min(len(ours), len(POSITIONAL[method]))
        assert ours[:common] == POSITIONAL[method][:common]


def test_a_name_in_the_place_of_autogenerate_is_refused() -> None:
    agent = Agent(model=ScriptedModel("ok"), db=InMemoryDb(), session_id="s")
    agent.run("go")
    agent.set_session_name("s", False, "My trip")
    assert agent.get_session_name() == "My trip"
    with pytest.raises(ConfigurationError, match="autogenerate"):
        agent.set_session_name("s", "Another")


def print_nothing() -> None:
    """Print nothing."""


class TestAssigning:
    """What is assigned to an agent that is there already."""

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("num_history_runs", 0, "whole number from 1"),
            ("tool_choice", "foo", "tool_choice"),
            ("retries", -1, "whole number from 0"),
            ("markdown", "yes", "True or False"),
            ("db", "mongodb://localhost", "db= takes a MongoDb"),
            ("model", ScriptedModel, "takes a model"),
            ("output_schema", 7, "output_schema"),
        ],
    )
    def test_is_checked_like_a_setting_of_the_constructor(self, name: str, value: Any, words: str) -> None:
        agent = Agent(model=ScriptedModel())
        before = getattr(agent, name)
        with pytest.raises(ConfigurationError, match=words):
            setattr(agent, name, value)
        assert getattr(agent, name) is before

    async def test_takes_what_the_constructor_takes(self) -> None:
        agent = Agent(model=ScriptedModel())
        agent.model, agent.markdown, agent.num_history_runs, agent.db = ScriptedModel("ok"), True, 7, InMemoryDb()
        agent.session_state = None
        agent.tools = [print_nothing]
        assert (agent.num_history_runs, agent.session_state) == (7, {})
        assert (await agent.arun("go")).content == "ok"

    def test_under_an_older_name_is_todays_with_a_warning(self) -> None:
        agent: Any = Agent(model=ScriptedModel())
        with pytest.warns(
            DeprecationWarning, match=r"Agent.num_history_responses is an older name of Agent.num_history_runs"
        ) as caught:
            agent.num_history_responses = 7
        assert caught[0].filename == __file__
        assert agent.num_history_runs == 7

    def test_of_what_is_nearly_a_setting_or_is_not_there_warns(self) -> None:
        agent: Any = Agent(model=ScriptedModel())
        with pytest.warns(UserWarning, match="no setting 'num_history_run'; did you mean 'num_history_runs'"):
            agent.num_history_run = 3
        with pytest.warns(UserWarning, match="knowledge bases are not there"):
            agent.knowledge = object()

    def test_of_ones_own_is_nobodys_business(self) -> None:
        class Clerk(Agent):
            desk: str
            num_history_run = 1

            def __init__(self, **settings: Any) -> None:
                self.num_history_rungs = 2
                super().__init__(**settings)

            @property
            def retrys(self) -> int:
                return 0

            @retrys.setter
            def retrys(self, value: int) -> None:
                self._retrys = value

        clerk: Any = Clerk(model=ScriptedModel())
        clerk.desk, clerk.num_history_run, clerk.num_history_rungs, clerk.retrys, clerk.favourite_colour = "A", 2, 3, 4, "red"
        assert (clerk.desk, clerk.num_history_run, clerk.num_history_rungs, clerk._retrys) == ("A", 2, 3, 4)
        assert copy.copy(clerk).favourite_colour == "red"


async def test_an_option_that_is_none_is_refused_with_what_to_do_instead() -> None:
    agent = Agent(model=ScriptedModel())
    with pytest.raises(TypeError, match=r"run\(\) has no setting 'debug_mode'; the package logs"):
        await agent.arun("go", debug_mode=True)
    with pytest.raises(TypeError, match=r"print_response\(\) has no setting 'show_mesage'; did you mean 'show_message'"):
        await agent.aprint_response("go", show_mesage=True)
    with pytest.raises(TypeError, match=r"cli_app\(\) has no setting 'usr'; did you mean 'user'"):
        await agent.acli_app(usr="me")


def test_todays_names_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Whenever the garbage collector comes upon what another test has left.
        warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
        warnings.filterwarnings("ignore", "datetime.datetime.utcnow", DeprecationWarning)
        agent = Agent(model=ScriptedModel("ok"), db=InMemoryDb(), num_history_runs=2)
        agent.run("go", session_id="s")
    with pytest.raises(ConfigurationError):
        Agent(model=ScriptedModel(), num_history_runs=0)
