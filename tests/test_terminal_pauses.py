"""A run that waits for a person, on the terminal: what it waits for is asked, and the next line is the answer."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.run import RunStatus
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import Function
from agno_mongo.workflow import HumanReview, Router, Step, Workflow
from tests.test_terminal import Typing, chat, console_on


def send(to: str, amount: int) -> str:
    """Send money."""
    return f"{amount} sent to {to}"


CALL = ToolCall("send", {"to": "Ann", "amount": 5})


def agent_of(model: ScriptedModel, **waits: Any) -> Agent:
    return Agent(model=model, db=InMemoryDb(), tools=[replace(Function.from_callable(send), **waits)])


async def test_a_call_is_confirmed_or_rejected_with_a_reason() -> None:
    model = ScriptedModel(CALL, "Ann has it.", CALL, "All right, not.")
    text = await chat(agent_of(model, requires_confirmation=True), "Send Ann 5.", "yes", "Again.", "she has enough")
    assert text.count("send(to='Ann', amount=5): yes, no, or why not?") == 2
    assert model.requests[1].messages[-1].content == "5 sent to Ann"
    assert "she has enough" in model.requests[3].messages[-1].content


async def test_input_that_does_not_fit_is_asked_for_again() -> None:
    model = ScriptedModel(ToolCall("send", {"to": "Ann"}), "done")
    agent = agent_of(model, requires_user_input=True, user_input_fields=["amount"])
    text = await chat(agent, "Send Ann some.", "a lot", "7")
    assert text.count("send(to='Ann'): amount?") == 2
    assert "amount is int: " in text
    assert model.requests[-1].messages[-1].content == "7 sent to Ann"


async def test_a_field_that_does_not_fit_is_asked_for_again_alone() -> None:
    model = ScriptedModel(ToolCall("send", {}), "done")
    text = await chat(agent_of(model, requires_user_input=True), "Send some.", "Ann", "a lot", "7")
    assert (text.count("send(): to?"), text.count("send(): amount?")) == (1, 2)
    assert model.requests[-1].messages[-1].content == "7 sent to Ann"


async def test_an_answer_that_is_empty_is_said_to_be() -> None:
    text = io.StringIO()
    await Agent(model=ScriptedModel("")).aprint_response("go", console=console_on(text))
    assert "The answer is empty." in text.getvalue()


async def test_a_call_of_a_teams_member_is_asked_for_in_its_name() -> None:
    given = ToolCall("delegate_task_to_member", {"member_id": "payer", "task": "Pay."})
    payer = Agent(
        name="payer",
        model=ScriptedModel(CALL, "Paid."),
        tools=[replace(Function.from_callable(send), requires_confirmation=True)],
    )
    model = ScriptedModel(given, "Ann has it.")
    text = await chat(Team([payer], model=model, db=InMemoryDb()), "Send Ann 5.", "yes", "/sessions")
    assert "payer: send(to='Ann', amount=5): yes, no, or why not?" in text
    assert "Ann has it." in text
    assert model.requests[1].messages[-1].content == "Paid."


async def test_what_came_of_a_call_outside_is_told() -> None:
    model = ScriptedModel(CALL, "done")
    text = await chat(agent_of(model, external_execution=True), "Send Ann 5.", "I did it")
    assert "what came of it?" in text
    assert model.requests[-1].messages[-1].content == "I did it"


async def test_whoever_goes_on_to_another_session_leaves_the_run_paused() -> None:
    model = ScriptedModel(CALL, "new")
    agent = agent_of(model, requires_confirmation=True)
    await chat(agent, "Send Ann 5.", "/new", "yes")
    assert model.asked[-1] == "yes"
    assert len((await agent.aget_session("s")).paused_runs) == 1


async def test_print_response_says_what_is_waited_for() -> None:
    text = io.StringIO()
    await agent_of(ScriptedModel(CALL), requires_confirmation=True).aprint_response("Send Ann 5.", console=console_on(text))
    assert "Paused" in text.getvalue()
    shown = " ".join(text.getvalue().replace("│", " ").split())
    assert "waits for confirmation: send(to='Ann', amount=5)" in shown
    assert "continue_run() takes the answers" in shown
    assert "yes, no" not in shown


async def test_input_that_the_model_gave_is_agreed_to() -> None:
    model = ScriptedModel(CALL, "Ann has it.")
    text = await chat(agent_of(model, requires_user_input=True), "Send Ann 5.", "yes")
    assert text.count("send(to='Ann', amount=5): may it go on so? yes, or no") >= 1
    assert model.requests[1].messages[-1].content == "5 sent to Ann"


async def test_whoever_does_not_agree_leaves_the_run_paused() -> None:
    model = ScriptedModel(CALL, "Something else.")
    agent = agent_of(model, requires_user_input=True)
    text = await chat(agent, "Send Ann 5.", "no", "And now?")
    assert "The run stays paused." in text
    assert model.asked[-1] == "And now?"
    assert len((await agent.aget_session("s")).paused_runs) == 1


@pytest.mark.parametrize(("line", "noted"), [("rent", "rent"), ("-", "none")])
async def test_a_field_that_may_stay_empty_is_asked_for_too(line: str, noted: str) -> None:
    def note(to: str, about: str = "none") -> str:
        return f"{to}: {about}"

    model = ScriptedModel(ToolCall("note"), "done")
    tools = [Function(entrypoint=note, user_input_fields=["to", "about"])]
    text = await chat(Agent(model=model, db=InMemoryDb(), tools=tools), "Note it.", "Ann", line)
    assert "about (- for none)?" in text
    assert model.requests[-1].messages[-1].content == f"Ann: {noted}"


async def talked(workflow: Workflow, *lines: str) -> str:
    text = io.StringIO()
    await workflow._chat({"console": console_on(text, width=100), "session_id": "s"}, Typing(*lines)).arun()
    return text.getvalue()


async def test_a_workflow_asks_what_its_steps_and_their_agents_wait_for() -> None:
    model = ScriptedModel(CALL, "Ann has it.", "Bob has it.")
    payer = Agent(name="payer", model=model, tools=[replace(Function.from_callable(send), requires_confirmation=True)])
    fields = [{"name": "tone", "allowed_values": ["dry", "warm"]}]
    review = HumanReview(requires_confirmation=True, requires_user_input=True, user_input_schema=fields)
    failing = ScriptedModel(RuntimeError("broken"), "mended")
    steps = [
        Step(name="begin", executor=lambda given: given.input, human_review=review),
        Step(name="pay", agent=payer, human_review=HumanReview(requires_output_review=True, on_reject="retry")),
        Step(name="mend", agent=Agent(name="m", model=failing), max_retries=0, human_review=HumanReview(on_error="pause")),
        Router(
            name="where",
            choices=[Step(name="left", executor=lambda _: "l"), Step(name="right", executor=lambda _: "r")],
            human_review=HumanReview(requires_user_input=True),
        ),
    ]
    workflow = Workflow(name="Flow", steps=steps, db=InMemoryDb())
    text = await talked(
        workflow, "Send Ann 5.", "yes", "loud", "dry", "yes", "to Bob", "= Bob has it all.", "what?", "retry", "up", "right"
    )
    told = " ".join(text.split())
    for asked in (
        "begin: may it run? yes, no, or why not?",
        "begin: fill in: tone?",
        "is one of 'dry', 'warm', not 'loud'",
        "pay: payer: send(to='Ann', amount=5): yes, no, or why not?",
        "Is the output of 'pay' good? Ann has it. yes, no, why not, or = and what it should be",
        "Is the output of 'pay' good? Bob has it.",
        "it is retry or skip, not 'what?'",
        "there is no choice 'up'",
        "where: where to? left, right",
    ):
        assert asked in told, asked
    kept = await workflow.aget_last_run_output("s")
    assert kept is not None
    assert (kept.content, kept.status) == ("r", RunStatus.completed)
    assert kept.step_results[1].content == "Bob has it all."


async def test_a_workflow_is_printed_with_what_it_waits_for() -> None:
    text = io.StringIO()
    payer = agent_of(ScriptedModel(CALL), requires_confirmation=True)
    await Workflow(name="Flow", steps=[Step(name="pay", agent=payer)]).aprint_response("go", console=console_on(text))
    shown = " ".join(text.getvalue().replace("│", " ").split())
    assert "waits for confirmation: pay: agent: send(to='Ann', amount=5) continue_run() takes the answers" in shown


def test_a_workflow_is_talked_to_where_lines_come_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one\nbye\n"))
    text = io.StringIO()
    workflow = Workflow(name="Flow", steps=[lambda given: given.input.upper()], db=InMemoryDb(), session_id="s")
    workflow.cli_app("zero", console=console_on(text), show_time=False)
    assert [run.content for run in workflow.get_session().runs] == ["ZERO", "ONE"]  # type: ignore[union-attr]
    assert "ONE" in text.getvalue()
    with pytest.raises(TypeError, match="did you mean 'markdown'"):
        workflow.cli_app(markdow=True)  # type: ignore[call-arg]
