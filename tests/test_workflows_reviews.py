"""A person who looks at what a step has come to, at a round of a loop, or at a failure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, RunIsPaused
from agno_mongo.run import RunStatus, WorkflowRunOutput
from agno_mongo.run.step_requirement import ErrorRequirement, StepRequirement
from agno_mongo.testing import ToolCall
from agno_mongo.workflow import Condition, HumanReview, Loop, Parallel, Router, Step, StepInput, StepOutput, Steps, Workflow
from tests.test_team_pausing import Till
from tests.test_workflows import agent_saying, asked, flow, stored, tree, upper
from tests.test_workflows_durable import Counted
from tests.test_workflows_pausing import waiting


def looked_at(name: str = "write", **settings: Any) -> dict[str, Any]:
    return {"name": name, "human_review": HumanReview(**{"requires_output_review": True, **settings})}


async def goes_on(workflow: Workflow, run: WorkflowRunOutput) -> WorkflowRunOutput:
    """With what another process has of the run, as JSON."""
    told = json.loads(run.to_json())
    return await workflow.acontinue_run(
        run_id=run.run_id, step_requirements=told.get("step_requirements"), error_requirements=told.get("error_requirements")
    )


class TestAnOutputThatAPersonLooksAt:
    async def test_is_there_to_be_seen_and_goes_on_as_it_is(self, db: MongoDb) -> None:
        counted, agent = Counted(), agent_saying("said")
        write = Step(agent=agent, **looked_at(output_review_message="Good?"))
        workflow = flow(counted.step("a"), write, counted.step("z"), db=db)
        events = [event async for event in workflow.arun("go", run_id="r", stream=True, stream_events=True)]
        assert [event.event for event in events[-3:]] == ["StepCompleted", "StepOutputReview", "WorkflowPaused"]
        found = await waiting(workflow)
        [requirement] = found.steps_requiring_output_review
        assert found.steps_requiring_confirmation == []
        assert (requirement.output_review_message, requirement.is_post_execution) == ("Good?", True)
        assert requirement.step_output is not None
        assert requirement.step_output.content == "said"
        assert tree(found) == [("a", "COMPLETED"), ("write", "PAUSED")]
        requirement.confirm()
        run = await goes_on(workflow, found)
        assert (run.content, counted.calls, len(agent.model.requests)) == ("saidz", ["a", "z"], 1)  # type: ignore[union-attr]
        assert tree(await stored(workflow)) == [("a", "COMPLETED"), ("write", "COMPLETED"), ("z", "COMPLETED")]
        assert (await workflow.aget_session_metrics()).total_tokens == 15

    async def test_may_be_edited(self, db: MongoDb) -> None:
        workflow = flow(Step(executor=upper, **looked_at()), lambda given: f"{given.previous_step_content}!", db=db)
        found = await workflow.arun("go", run_id="r")
        found.active_step_requirements[0].edit("went")
        run = await goes_on(workflow, found)
        assert run.content == "went!"
        kept = await stored(workflow)
        assert (kept.step_results[0].content, kept.step_results[0].edited) == ("went", True)

    @pytest.mark.parametrize(
        ("on_reject", "status", "steps"),
        [
            ("skip", RunStatus.completed, [("a", "COMPLETED"), ("write", "SKIPPED"), ("z", "COMPLETED")]),
            ("cancel", RunStatus.cancelled, [("a", "COMPLETED"), ("write", "CANCELLED")]),
        ],
    )
    async def test_is_left_out_or_ends_the_run_if_it_is_rejected(
        self, db: MongoDb, on_reject: str, status: RunStatus, steps: Any
    ) -> None:
        counted = Counted()
        workflow = flow(counted.step("a"), Step(executor=upper, **looked_at(on_reject=on_reject)), counted.step("z"), db=db)
        found = await workflow.arun("go", run_id="r")
        found.active_step_requirements[0].reject("too loud")
        run = await goes_on(workflow, found)
        kept = await stored(workflow)
        assert (run.status, tree(kept)) == (status, steps)
        assert (kept.step_results[1].error, kept.step_results[1].content) == ("rejected: too loud", None)
        if on_reject == "skip":
            assert run.content == "az"

    @pytest.mark.parametrize("checkpoint", ["runs", "steps"])
    async def test_is_written_again_with_what_was_said_of_it(self, db: MongoDb, checkpoint: str) -> None:
        counted, agent = Counted(), agent_saying("one", "two", "three")
        write = Step(agent=agent, **looked_at(on_reject="retry", max_retries=1))
        workflow = flow(counted.step("a"), Steps(name="group", steps=[write]), db=db, checkpoint=checkpoint)
        found = await workflow.arun("go", run_id="r")
        found.active_step_requirements[0].reject("shorter")
        again = await goes_on(workflow, found)
        assert asked(agent, 1) == "a\n\nYour previous output:\none\n\nFeedback from reviewer:\nshorter"
        [requirement] = again.active_step_requirements
        assert (again.is_paused, requirement.retry_count, requirement.max_retries) == (True, 1, 1)
        found = await waiting(workflow)
        assert [output.content for output in found.step_results if output.step_name == "write"] == ["two"]
        with pytest.raises(RunIsPaused):
            # The answer that was given before is none to this question.
            await workflow.acontinue_run(run_id="r", step_requirements=[StepRequirement(id="1.0/output/0", step_id="1.0")])
        accepted = await waiting(workflow)
        accepted.active_step_requirements[0].reject("still too long")
        run = await goes_on(workflow, accepted)
        assert (run.status, counted.calls) == (RunStatus.cancelled, ["a"])
        assert len((await stored(workflow)).step_executor_runs or ()) == 2

    async def test_may_be_looked_at_only_where_a_function_says_so(self, db: MongoDb) -> None:
        seen: list[StepOutput] = []

        def long(output: StepOutput) -> bool:
            seen.append(output)
            return len(output.content) > 3

        workflow = flow(Step(executor=upper, **looked_at(requires_output_review=long)), db=db)
        assert (await workflow.arun("go")).status is RunStatus.completed
        found = await workflow.arun("much longer")
        assert (found.is_paused, len(seen)) == (True, 2)
        found.active_step_requirements[0].confirm()
        assert (await workflow.acontinue_run(found)).content == "MUCH LONGER"
        assert len(seen) == 2

    async def test_may_be_one_of_several_at_once_and_come_after_a_tool_that_asked(self, db: MongoDb) -> None:
        till = Till()

        def made(buyer: Any) -> Workflow:
            both = Parallel(Step(agent=buyer, **looked_at("buy")), Step(executor=upper, **looked_at("say")), name="both")
            return flow(both, upper, db=db)

        run = await made(till.buyer("buyer")).arun("go", run_id="r")
        assert min(run.pending_calls()) == "0.1/output/0"
        run.active_requirements[0].confirm()
        run.steps_requiring_output_review[0].confirm()
        run = await goes_on(made(till.buyer("buyer", "Bought.", asks=False)), run)
        [further] = run.active_step_requirements
        assert (further.step_name, further.needs_output_review) == ("buy", True)
        further.edit("Sold.")
        run = await goes_on(made(till.buyer("buyer", asks=False)), run)
        assert (run.content, till.paid) == ("=== BUY ===\nSOLD.\n\n=== SAY ===\nGO", [5])

    async def test_of_a_router_has_it_choose_again(self, db: MongoDb) -> None:
        ways = [Step(name="left", executor=lambda _: "l"), Step(name="right", executor=lambda _: "r")]
        review = HumanReview(requires_user_input=True, requires_output_review=True, on_reject="retry")
        workflow = flow(Router(choices=ways, name="where", human_review=review), db=db)
        run = await workflow.arun("go", run_id="r")
        run.active_step_requirements[0].select("left")
        run = await goes_on(workflow, run)
        assert (run.steps_requiring_output_review[0].step_output or StepOutput()).chosen == ["left"]
        run.active_step_requirements[0].reject()
        run = await goes_on(workflow, run)
        assert run.steps_requiring_route[0].available_choices == ["left", "right"]
        run.active_step_requirements[0].select("right")
        run = await goes_on(workflow, run)
        run.active_step_requirements[0].edit("rrr")
        run = await goes_on(workflow, run)
        assert (run.content, run.status) == ("rrr", RunStatus.completed)
        assert tree(await stored(workflow)) == [("where", "COMPLETED", [("right", "COMPLETED")])]

    async def test_works_without_a_database(self) -> None:
        agent = agent_saying("one", "two")
        workflow = flow(Step(agent=agent, **looked_at(on_reject="retry")))
        run = await workflow.arun("go")
        run.active_step_requirements[0].reject("again")
        run = await workflow.acontinue_run(run)
        run.active_step_requirements[0].confirm()
        assert (await workflow.acontinue_run(run)).content == "two"


class TestARoundThatAPersonLooksAt:
    def made(self, db: MongoDb, seen: list[Any], **review: Any) -> Workflow:
        def draft(given: StepInput) -> str:
            seen.append(given.additional_data)
            return f"draft {len(seen)}"

        human = HumanReview(requires_iteration_review=True, **review)
        return flow(Loop(steps=[draft], name="again", max_iterations=3, human_review=human), upper, db=db)

    async def test_ends_the_loop_if_it_is_good(self, db: MongoDb) -> None:
        seen: list[Any] = []
        workflow = self.made(db, seen, iteration_review_message="Good?")
        await workflow.arun("go", run_id="r")
        found = await waiting(workflow)
        [requirement] = found.steps_requiring_output_review
        assert (requirement.step_name, requirement.output_review_message) == ("again", "Good?")
        assert (requirement.step_output or StepOutput()).content == "draft 1"
        requirement.confirm()
        assert (await goes_on(workflow, found)).content == "DRAFT 1"
        assert len(seen) == 1

    async def test_is_followed_by_another_that_knows_what_was_said(self, db: MongoDb) -> None:
        seen: list[Any] = []
        workflow = self.made(db, seen, on_reject="retry")
        run = await workflow.arun("go", run_id="r")
        for said in ("first", "second"):
            run.active_step_requirements[0].reject(said)
            run = await goes_on(workflow, run)
        # After the last round there is nothing to decide.
        assert (run.status, run.content) == (RunStatus.completed, "DRAFT 3")
        assert seen[1:] == [
            {"previous_output": "draft 1", "rejection_feedback": "first"},
            {"previous_output": "draft 2", "rejection_feedback": "second"},
        ]

    async def test_may_be_edited_and_may_leave_the_loop_out(self, db: MongoDb) -> None:
        workflow = self.made(db, [])
        run = await workflow.arun("go", run_id="r")
        run.active_step_requirements[0].edit("better")
        assert (await goes_on(workflow, run)).content == "BETTER"
        run = await workflow.arun("go")
        run.active_step_requirements[0].reject()
        run = await goes_on(workflow, run)
        assert (run.content, run.step_results[0].status) == ("GO", "SKIPPED")


class TestAStepThatHasFailed:
    def made(self, db: MongoDb, tried: list[int], *, fails: int) -> Workflow:
        def risky(step_input: StepInput) -> str:
            tried.append(1)
            if len(tried) <= fails:
                raise ValueError(f"no {len(tried)}")
            return "done"

        step = Step(name="risky", executor=risky, max_retries=1, human_review=HumanReview(on_error="pause"))
        return flow(upper, step, lambda given: f"{given.previous_step_content}!", db=db)

    async def test_waits_for_a_person_who_has_it_tried_again(self, db: MongoDb) -> None:
        tried: list[int] = []
        workflow = self.made(db, tried, fails=4)
        events = [event.event async for event in workflow.arun("go", run_id="r", stream=True)]
        assert events[-4:] == ["StepError", "StepError", "StepPaused", "WorkflowPaused"]
        found = await waiting(workflow)
        [requirement] = found.active_error_requirements
        assert (requirement.step_name, requirement.error_message, requirement.error_type) == ("risky", "no 2", "ValueError")
        with pytest.raises(RunIsPaused, match="step 'risky' has no answer"):
            await workflow.acontinue_run(found)
        requirement.retry()
        again = await goes_on(workflow, found)
        assert (again.active_error_requirements[0].retry_count, len(tried)) == (1, 4)
        again.active_error_requirements[0].retry()
        run = await goes_on(workflow, again)
        assert (run.content, len(tried)) == ("done!", 5)

    async def test_is_left_out_if_a_person_wants_that(self, db: MongoDb) -> None:
        workflow = self.made(db, [], fails=9)
        run = await workflow.arun("go", run_id="r")
        run.active_error_requirements[0].skip()
        run = await goes_on(workflow, run)
        assert (run.status, run.content) == (RunStatus.completed, "GO!")
        kept = await stored(workflow)
        assert tree(kept)[1] == ("risky", "SKIPPED")
        assert kept.step_results[1].error == "no 2"

    async def test_may_be_an_agent_whose_tool_had_asked(self, db: MongoDb) -> None:
        till = Till()

        def made(*script: Any) -> Workflow:
            buyer = till.buyer("buyer", *script, asks=False)
            return flow(Step(agent=buyer, max_retries=0, human_review=HumanReview(on_error="pause")), db=db)

        run = await made(ToolCall("pay", {"amount": 5})).arun("go", run_id="r")
        run.active_requirements[0].confirm()
        run = await goes_on(made(RuntimeError("broken")), run)
        [requirement] = run.active_error_requirements
        assert ("broken" in requirement.error_message, till.paid) == (True, [5])
        requirement.retry()
        run = await goes_on(made("From the start."), run)
        assert (run.content, till.paid) == ("From the start.", [5])
        assert [one.status for one in (await stored(made())).step_executor_runs or ()] == [RunStatus.error, RunStatus.completed]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HumanReview(on_reject="retry"), "is for what a person has looked at"),
        (lambda: HumanReview(requires_output_review=True, requires_confirmation=True, on_reject="retry"), "no requires_conf"),
        (lambda: Loop(steps=[upper], human_review=HumanReview(requires_output_review=True)), "a Loop takes no human_review with"),
        (lambda: Step(executor=upper, human_review=HumanReview(requires_iteration_review=True)), "a Step takes no human_review"),
        (lambda: Condition(steps=[upper], human_review=HumanReview(requires_output_review=True)), "a Condition takes no"),
        (lambda: Parallel(upper, human_review=HumanReview(requires_output_review=True)), "a Parallel takes no"),
        (lambda: HumanReview(requires_output_review="yes"), "requires_output_review"),  # type: ignore[arg-type]
        (lambda: StepRequirement(id="0", step_id="0", requires_confirmation=True).edit("x"), "has no output that could be edited"),
        (lambda: StepRequirement(id="0", step_id="0", requires_output_review=True).edit(None), "reject it"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_decision_is_retry_or_skip() -> None:
    requirement = ErrorRequirement(id="0/error/0", step_id="0")
    assert requirement.needs_decision
    requirement.retry()
    assert (requirement.should_retry, requirement.should_skip, requirement.is_resolved) == (True, False, True)
