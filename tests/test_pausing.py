"""A run that waits for a person: stored, found again, answered once, and gone on with in any process."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db import retired
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import (
    ConfigurationError,
    CorruptSession,
    RunAlreadyFinished,
    RunIsPaused,
    RunNotFound,
    SessionBusy,
    SessionOwnedByAnotherUser,
    StateConflictError,
)
from agno_mongo.messages import Message, ToolExecution
from agno_mongo.models.base import ModelRequest
from agno_mongo.run import RunContext, RunOutput, RunStatus
from agno_mongo.run.requirement import RunRequirement
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import Function, tool
from tests.test_commands import Recorder, recorded
from tests.test_continuing import set_in_entry
from tests.test_retired_runs import KEY
from tests.test_turns import Held

__all__ = ["recorded"]

PAY = ToolCall("pay", {"amount": 5}, id="pay")
LOOK = ToolCall("look", {}, id="look")


def asking(function: Any, **flags: Any) -> Function:
    made: Function = tool(**flags)(function)
    return made


class Shop:
    """Tools that count their calls."""

    def __init__(self, **flags: Any) -> None:
        self.calls: list[Any] = []
        self.tools = [asking(self.pay, **(flags or {"requires_confirmation": True})), self.look]

    def pay(self, amount: int, note: str = "none") -> str:
        """Pay.

        Args:
            amount: In euros.
            note: For the receiver.
        """
        self.calls.append(("pay", amount, note))
        return f"paid {amount}"

    def look(self, run_context: RunContext) -> str:
        self.calls.append("look")
        run_context.session_state["looked"] = run_context.session_state.get("looked", 0) + 1
        run_context.state.increment("visits")
        return "three"


def agent_on(db: MongoDb | None, shop: Shop, *script: Any, **settings: Any) -> Agent:
    return Agent(model=ScriptedModel(*script), db=db, tools=shop.tools, **{"session_id": "s", **settings})


def shown(agent: Agent, request: int = 0) -> list[Any]:
    return [message.content for message in agent.model.requests[request].messages]  # type: ignore[attr-defined]


async def entries(db: MongoDb) -> dict[str, Any]:
    document = await (await db._connection()).collection.find_one({"session_id": "s"})
    found: dict[str, Any] = document["active_runs"]
    return found


async def paused(db: MongoDb, shop: Shop, *calls: ToolCall, run_id: str = "r", **settings: Any) -> RunOutput:
    run = await agent_on(db, shop, list(calls or [PAY]), **settings).arun("Buy it.", run_id=run_id)
    assert run.is_paused
    return run


class TestARunThatWaitsForConfirmation:
    @pytest.mark.parametrize("damaged", [{"run.model": 5}, {"state_changes": [5]}, {"inner": [{"metrics": 5}]}, {"metrics": "?"}])
    async def test_that_cannot_be_read_says_so_and_waits_on(self, damaged: dict[str, Any]) -> None:
        db, shop = InMemoryDb(), Shop()
        run = await paused(db, shop)
        run.requirements[0].confirm()
        await set_in_entry(db, "r", **damaged)
        for _ in range(2):
            with pytest.raises(CorruptSession, match="interrupted run 'r'"):
                await agent_on(db, shop).acontinue_run("r", requirements=run.requirements)
            entry = (await entries(db))["r"]
            assert (entry["status"], entry["lease_until"], shop.calls) == ("PAUSED", 0, [])

    async def test_makes_the_other_calls_first_and_is_stored(self, db: MongoDb) -> None:
        shop = Shop()
        agent = agent_on(db, shop, "before", [PAY, LOOK], instructions="Sell.")
        await agent.arun("Hello.")
        run = await agent.arun("Buy it.", run_id="r")
        assert (run.status, run.is_paused, shop.calls) == (RunStatus.paused, True, ["look"])
        [requirement] = run.active_requirements
        assert requirement.needs_confirmation
        assert requirement.tool_execution is run.tools_requiring_confirmation[0]
        assert (requirement.tool_execution.tool_name, requirement.tool_execution.tool_args) == ("pay", {"amount": 5})
        stored = await agent.aget_run_output("r")
        assert stored is not None
        assert (stored.status, stored.agent_name, stored.model) == (RunStatus.paused, run.agent_name, "scripted")
        assert [message.content for message in stored.messages or ()] == ["Sell.", "Buy it.", None, "three"]
        assert [tool.result for tool in stored.tools or ()] == [None, "three"]
        assert [each.id for each in stored.active_requirements] == ["pay"]
        session = await agent.aget_session()
        assert session is not None
        assert [waiting.run_id for waiting in session.paused_runs] == ["r"]
        assert session.interrupted_runs == []
        assert [finished.content for finished in session.runs or ()] == ["before"]
        last = await agent.aget_last_run_output()
        assert last is not None
        assert last.run_id == "r"

    async def test_goes_on_in_another_process_once_it_is_confirmed(self, db: MongoDb) -> None:
        shop = Shop()
        await agent_on(db, shop, "hi").arun("Hello.")
        run = await paused(db, shop, PAY, LOOK)
        stored = await agent_on(db, shop).aget_run_output("r")
        assert stored is not None
        [requirement] = stored.active_requirements
        requirement.confirm()
        assert (requirement.is_resolved(), stored.active_requirements) == (True, [])
        agent = agent_on(db, shop, "done", instructions="Sell.", add_history_to_context=True)
        done = await agent.acontinue_run(run_id="r", requirements=[requirement])
        assert (done.status, done.content, done.run_id, done.created_at) == (RunStatus.completed, "done", "r", run.created_at)
        assert shop.calls == ["look", ("pay", 5, "none")]
        assert shown(agent) == ["Sell.", "Hello.", "hi", "Buy it.", None, "paid 5", "three"]
        assert [tool.result for tool in done.tools or ()] == ["paid 5", "three"]
        [payment, _] = done.tools or []
        assert (payment.requires_confirmation, payment.confirmed) == (False, True)
        session = await agent.aget_session()
        assert session is not None
        assert [finished.run_id for finished in session.runs or ()][1:] == ["r"]
        assert session.active_runs == {}
        assert session.runs is not None
        assert session.runs[-1].to_dict() | {"attempt": 0} == done.to_dict() | {"attempt": 0}
        assert (await agent.aget_session_metrics()).total_tokens == 45
        assert done.metrics is not None
        assert done.metrics.total_tokens == 30

    async def test_is_told_that_a_call_was_rejected_and_why(self, db: MongoDb) -> None:
        shop = Shop()
        run = await paused(db, shop)
        run.active_requirements[0].reject("Too dear.")
        agent = agent_on(db, shop, "As you like.")
        done = await agent.acontinue_run(run)
        assert shop.calls == []
        assert shown(agent)[-1] == "The user has rejected this call: Too dear."
        [payment] = done.tools or []
        assert (payment.confirmed, payment.confirmation_note, payment.tool_call_error) == (False, "Too dear.", True)

    @pytest.mark.parametrize("how", ["run_response", "updated_tools", "json", "tools of the run"])
    async def test_takes_an_answer_in_each_of_agnos_forms(self, how: str) -> None:
        db, shop = InMemoryDb(), Shop()
        run = await paused(db, shop)
        agent = agent_on(db, shop, "done")
        if how == "updated_tools":
            for tool in run.tools or ():
                tool.confirmed = True
            done = await agent.acontinue_run(run_id="r", updated_tools=run.tools)
        elif how == "json":
            sent = {"tool_execution": {"tool_call_id": "pay"}, "confirmation": True}
            done = await agent.acontinue_run(run_id="r", requirements=[sent])
        else:
            if how == "run_response":
                run.active_requirements[0].confirm()
            else:
                run.tools_requiring_confirmation[0].confirmed = True
            done = await agent.acontinue_run(run_response=run)
        assert (done.content, shop.calls) == ("done", [("pay", 5, "none")])

    async def test_calls_what_the_model_asked_for_and_not_what_the_answer_says(self) -> None:
        db, shop = InMemoryDb(), Shop()
        await paused(db, shop)
        forged = ToolExecution(tool_call_id="pay", tool_name="look", tool_args={"amount": 5000}, confirmed=True)
        await agent_on(db, shop, "done").acontinue_run(run_id="r", updated_tools=[forged])
        assert shop.calls == [("pay", 5, "none")]

    async def test_asks_nobody_about_a_call_that_cannot_be_made(self, db: MongoDb) -> None:
        shop = Shop()
        agent = agent_on(db, shop, ToolCall("pay", {"amount": "five"}), ToolCall("pay", "no json"), "sorry")
        run = await agent.arun("Buy it.")
        assert (run.status, run.requirements, shop.calls) == (RunStatus.completed, None, [])
        assert "do not fit" in shown(agent, 1)[-1]

    @pytest.mark.parametrize("instructions", [None, "Be brief."])
    async def test_keeps_the_system_messages_of_its_input(self, instructions: str | None, db: MongoDb) -> None:
        agent = agent_on(
            db, Shop(), [PAY], [PAY], "ok", instructions=instructions, output_schema={"type": "object"}, parse_response=False
        )
        latin = [
            {"role": "system", "content": "Answer in Latin."},
            Message(role="user", content="Pay."),
            {"role": "developer", "content": "Be quick."},
        ]
        run = await agent.arun(latin, output_schema=None)
        for _ in range(2):
            assert run.requirements is not None
            run.active_requirements[0].confirm()
            run = await agent.acontinue_run(run)
        assert run.content == "ok"
        roles = [[message.role for message in request.messages] for request in agent.model.requests]  # type: ignore[union-attr]
        first = ["system"] * (instructions is not None) + ["system", "user", "developer"]
        assert roles == [first, [*first, "assistant", "tool"], [*first, "assistant", "tool", "assistant", "tool"]]
        assert [shown(agent, index)[: len(first)] for index in (1, 2)] == [shown(agent)[: len(first)]] * 2

    async def test_takes_the_calls_own_settings_when_it_goes_on(self, db: MongoDb) -> None:
        shop = Shop()
        agent = agent_on(db, shop, [PAY], '{"paid": 5}', description="{who}")
        schema = {"type": "object", "properties": {"paid": {"type": "integer"}}}
        run = await agent.arun("Pay.", dependencies={"who": "Ann"}, output_schema=schema)
        run.active_requirements[0].confirm()
        run = await agent.acontinue_run(run, dependencies={"who": "Ann"}, output_schema=schema)
        assert run.content == {"paid": 5}
        assert [shown(agent, index)[0] for index in (0, 1)] == ["Ann", "Ann"]

    async def test_may_pause_again(self, db: MongoDb) -> None:
        shop = Shop()
        run = await paused(db, shop)
        for number in range(2):
            run.active_requirements[0].confirm()
            again = [ToolCall("pay", {"amount": number}, id=f"pay {number}"), LOOK]
            run = await agent_on(db, shop, again).acontinue_run(run)
            assert [requirement.id for requirement in run.active_requirements] == [f"pay {number}"]
        assert shop.calls == [("pay", 5, "none"), "look", ("pay", 0, "none"), "look"]
        run.active_requirements[0].confirm()
        run = await agent_on(db, shop, "done").acontinue_run(run)
        assert [tool.result for tool in run.tools or ()] == ["paid 5", "paid 0", "three", "paid 1", "three"]
        assert (await agent_on(db, shop).aget_session_metrics()).total_tokens == 60
        assert await agent_on(db, shop).aget_session_state() == {"looked": 2, "visits": 2}

    async def test_is_streamed(self, db: MongoDb) -> None:
        shop = Shop()
        events = [event async for event in agent_on(db, shop, PAY).arun("Buy it.", run_id="r", stream=True)]
        [event] = events
        assert event.event == "RunPaused"  # type: ignore[union-attr]
        assert event.is_paused
        [requirement] = event.active_requirements  # type: ignore[union-attr]
        requirement.confirm()
        agent = agent_on(db, shop, "all done")
        events = [
            event async for event in agent.acontinue_run(run_id="r", requirements=[requirement], stream=True, stream_events=True)
        ]
        assert [event.event for event in events] == [  # type: ignore[union-attr]
            "RunContinued", "ToolCallStarted", "ToolCallCompleted", "ModelRequestStarted", "RunContent", "RunContent",
            "ModelRequestCompleted", "RunContentCompleted", "RunCompleted",
        ]  # fmt: skip

    async def test_keeps_its_events_and_what_its_first_call_said(self, db: MongoDb) -> None:
        shop = Shop()
        agent = agent_on(db, shop, [PAY, LOOK], "done", store_events=True, metadata={"a": 1, "b": 1}, store_tool_messages=False)
        run = await agent.arun("Buy it.", run_id="r", metadata={"b": 2, "c": 2})
        stored = await agent.aget_run_output("r")
        assert stored is not None
        paused_event = (stored.events or [])[-1]
        assert [requirement.id for requirement in paused_event.active_requirements] == ["pay"]
        run.active_requirements[0].confirm()
        done = await agent.acontinue_run(run, metadata={"c": 3})
        assert done.metadata == {"a": 1, "b": 2, "c": 3}
        finished = await agent.aget_run_output("r")
        assert finished is not None
        for seen in (done, finished):
            names = [event.event for event in seen.events or ()]
            assert (names.count("RunPaused"), names.count("RunContinued"), names[-1]) == (1, 1, "RunCompleted")
        assert [message.role for message in finished.messages or ()] == ["user", "assistant"]

    async def test_needs_no_database_while_somebody_holds_it(self) -> None:
        shop = Shop()
        run = await agent_on(None, shop, [PAY, LOOK]).arun("Buy it.")
        run.active_requirements[0].confirm()
        agent = agent_on(None, shop, "done")
        done = await agent.acontinue_run(run)
        assert (done.content, done.session_state, shop.calls) == (
            "done",
            {"looked": 1, "visits": 1},
            ["look", ("pay", 5, "none")],
        )
        assert shown(agent) == ["Buy it.", None, "paid 5", "three"]


class TestARunThatWaitsForInput:
    async def test_gets_arguments_that_the_model_does_not_see(self, db: MongoDb) -> None:
        shop = Shop(requires_user_input=True, user_input_fields=["note"])
        agent = agent_on(db, shop, ToolCall("pay", {"amount": 5, "note": "forged"}, id="pay"))
        run = await agent.arun("Buy it.", run_id="r")
        assert "note" not in str(agent.model.requests[0].tools[0])  # type: ignore[attr-defined]
        stored = await agent.aget_run_output("r")
        assert stored is not None
        [requirement] = stored.active_requirements
        assert requirement.needs_user_input
        fields = [(field.name, field.field_type, field.description, field.value) for field in requirement.user_input_schema or ()]
        assert fields == [("amount", int, "In euros.", 5), ("note", str, "For the receiver.", None)]
        requirement.provide_user_input({"note": "for you"})
        await agent_on(db, shop, "done").acontinue_run(run_id=run.run_id, requirements=[requirement])
        assert shop.calls == [("pay", 5, "for you")]

    async def test_takes_values_that_were_put_into_the_fields(self) -> None:
        db, shop = InMemoryDb(), Shop(requires_user_input=True)
        run = await paused(db, shop, ToolCall("pay", {}, id="pay"))
        [requirement] = run.active_requirements
        for field in requirement.user_input_schema or ():
            field.value = "7"
        done = await agent_on(db, shop, "done").acontinue_run(run)
        assert shop.calls == [("pay", 7, "7")]
        assert (done.tools or [])[0].tool_args == {"amount": "7", "note": "7"}

    async def test_stays_paused_while_a_value_is_missing_or_does_not_fit(self, db: MongoDb) -> None:
        shop = Shop(requires_user_input=True)
        run = await paused(db, shop, ToolCall("pay", {}, id="pay"))
        agent = agent_on(db, shop, "done")
        with pytest.raises(RunIsPaused, match=r"the call of 'pay' \('pay'\) has no answer"):
            await agent.acontinue_run(run)
        [requirement] = run.active_requirements
        with pytest.raises(ConfigurationError, match="has no field 'amnt'; it has amount, note"):
            requirement.provide_user_input({"amnt": 5})
        requirement.provide_user_input({"amount": "much"})
        with pytest.raises(RunIsPaused, match=r"the call 'pay' of 'pay' cannot go on: .*amount") as caught:
            await agent.acontinue_run(run)
        assert caught.value.missing == ("pay",)
        forged = {"tool_call_id": "pay", "confirmed": True}
        with pytest.raises(RunIsPaused, match="its field 'amount' has no value"):
            await agent.acontinue_run(run_id="r", updated_tools=[forged])
        assert [waits.run_id for waits in (await db.get_session("s")).paused_runs] == ["r"]
        assert "answers" not in (await entries(db))["r"]
        (requirement.user_input_schema or [])[0].value = 5
        assert (await agent.acontinue_run(run)).content == "done"
        assert shop.calls == [("pay", 5, "none")]


class TestARunThatWaitsForTheOutside:
    async def test_gets_the_result_that_somebody_brings(self, db: MongoDb) -> None:
        shop = Shop(external_execution=True)
        run = await paused(db, shop, PAY, LOOK)
        [requirement] = run.active_requirements
        assert requirement.needs_external_execution
        assert [tool.tool_name for tool in run.tools_awaiting_external_execution] == ["pay"]
        requirement.set_external_execution_result({"paid": 5})
        agent = agent_on(db, shop, "done")
        done = await agent.acontinue_run(run_id="r", requirements=[requirement])
        assert shown(agent)[-2:] == ['{"paid": 5}', "three"]
        assert (shop.calls, (done.requirements or [])[0].external_execution_result) == (["look"], '{"paid": 5}')

    async def test_takes_a_large_one_and_stores_it_once(self, mongo_db: MongoDb) -> None:
        large = "x" * 3_000_000
        shop = Shop(external_execution=True)
        run = await paused(mongo_db, shop)
        tool = (run.tools or [])[0]
        tool.result = large
        agent = agent_on(mongo_db, shop, "done")
        await agent.acontinue_run(run_id="r", updated_tools=[tool])
        assert shown(agent)[-1] == large
        connection = await mongo_db._connection()
        files = await connection.media_files.find({}).to_list(None)
        assert len(files) == 1
        assert ((await mongo_db.get_session("s")).runs[0].tools or [])[0].result == large
        await mongo_db.delete_session("s")
        assert await connection.media_files.find_one({}) is None


class TestAnAnswer:
    async def test_that_is_missing_or_unknown_leaves_the_run_paused(self, db: MongoDb) -> None:
        shop = Shop()
        run = await paused(db, shop, PAY, replace(PAY, id="pay again"))
        before = await entries(db)
        agent = agent_on(db, shop)
        run.active_requirements[0].confirm()
        for wrong in (None, [], run.requirements):
            with pytest.raises(RunIsPaused) as caught:
                await agent.acontinue_run(run_id="r", requirements=wrong)
            assert caught.value.missing == ("pay", "pay again")[1 if wrong else 0 :]
        unknown = [ToolExecution(tool_call_id=call, confirmed=True) for call in ("pay", "pay again", "other")]
        with pytest.raises(RunIsPaused, match="the calls 'other' do not wait for one") as caught:
            await agent.acontinue_run(run_id="r", updated_tools=unknown)
        assert (caught.value.missing, caught.value.unknown, caught.value.run_id) == ((), ("other",), "r")
        assert await entries(db) == before
        assert shop.calls == []

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"requirements": "yes"}, "requirements= takes a list, not str"),
            ({"requirements": [7]}, "int is no RunRequirement"),
            ({"updated_tools": [{"tool_args": 7}]}, "is no ToolExecution"),
            ({"updated_tools": [{"tool_call_id": "a", "confirmed": value} for value in (True, False)]}, "has two answers"),
        ],
    )
    async def test_that_is_none_is_refused_before_anything_is_sent(self, given: Any, words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            await agent_on(InMemoryDb(), Shop()).acontinue_run(run_id="r", **given)

    async def test_is_given_once(self) -> None:
        run = await paused(InMemoryDb(), Shop())
        [requirement] = run.requirements or []
        for wrong in (requirement.provide_user_input, requirement.set_external_execution_result):
            with pytest.raises(ConfigurationError, match="waits for no"):
                wrong({})
        requirement.confirm()
        with pytest.raises(ValueError, match="waits for no confirmation"):
            requirement.reject()
        assert RunRequirement.from_dict(requirement.to_dict()) == requirement

    async def test_given_twice_at_once_counts_once(self, db: MongoDb) -> None:
        shop = Shop()
        run = await paused(db, shop)
        run.active_requirements[0].confirm()
        agents = [agent_on(db, shop, "done") for _ in range(8)]
        outcomes = await asyncio.gather(*(agent.acontinue_run(run) for agent in agents), return_exceptions=True)
        assert sum(isinstance(outcome, RunOutput) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, (SessionBusy, RunAlreadyFinished)) for outcome in outcomes) == 7
        assert shop.calls == [("pay", 5, "none")]
        with pytest.raises(RunAlreadyFinished):
            await agents[0].acontinue_run(run)

    async def test_to_a_run_that_is_not_there_or_anothers_is_refused(self, db: MongoDb) -> None:
        shop = Shop()
        run = await paused(db, shop, user_id="john")
        run.active_requirements[0].confirm()
        for user_id in ("mary", None):
            with pytest.raises(SessionOwnedByAnotherUser):
                await agent_on(db, shop).acontinue_run(run_id="r", requirements=run.requirements, user_id=user_id)
        with pytest.raises(RunNotFound):
            await agent_on(db, shop, user_id="john").acontinue_run(run_id="q", requirements=run.requirements)
        assert shop.calls == []
        assert (await agent_on(db, shop, "done", user_id="john").acontinue_run(run)).content == "done"

    async def test_survives_the_process_that_took_it(self, db: MongoDb) -> None:
        shop = Shop()
        run = await paused(db, shop, PAY, LOOK)
        run.active_requirements[0].confirm()

        async def die(_request: ModelRequest) -> str:
            await set_in_entry(db, "r", lease_until=1.0)
            assert [lost.run_id for lost in (await db.get_session("s")).interrupted_runs] == ["r"]
            assert (await agent_on(db, shop, "done").acontinue_run("r")).content == "done"
            return "too late"

        with pytest.raises(RunAlreadyFinished):
            await agent_on(db, shop, die).acontinue_run(run)
        # Without checkpoints the round that was answered is called again, and no other.
        assert shop.calls == ["look", ("pay", 5, "none"), ("pay", 5, "none")]
        assert (await agent_on(db, shop).aget_session_metrics()).total_tokens == 30

    async def test_is_not_called_again_where_there_are_checkpoints(self, db: MongoDb) -> None:
        shop = Shop()
        run = await paused(db, shop, PAY, LOOK)
        run.active_requirements[0].confirm()

        async def die(_request: ModelRequest) -> str:
            await set_in_entry(db, "r", lease_until=1.0)
            assert (await agent_on(db, shop, "done").acontinue_run(run)).content == "done"
            return "too late"

        with pytest.raises(RunAlreadyFinished):
            await agent_on(db, shop, die, checkpoint="tool-batch").acontinue_run(run)
        assert shop.calls == ["look", ("pay", 5, "none")]
        assert (await agent_on(db, shop).aget_session_metrics()).total_tokens == 30

    async def test_to_an_interrupted_run_that_never_paused_is_refused(self, db: MongoDb) -> None:
        await paused(db, Shop())
        connection = await db._connection()
        lost = {"input": "lost", "started_at": 1.0, "lease_until": 2.0}
        await connection.collection.update_one({"session_id": "s"}, {"$set": {"active_runs.lost": lost}})
        with pytest.raises(ConfigurationError, match="was interrupted and waits for no answer"):
            await agent_on(db, Shop()).acontinue_run("lost", requirements=[])


class TestAPausedRun:
    async def test_has_its_changes_to_the_state_and_its_tokens_stored_when_it_pauses(self, db: MongoDb) -> None:
        shop = Shop()
        run = await paused(db, shop, PAY, LOOK, session_state={"looked": 1})
        agent = agent_on(db, shop)
        assert run.session_state == await agent.aget_session_state() == {"looked": 2, "visits": 1}
        assert (await agent.aget_session_metrics()).total_tokens == 15
        await agent.aupdate_session_state({"looked": 10, "visits": 10})
        run.active_requirements[0].confirm()
        done = await agent_on(db, shop, LOOK, "done").acontinue_run(run)
        assert done.session_state == await agent.aget_session_state() == {"looked": 11, "visits": 11}

    async def test_meets_a_conflict_as_any_run(self, db: MongoDb) -> None:
        shop = Shop()

        async def meanwhile(_request: ModelRequest) -> Any:
            await db.update_session_state("s", {"looked": 10})
            return [PAY, LOOK]

        with pytest.raises(StateConflictError):
            await agent_on(db, shop, meanwhile, on_state_conflict="raise").arun("Buy it.", run_id="r")
        session = await db.get_session("s")
        assert (session.session_state, [run.run_id for run in session.paused_runs]) == ({"looked": 10, "visits": 1}, ["r"])

    async def test_is_not_part_of_history_nor_ahead_of_anybody(self, db: MongoDb) -> None:
        shop = Shop()
        await paused(db, shop)
        for mode in ("reject", "queue"):
            agent = agent_on(db, shop, "ok", concurrent_runs=mode, queue_timeout=0, add_history_to_context=True)
            await agent.arun("Hello.", session_id="s")
            assert "Buy it." not in shown(agent)

    async def test_waits_for_its_turn_when_it_goes_on_and_stays_paused_if_it_has_none(self, db: MongoDb) -> None:
        shop = Shop()
        run = await paused(db, shop)
        run.active_requirements[0].confirm()
        async with Held(db):
            with pytest.raises(SessionBusy):
                await agent_on(db, shop, concurrent_runs="reject").acontinue_run(run)
        assert [waits.run_id for waits in (await db.get_session("s")).paused_runs] == ["r"]
        assert (await agent_on(db, shop, "done", concurrent_runs="reject").acontinue_run(run)).content == "done"

    async def test_is_not_begun_anew_by_its_id(self, db: MongoDb) -> None:
        shop = Shop()
        await paused(db, shop)
        before = await entries(db)
        with pytest.raises(RunIsPaused, match=r"a run 'r' that waits for a person; continue_run\(\) goes on with it"):
            await agent_on(db, shop).arun("Buy it.", run_id="r")
        assert await entries(db) == before

    async def test_never_retires(self, db: MongoDb) -> None:
        await paused(db, Shop())
        assert await retired.retire(await db._connection(), KEY) == 0
        assert list(await entries(db)) == ["r"]

    async def test_stays_with_its_session(self, mongo_db: MongoDb) -> None:
        large = "x" * 100_000
        shop = Shop()
        run = await paused(mongo_db, shop, ToolCall("pay", {"amount": 1, "note": large}, id="pay"), LOOK)
        agent = agent_on(mongo_db, shop)
        fork = await mongo_db.fork_session("s")
        assert fork.paused_runs == []
        await agent_on(mongo_db, shop, "one", "two").arun("Hello.", run_id="one")
        rewound = await mongo_db.rewind_session("s", "one", keep_copy=False)
        assert [waits.run_id for waits in rewound.paused_runs] == ["r"]
        stored = await agent.aget_run_output("r")
        assert stored is not None
        assert stored.active_requirements[0].tool_execution == run.active_requirements[0].tool_execution
        await mongo_db.delete_session("s")
        await mongo_db.delete_session(fork.session_id)
        connection = await mongo_db._connection()
        assert await connection.media_files.find_one({}) is None

    async def test_is_told_to_those_who_watch_and_export(self, mongo_db: MongoDb) -> None:
        shop = Shop()
        await agent_on(mongo_db, shop, "hi", user_id="john").arun("Hello.")
        told = []
        async with mongo_db.watch("s") as events:
            run = await paused(mongo_db, shop, run_id="r.1", user_id="john")
            assert '"status": "PAUSED"' in [line async for line in mongo_db.export_user("john")][-1]
            run.active_requirements[0].confirm()
            await agent_on(mongo_db, shop, "done").acontinue_run(run)
            async for event in events:
                told.append((event.kind, event.run_id, event.status))
                if event.kind == "run_finished":
                    break
        statuses = [("run_begun", None), ("run_paused", "PAUSED"), ("run_continued", "RUNNING"), ("run_finished", "COMPLETED")]
        assert told == [(kind, "r.1", status) for kind, status in statuses]

    async def test_is_two_commands_and_two_more_when_it_goes_on(self, recorded: tuple[MongoDb, Recorder]) -> None:
        db, recorder = recorded
        shop = Shop()
        await agent_on(db, shop, "connects").arun("Hello.")
        recorder.sent.clear()
        run = await paused(db, shop, PAY, LOOK, run_id="r")
        assert recorder.names == ["findAndModify", "findAndModify"]
        run.active_requirements[0].confirm()
        await agent_on(db, shop, "done").acontinue_run(run)
        assert recorder.names == ["findAndModify"] * 4
        for command in recorder.sent:
            assert (command["query"]["session_id"], command["query"]["session_type"]) == ("s", "agent")


def test_a_paused_run_goes_on_behind_a_blocking_call() -> None:
    db, shop = InMemoryDb(), Shop()
    agent = agent_on(db, shop, PAY, "done", PAY, "all done")
    run = agent.run("Buy it.")
    run.active_requirements[0].confirm()
    assert agent.continue_run(run_id=run.run_id, requirements=run.requirements).content == "done"
    run = agent.run("Buy it.")
    run.active_requirements[0].reject()
    assert [getattr(event, "content", None) for event in agent.continue_run(run, stream=True)] == ["all ", "done"]


class TestInputOfAPerson:
    @staticmethod
    async def paused() -> tuple[Agent, RunOutput]:
        @tool(requires_user_input=True)
        def book(seats: int, day: str) -> str:
            """Book."""
            return f"{seats} on {day}"

        agent = Agent(model=ScriptedModel(ToolCall("book"), "ok"), tools=[book], db=InMemoryDb(), session_id="s")
        return agent, await agent.arun("go")

    async def test_that_was_refused_can_be_given_anew_on_the_same_requirement(self) -> None:
        agent, run = await self.paused()
        asked = run.active_requirements[0]
        asked.provide_user_input({"seats": "many", "day": "Monday"})
        with pytest.raises(RunIsPaused, match="seats"):
            await agent.acontinue_run(run)
        asked.provide_user_input({"seats": 5})
        run = await agent.acontinue_run(run)
        assert [call.result for call in run.tools or ()] == ["5 on Monday"]
        with pytest.raises(ConfigurationError, match="waits for no input"):
            (run.requirements or [])[0].provide_user_input({"seats": 6})

    async def test_that_is_missing_is_told_by_tool_and_field(self) -> None:
        agent, run = await self.paused()
        run.active_requirements[0].provide_user_input({"seats": 5})
        with pytest.raises(RunIsPaused, match=r"the call of 'book' \(.*\) has no answer: it needs .*day"):
            await agent.acontinue_run(run)
