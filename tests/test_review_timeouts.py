"""A person who has only so long to answer: what happens when the run is continued after that."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, RunIsPaused
from agno_mongo.run import RunStatus
from agno_mongo.run.step_requirement import StepRequirement
from agno_mongo.workflow import Condition, HumanReview, OnTimeout, Router, Step
from tests.test_workflows import flow, stored, tree, upper

LONG, OVER = 3600.0, 0.001


def asking(**review: Any) -> Step:
    return Step(name="asks", executor=upper, human_review=HumanReview(**review))


def over(run: Any) -> list[StepRequirement]:
    """The run's requirements, once their time is up."""
    for requirement in run.step_requirements:
        while not requirement.is_timed_out:
            time.sleep(OVER)
    return list(run.step_requirements)


@pytest.mark.parametrize(
    ("on_timeout", "status", "made"),
    [
        (OnTimeout.approve, RunStatus.completed, "COMPLETED"),
        ("skip", RunStatus.completed, "SKIPPED"),
        ("cancel", RunStatus.cancelled, "CANCELLED"),
        (None, RunStatus.cancelled, "CANCELLED"),
    ],
)
@pytest.mark.parametrize("asks_for", ["requires_confirmation", "requires_output_review"])
async def test_what_was_settled_happens_if_nobody_has_answered(
    db: MongoDb, asks_for: str, on_timeout: Any, status: RunStatus, made: str
) -> None:
    workflow = flow(asking(**{asks_for: True, "timeout": OVER}, **({} if on_timeout is None else {"on_timeout": on_timeout})), db=db)
    run = await workflow.arun("go", run_id="r")
    assert run.is_paused
    done = await workflow.acontinue_run(run_id="r", step_requirements=over(run))
    assert (done.status, tree(await stored(workflow))) == (status, [("asks", made)])


@pytest.mark.parametrize("as_dict", [True, False])
async def test_an_answer_that_comes_too_late_does_not_count(db: MongoDb, as_dict: bool) -> None:
    workflow = flow(asking(requires_confirmation=True, timeout=OVER), db=db)
    run = await workflow.arun("go", run_id="r")
    [requirement] = over(run)
    requirement.confirm()
    sent: Any = json.loads(json.dumps(requirement.to_dict())) if as_dict else requirement
    assert (await workflow.acontinue_run(run_id="r", step_requirements=[sent])).status is RunStatus.cancelled


async def test_an_answer_in_time_counts(db: MongoDb) -> None:
    workflow = flow(asking(requires_confirmation=True, timeout=LONG, on_timeout="skip"), db=db)
    run = await workflow.arun("go", run_id="r")
    with pytest.raises(RunIsPaused):
        await workflow.acontinue_run(run)
    [requirement] = (await workflow.aget_run_output("r")).step_requirements  # type: ignore[union-attr]
    assert timedelta(seconds=LONG - 300) < requirement.timeout_at - datetime.now(timezone.utc) <= timedelta(seconds=LONG)
    requirement.confirm()
    done = await workflow.acontinue_run(run_id="r", step_requirements=[requirement])
    assert (done.status, done.content) == (RunStatus.completed, "GO")


async def test_nobody_can_say_that_the_time_is_up_before_it_is(db: MongoDb) -> None:
    workflow = flow(asking(requires_confirmation=True, timeout=LONG, on_timeout="approve"), db=db)
    run = await workflow.arun("go", run_id="r")
    [requirement] = run.step_requirements
    requirement.timeout_at = datetime.now(timezone.utc) - timedelta(days=1)
    with pytest.raises(RunIsPaused, match="it may be answered until"):
        await workflow.acontinue_run(run_id="r", step_requirements=[requirement])


async def test_a_choice_that_nobody_made_is_left_out() -> None:
    router = Router(choices=[upper], name="where", human_review=HumanReview(requires_user_input=True, timeout=OVER, on_timeout="skip"))
    workflow = flow(router)
    run = await workflow.arun("go")
    done = await workflow.acontinue_run(run, step_requirements=over(run))
    assert (done.status, tree(done)[0][:2]) == (RunStatus.completed, ("where", "SKIPPED"))


async def test_a_condition_is_left_out_rather_than_decided() -> None:
    review = HumanReview(requires_confirmation=True, on_reject="else", timeout=OVER, on_timeout="skip")
    workflow = flow(Condition(name="if", steps=[upper], else_steps=[Step(name="else", executor=upper)], human_review=review))
    run = await workflow.arun("go")
    assert tree(await workflow.acontinue_run(run, step_requirements=over(run)))[0][:2] == ("if", "SKIPPED")


def test_a_step_may_be_told_directly() -> None:
    step = Step(executor=upper, requires_confirmation=True, hitl_timeout=5, on_timeout="skip")
    assert (step.human_review.timeout, step.human_review.on_timeout, step.timeout) == (5, "skip", None)


@pytest.mark.parametrize(
    ("review", "match"),
    [
        ({"timeout": 0}, "timeout is a number of seconds above zero"),
        ({"on_timeout": "wait"}, "on_timeout"),
        ({"requires_user_input": True, "on_timeout": "approve"}, "cannot give the input"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(review: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        HumanReview(**review)
