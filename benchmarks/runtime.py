"""What a runtime itself adds to a turn: a model in the process that answers at once, no database.

    python benchmarks/runtime.py [--quick] [--output FILE]

CPU time of the process and memory kept, agno_mongo beside Agno, OpenAI Agents and LangGraph, without tools and with two that the model calls
at once; a team and a workflow beside Agno's. A peer that is not installed is left out, and the table says so. See README.md beside this.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import statistics
import sys
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from time import process_time
from typing import Any
from uuid import uuid4

from agno_mongo.agent import Agent
from agno_mongo.messages import Metrics
from agno_mongo.models.base import ModelDelta, ModelRequest
from measuring import order_of, ratio, table, version_of

os.environ["AGNO_TELEMETRY"] = "false"

OUTPUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "benchmarks-runtime.md")
QUESTION = "What is the weather in Oslo and in Rome, and which of them is warmer today?"
ANSWER = "Rome is warmer today. " * 24
CALLS = (("temperature", '{"city": "Oslo"}'), ("temperature_again", '{"city": "Rome"}'))
MEMBERS = ("oslo", "rome")
DELEGATIONS = tuple(
    ("delegate_task_to_member", f'{{"member_id": "{member}", "task": "What is the weather there today?"}}') for member in MEMBERS
)

Calls = Sequence[tuple[str, str]]
Turn = Callable[[], Awaitable[Any]]


async def temperature(city: str) -> str:
    """The temperature in a city."""
    return f"{city}: 20 degrees"


async def temperature_again(city: str) -> str:
    """The temperature in a city, from elsewhere."""
    return f"{city}: 21 degrees"


class InstantModel:
    """Answers at once; with tools it makes its calls first."""

    id = "instant"
    provider = "bench"

    def __init__(self, calls: Calls = CALLS) -> None:
        self._calls = calls

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        metrics = Metrics(input_tokens=100, output_tokens=50, total_tokens=150)
        if request.tools and request.messages[-1].role != "tool":
            calls = [_call(name, arguments) for name, arguments in self._calls]
            yield ModelDelta(tool_calls=calls, metrics=metrics, finish_reason="tool_calls")
        else:
            yield ModelDelta(content=ANSWER, metrics=metrics, finish_reason="stop")


def _call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{uuid4().hex}", "type": "function", "function": {"name": name, "arguments": arguments}}


def ours(tools: Sequence[Callable[..., Any]]) -> Turn:
    agent = Agent(id="bench", model=InstantModel(), tools=tools, instructions="Be brief.")
    return lambda: agent.arun(QUESTION)


def agnos_model(calls: Calls = CALLS) -> Any:
    from agno.metrics import MessageMetrics
    from agno.models.base import Model
    from agno.models.response import ModelResponse

    class Instant(Model):
        async def ainvoke(self, messages: Sequence[Any], **asked: Any) -> Any:
            usage = MessageMetrics(input_tokens=100, output_tokens=50, total_tokens=150)
            if asked.get("tools") and messages[-1].role != "tool":
                asked_for = [_call(name, arguments) for name, arguments in calls]
                return ModelResponse(role="assistant", tool_calls=asked_for, response_usage=usage)
            return ModelResponse(role="assistant", content=ANSWER, response_usage=usage)

        def _refuse(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

        invoke = invoke_stream = ainvoke_stream = _parse_provider_response = _parse_provider_response_delta = _refuse

    return Instant(id="instant", name="Instant", provider="bench")


def agno(tools: Sequence[Callable[..., Any]]) -> Turn:
    from agno.agent import Agent as AgnoAgent

    agent = AgnoAgent(
        id="bench", model=agnos_model(), tools=list(tools), instructions="Be brief.", stream=False, telemetry=False
    )
    return lambda: agent.arun(QUESTION)


def openai_agents(tools: Sequence[Callable[..., Any]]) -> Turn:
    from agents import Agent as OpenAIAgent
    from agents import ModelResponse, RunConfig, Runner, Usage, function_tool
    from agents.models.interface import Model
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

    class Instant(Model):
        async def get_response(self, **asked: Any) -> Any:
            usage = Usage(requests=1, input_tokens=100, output_tokens=50, total_tokens=150)
            shown = asked["input"]
            if asked["tools"] and (isinstance(shown, str) or shown[-1].get("type") != "function_call_output"):
                output = [
                    ResponseFunctionToolCall(
                        id=f"fc_{uuid4().hex}",
                        call_id=f"call_{uuid4().hex}",
                        name=name,
                        arguments=arguments,
                        type="function_call",
                    )
                    for name, arguments in CALLS
                ]
                return ModelResponse(output=output, usage=usage, response_id=None)
            text = ResponseOutputText(text=ANSWER, type="output_text", annotations=[])
            message = ResponseOutputMessage(
                id=f"msg_{uuid4().hex}", content=[text], role="assistant", status="completed", type="message"
            )
            return ModelResponse(output=[message], usage=usage, response_id=None)

        def stream_response(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    agent = OpenAIAgent(
        name="bench", instructions="Be brief.", model=Instant(), tools=[function_tool(function) for function in tools]
    )
    config = RunConfig(tracing_disabled=True)
    return lambda: Runner.run(agent, QUESTION, run_config=config)


def langgraph(tools: Sequence[Callable[..., Any]]) -> Turn:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
    from langchain_core.tools import tool
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    usage = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
    system = SystemMessage("Be brief.")

    async def model(state: Any) -> dict[str, Any]:
        messages = [system, *state["messages"]]
        if tools and messages[-1].type != "tool":
            calls = [
                {"name": name, "args": {"city": "Oslo"}, "id": f"call_{uuid4().hex}", "type": "tool_call"} for name, _ in CALLS
            ]
            return {"messages": [AIMessage("", tool_calls=calls, usage_metadata=usage)]}
        return {"messages": [AIMessage(ANSWER, usage_metadata=usage)]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_edge(START, "model")
    if tools:
        graph.add_node("tools", ToolNode([tool(function) for function in tools]))
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
    else:
        graph.add_edge("model", END)
    compiled = graph.compile()
    return lambda: compiled.ainvoke({"messages": [HumanMessage(QUESTION)]})


EVERYBODY: dict[str, tuple[str, Callable[[Sequence[Callable[..., Any]]], Turn]]] = {
    "agno_mongo": ("agno_mongo", ours),
    "Agno": ("agno", agno),
    "OpenAI Agents": ("openai-agents", openai_agents),
    "LangGraph": ("langgraph", langgraph),
}


@dataclass(frozen=True)
class Plan:
    """``turns`` make a round; memory is looked at after ``kept`` turns, and again after three times as many."""

    turns: int
    rounds: int
    kept: int


FULL = Plan(turns=300, rounds=9, kept=500)
QUICK = Plan(turns=10, rounds=2, kept=20)


@dataclass
class Result:
    name: str
    turn: Turn
    cpu: list[float] = field(default_factory=list)
    kept: tuple[float, float] = (0, 0)
    """Bytes for each finished turn, in the first part and in the second."""


def our_workflow() -> Turn:
    from agno_mongo.workflow import Step, Workflow

    workflow = Workflow(name="bench", steps=[Step(name=f"step {number}", executor=one_step) for number in range(STEPS)])
    return lambda: workflow.arun(QUESTION)


def agnos_workflow() -> Turn:
    from agno.workflow import Step, Workflow

    steps = [Step(name=f"step {number}", executor=one_step) for number in range(STEPS)]
    workflow = Workflow(name="bench", steps=steps, telemetry=False)
    return lambda: workflow.arun(QUESTION)


def our_team() -> Turn:
    from agno_mongo.team import Team

    members = [Agent(id=member, name=member, model=InstantModel(), instructions="Be brief.") for member in MEMBERS]
    team = Team(id="bench", members=members, model=InstantModel(DELEGATIONS), instructions="Be brief.")
    return lambda: team.arun(QUESTION)


def agnos_team() -> Turn:
    from agno.agent import Agent as AgnoAgent
    from agno.team import Team

    members: list[Any] = [
        AgnoAgent(id=member, name=member, model=agnos_model(), instructions="Be brief.", telemetry=False) for member in MEMBERS
    ]
    team = Team(
        id="bench", members=members, model=agnos_model(DELEGATIONS), instructions="Be brief.", stream=False, telemetry=False
    )
    return lambda: team.arun(QUESTION)


async def one_step(step_input: Any) -> str:  # noqa: ARG001 - what a step's function takes
    return "done"


STEPS = 20
WORKFLOWS: dict[str, Callable[[], Turn]] = {"agno_mongo": our_workflow, "Agno": agnos_workflow}
TEAMS: dict[str, Callable[[], Turn]] = {"agno_mongo": our_team, "Agno": agnos_team}


async def measure(makers: Mapping[str, Callable[[], Turn]], plan: Plan) -> tuple[list[Result], dict[str, str]]:
    results, missing = [], {}
    for name, made in makers.items():
        try:
            results.append(Result(name, made()))
        except ImportError as error:
            missing[name] = str(error)
    for result in results:
        await _turns(result, plan.turns)
    for number in range(plan.rounds):
        for result in order_of(results, number):
            gc.collect()
            before = process_time()
            await _turns(result, plan.turns)
            result.cpu.append((process_time() - before) / plan.turns)
    for result in results:
        result.kept = await _kept(result, plan.kept)
    return results, missing


async def _turns(result: Result, turns: int) -> None:
    for _ in range(turns):
        await result.turn()


async def _kept(result: Result, turns: int) -> tuple[float, float]:
    tracemalloc.start()
    try:
        marks = [await _allocated(result, count) for count in (0, turns, 2 * turns)]
    finally:
        tracemalloc.stop()
    return (marks[1] - marks[0]) / turns, (marks[2] - marks[1]) / (2 * turns)


async def _allocated(result: Result, turns: int) -> int:
    await _turns(result, turns)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


HEADER = ("a turn", "CPU ms", "x agno_mongo", "bytes kept a turn", "later")


def rows_of(name: str, results: Sequence[Result]) -> list[list[str]]:
    return [
        [
            f"{name}: {result.name}",
            f"{statistics.median(result.cpu) * 1000:.3f}",
            f"{ratio(result.cpu, results[0].cpu):.2f}",
            f"{max(result.kept[0], 0):,.0f}",
            f"{max(result.kept[1], 0):,.0f}",
        ]
        for result in results
    ]


async def page(plan: Plan) -> str:
    plain, missing = await measure({name: partial(made, ()) for name, (_, made) in EVERYBODY.items()}, plan)
    tools = (temperature, temperature_again)
    with_tools, _ = await measure({name: partial(made, tools) for name, (_, made) in EVERYBODY.items()}, plan)
    teams, _ = await measure(TEAMS, replace(plan, turns=max(plan.turns // 4, 2), kept=max(plan.kept // 4, 2)))
    workflows, _ = await measure(WORKFLOWS, replace(plan, turns=max(plan.turns // STEPS, 2), kept=max(plan.kept // STEPS, 2)))
    surroundings = [
        ["date", f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"],
        ["machine", f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f} at the end"],
        ["Python", platform.python_version()],
        *([name, version_of(name)] for name in dict.fromkeys(distribution for distribution, _ in EVERYBODY.values())),
    ]
    left_out = [f"- {name} does not take part: {why}." for name, why in missing.items()]
    rows = rows_of("no tools", plain) + rows_of("two tools", with_tools) + rows_of("a team of two", teams)
    rows += rows_of(f"a workflow of {STEPS} steps", workflows)
    return "\n\n".join([HEAD, table(("", "measured with"), surroundings), *left_out, table(HEADER, rows)]) + "\n"


HEAD = """# What the runtime adds

Written by `make bench-runtime` (`benchmarks/runtime.py`). A model in the process answers at once, no database, nothing stored: what is left is what the
framework itself does in a turn. All contestants run in one process by turns; medians over the rounds, ratios taken round by round. With two tools
the model calls both in one answer and is asked again. A team's leader gives each of its two members a task in one answer, and then answers itself. The
steps of the workflow are async functions that return a text. `bytes kept` is what the process holds more for each finished turn, after a garbage collection, while
the caller keeps none of the results; `later` the same further on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds, to see that all works; the figures say little")
    parser.add_argument(
        "--output", metavar="FILE", help="where to write (default: docs/benchmarks-runtime.md; with --quick nowhere)"
    )
    options = parser.parse_args()
    found = asyncio.run(page(QUICK if options.quick else FULL))
    output = options.output or (None if options.quick else OUTPUT)
    if output is None:
        sys.stdout.write(found)
        return
    with open(output, "w", encoding="utf-8") as file:
        file.write(found)


if __name__ == "__main__":
    main()
