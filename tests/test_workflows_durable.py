"""A workflow that is interrupted, or waits for a person, goes on at its first unfinished step, in any process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from agno_mongo.db.checkpoints import Checkpoint
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import (
    ConfigurationError,
    RunAlreadyFinished,
    RunIsPaused,
    RunTakenOver,
    SessionBusy,
    SessionOwnedByAnotherUser,
    WorkflowChanged,
)
from agno_mongo.run import RunContext, RunStatus, WorkflowRunOutput
from agno_mongo.run.step_requirement import StepRequirement
from agno_mongo.workflow import Condition, HumanReview, Loop, Parallel, Router, Step, StepInput, Steps, Workflow
from tests.processes import ROOT
from tests.test_commands import Recorder, recorded
from tests.test_workflows import agent_saying, asked, flow, stored, tree, upper
from tests.workflow_process import STEPS

__all__ = ["recorded"]


class Crash(BaseException):
    """What a test throws where a process would die."""


class Counted:
    """Steps that count how often they run, and one that dies the first time."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.dies_at: str | None = None
        self.last_words: Callable[[], Awaitable[object]] | None = None

    def step(self, name: str, **settings: Any) -> Step:
        async def work(step_input: StepInput, run_context: RunContext) -> str:
            if self.dies_at == name:
                assert self.last_words is not None
                await self.last_words()
                raise Crash
            self.calls.append(name)
            run_context.state.increment("done")
            run_context.session_state[name] = True
            return f"{step_input.previous_step_content or ''}{name}"

        return Step(name=name, executor=work, **settings)


Once: TypeAlias = Callable[[set[str]], bool]
"""Whether those who go on beside the step that dies have come so far, by the names of the steps that are stored."""


async def interrupted(workflow: Workflow, counted: Counted, at: str, *, once: Once = lambda _: True) -> None:
    """A new run dies at that step."""
    await dies(workflow, counted, at, workflow.arun("go", run_id="r"), once=once)


async def dies(workflow: Workflow, counted: Counted, at: str, run: Awaitable[object], *, once: Once = lambda _: True) -> None:
    """The run dies at that step, as soon as it begins and ``once`` holds: nothing of how it ended is stored, and its lease has run out."""
    assert workflow.db is not None
    collection = (await workflow.db._connection()).collection
    left: dict[str, Any] = {}

    async def look() -> None:
        """What is stored when the step dies."""
        while True:
            document = await collection.find_one({"session_id": "s"})
            steps = document["active_runs"]["r"].get("steps") or ()
            kept = {step["output"]["step_name"] for step in steps if "output" in step}
            if once(kept):
                left.update(document)
                return
            await asyncio.sleep(0.01)

    counted.dies_at, counted.last_words = at, look
    with pytest.raises(Crash):
        await run
    counted.dies_at = None
    left["active_runs"]["r"]["lease_until"] = 1.0
    await collection.replace_one({"session_id": "s"}, left)


class TestAWorkflowThatKeepsItsSteps:
    async def test_goes_on_at_the_first_step_that_had_not_finished(self, db: MongoDb) -> None:
        counted, agent = Counted(), agent_saying("said", "again")

        def made() -> Workflow:
            steps = [counted.step("a"), agent, counted.step("b"), counted.step("c")]
            return flow(*steps, db=db, checkpoint="steps", session_state={"done": 0})

        await interrupted(made(), counted, "b")
        session = await made().aget_session()
        assert session is not None
        [waiting] = session.interrupted_runs
        assert isinstance(waiting, WorkflowRunOutput)
        assert tree(waiting) == [("a", "COMPLETED"), ("writer", "COMPLETED")]
        assert [run.content for run in waiting.step_executor_runs or ()] == ["said"]
        run = await made().acontinue_run(run_id="r")
        assert (run.status, run.content, run.run_id) == (RunStatus.completed, "saidbc", "r")
        assert counted.calls == ["a", "b", "c"]
        assert len(agent.model.requests) == 1  # type: ignore[union-attr]
        kept = await stored(made())
        assert [output.content for output in kept.step_results] == ["a", "said", "saidb", "saidbc"]
        assert [inner.content for inner in kept.step_executor_runs or ()] == ["said"]
        assert kept.to_dict() | {"attempt": 0} == run.to_dict() | {"attempt": 0}
        state = await made().aget_session_state()
        assert state == {"done": 3, "a": True, "b": True, "c": True}
        assert (await made().aget_session_metrics()).total_tokens == 15

    async def test_remembers_ways_rounds_and_branches(self, db: MongoDb) -> None:
        counted, looked = Counted(), []

        def holds(step_input: StepInput) -> bool:
            looked.append("holds")
            return True

        def way(step_input: StepInput) -> str:
            looked.append("way")
            return "both"

        def made() -> Workflow:
            both = Steps(name="both", steps=[counted.step("r1"), counted.step("r2")])
            slow = Steps(name="slow", steps=[counted.step("p1"), counted.step("p2")])
            steps = [
                Condition(evaluator=holds, steps=[counted.step("c1"), counted.step("c2")], name="which"),
                Router(choices=[both, upper], selector=way, name="where"),
                Loop(steps=[counted.step("l")], max_iterations=2, name="again"),
                Parallel(slow, counted.step("p3"), name="at once"),
                counted.step("last"),
            ]
            return flow(*steps, db=db, checkpoint="steps")

        expected = ["c1", "c2", "r1", "r2", "l", "l", "p1", "p3", "p2", "last"]
        names = ["c2", "r2", "l", "p2", "last"]
        for name in names:
            await made().adelete_session()
            counted.calls.clear()
            looked.clear()
            await interrupted(made(), counted, name, once=lambda kept, name=name: name != "p2" or "p3" in kept)
            run = await made().acontinue_run(run_id="r")
            assert run.status is RunStatus.completed
            assert sorted(counted.calls) == sorted(expected), name
            assert looked == ["holds", "way"]
            kept = await stored(made())
            assert [len(output.steps or ()) for output in kept.step_results] == [2, 1, 2, 2, 0]
            assert (await made().aget_session_state())["done"] == len(expected)

    async def test_within_another_goes_on_at_its_own_step(self, db: MongoDb) -> None:
        counted, agent = Counted(), agent_saying("said")

        def made() -> Workflow:
            inner = Workflow(name="inner", steps=[counted.step("i1"), agent, counted.step("i2")])
            return flow(counted.step("a"), inner, counted.step("z"), db=db, checkpoint="steps")

        await interrupted(made(), counted, "i2")
        await made().acontinue_run(run_id="r")
        assert counted.calls == ["a", "i1", "i2", "z"]
        kept = await stored(made())
        own = kept.get_executor_run(kept.step_results[1])
        assert isinstance(own, WorkflowRunOutput)
        assert [output.step_name for output in own.step_results] == ["i1", "writer", "i2"]
        assert [run.parent_run_id for run in kept.step_executor_runs or ()] == [own.run_id, "r"]
        assert await made().aget_session_state() == {"done": 4, "a": True, "i1": True, "i2": True, "z": True}

    async def test_has_the_runs_that_ended_while_a_checkpoint_was_on_its_way(
        self, mongo_db: MongoDb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sending, ended, counted, checkpoint = asyncio.Event(), asyncio.Event(), Counted(), mongo_db.checkpoint_run

        async def slow(point: Checkpoint) -> Any:
            if point.whole:
                sending.set()
                await ended.wait()
                await asyncio.sleep(0.05)
            return await checkpoint(point)

        async def wait(run_input: Any) -> None:
            await sending.wait()

        async def end(run_output: Any) -> None:
            ended.set()

        monkeypatch.setattr(mongo_db, "checkpoint_run", slow)
        first, second = agent_saying("first"), agent_saying("second", name="other", pre_hooks=[wait], post_hooks=[end])
        workflow = flow(Parallel(first, second), counted.step("b"), db=mongo_db, checkpoint="steps")
        await interrupted(workflow, counted, "b")
        run = await workflow.acontinue_run(run_id="r")
        assert sorted(inner.content for inner in run.step_executor_runs or ()) == ["first", "second"]
        assert (await workflow.aget_session_metrics()).total_tokens == 30

    async def test_has_a_finished_workflow_within_as_if_it_had_not_been_interrupted(self, db: MongoDb) -> None:
        counted = Counted()

        def look(step_input: StepInput) -> str:
            return str(step_input.get_step_content("i1"))

        def made() -> Workflow:
            inner = Workflow(name="inner", steps=[counted.step("i1"), lambda _: "end"])
            return flow(inner, counted.step("z"), look, db=db, checkpoint="steps")

        await interrupted(made(), counted, "z")
        assert (await made().acontinue_run(run_id="r")).content == "i1"
        kept = await stored(made())
        assert kept.step_results[0].steps is None
        own = kept.get_executor_run(kept.step_results[0])
        assert isinstance(own, WorkflowRunOutput)
        assert [output.step_name for output in own.step_results] == ["i1", "<lambda>"]

    async def test_is_one_command_more_for_each_step(self, recorded: tuple[MongoDb, Recorder]) -> None:
        db, recorder = recorded
        workflow = flow(upper, Parallel(upper, upper), Condition(steps=[upper]), db=db, checkpoint="steps")
        await workflow.arun("connects", session_id="another")
        recorder.sent.clear()
        await workflow.arun("go")
        assert 5 <= len(recorder.names) <= 6
        assert set(recorder.names) == {"findAndModify"}

    async def test_begins_again_if_it_keeps_none(self, db: MongoDb) -> None:
        counted = Counted()
        workflow = flow(counted.step("a"), counted.step("b"), db=db)
        await interrupted(workflow, counted, "b")
        run = await workflow.acontinue_run(run_id="r")
        assert (run.content, counted.calls) == ("ab", ["a", "a", "b"])

    @pytest.mark.parametrize(
        ("now", "message", "step"),
        [
            (["a", "x"], "step 'b' is function 'x' now, and was function", "b"),
            (["a"], "step 'b' is not there any more", "b"),
            (["a", "b", "c"], "step 'c' was not there", "c"),
        ],
    )
    async def test_does_not_go_on_with_other_steps(self, now: list[str], message: str, step: str) -> None:
        db, counted = InMemoryDb(), Counted()
        await interrupted(flow(counted.step("a"), counted.step("b"), db=db, checkpoint="steps"), counted, "b")
        changed = flow(*[counted.step(name) for name in now], db=db, checkpoint="steps")
        with pytest.raises(WorkflowChanged, match=message) as error:
            await changed.acontinue_run(run_id="r")
        assert error.value.step == step
        session = await changed.aget_session()
        assert session is not None
        assert [run.run_id for run in session.interrupted_runs] == ["r"]
        whole = flow(counted.step("a"), counted.step("b"), db=db, checkpoint="steps")
        assert (await whole.acontinue_run(run_id="r")).content == "ab"

    async def test_that_is_cancelled_while_nobody_has_it_keeps_its_steps(self, db: MongoDb) -> None:
        counted = Counted()
        workflow = flow(counted.step("a"), agent_saying("said"), counted.step("b"), db=db, checkpoint="steps")
        await interrupted(workflow, counted, "b")
        assert await workflow.acancel_run("r")
        kept = await stored(workflow)
        assert (kept.status, tree(kept)) == (RunStatus.cancelled, [("a", "COMPLETED"), ("writer", "COMPLETED")])
        assert [run.content for run in kept.step_executor_runs or ()] == ["said"]

    async def test_has_large_outputs_apart(self, db: MongoDb) -> None:
        counted, text = Counted(), "x" * 200_000
        workflow = flow(Step(name="large", executor=lambda _: text), counted.step("b"), db=db, checkpoint="steps")
        await interrupted(workflow, counted, "b")
        run = await workflow.acontinue_run(run_id="r")
        assert run.content == f"{text}b"
        assert (await stored(workflow)).content == f"{text}b"


async def process(what: str, environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.workflow_process", what, *arguments,
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


class TestAProcessThatIsKilled:
    async def test_leaves_its_finished_steps_to_another(
        self, mongo_url: str, db_name: str, tmp_path: Path, child_environment: dict[str, str]
    ) -> None:
        """kill -9 within each of the steps. Every step that comes to its end writes its name into a file."""

        dying = await process("hang", child_environment, mongo_url, db_name, str(tmp_path))
        assert dying.stdout is not None
        for _ in STEPS:
            assert (await dying.stdout.readline()).strip() == b"hanging"
        dying.send_signal(signal.SIGKILL)
        await dying.communicate()
        before = {at: (tmp_path / at).read_text().split() if (tmp_path / at).exists() else [] for at in STEPS}
        assert before["first"] == []
        assert before["second"] == ["first"]
        assert sorted(before["branch"]) == ["first", "left", "right", "second"]
        goes_on = await process("go_on", child_environment, mongo_url, db_name, str(tmp_path))
        outcomes, _ = await goes_on.communicate()
        for outcome in json.loads(outcomes):
            lines = (tmp_path / outcome["at"]).read_text().split()
            assert lines[: len(before[outcome["at"]])] == before[outcome["at"]]
            assert sorted(lines) == ["branch", "first", "last", "left", "right", "second"]
            assert (outcome["status"], outcome["state"]) == ("COMPLETED", {"done": 6})
            assert outcome["steps"] == ["first", "second", "both", "last"]


def asking(name: str, function: Any = upper, **review: Any) -> Step:
    return Step(name=name, executor=function, human_review=HumanReview(**(review or {"requires_confirmation": True})))


async def paused(workflow: Workflow, **options: Any) -> list[StepRequirement]:
    """What a new run waits for, as another process finds it."""
    run = await workflow.arun("go", run_id="r", **options)
    assert run.is_paused
    found = await workflow.aget_run_output("r") if workflow.db is not None else run
    assert found is not None
    return found.active_step_requirements


class TestAStepThatWaitsForAPerson:
    async def test_pauses_the_run_with_what_has_finished_and_its_state(self, db: MongoDb) -> None:
        counted, agent = Counted(), agent_saying("said")

        def made() -> Workflow:
            check = asking("check", requires_confirmation=True, confirmation_message="Publish?")
            return flow(counted.step("a"), agent, check, counted.step("z"), db=db)

        run = await made().arun("go", run_id="r")
        assert (run.status, run.paused_step_name, run.paused_step_index) == (RunStatus.paused, "check", 2)
        found = await made().aget_run_output("r")
        assert found is not None
        assert tree(found) == [("a", "COMPLETED"), ("writer", "COMPLETED")]
        assert [inner.content for inner in found.step_executor_runs or ()] == ["said"]
        [requirement] = found.active_step_requirements
        assert found.steps_requiring_confirmation == [requirement]
        assert (requirement.step_name, requirement.confirmation_message) == ("check", "Publish?")
        assert await made().aget_session_state() == {"done": 1, "a": True}
        assert (await made().aget_session_metrics()).total_tokens == 15
        session = await made().aget_session()
        assert session is not None
        assert ([run.run_id for run in session.paused_runs], session.runs) == (["r"], [])

    async def test_goes_on_in_another_process_once_it_is_confirmed(self, db: MongoDb) -> None:
        counted, agent = Counted(), agent_saying("said")

        def made() -> Workflow:
            return flow(counted.step("a"), agent, asking("check"), counted.step("z"), db=db)

        [requirement] = await paused(made())
        requirement.confirm()
        events = made().acontinue_run(run_id="r", step_requirements=[requirement.to_dict()], stream=True, stream_events=True)
        names = [event.event async for event in events]
        assert names == [
            "WorkflowContinued",
            "StepContinued",
            "StepStarted",
            "StepOutput",
            "StepCompleted",
            "StepStarted",
            "StepOutput",
            "StepCompleted",
            "WorkflowCompleted",
        ]
        kept = await stored(made())
        assert (kept.content, counted.calls) == ("SAIDz", ["a", "z"])
        assert tree(kept)[1:] == [("writer", "COMPLETED"), ("check", "COMPLETED"), ("z", "COMPLETED")]
        assert [inner.content for inner in kept.step_executor_runs or ()] == ["said"]
        assert (await made().aget_session_metrics()).total_tokens == 15
        assert await made().aget_session_state() == {"done": 2, "a": True, "z": True}
        with pytest.raises(RunAlreadyFinished):
            await made().acontinue_run(run_id="r", step_requirements=[requirement])

    @pytest.mark.parametrize(
        ("on_reject", "status", "expected"),
        [
            ("skip", RunStatus.completed, [("a", "COMPLETED"), ("check", "SKIPPED"), ("z", "COMPLETED")]),
            ("cancel", RunStatus.cancelled, [("a", "COMPLETED"), ("check", "CANCELLED")]),
        ],
    )
    async def test_that_is_rejected_is_left_out_or_ends_the_run(
        self, db: MongoDb, on_reject: str, status: RunStatus, expected: Any
    ) -> None:
        counted = Counted()
        check = asking("check", requires_confirmation=True, on_reject=on_reject)
        workflow = flow(counted.step("a"), check, counted.step("z"), db=db)
        [requirement] = await paused(workflow)
        requirement.reject("Too long.")
        run = await workflow.acontinue_run(run_id="r", step_requirements=[requirement])
        assert run.status is status
        kept = await stored(workflow)
        assert tree(kept) == expected
        assert kept.step_results[1].error == "rejected: Too long."
        assert run.content == ("az" if on_reject == "skip" else None)

    async def test_that_is_rejected_within_another_workflow_ends_that_one_too(self, db: MongoDb) -> None:
        counted = Counted()
        check = asking("check", requires_confirmation=True, on_reject="cancel")
        beside = Parallel(Workflow(name="inner", steps=[check, counted.step("i")]), name="beside")
        for step in (Workflow(name="inner", steps=[check, counted.step("i")]), beside):
            workflow = flow(counted.step("a"), step, counted.step("z"), db=db)
            [requirement] = await paused(workflow)
            requirement.reject()
            run = await workflow.acontinue_run(run_id="r", step_requirements=[requirement])
            assert run.status is RunStatus.cancelled
            kept = await stored(workflow)
            assert [(inner.status, inner.content) for inner in kept.step_executor_runs or ()] == [(RunStatus.cancelled, None)]
            await workflow.adelete_session()
        assert counted.calls == ["a", "a"]

    async def test_with_an_id_of_its_own_is_told_by_its_place(self, db: MongoDb) -> None:
        check = Step(name="check", executor=upper, step_id="mine", requires_confirmation=True)
        workflow = flow(check, db=db)
        [requirement] = await paused(workflow)
        assert (requirement.id, requirement.step_id) == ("0", "mine")
        requirement.confirm()
        assert (await workflow.acontinue_run(run_id="r", step_requirements=[requirement])).status is RunStatus.completed

    async def test_is_given_what_somebody_fills_in(self, db: MongoDb) -> None:
        fields = [
            {"name": "tone", "field_type": "str", "allowed_values": ["dry", "warm"]},
            {"name": "words", "field_type": "int", "required": False},
        ]
        agent, seen = agent_saying("written"), []
        review = {"requires_user_input": True, "user_input_schema": fields, "user_input_message": "How?"}
        look = asking("look", lambda given: seen.append(given.additional_data), **review)
        workflow = flow(look, Step(name="write", agent=agent, human_review=HumanReview(**review)), db=db)
        [requirement] = await paused(workflow, additional_data={"id": 7})
        for wrong in ({"tone": "loud"}, {"words": 3}, {"tone": "dry", "words": "three"}, {"mood": "dry"}):
            with pytest.raises(ConfigurationError):
                requirement.set_user_input(**wrong)
        assert requirement.needs_user_input
        requirement.set_user_input(tone="dry", words=3)
        run = await workflow.acontinue_run(run_id="r", step_requirements=[requirement])
        [further] = run.active_step_requirements
        further.set_user_input(tone="warm")
        run = await workflow.acontinue_run(run)
        assert run.status is RunStatus.completed
        assert seen == [{"user_input": {"tone": "dry", "words": 3}}]
        assert asked(agent) == "go\n\nUser preferences:\n- tone: warm"

    async def test_stays_paused_until_every_answer_fits(self, db: MongoDb) -> None:
        workflow = flow(asking("check"), db=db)
        [requirement] = await paused(workflow)
        with pytest.raises(RunIsPaused, match=r"the step 'check' has no answer.*continue_run.step_requirements=…. takes"):
            await workflow.acontinue_run(run_id="r")
        with pytest.raises(RunIsPaused):
            await workflow.acontinue_run(run_id="r", step_requirements=[requirement])
        other = StepRequirement(id="7", step_id="7", requires_confirmation=True, confirmed=True)
        with pytest.raises(RunIsPaused, match="the step 'check' has no answer; the steps '7' do not wait for one") as error:
            await workflow.acontinue_run(run_id="r", step_requirements=[other])
        assert (error.value.missing, error.value.unknown) == (("0",), ("7",))
        with pytest.raises(ConfigurationError, match="is no StepRequirement"):
            await workflow.acontinue_run(run_id="r", step_requirements=[3])  # type: ignore[list-item]
        with pytest.raises(SessionOwnedByAnotherUser):
            await workflow.acontinue_run(run_id="r", user_id="eve", step_requirements=[requirement])
        requirement.confirm()
        changed = flow(asking("other"), db=db)
        with pytest.raises(WorkflowChanged, match="step 'check' is function 'other' now"):
            await changed.acontinue_run(run_id="r", step_requirements=[requirement])
        assert (await workflow.acontinue_run(run_id="r", step_requirements=[requirement])).content == "GO"

    async def test_is_answered_once_of_several_that_try(self, db: MongoDb) -> None:
        counted = Counted()
        workflow = flow(asking("check"), counted.step("z"), db=db)
        [requirement] = await paused(workflow)
        requirement.confirm()
        tries = [workflow.acontinue_run(run_id="r", step_requirements=[requirement]) for _ in range(4)]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(outcome, WorkflowRunOutput) for outcome in outcomes) == 1
        refused = [outcome for outcome in outcomes if not isinstance(outcome, WorkflowRunOutput)]
        assert all(isinstance(error, (SessionBusy, RunAlreadyFinished, RunTakenOver)) for error in refused)
        assert counted.calls == ["z"]

    async def test_may_be_anywhere_within_others(self, db: MongoDb) -> None:
        counted = Counted()

        def made() -> Workflow:
            inner = Workflow(name="inner", steps=[counted.step("i"), asking("deep"), agent_saying("said")])
            steps = Steps(name="group", steps=[counted.step("g"), inner])
            return flow(Parallel(steps, asking("beside"), name="both"), counted.step("z"), db=db)

        requirements = await paused(made())
        assert sorted(str(one.step_name) for one in requirements) == ["beside", "deep"]
        for one in requirements:
            one.confirm()
        run = await made().acontinue_run(run_id="r", step_requirements=requirements)
        assert (run.status, counted.calls) == (RunStatus.completed, ["g", "i", "z"])
        kept = await stored(made())
        assert [getattr(run, "workflow_name", None) for run in kept.step_executor_runs or ()] == [None, "inner"]
        assert all(run.status == RunStatus.completed for run in kept.step_executor_runs or ())
        assert await made().aget_session_state() == {"done": 3, "g": True, "i": True, "z": True}

    async def test_works_without_a_database_as_long_as_somebody_has_the_run(self) -> None:
        counted = Counted()
        workflow = flow(counted.step("a"), agent_saying("said"), asking("check"))
        run = await workflow.arun("go")
        run.active_step_requirements[0].confirm()
        run = await workflow.acontinue_run(run)
        assert (run.content, counted.calls, len(run.step_executor_runs or ())) == ("SAID", ["a"], 1)

    async def test_survives_a_crash_after_it_was_answered(self, db: MongoDb) -> None:
        counted = Counted()

        def made() -> Workflow:
            return flow(asking("check"), counted.step("a"), counted.step("b"), db=db, checkpoint="steps")

        [requirement] = await paused(made())
        requirement.confirm()
        workflow = made()
        await dies(workflow, counted, "b", workflow.acontinue_run(run_id="r", step_requirements=[requirement]))
        run = await made().acontinue_run(run_id="r")
        assert (run.content, counted.calls) == ("GOab", ["a", "b"])


class TestAConditionOrARouterThatAsks:
    @pytest.mark.parametrize(("confirmed", "content"), [(True, "yes"), (False, "no")])
    async def test_goes_the_way_that_was_confirmed(self, db: MongoDb, confirmed: bool, content: str) -> None:
        condition = Condition(
            steps=[lambda _: "yes"],
            else_steps=[lambda _: "no"],
            name="which",
            human_review=HumanReview(requires_confirmation=True),
        )
        workflow = flow(condition, db=db)
        [requirement] = await paused(workflow)
        requirement.confirm() if confirmed else requirement.reject()
        assert (await workflow.acontinue_run(run_id="r", step_requirements=[requirement])).content == content

    async def test_goes_where_a_person_chooses(self, db: MongoDb) -> None:
        ways = [Step(name="left", executor=lambda _: "l"), Step(name="right", executor=lambda _: "r")]
        router = Router(choices=ways, name="where", human_review=HumanReview(requires_user_input=True))
        workflow = flow(router, db=db)
        [requirement] = await paused(workflow)
        assert requirement.available_choices == ["left", "right"]
        for wrong in (["up"], ["left", "right"]):
            with pytest.raises(ConfigurationError):
                requirement.select(*wrong)
        requirement.select("right")
        run = await workflow.acontinue_run(run_id="r", step_requirements=[requirement])
        assert (run.content, run.step_results[0].chosen) == ("r", ["right"])


