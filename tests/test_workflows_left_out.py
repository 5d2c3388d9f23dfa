"""Steps that are left out, are allowed to fail, or are refused by a person: what comes after them, at every kind of step."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.errors import ConfigurationError
from agno_mongo.run import RunStatus
from agno_mongo.run.step_requirement import StepRequirement
from agno_mongo.workflow import (
    Condition,
    HumanReview,
    Loop,
    OnError,
    Parallel,
    Router,
    Step,
    StepInput,
    StepOutput,
    Steps,
    Workflow,
)
from tests.test_workflows import agent_saying, asked, flow, stored, tree, upper

REVIEW = HumanReview(requires_confirmation=True)


def fails(step_input: StepInput) -> str:
    raise LookupError("nothing there")


def failing(**settings: Any) -> Step:
    return Step(name="fails", executor=fails, max_retries=0, **settings)


def look(step_input: StepInput) -> str:
    return f"after {step_input.previous_step_content!r}"


def around(step: Any, **settings: Any) -> dict[str, Any]:
    """The step within each kind that has steps."""
    return {
        "steps": Steps(name="around", steps=[step], **settings),
        "loop": Loop(name="around", steps=[step], max_iterations=2, **settings),
        "condition": Condition(name="around", evaluator=True, steps=[step], **settings),
        "router": Router(name="around", choices=[step], selector=lambda _: step.name, **settings),
    }


KINDS = ["steps", "loop", "condition", "router"]


class TestWhatIsLeftOut:
    @pytest.mark.parametrize("kind", [*KINDS, "parallel", "nested"])
    async def test_is_passed_by_though_it_is_all_that_a_step_has(self, kind: str) -> None:
        left_out = failing(skip_on_failure=True)
        kinds = around(left_out) | {
            "parallel": Parallel(left_out, name="around"),
            "nested": Steps(name="around", steps=[Parallel(Loop(steps=[left_out], max_iterations=1))]),
        }
        run = await flow(upper, kinds[kind], look).arun("go")
        assert run.content == "after 'GO'"
        assert (await flow(upper, kinds[kind]).arun("go")).content == "GO"

    @pytest.mark.parametrize("kind", KINDS)
    async def test_does_not_keep_its_neighbours_from_going_on(self, kind: str) -> None:
        both = Steps(name="both", steps=[failing(skip_on_failure=True), upper])
        run = await flow(lambda _: "one", around(both)[kind], look).arun("go")
        assert run.content == "after 'ONE'"

    async def test_of_steps_at_once_is_not_among_what_they_came_to(self) -> None:
        run = await flow(Parallel(failing(skip_on_failure=True), upper, name="both"), look).arun("go")
        assert run.content == "after '=== upper ===\\nGO'"
        assert run.step_results[0].success is False


class TestAStepThatFails:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_for_good_fails_all_around_it(self, kind: str) -> None:
        workflow = flow(upper, around(failing())[kind], upper, db=InMemoryDb())
        with pytest.raises(LookupError, match="nothing there"):
            await workflow.arun("go")
        assert tree(await stored(workflow)) == [("upper", "COMPLETED"), ("around", "ERROR", [("fails", "ERROR")])]

    @pytest.mark.parametrize(
        "settings", [{"on_error": "skip"}, {"on_error": OnError.skip}, {"human_review": HumanReview(on_error="skip")}]
    )
    async def test_is_left_out_if_on_error_says_so(self, settings: dict[str, Any]) -> None:
        run = await flow(upper, failing(**settings), look).arun("go")
        assert (run.status, run.content) == (RunStatus.completed, "after 'GO'")
        assert (run.step_results[1].status, run.step_results[1].error) == ("SKIPPED", "nothing there")

    @pytest.mark.parametrize("settings", [{"on_error": "fail"}, {"human_review": HumanReview(on_error=OnError.fail)}])
    async def test_fails_the_run_with_its_own_error_if_on_error_says_so(self, settings: dict[str, Any]) -> None:
        for also in ({}, {"skip_on_failure": True}):
            workflow = flow(failing(**settings, **also), look, db=InMemoryDb())
            with pytest.raises(LookupError, match="nothing there"):
                await workflow.arun("go")
            assert tree(await stored(workflow)) == [("fails", "ERROR")]

    async def test_by_its_own_words_goes_on_unless_on_error_says_fail(self) -> None:
        def says_so(step_input: StepInput) -> StepOutput:
            return StepOutput(content="half of it", success=False, error="the rest is missing")

        run = await flow(says_so, look).arun("go")
        assert (run.content, run.step_results[0].success) == ("after 'half of it'", False)
        with pytest.raises(RuntimeError, match="the rest is missing"):
            await flow(Step(executor=says_so, on_error="fail"), look).arun("go")


class TestWhatAPersonRefuses:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("on_reject", ["skip", "cancel", "else"])
    async def test_is_left_out_cancels_the_run_or_goes_another_way(self, kind: str, on_reject: str) -> None:
        review = HumanReview(requires_confirmation=True, on_reject=on_reject)
        step = around(Step(name="inner", executor=upper), human_review=review)[kind]
        if kind == "condition":
            step.else_steps = [lambda _: "the other way"]
        workflow = flow(upper, step, look, db=InMemoryDb())
        waiting = await workflow.arun("go")
        [requirement] = waiting.active_step_requirements
        assert (requirement.step_name, requirement.requires_confirmation) == ("around", True)
        requirement.reject("no")
        run = await workflow.acontinue_run(waiting, step_requirements=[requirement])
        if on_reject == "cancel":
            assert (run.status, run.step_results[-1].status) == (RunStatus.cancelled, "CANCELLED")
        else:
            goes_another_way = (kind, on_reject) == ("condition", "else")
            assert run.content == ("after 'the other way'" if goes_another_way else "after 'GO'")

    @pytest.mark.parametrize("kind", KINDS)
    async def test_runs_whole_if_it_is_confirmed(self, kind: str) -> None:
        workflow = flow(upper, around(Step(name="inner", executor=look), human_review=REVIEW)[kind], db=InMemoryDb())
        waiting = await workflow.arun("go")
        [requirement] = waiting.active_step_requirements
        requirement.confirm()
        run = await workflow.acontinue_run(waiting, step_requirements=[requirement])
        rounds = 2 if kind == "loop" else 1
        assert tree(run)[1] == ("around", "COMPLETED", [("inner", "COMPLETED")] * rounds)

    async def test_is_asked_for_in_each_round_of_a_loop(self) -> None:
        loop = Loop(name="rounds", steps=[Step(name="inner", executor=look, human_review=REVIEW)], max_iterations=2)
        workflow = flow(loop, db=InMemoryDb())
        run = await workflow.arun("go")
        for _ in range(2):
            [requirement] = run.active_step_requirements
            requirement.confirm()
            run = await workflow.acontinue_run(run, step_requirements=[requirement])
        assert (run.status, len(run.step_results[0].steps or ())) == (RunStatus.completed, 2)

    async def test_of_an_agents_step_is_not_carried_out(self) -> None:
        agent = agent_saying("never")
        workflow = flow(upper, Step(name="ask", agent=agent, human_review=REVIEW), look, db=InMemoryDb())
        waiting = await workflow.arun("go")
        waiting.active_step_requirements[0].reject()
        assert (await workflow.acontinue_run(waiting, step_requirements=waiting.step_requirements)).content == "after 'GO'"
        assert agent.model.asked == []  # type: ignore[union-attr]

    async def test_does_not_stand_at_steps_that_run_at_once(self) -> None:
        with pytest.raises(ConfigurationError, match="a Parallel takes no human_review with requires_confirmation"):
            Parallel(upper, human_review=REVIEW)


class TestAPersonWhoChooses:
    WAYS = ("left", "right")

    async def went(self, answer: Any, **review: Any) -> list[Any]:
        ways = [Step(name=name, executor=lambda given, name=name: f"{given.previous_step_content} {name}") for name in self.WAYS]
        router = Router(choices=ways, name="where", human_review=HumanReview(requires_user_input=True, **review))
        workflow = flow(upper, router, db=InMemoryDb())
        waiting = await workflow.arun("go")
        [requirement] = waiting.active_step_requirements
        answer(requirement)
        data = StepRequirement.model_validate(requirement.to_dict())
        run = await workflow.acontinue_run(run_id=waiting.run_id, step_requirements=[data])
        return [run.content, run.step_results[1].chosen]

    async def test_takes_several_ways_in_the_order_in_which_they_were_chosen(self) -> None:
        several = {"allow_multiple_selections": True}
        assert await self.went(lambda asked: asked.select("left", "right"), **several) == ["GO left right", ["left", "right"]]
        assert await self.went(lambda asked: asked.select_multiple(["right", "left"]), **several) == [
            "GO right left",
            ["right", "left"],
        ]
        assert await self.went(lambda asked: asked.select_single("right"), **several) == ["GO right", ["right"]]

    async def test_takes_one_way_unless_several_are_allowed(self) -> None:
        assert await self.went(lambda asked: asked.select_single("left")) == ["GO left", ["left"]]
        with pytest.raises(ConfigurationError, match="router 'where': it takes one choice"):
            await self.went(lambda asked: asked.select("left", "right"))

    async def test_is_told_which_ways_there_are(self) -> None:
        with pytest.raises(ConfigurationError, match="there is no choice 'up'; there is 'left', 'right'"):
            await self.went(lambda asked: asked.select("up"))


async def test_what_a_person_fills_in_is_told_to_an_agent_beside_the_input() -> None:
    agent = agent_saying("done")
    fields = [{"name": "tone", "field_type": "str"}]
    step = Step(name="ask", agent=agent, requires_user_input=True, user_input_schema=fields)
    workflow = flow(step, db=InMemoryDb())
    waiting = await workflow.arun("go")
    waiting.active_step_requirements[0].set_user_input(tone="dry")
    await workflow.acontinue_run(waiting, step_requirements=waiting.step_requirements)
    assert asked(agent) == "go\n\nUser preferences:\n- tone: dry"


class TestAFunctionThatWantsToEndMoreThanItself:
    """``sys.exit()`` in a coroutine would end the event loop, with everybody's runs."""

    @pytest.mark.parametrize("kind", ["function", "thread", "generator", "evaluator", "selector", "end condition", "at once", "all"])
    async def test_ends_its_own_run_and_no_other(self, kind: str) -> None:
        async def leaves(given: Any) -> Any:
            sys.exit("enough")

        async def yields_and_leaves(given: StepInput) -> AsyncIterator[str]:
            yield "a word"
            sys.exit("enough")

        async def all_of_it(workflow: Any, execution_input: Any) -> Any:
            sys.exit("enough")

        def leaves_its_thread(given: StepInput) -> str:
            raise GeneratorExit("enough")

        steps: Any = {
            "function": [leaves],
            "thread": [leaves_its_thread],
            "generator": [yields_and_leaves],
            "evaluator": [Condition(evaluator=leaves, steps=[upper])],
            "selector": [Router(selector=leaves, choices=[upper])],
            "end condition": [Loop(end_condition=leaves, steps=[upper], max_iterations=2)],
            "at once": [Parallel(leaves, upper)],
            "all": all_of_it,
        }[kind]
        workflow = Workflow(name="Flow", steps=steps, db=InMemoryDb(), session_id="s")
        other = asyncio.ensure_future(flow(upper).arun("go"))
        with pytest.raises(RuntimeError, match="enough"):
            await asyncio.ensure_future(workflow.arun("go"))
        assert (await other).content == "GO"
        assert (await stored(workflow)).status is RunStatus.error
