"""An agent or a team within a step that waits for a person: its workflow pauses with it, and goes on in any process."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, RunAlreadyFinished, RunIsPaused, SessionBusy, WorkflowChanged
from agno_mongo.media import Image
from agno_mongo.run import RunOutput, RunStatus, WorkflowRunOutput
from agno_mongo.run.workflow import StepExecutorPausedEvent
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import ToolResult, tool
from agno_mongo.workflow import (
    Condition,
    HumanReview,
    Loop,
    Parallel,
    Router,
    Step,
    StepInput,
    StepOutput,
    Steps,
    Workflow,
    WorkflowAgent,
)
from tests.test_commands import Recorder, recorded
from tests.test_team_pausing import Till
from tests.test_teams import give, member, sent
from tests.test_workflows import PIXEL, flow, stored, tree, upper
from tests.test_workflows_durable import Counted, dies, interrupted, process

__all__ = ["recorded"]


async def waiting(workflow: Workflow) -> WorkflowRunOutput:
    """The paused run as another process finds it."""
    session = await workflow.aget_session()
    assert session is not None
    [found] = session.paused_runs
    assert isinstance(found, WorkflowRunOutput)
    return found


class TestAStepWhoseAgentAsks:
    async def test_pauses_the_run_and_goes_on_with_the_answer(self, db: MongoDb) -> None:
        till, counted = Till(), Counted()

        def made(buyer: Agent) -> Workflow:
            return flow(counted.step("a"), Step(name="buy", agent=buyer), counted.step("z"), db=db)

        run = await made(till.buyer("buyer")).arun("go", run_id="r")
        assert (run.status, run.paused_step_name, run.paused_step_index) == (RunStatus.paused, "buy", 1)
        assert (till.paid, counted.calls, tree(run)) == ([], ["a"], [("a", "COMPLETED"), ("buy", "PAUSED")])

        # Another process has the same workflow, and nothing else.
        buyer = till.buyer("buyer", "Bought.", asks=False)
        workflow = made(buyer)
        found = await waiting(workflow)
        [asked] = found.steps_requiring_executor_resolution
        assert found.active_step_requirements == [asked]
        assert (asked.step_name, asked.executor_name, asked.executor_type) == ("buy", "buyer", "agent")
        assert asked.executor_run_id == run.step_results[1].step_run_id
        assert found.active_requirements == asked.executor_requirements
        [requirement] = found.active_requirements
        assert requirement.tool_execution is not None
        assert (requirement.tool_execution.tool_name, requirement.tool_execution.tool_args) == ("pay", {"amount": 5})
        assert (requirement.member_run_id, requirement.member_agent_name) == (asked.executor_run_id, "buyer")
        requirement.confirm()
        done = await workflow.acontinue_run(run_id="r", requirements=found.requirements)
        assert (done.content, done.status, till.paid) == ("Bought.z", RunStatus.completed, [5])
        assert counted.calls == ["a", "z"]
        assert sent(buyer)[-2:] == [None, "paid 5"]
        kept = await stored(workflow)
        assert tree(kept) == [("a", "COMPLETED"), ("buy", "COMPLETED"), ("z", "COMPLETED")]
        assert [(run.run_id, run.status) for run in kept.step_executor_runs or ()] == [
            (asked.executor_run_id, RunStatus.completed)
        ]
        assert kept.to_dict() | {"attempt": 0} == done.to_dict() | {"attempt": 0}
        assert await workflow.aget_session_state() == {"done": 2, "a": True, "z": True, "paid": 5}
        assert (await workflow.aget_session_metrics()).total_tokens == 2 * 15
        session = await workflow.aget_session()
        assert session is not None
        assert session.active_runs == {}
        with pytest.raises(RunAlreadyFinished):
            await workflow.acontinue_run(run_id="r", requirements=found.requirements)

    async def test_stores_what_waits_once(self, db: MongoDb) -> None:
        till = Till()
        review = HumanReview(requires_output_review=True)
        both = Parallel(till.buyer("buyer"), Step(name="say", executor=upper, human_review=review))
        await flow(both, db=db).arun("go", run_id="r")
        connection = await db._connection()
        document = await connection.collection.find_one({"session_id": "s"})
        entry = document["active_runs"]["r"]
        of_agent, of_output = entry["run"]["step_requirements"]
        assert "executor_requirements" not in of_agent
        assert of_output["step_output"] == {"step_id": "0.1"}
        assert [record["tools"][0]["tool_call_id"] for record in entry["inner"]] == ["pay"]
        found = await waiting(flow(both, db=db))
        assert [one.id for one in found.active_requirements] == ["pay"]
        assert (found.steps_requiring_output_review[0].step_output or StepOutput()).content == "GO"

    async def test_is_two_commands_before_and_two_after(self, recorded: tuple[MongoDb, Recorder]) -> None:
        db, recorder = recorded
        till = Till()
        workflow = flow(Step(name="buy", agent=till.buyer("buyer", "Bought.")), db=db)
        await flow(upper, db=db).arun("connects", session_id="another")
        recorder.sent.clear()
        run = await workflow.arun("go")
        assert recorder.names == ["findAndModify", "findAndModify"]
        run.active_requirements[0].confirm()
        assert (await workflow.acontinue_run(run)).content == "Bought."
        assert recorder.names == ["findAndModify"] * 4

    async def test_takes_answers_as_json_by_the_step_and_may_be_told_no(self, db: MongoDb) -> None:
        till = Till()
        run = await flow(Step(name="buy", agent=till.buyer("buyer")), db=db).arun("go", run_id="r")
        [told] = json.loads(run.to_json())["step_requirements"]
        told["executor_requirements"][0] |= {"confirmation": False, "confirmation_note": "too dear"}
        buyer = till.buyer("buyer", "Not bought.", asks=False)
        done = await flow(Step(name="buy", agent=buyer), db=db).acontinue_run(run_id="r", step_requirements=[told])
        assert (done.content, till.paid) == ("Not bought.", [])
        assert sent(buyer)[-1] == "The user has rejected this call: too dear"

    async def test_takes_input_and_results_from_outside(self, db: MongoDb) -> None:
        looked = []

        @tool(external_execution=True)
        def look(where: str) -> str:
            """Look."""
            looked.append(where)
            return where

        @tool(requires_user_input=True, user_input_fields=["colour"])
        def paint(what: str, colour: str) -> str:
            """Paint."""
            return f"{what} in {colour}"

        calls = [ToolCall("look", {"where": "there"}, id="l"), ToolCall("paint", {"what": "it"}, id="p")]
        agent = member("painter", calls, tools=[look, paint])
        found = await flow(agent, db=db).arun("go", run_id="r")
        by_tool = {one.tool_execution.tool_name: one for one in found.active_requirements if one.tool_execution}
        by_tool["look"].set_external_execution_result("a wall")
        by_tool["paint"].provide_user_input({"colour": "red"})
        agent = member("painter", "Painted.", tools=[look, paint])
        assert (await flow(agent, db=db).acontinue_run(found)).content == "Painted."
        assert (sent(agent)[-2:], looked) == (["a wall", "it in red"], [])

    async def test_may_wait_again(self, db: MongoDb) -> None:
        till = Till()
        again = ToolCall("pay", {"amount": 9}, id="again")
        run = await flow(till.buyer("buyer"), upper, db=db).arun("go", run_id="r")
        run.active_requirements[0].confirm()
        run = await flow(till.buyer("buyer", again, asks=False), upper, db=db).acontinue_run(run)
        assert (run.is_paused, till.paid) == (True, [5])
        assert [one.id for one in run.active_requirements] == ["again"]
        found = await waiting(flow(till.buyer("buyer"), upper, db=db))
        assert [one.id for one in found.active_requirements] == ["again"]
        found.active_requirements[0].confirm()
        workflow = flow(till.buyer("buyer", "Bought.", asks=False), upper, db=db)
        done = await workflow.acontinue_run(found)
        assert (done.content, till.paid) == ("BOUGHT.", [5, 9])
        assert [run.status for run in (await stored(workflow)).step_executor_runs or ()] == [RunStatus.completed]
        assert (await workflow.aget_session_metrics()).total_tokens == 3 * 15
        assert await workflow.aget_session_state() == {"paid": 14}

    async def test_stays_paused_until_every_call_has_an_answer_that_fits(self, db: MongoDb) -> None:
        till = Till(requires_user_input=True, user_input_fields=["amount"])
        both = Parallel(till.buyer("one"), till.buyer("two"), name="both")
        workflow = flow(both, db=db)
        run = await workflow.arun("go", run_id="r")
        first, second = run.active_requirements
        first.provide_user_input({"amount": 1})
        with pytest.raises(RunIsPaused, match=r"the call of 'pay' \('pay'\) in step '(one|two)' has no answer: it needs amount") as caught:
            await workflow.acontinue_run(run)
        assert caught.value.missing == (f"{second.member_run_id}/pay",)
        second.provide_user_input({"amount": "many"})
        with pytest.raises(RunIsPaused, match="cannot go on: The arguments of pay do not fit"):
            await workflow.acontinue_run(run)
        with pytest.raises(ConfigurationError, match="two answers that differ"):
            other = (await waiting(workflow)).requirements
            other[0].provide_user_input({"amount": 8})
            await workflow.acontinue_run(run_id="r", step_requirements=run.step_requirements, requirements=other[:1])
        second.provide_user_input({"amount": 2})
        with pytest.raises(WorkflowChanged):
            await flow(till.buyer("one"), db=db).acontinue_run(run)
        assert till.paid == []
        again = Parallel(till.buyer("one", "1", asks=False), till.buyer("two", "2", asks=False), name="both")
        done = await flow(again, db=db).acontinue_run(run)
        assert (done.status, sorted(till.paid)) == (RunStatus.completed, [1, 2])

    async def test_is_answered_once_of_several_that_try(self, db: MongoDb) -> None:
        till = Till()
        run = await flow(till.buyer("buyer"), db=db).arun("go", run_id="r")
        run.active_requirements[0].confirm()

        def trying() -> Any:
            workflow = flow(till.buyer("buyer", "Bought.", asks=False), db=db)
            return workflow.acontinue_run(run_id="r", requirements=run.requirements)

        outcomes = await asyncio.gather(*(trying() for _ in range(4)), return_exceptions=True)
        assert sum(isinstance(outcome, WorkflowRunOutput) for outcome in outcomes) == 1
        assert all(isinstance(one, (WorkflowRunOutput, SessionBusy, RunAlreadyFinished)) for one in outcomes)
        assert till.paid == [5]

    async def test_uses_no_retry_and_keeps_those_that_are_left(self, db: MongoDb) -> None:
        till = Till()
        broken = RuntimeError("out of order")

        def made(*script: Any, asks: bool = True) -> Workflow:
            buyer = Agent(name="buyer", model=ScriptedModel(*script), tools=[till.pay])
            return flow(Step(name="buy", agent=buyer, max_retries=2, skip_on_failure=True, timeout=60), db=db)

        call = ToolCall("pay", {"amount": 5}, id="pay")
        run = await made(broken, call).arun("go", run_id="r")
        assert (run.is_paused, run.step_results[0].tries) == (True, 2)
        run.active_requirements[0].confirm()
        done = await made(broken, "At last.").acontinue_run(run)
        assert (done.content, done.step_results[0].tries, till.paid) == ("At last.", 3, [5])
        kept = await stored(made())
        statuses = [run.status for run in kept.step_executor_runs or ()]
        assert statuses == [RunStatus.error, RunStatus.error, RunStatus.completed]

    async def test_may_have_been_asked_about_before_it_began(self, db: MongoDb) -> None:
        till = Till()

        def made(buyer: Agent) -> Workflow:
            review = HumanReview(requires_confirmation=True, requires_user_input=True)
            return flow(Step(name="buy", agent=buyer, human_review=review), db=db)

        run = await made(till.buyer("buyer")).arun("go")
        [first] = run.active_step_requirements
        first.confirm()
        first.set_user_input(tone="dry")
        run = await made(till.buyer("buyer")).acontinue_run(run)
        assert (run.active_step_requirements[0].requires_executor_input, run.requirements[0].is_resolved()) == (True, False)
        run.active_requirements[0].confirm()
        buyer = till.buyer("buyer", "Bought.", asks=False)
        assert (await made(buyer).acontinue_run(run)).content == "Bought."
        assert "tone: dry" in sent(buyer)[0]

    async def test_that_is_cancelled_while_it_waits_is_stored_with_its_agents_run(self, db: MongoDb) -> None:
        till, counted = Till(), Counted()
        workflow = flow(counted.step("a"), till.buyer("buyer"), db=db)
        await workflow.arun("go", run_id="r")
        assert await workflow.acancel_run("r") is True
        kept = await stored(workflow)
        assert (kept.status, tree(kept)) == (RunStatus.cancelled, [("a", "COMPLETED")])
        assert [run.status for run in kept.step_executor_runs or ()] == [RunStatus.cancelled]
        with pytest.raises(RunAlreadyFinished):
            await workflow.acontinue_run(run_id="r")

    async def test_streams_what_waits_and_goes_on_as_a_stream(self) -> None:
        db, till = InMemoryDb(), Till()
        workflow = flow(upper, Step(name="buy", agent=till.buyer("buyer")), db=db)
        events: list[Any] = [event async for event in workflow.arun("go", run_id="r", stream=True)]
        assert [event.event for event in events[-2:]] == ["StepExecutorPaused", "WorkflowPaused"]
        paused = events[-2]
        assert isinstance(paused, StepExecutorPausedEvent)
        assert (paused.step_name, paused.executor_name, len(paused.executor_requirements or ())) == ("buy", "buyer", 1)
        requirements = events[-1].step_requirements
        requirements[0].executor_requirements[0].confirm()
        workflow = flow(upper, Step(name="buy", agent=till.buyer("buyer", "Bought.", asks=False)), db=db)
        stream = workflow.acontinue_run(run_id="r", step_requirements=requirements, stream=True, stream_events=True)
        names = [event.event async for event in stream]
        assert names[:4] == ["WorkflowContinued", "StepExecutorContinued", "RunContinued", "ToolCallStarted"]
        assert names[-2:] == ["StepCompleted", "WorkflowCompleted"]

    async def test_keeps_what_waits_where_executors_runs_are_not_stored(self, db: MongoDb) -> None:
        till = Till()

        def made(buyer: Agent) -> Workflow:
            crew = Team([buyer], name="crew", model=ScriptedModel(*([give("buyer")] if till.paid == [] else [])))
            crew.model = ScriptedModel("Crew is done.") if buyer.model.script == ["Bought."] else crew.model  # type: ignore[union-attr]
            return flow(upper, Step(name="buy", team=crew), db=db, store_executor_outputs=False)

        run = await made(till.buyer("buyer")).arun("go", run_id="r")
        found = await waiting(made(till.buyer("buyer")))
        assert [one.id for one in found.active_requirements] == [one.id for one in run.active_requirements] == ["pay"]
        found.active_requirements[0].confirm()
        workflow = made(till.buyer("buyer", "Bought.", asks=False))
        assert (await workflow.acontinue_run(found)).content == "Crew is done."
        assert (till.paid, (await stored(workflow)).step_executor_runs) == ([5], None)

    async def test_is_not_stored_where_executors_runs_are_not_once_it_is_cancelled(self, db: MongoDb) -> None:
        workflow = flow(member("first", "said"), Till().buyer("buyer"), db=db, store_executor_outputs=False)
        assert (await workflow.arun("go", run_id="r")).is_paused
        assert await workflow.acancel_run("r")
        kept = await stored(workflow)
        assert (kept.status, kept.step_executor_runs, kept.get_step_output("first").content) == (RunStatus.cancelled, None, "said")

    async def test_without_a_database_goes_on_for_whoever_has_the_run(self) -> None:
        till, counted = Till(), Counted()
        first = member("first", "said")
        run = await flow(counted.step("a"), first, till.buyer("buyer")).arun("go")
        run.active_requirements[0].confirm()
        workflow = flow(counted.step("a"), first, till.buyer("buyer", "Bought.", asks=False))
        done = await workflow.acontinue_run(run)
        assert (done.content, till.paid, counted.calls) == ("Bought.", [5], ["a"])
        assert [run.content for run in done.step_executor_runs or ()] == ["said", "Bought."]


def every_shape(till: Till, counted: Counted, *, asks: bool, db: MongoDb | None, **settings: Any) -> Workflow:
    """Agents that ask, at places of all kinds."""

    def buyer(name: str) -> Agent:
        return till.buyer(name, *(() if asks else (f"by {name}",)), asks=asks)

    crew = Team([buyer("member")], name="crew", model=ScriptedModel(*([give("member")] if asks else ["by crew"])))
    inner = Workflow(name="inner", steps=[counted.step("i"), buyer("inside"), counted.step("j")])
    group = Steps(name="group", steps=[counted.step("g"), Condition(steps=[buyer("if")], name="which")])
    router = Router(choices=[Step(name="way", agent=buyer("routed")), upper], selector=lambda _: "way", name="where")
    both = Parallel(group, inner, Step(name="crew", team=crew), router, counted.step("beside"), name="all")
    return flow(counted.step("a"), both, counted.step("z"), db=db, **settings)


class TestAnAgentAnywhereWithin:
    @pytest.mark.parametrize("checkpoint", ["runs", "steps"])
    async def test_pauses_once_all_have_come_to_their_end_or_wait(self, db: MongoDb, checkpoint: str) -> None:
        till, counted = Till(), Counted()
        run = await every_shape(till, counted, asks=True, db=db, checkpoint=checkpoint).arun("go", run_id="r")
        assert sorted(counted.calls) == ["a", "beside", "g", "i"]
        assert [one.step_name for one in run.active_step_requirements] == ["if", "inside", "crew", "way"]
        workflow = every_shape(till, counted, asks=False, db=db, checkpoint=checkpoint)
        found = await waiting(workflow)
        assert sorted(str(one.member_agent_name) for one in found.active_requirements) == ["if", "inside", "member", "routed"]
        for one in found.active_requirements:
            one.confirm()
        done = await workflow.acontinue_run(run_id="r", requirements=found.requirements)
        assert (done.status, till.paid) == (RunStatus.completed, [5, 5, 5, 5])
        assert sorted(counted.calls) == ["a", "beside", "g", "i", "j", "z"]
        kept = await stored(workflow)
        names = [getattr(run, "agent_name", None) or getattr(run, "team_name", None) for run in kept.step_executor_runs or ()]
        assert sorted(name or "workflow" for name in names) == ["crew", "if", "inside", "member", "routed", "workflow"]
        assert all(run.status == RunStatus.completed for run in kept.step_executor_runs or ())
        assert (await workflow.aget_session_state())["paid"] == 20
        # Each agent was asked twice, and so was the team's leader.
        assert (await workflow.aget_session_metrics()).total_tokens == 15 * 2 * 5

    async def test_of_a_loop_is_asked_in_every_round(self, db: MongoDb) -> None:
        till, counted = Till(), Counted()
        paid: list[int] = []

        def made(*script: Any) -> Workflow:
            buyer = Agent(name="buyer", model=ScriptedModel(*script), tools=[till.pay])
            steps = [counted.step("l"), Step(name="buy", agent=buyer)]
            return flow(Loop(steps=steps, max_iterations=3, name="again", end_condition=lambda _: len(paid) > 2), db=db)

        def call(amount: int) -> ToolCall:
            return ToolCall("pay", {"amount": amount}, id="pay")

        run = await made(call(1)).arun("go", run_id="r")
        for amount in (2, 3):
            run.active_requirements[0].confirm()
            run = await made("Bought.", call(amount)).acontinue_run(run)
            assert run.is_paused
        run.active_requirements[0].confirm()
        done = await made("Bought.").acontinue_run(run)
        assert (done.status, till.paid, counted.calls) == (RunStatus.completed, [1, 2, 3], ["l", "l", "l"])
        kept = await stored(made())
        assert [step.iteration for step in kept.step_results[0].steps or ()] == [1, 1, 2, 2, 3, 3]
        assert len(kept.step_executor_runs or ()) == 3

    async def test_waits_beside_a_step_that_asks_first(self, db: MongoDb) -> None:
        till = Till()

        def made(buyer: Agent) -> Workflow:
            check = Step(name="check", executor=upper, human_review=HumanReview(requires_confirmation=True))
            return flow(Parallel(check, buyer, name="both"), db=db)

        run = await made(till.buyer("buyer")).arun("go", run_id="r")
        run.active_requirements[0].confirm()
        with pytest.raises(RunIsPaused, match="the step 'check' has no answer") as caught:
            await made(till.buyer("buyer")).acontinue_run(run_id="r", requirements=run.requirements)
        assert caught.value.missing == ("0.0",)
        run.steps_requiring_confirmation[0].confirm()
        done = await made(till.buyer("buyer", "Bought.", asks=False)).acontinue_run(run)
        assert (done.content, till.paid) == ("=== check ===\nGO\n\n=== buyer ===\nBought.", [5])

    async def test_that_waits_beside_one_that_fails_is_given_up(self, db: MongoDb) -> None:
        till = Till()

        async def fails(step_input: StepInput) -> None:
            await asyncio.sleep(0.05)
            raise ValueError("broken")

        workflow = flow(Parallel(till.buyer("buyer"), Step(executor=fails, max_retries=0)), db=db)
        with pytest.raises(ValueError, match="broken"):
            await workflow.arun("go")
        kept = await stored(workflow)
        assert kept.status is RunStatus.error
        assert [run.status for run in kept.step_executor_runs or ()] == [RunStatus.cancelled]


def drawing(*script: Any, **settings: Any) -> Agent:
    @tool
    def draw(what: str) -> ToolResult:
        """Draw."""
        return ToolResult(content=f"drew {what}", images=[Image(content=PIXEL + what.encode(), id=what)])

    @tool(requires_confirmation=True)
    def hang(what: str) -> ToolResult:
        """Hang up a picture."""
        return ToolResult(content=f"hung {what}", images=[Image(content=PIXEL + what.encode(), id=what)])

    return Agent(name="painter", model=ScriptedModel(*script), tools=[draw, hang], **settings)


def pictures(run: Any) -> list[Any]:
    return [(image.id, image.content) for image in run.images or ()]


class TestWhatWasMadeBeforeAPause:
    async def test_is_among_the_workflows_media(self, db: MongoDb) -> None:
        before = Step(name="before", executor=lambda _: StepOutput(images=[Image(content=PIXEL, id="step")]))

        def made(*script: Any) -> Workflow:
            return flow(before, drawing(*script), db=db)

        run = await made(ToolCall("draw", {"what": "one"}), ToolCall("hang", {"what": "two"})).arun("go", run_id="r")
        found = await waiting(made())
        found.active_requirements[0].confirm()
        done = await made(ToolCall("draw", {"what": "three"}), "Done.").acontinue_run(found)
        expected = [("step", PIXEL), *((what, PIXEL + what.encode()) for what in ("one", "two", "three"))]
        assert pictures(done) == expected
        assert pictures(await stored(made())) == expected
        assert run.is_paused

    @pytest.mark.parametrize("stored_media", [True, False])
    async def test_is_among_the_teams_media(self, db: MongoDb, stored_media: bool) -> None:
        def made(leader: list[Any], quick: list[Any], slow: list[Any]) -> Team:
            finished = drawing(*quick, id="quick")
            waits = drawing(*slow, id="slow")
            own = drawing().tools
            return Team(
                [finished, waits], name="crew", model=ScriptedModel(*leader), db=db, session_id="s", tools=own,
                store_media=stored_media,
            )  # fmt: skip

        calls = [ToolCall("draw", {"what": "own"}), give("quick"), give("slow")]
        draw, hang = (lambda what: ToolCall("draw", {"what": what})), ToolCall("hang", {"what": "hung"})
        paused = await made([calls], [draw("quick"), "q"], [draw("slow"), hang]).arun("Go.", run_id="r")
        paused.active_requirements[0].confirm()
        done = await made(["Done."], [], ["s"]).acontinue_run(run_id="r", requirements=paused.requirements)
        assert sorted(str(image.id) for image in done.images or ()) == ["hung", "own", "quick", "slow"]
        kept = await made([], [], []).aget_last_run_output()
        assert kept is not None
        assert sorted(str(image.id) for image in kept.images or ()) == ["hung", "own", "quick", "slow"]
        if stored_media:
            assert all(image.content == PIXEL + str(image.id).encode() for image in (*(done.images or ()), *(kept.images or ())))


class TestAProcessThatDiesWhileItGoesOn:
    @pytest.mark.parametrize("checkpoint", ["runs", "steps"])
    async def test_leaves_the_run_with_its_answers_to_another(self, db: MongoDb, checkpoint: str) -> None:
        till, counted = Till(), Counted()

        def made(*, asks: bool) -> Workflow:
            last = counted.step("last")
            steps = [till.buyer(name, *(() if asks else ("Bought.",)), asks=asks) for name in ("one", "two")]
            crew = Team([steps[1]], name="crew", model=ScriptedModel(*([give("two")] if asks else ["Crew."])))
            both = Parallel(Steps(name="left", steps=[steps[0], counted.step("l")]), crew, name="both")
            return flow(counted.step("a"), both, last, db=db, checkpoint=checkpoint)

        run = await made(asks=True).arun("go", run_id="r")
        for one in run.active_requirements:
            one.confirm()
        workflow = made(asks=False)
        await dies(workflow, counted, "last", workflow.acontinue_run(run))
        session = await made(asks=False).aget_session()
        assert session is not None
        assert [found.run_id for found in session.interrupted_runs] == ["r"]
        workflow = made(asks=False)
        done = await workflow.acontinue_run(run_id="r")
        assert done.status is RunStatus.completed
        assert counted.calls == (["a", "l", "last"] if checkpoint == "steps" else ["a", "l", "l", "last"])
        assert till.paid == ([5, 5] if checkpoint == "steps" else [5, 5, 5, 5])
        kept = await stored(workflow)
        names = [getattr(run, "agent_name", None) or getattr(run, "team_name", None) for run in kept.step_executor_runs or ()]
        assert sorted(names) == ["crew", "one", "two"]
        assert (await workflow.aget_session_metrics()).total_tokens == 15 * 6
        assert (await workflow.aget_session_state())["paid"] == 10

    async def test_before_all_were_asked_leaves_a_run_that_asks_again(self, db: MongoDb) -> None:
        till, counted = Till(), Counted()

        def made(*script: Any) -> Workflow:
            buyer = Agent(name="buyer", model=ScriptedModel(*script), tools=[till.pay])
            slow = Steps(name="slow", steps=[counted.step("p"), counted.step("q")])
            return flow(Parallel(buyer, slow), db=db, checkpoint="steps")

        def call(amount: int) -> ToolCall:
            return ToolCall("pay", {"amount": amount}, id="pay")

        await interrupted(made(call(1)), counted, "q")
        # What was asked within a process that died nobody was told.
        run = await made(call(2)).acontinue_run(run_id="r")
        assert (run.is_paused, counted.calls) == (True, ["p", "q"])
        [requirement] = (await waiting(made())).active_requirements
        requirement.confirm()
        done = await made("Bought.").acontinue_run(run_id="r", requirements=[requirement])
        assert (done.status, till.paid) == (RunStatus.completed, [2])
        assert [one.status for one in (await stored(made())).step_executor_runs or ()] == [RunStatus.completed]

    async def test_after_one_asked_anew_has_it_go_on_from_what_was_answered(self, db: MongoDb) -> None:
        till, counted = Till(), Counted()

        def made(one: list[Any], two: list[Any]) -> Workflow:
            buyers = [Agent(name=f"b{n}", model=ScriptedModel(*script), tools=[till.pay]) for n, script in enumerate((one, two))]
            right = Steps(name="right", steps=[buyers[1], counted.step("p"), counted.step("q")])
            return flow(Parallel(buyers[0], right), db=db, checkpoint="steps")

        call, further = ToolCall("pay", {"amount": 1}, id="pay"), ToolCall("pay", {"amount": 2}, id="further")
        run = await made([call], [call]).arun("go", run_id="r")
        for requirement in run.active_requirements:
            requirement.confirm()
        workflow = made([further], ["Bought."])
        await dies(workflow, counted, "q", workflow.acontinue_run(run), once=lambda _: till.paid == [1, 1])
        assert (till.paid, counted.calls) == ([1, 1], ["p"])
        run = await made([further], []).acontinue_run(run_id="r")
        # The answered call of the first is made once more, that of the second was stored.
        assert ([one.id for one in run.active_requirements], till.paid, counted.calls) == (["further"], [1, 1, 1], ["p", "q"])
        run.active_requirements[0].confirm()
        done = await made(["All."], []).acontinue_run(run)
        assert (done.status, till.paid) == (RunStatus.completed, [1, 1, 1, 2])
        assert [one.status for one in (await stored(made([], []))).step_executor_runs or ()] == [RunStatus.completed] * 2

    async def test_with_kill_9_does_not_have_finished_agents_ask_or_pay_again(
        self, mongo_url: str, db_name: str, tmp_path: Path, child_environment: dict[str, str]
    ) -> None:
        arguments = (child_environment, mongo_url, db_name, str(tmp_path))
        outcome, _ = await (await process("pause", *arguments)).communicate()
        assert outcome.strip() == b"PAUSED"
        dying = await process("answer", *arguments)
        assert dying.stdout is not None
        assert (await dying.stdout.readline()).strip() == b"hanging"
        dying.send_signal(signal.SIGKILL)
        await dying.communicate()
        assert (tmp_path / "log").read_text().split() == ["note", "quick"]
        outcome, _ = await (await process("finish", *arguments)).communicate()
        assert json.loads(outcome) == {"status": "COMPLETED", "content": "go", "runs": [["quick", "COMPLETED"], ["slow", "COMPLETED"]]}
        assert (tmp_path / "log").read_text().split() == ["note", "quick", "slow", "note"]


async def test_a_run_that_goes_on_keeps_its_events_and_its_workflows_agent(db: MongoDb) -> None:
    till = Till()

    def made(buyer: Agent, *deciding: Any) -> Workflow:
        agent = WorkflowAgent(model=ScriptedModel(*deciding))
        return flow(buyer, db=db, agent=agent, store_events=True)

    run = await made(till.buyer("buyer"), ToolCall("run_workflow", {"query": "buy"})).arun("go")
    run.active_requirements[0].confirm()
    workflow = made(till.buyer("buyer", "Bought.", asks=False))
    done = await workflow.acontinue_run(run)
    assert [inner.content for inner in done.step_executor_runs or ()] == ["The workflow runs.", "Bought."]
    kept = await stored(workflow)
    assert kept.workflow_agent_run is not None
    names = [event.event for event in kept.events or ()]
    assert names[0] == "WorkflowStarted"
    assert names[-6:] == [
        "StepExecutorPaused", "WorkflowPaused", "WorkflowContinued", "StepExecutorContinued", "StepCompleted", "WorkflowCompleted",
    ]  # fmt: skip


def test_a_paused_run_is_read_back_from_what_it_says() -> None:
    till = Till()
    run = asyncio.run(flow(till.buyer("buyer")).arun("go"))
    again = WorkflowRunOutput.from_dict(json.loads(run.to_json()))
    assert [one.id for one in again.active_requirements] == ["pay"]
    assert again.active_step_requirements[0].executor_name == "buyer"
    assert isinstance((again.step_executor_runs or [])[0], RunOutput)


