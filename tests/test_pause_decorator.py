"""``@pause``: a step's function says itself that a person is asked before it runs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError
from agno_mongo.run import RunStatus
from agno_mongo.workflow import HumanReview, Loop, Step, StepInput, Workflow, pause
from agno_mongo.workflow.types import UserInputField
from tests.test_workflows import flow, upper


@pause(name="Delete", requires_confirmation=True, confirmation_message="Delete all?")
def delete(step_input: StepInput) -> str:
    return "deleted"


@pause(requires_user_input=True, user_input_message="How many?", user_input_schema=[UserInputField(name="count", field_type="int")])
async def repeat(step_input: StepInput) -> str:
    return "x" * step_input.additional_data["user_input"]["count"]


class Shop:
    @pause(requires_confirmation=True)
    def pay(self, step_input: StepInput) -> str:
        return "paid"


@pytest.mark.parametrize("steps", [[upper, delete], [upper, Step(executor=delete)], [Loop(steps=[delete], max_iterations=1)]])
async def test_the_run_waits_before_it_wherever_it_stands(db: MongoDb, steps: list[Any]) -> None:
    run = await flow(*steps, db=db).arun("go", run_id="r")
    [requirement] = run.steps_requiring_confirmation
    assert (run.is_paused, requirement.step_name, requirement.confirmation_message) == (True, "Delete", "Delete all?")
    requirement.confirm()
    done = await flow(*steps, db=db).acontinue_run(run_id="r", step_requirements=run.step_requirements)
    assert (done.status, done.content) == (RunStatus.completed, "deleted")


async def test_a_coroutine_functions_input_is_given_by_a_person(db: MongoDb) -> None:
    run = await flow(repeat, db=db).arun("go", run_id="r")
    [requirement] = run.steps_requiring_user_input
    assert (requirement.step_name, requirement.user_input_message) == ("repeat", "How many?")
    requirement.set_user_input(count=3)
    assert (await flow(repeat, db=db).acontinue_run(run)).content == "xxx"


async def test_what_one_person_gives_is_shown_to_nobody_else(db: MongoDb) -> None:
    workflow = flow(repeat, db=db)
    mine = await workflow.arun("go", session_id="mine", user_id="john")
    mine.steps_requiring_user_input[0].set_user_input(count=3)
    theirs = await workflow.arun("go", session_id="theirs", user_id="jane")
    [requirement] = theirs.steps_requiring_user_input
    assert [field.value for field in requirement.user_input_schema or ()] == [None]


async def test_it_may_be_a_method() -> None:
    assert [one.step_name for one in (await flow(Shop().pay).arun("go")).steps_requiring_confirmation] == ["pay"]


class Called:
    @pause(requires_confirmation=True)
    def __call__(self, step_input: StepInput) -> str:
        return "called"

    @staticmethod
    @pause(requires_confirmation=True)
    def static(step_input: StepInput) -> str:
        return "static"


@pytest.mark.parametrize("function", [partial(delete), Called(), Called.static], ids=["partial", "object", "static"])
async def test_whoever_calls_it_waits_too(function: Any) -> None:
    assert (await flow(Step(name="it", executor=function)).arun("go")).is_paused


async def test_what_the_step_is_given_counts_more() -> None:
    step = Step(name="mine", executor=delete, confirmation_message="Really?", on_reject="cancel")
    assert (step.name, step.human_review.requires_confirmation, step.human_review.on_reject) == ("mine", True, "cancel")
    assert step.human_review.confirmation_message == "Really?"
    assert (await flow(Step(executor=delete, human_review=HumanReview())).arun("go")).content == "deleted"


def test_the_function_stays_what_it_was() -> None:
    assert delete(StepInput(input="go")) == "deleted"


def test_what_cannot_be_meant_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"@pause\(requires_confirmation=True\)"):
        pause(delete)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="requires_confirmation"):
        pause(requires_confirmation="yes")
    with pytest.raises(TypeError, match="confirmation"):
        pause(confirmation=True)
    for unfit in (5, None, print, staticmethod(delete)):
        with pytest.raises(ConfigurationError, match=r"@pause\(\)"):
            pause()(unfit)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="nobody would be asked"):
        Workflow(name="one", steps=delete).run("go")
