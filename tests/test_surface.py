"""The public surface: names, import paths, older names, settings that are none."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib import import_module
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

import agno_mongo
from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.errors import AgnoMongoError, ConfigurationError
from agno_mongo.testing import ScriptedModel


def test_the_names_at_the_top() -> None:
    assert agno_mongo.__all__ == sorted(agno_mongo.__all__)
    assert agno_mongo.__all__ == [
        "Agent", "AgentSession", "AsyncMongoDb", "EmbeddedMongoDb", "InMemoryDb", "MongoDb", "OpenAIChat", "RunOutput",
        "RunStatus", "Team", "TeamSession", "Workflow", "WorkflowSession", "__version__",
    ]  # fmt: skip
    for name in agno_mongo.__all__:
        assert getattr(agno_mongo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Robot'"):
        agno_mongo.Robot  # noqa: B018


def test_import_paths_mirror_agnos() -> None:
    from agno_mongo.agent import Agent, AgentSession, Message, RunEvent, RunOutput
    from agno_mongo.db.base import SessionType
    from agno_mongo.db.embedded import EmbeddedMongoDb
    from agno_mongo.db.in_memory import InMemoryDb
    from agno_mongo.db.mongo import AsyncMongoDb, MongoDb
    from agno_mongo.exceptions import CheckTrigger, InputCheckError, OutputCheckError
    from agno_mongo.guardrails import BaseGuardrail, PIIDetectionGuardrail, PromptInjectionGuardrail
    from agno_mongo.models.message import Message as SameMessage
    from agno_mongo.models.openai import OpenAIChat
    from agno_mongo.run import RunContext, RunStatus
    from agno_mongo.run.agent import RunCompletedEvent, RunOutputEvent
    from agno_mongo.run.team import TeamRunEvent, TeamRunInput, TeamRunOutput, TeamRunOutputEvent
    from agno_mongo.session import TeamSession, WorkflowSession
    from agno_mongo.team import Task, TaskList, TaskStatus, Team, TeamMode
    from agno_mongo.tools import Function, Toolkit, ToolResult, tool

    assert AsyncMongoDb is MongoDb
    assert Message is SameMessage
    assert all(
        (Agent, AgentSession, RunEvent, RunOutput, SessionType, EmbeddedMongoDb, InMemoryDb, OpenAIChat, RunContext, RunStatus)
    )
    assert all((RunCompletedEvent, RunOutputEvent, TeamSession, WorkflowSession, Function, Toolkit, ToolResult, tool))
    assert all((Team, TeamMode, Task, TaskList, TaskStatus, TeamRunEvent, TeamRunInput, TeamRunOutput, TeamRunOutputEvent))
    assert all((CheckTrigger, InputCheckError, OutputCheckError, BaseGuardrail, PIIDetectionGuardrail, PromptInjectionGuardrail))


def test_import_paths_of_workflows_mirror_agnos() -> None:
    import agno_mongo.workflow
    from agno_mongo.run.workflow import StepStartedEvent, WorkflowRunEvent, WorkflowRunOutput
    from agno_mongo.workflow.condition import Condition
    from agno_mongo.workflow.loop import Loop
    from agno_mongo.workflow.parallel import Parallel
    from agno_mongo.workflow.router import Router
    from agno_mongo.workflow.step import Step
    from agno_mongo.workflow.steps import Steps
    from agno_mongo.workflow.types import HumanReview, OnReject, StepInput, StepOutput, WorkflowExecutionInput
    from agno_mongo.workflow.workflow import Workflow

    for name in agno_mongo.workflow.__all__:
        assert getattr(agno_mongo.workflow, name) is not None
    assert agno_mongo.workflow.__all__ == sorted(agno_mongo.workflow.__all__)
    assert all((Condition, Loop, Parallel, Router, Step, Steps, Workflow, StepStartedEvent, WorkflowRunEvent, WorkflowRunOutput))
    assert all((HumanReview, OnReject, StepInput, StepOutput, WorkflowExecutionInput))


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("agent", "Agent RunOutput RunEvent Message Function Toolkit FallbackConfig AgentSession"),
        ("db.base", "BaseDb AsyncBaseDb SessionType"),
        ("exceptions", "ModelProviderError ModelRateLimitError ModelAuthenticationError ContextWindowExceededError AgnoError"),
        ("exceptions", "RunCancelledException RunNotFoundError SessionBusyError StopAgentRun RetryAgentRun AgentRunException"),
        ("guardrails", "BaseGuardrail OpenAIModerationGuardrail PIIDetectionGuardrail PromptInjectionGuardrail"),
        ("guardrails.base", "BaseGuardrail"),
        ("guardrails.openai", "OpenAIModerationGuardrail"),
        ("guardrails.pii", "PIIDetectionGuardrail"),
        ("guardrails.prompt_injection", "PromptInjectionGuardrail"),
        ("hooks", "hook"),
        ("metrics", "Metrics RunMetrics SessionMetrics MessageMetrics ModelMetrics"),
        ("models.metrics", "Metrics"),
        ("models.response", "ToolExecution UserInputField"),
        ("models.llama_cpp", "LlamaCpp"),
        ("models.lmstudio", "LMStudio"),
        ("models.ollama", "Ollama"),
        ("models.openrouter", "OpenRouter"),
        ("models.vllm", "VLLM"),
        ("run.agent", "ReasoningStepEvent ReasoningStartedEvent MemoryUpdateStartedEvent"),
        ("session.agent", "AgentSession"),
        ("session.summary", "SessionSummary SessionSummaryManager"),
        ("session.team", "TeamSession"),
        ("session.workflow", "WorkflowSession"),
        ("tools.function", "Function FunctionCall ToolResult UserInputField"),
        ("utils.log", "logger log_debug log_info log_warning log_error log_exception"),
        ("utils.media", "download_image save_base64_data"),
        ("utils.pprint", "pprint_run_response apprint_run_response"),
    ],
)
def test_what_programs_for_agno_import_is_there(module: str, names: str) -> None:
    found = import_module(f"agno_mongo.{module}")
    assert [name for name in names.split() if getattr(found, name, None) is None] == []


def test_agnos_names_of_errors_and_databases_are_those_that_are_raised_and_used() -> None:
    from agno_mongo.db.base import BaseDb
    from agno_mongo.errors import ModelError, ModelRateLimited
    from agno_mongo.exceptions import ModelProviderError, ModelRateLimitError

    assert isinstance(InMemoryDb(), BaseDb)
    with pytest.raises(ModelProviderError) as caught:
        raise ModelRateLimited("too many", model="m")
    assert isinstance(caught.value, ModelRateLimitError)
    assert ModelProviderError is ModelError


def test_servers_know_their_address_and_are_never_sent_openais_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from agno_mongo.models.ollama import Ollama
    from agno_mongo.models.openrouter import OpenRouter
    from agno_mongo.models.utils import get_model
    from agno_mongo.models.vllm import VLLM

    monkeypatch.setenv("OPENAI_API_KEY", "openais-own")
    for made in (Ollama(id="m"), OpenRouter(id="m"), VLLM(id="m")):
        assert made.api_key == "not-provided"
    assert Ollama(id="m", host="gpu:11434").base_url == "http://gpu:11434/v1"
    assert get_model("ollama:m") == Ollama(id="m")
    monkeypatch.setenv("VLLM_BASE_URL", "http://there/v1")
    monkeypatch.setenv("OPENROUTER_API_KEY", "theirs")
    assert VLLM(id="m").base_url == "http://there/v1"
    assert OpenRouter(id="m").api_key == "theirs"


async def test_a_decorated_hook_is_the_function_that_it_was() -> None:
    from agno_mongo.hooks import hook

    seen = []

    @hook
    def one(run_input: Any) -> None:
        seen.append(run_input.input_content)

    @hook(run_in_background=True)
    async def two(run_output: Any) -> None:
        seen.append(run_output.content)

    await Agent(model=ScriptedModel("ok"), pre_hooks=[one], post_hooks=[two]).arun("go")
    assert seen == ["go", "ok"]


@pytest.mark.parametrize("kind", ["a run", "a stream", "an async stream"])
async def test_a_run_is_printed_under_agnos_name(kind: str) -> None:
    from agno_mongo.utils.pprint import apprint_run_response, pprint_run_response

    console = Console(file=StringIO(), width=60)
    agent = Agent(model=ScriptedModel("It is **red**."))
    if kind == "a run":
        pprint_run_response(await agent.arun("go"), markdown=True, console=console)
    elif kind == "a stream":
        await asyncio.to_thread(lambda: pprint_run_response(agent.run("go", stream=True), markdown=True, console=console))
    else:
        await apprint_run_response(agent.arun("go", stream=True), markdown=True, console=console)
    assert "It is red." in console.file.getvalue()  # type: ignore[attr-defined]


def test_importing_an_agent_imports_no_optional_extra() -> None:
    code = (
        "import sys, agno_mongo.agent, agno_mongo.db.mongo, agno_mongo.db.embedded;"
        "print([name for name in ('motor', 'mongomock', 'mongomock_motor', 'fiftyone', 'openai', 'pytest') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"add_history_to_contxt": True}, TypeError, "did you mean 'add_history_to_context'?"),
        ({"qqq": 1}, TypeError, "no setting 'qqq'"),
        ({"num_history_runs": 0}, ConfigurationError, "num_history_runs is a whole number from 1"),
        ({"num_history_messages": "3"}, ConfigurationError, "num_history_messages"),
        ({"on_state_conflict": "theirs"}, ConfigurationError, "one of 'ours', 'raise'"),
        ({"concurrent_runs": "forbid"}, ConfigurationError, "one of 'allow', 'reject', 'queue'"),
        ({"checkpoint": "always"}, ConfigurationError, "one of 'runs', 'tool-batch'"),
        ({"queue_timeout": -1}, ConfigurationError, "queue_timeout is a number of seconds"),
        ({"queue_timeout": float("nan")}, ConfigurationError, "queue_timeout is a number of seconds"),
        ({"queue_timeout": "soon"}, ConfigurationError, "queue_timeout is a number of seconds"),
        ({"model": "gpt-5-mini"}, ConfigurationError, "takes a model such as OpenAIChat"),
        ({"db": "mongodb://localhost"}, ConfigurationError, "db= takes a MongoDb"),
        ({"model": ScriptedModel}, ConfigurationError, "takes a model such as OpenAIChat"),
        ({"name": 5}, ConfigurationError, "name= takes str, not int"),
        ({"session_state": [1]}, ConfigurationError, "session_state= takes Mapping"),
        ({"tools": 7}, ConfigurationError, "tools= takes a list"),
        ({"tools": [7]}, ConfigurationError, "tools= takes functions, not int"),
        ({"tools": [lambda x: x]}, ConfigurationError, "a def with a name of its own"),
        ({"tools": [len, len]}, ConfigurationError, "two tools are named 'len'|takes none"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(").replace("?", r"\?")):
        Agent(**{"model": ScriptedModel(), **settings})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sesion_id": "s"}, TypeError, "run() has no setting 'sesion_id'; did you mean 'session_id'?"),
        ({"image": []}, TypeError, "run() has no setting 'image'; did you mean 'images'?"),
        ({"session_state": [1]}, ConfigurationError, "session_state is a dict, not list"),
        ({"metadata": "x"}, ConfigurationError, "metadata is a dict, not str"),
        ({"user_id": 7}, ConfigurationError, "user_id must be text"),
        ({"run_id": 5}, ConfigurationError, "run_id must be text"),
        ({"session_id": ""}, ConfigurationError, "session_id must be text"),
    ],
)
async def test_what_a_run_cannot_use_is_refused_before_anything_is_sent(options: Any, error: type[Exception], words: str) -> None:
    db = InMemoryDb()
    agent = Agent(model=ScriptedModel(), db=db, session_id="mine")
    with pytest.raises(error) as caught:
        await agent.arun("go", **options)
    assert words in str(caught.value)
    with pytest.raises(error):
        agent.print_response("go", **options)
    assert await db.count_sessions() == 0


def test_an_empty_session_id_is_not_the_agents_own() -> None:
    agent = Agent(model=ScriptedModel("ok"), db=InMemoryDb(), session_id="mine")
    agent.run("go")
    with pytest.raises(ConfigurationError, match="session_id must be text"):
        agent.delete_session("")
    assert agent.get_session() is not None


async def test_a_run_without_input_or_with_instructions_that_are_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs an input"):
        await Agent(model=ScriptedModel()).arun(None)
    with pytest.raises(ConfigurationError, match="instructions are text"):
        await Agent(model=ScriptedModel(), instructions=lambda: 7).arun("go")


@pytest.mark.parametrize("instructions", ["One.", ["One."], lambda: "One.", lambda agent: [f"{agent.name}."]])
async def test_instructions_are_text_a_list_or_a_function(instructions: Any) -> None:
    model = ScriptedModel("ok")
    await Agent(model=model, name="One", description="First.", instructions=instructions, markdown=True).arun("go")
    assert model.requests[0].messages[0].content == "First.\n\nOne.\n\nUse markdown to format your answers."


def test_every_error_has_one_base() -> None:
    from agno_mongo import errors

    named = [thing for thing in vars(errors).values() if isinstance(thing, type) and thing.__module__ == errors.__name__]
    found = [thing for thing in named if issubclass(thing, BaseException)]
    assert len(found) > 15
    assert all(issubclass(error, AgnoMongoError) for error in found)
    assert all(error.__name__ in (errors.__doc__ or "") for error in found)


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("fallback_config", {"api_key": "sk-secret"}, "fallback_config= takes FallbackConfig, not dict"),
        ("model", {"api_key": "sk-secret"}, "not dict"),
        ("tool_choice", ["sk-secret"], "not list"),
        ("session_state", "mongodb://u:sk-secret@host", "session_state= takes Mapping, not str"),
        ("pre_hooks", "sk-secret" * 10_000, "takes a list of functions, not str"),
        ("num_history_runs", -1, "num_history_runs is a whole number from 1, not -1"),
        ("on_state_conflict", "mine", "not 'mine'"),
    ],
)
def test_errors_tell_the_type_of_what_was_given_and_no_secrets(setting: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Agent(**{setting: value})
    assert says in str(caught.value)
    assert "sk-secret" not in str(caught.value)
    assert len(str(caught.value)) < 300
