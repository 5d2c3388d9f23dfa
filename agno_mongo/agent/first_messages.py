"""What an agent's model is sent before it is asked: system message, examples, history, and the input. Here is the order, and what a call may
set differently from its agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from pydantic import BaseModel

from agno_mongo import checks, history, tokens
from agno_mongo.agent import media_input
from agno_mongo.agent.called import called
from agno_mongo.agent.prompt import examples
from agno_mongo.agent.settings import AgentSettings
from agno_mongo.agent.system import system_message
from agno_mongo.errors import ConfigurationError
from agno_mongo.execution import Execution
from agno_mongo.messages import Message, text_of

DEFAULT_HISTORY_RUNS: Final = 3


class ContextOptions(TypedDict, total=False):
    """What a call may set differently from its agent about what the model is shown. ``dependencies`` are laid over the agent's."""

    dependencies: dict[str, Any] | None
    add_history_to_context: bool | None
    add_dependencies_to_context: bool | None
    add_session_state_to_context: bool | None


_DICTS: Final = frozenset({"session_state", "metadata", "dependencies"})
_FLAGS: Final = frozenset({"add_history_to_context", "add_dependencies_to_context", "add_session_state_to_context"})


async def resolve_dependencies(agent: AgentSettings, execution: Execution, options: ContextOptions) -> None:
    """Put the dependencies of agent and call into the run's context, each function among them replaced by what it gives.

    Functions are called one after the other, those that block in a thread; they may take ``agent``, ``run_context``, ``run_input`` and
    ``session``. Whatever one raises goes through.
    """
    added = options.get("dependencies")
    if not agent.dependencies and not added:
        return
    given = {**(agent.dependencies or {}), **(added or {})}
    context = execution.context
    context.dependencies = given
    available = {
        **agent.as_arguments,
        "run_context": context,
        "run_input": execution.run.input,
        "session": execution.session_for_users(),
    }
    for name, value in list(given.items()):
        if callable(value):
            given[name] = await called(value, available)


async def fill(
    messages: list[Message],
    agent: AgentSettings,
    asked: Sequence[Message] | None,
    options: ContextOptions,
    execution: Execution,
    *,
    markdown: bool,
    tools: Sequence[str] = (),
) -> None:
    """Append to ``messages`` what the model is sent first; what a run that goes on had done before, too. ``markdown``: the answer is text
    that may be formatted. ``tools`` is what the tools say about their use.
    """
    add_state = _choice("add_session_state_to_context", agent.add_session_state_to_context, options)
    system = await system_message(
        agent, execution.context, execution.session, add_session_state=add_state, markdown=markdown, tools=tools
    )
    if system is not None:
        messages.append(system)
    if agent.additional_input:
        # Marked as not the run's own, so that no run stores them.
        shown, _ = await media_input.read(examples("additional_input", agent.additional_input), {})
        messages += [example.model_copy(update={"from_history": True}) for example in shown]
    if looks_back(agent, options):
        messages += await _history(agent, execution)
    if asked is None:
        asked = execution.past.finished_rounds
        if asked:
            messages += asked
            return
        asked = media_input.asked_again(execution.run.input, agent.user_message_role)
    dependencies = execution.context.dependencies
    if (
        dependencies
        and agent.build_user_context
        and _choice("add_dependencies_to_context", agent.add_dependencies_to_context, options)
    ):
        asked = _with_dependencies(asked, dependencies)
    messages += asked


def looks_back(agent: AgentSettings, options: ContextOptions) -> bool:
    """Whether the model is shown earlier runs."""
    return _choice("add_history_to_context", agent.add_history_to_context, options)


def runs_looked_back_on(agent: AgentSettings, options: ContextOptions) -> tuple[int, int]:
    """How many finished runs it takes to show what the agent wants shown, and how many runs to read at first to see how many those are."""
    if not looks_back(agent, options):
        return 0, 0
    if agent.num_history_tokens is not None and agent.num_history_runs is None:
        return 0, history.first_page(agent.num_history_tokens)
    # A run that came to an answer has two messages at the least.
    runs = _shown_runs(agent)
    return (agent.num_history_messages or 0 if runs is None else runs), 0


def _shown_runs(agent: AgentSettings) -> int | None:
    others = (agent.num_history_messages, agent.num_history_tokens)
    if agent.num_history_runs is None and others == (None, None):
        return DEFAULT_HISTORY_RUNS
    return agent.num_history_runs


async def _history(agent: AgentSettings, execution: Execution) -> list[Message]:
    limits = {"num_history_runs": _shown_runs(agent), "max_tool_calls": agent.max_tool_calls_from_history}
    budget = None
    if agent.num_history_tokens is not None:
        counter = await tokens.counter_for(execution.run.model or "")
        budget = history.TokenBudget(tokens=agent.num_history_tokens, count=counter)
        if agent.num_history_runs is None:
            await execution.look_back_further(lambda runs: budget.runs_to_read(runs, **limits))
    runs = execution.session.runs or ()
    shown = history.context(runs, num_history_messages=agent.num_history_messages, budget=budget, **limits)
    if budget is not None or execution.context.session_type != "agent":
        # Not every run of a session is one that counts.
        execution.runs_shown = history.runs_back_to(shown, runs)
    return shown


def _choice(name: str, default: bool, options: Mapping[str, Any]) -> bool:
    chosen = options.get(name)
    return default if chosen is None else bool(chosen)


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for what a call sets that cannot be."""
    for name, value in options.items():
        if value is None:
            continue
        if name in _DICTS and not isinstance(value, Mapping):
            raise ConfigurationError(f"{name} is a dict, not {type(value).__name__}")
        if name in _FLAGS and not isinstance(value, bool):
            raise ConfigurationError(f"{name} is True or False, not {checks.shown(value)}")


def _with_dependencies(asked: Sequence[Message], dependencies: Mapping[str, Any]) -> list[Message]:
    """The input with the dependencies behind its last message, in a copy."""
    plain = {
        name: value.model_dump(mode="json", exclude_none=True) if isinstance(value, BaseModel) else value
        for name, value in dependencies.items()
    }
    text = f"<additional context>\n{text_of(plain)}\n</additional context>"
    last = asked[-1]
    if isinstance(last.content, list):
        content: Any = [*last.content, {"type": "text", "text": text}]
    else:
        content = f"{last.content}\n\n{text}" if last.content else text
    return [*asked[:-1], last.model_copy(update={"content": content})]
