"""A person who has only so long to answer: what happens when the run is continued after that."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, RunIsPaused
from agno_mongo.run import RunStatus
from agno_mongo.run.step_requirement import StepRequirement
from agno_mongo.workflow import Condition, HumanReview, OnTimeout, Parallel, Router, Step, StepInput
from tests.test_clocks import beside
from tests.test_workflows import flow, stored, tree, upper

LONG, OVER = 3600.0, 0.001

looking: list[Any] = []


class Crash(BaseException):
    """The process dies."""


async def dies(step_input: StepInput) -> None:
    await looking.pop()()
    raise Crash


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


async def test_the_stored_end_counts_whatever_the_callers_copy_says(db: MongoDb) -> None:
    workflow = flow(asking(requires_confirmation=True, timeout=LONG, on_timeout="approve"), db=db)
    run = await workflow.arun("go", run_id="r")
    [requirement] = run.step_requirements
    requirement.timeout_at = datetime.now(timezone.utc) - timedelta(days=1)
    with pytest.raises(RunIsPaused, match="neither confirmed nor rejected"):
        await workflow.acontinue_run(run_id="r", step_requirements=[requirement])
    workflow = flow(asking(requires_confirmation=True, timeout=OVER), db=db)
    late = await workflow.arun("go", run_id="late")
    [requirement] = over(late)
    requirement.confirm()
    sent = {name: value for name, value in requirement.to_dict().items() if name != "timeout_at"}
    assert (await workflow.acontinue_run(run_id="late", step_requirements=[sent])).status is RunStatus.cancelled


async def test_the_servers_clock_counts(db: MongoDb) -> None:
    workflow = flow(asking(requires_confirmation=True, timeout=60), db=db)
    run = await workflow.arun("go", run_id="r")
    run.step_requirements[0].confirm()
    elsewhere = flow(asking(requires_confirmation=True, timeout=60), db=beside(db, ahead=300))
    assert (await elsewhere.acontinue_run(run_id="r", step_requirements=run.step_requirements)).status is RunStatus.completed


async def test_whoever_goes_on_later_sees_the_answers_as_they_were_in_time(db: MongoDb) -> None:
    workflow = flow(Step(name="dies", executor=dies, human_review=HumanReview(requires_confirmation=True, timeout=1)), db=db)
    run = await workflow.arun("go", run_id="r")
    run.step_requirements[0].confirm()
    collection = (await db._connection()).collection
    before: dict[str, Any] = {}

    async def look() -> None:
        before.update(await collection.find_one({"session_id": "s"}))

    looking.append(look)
    with pytest.raises(Crash):
        await workflow.acontinue_run(run_id="r", step_requirements=run.step_requirements)
    over(run)
    before["active_runs"]["r"]["lease_until"] = 1.0
    await collection.replace_one({"session_id": "s"}, before)
    done = await flow(Step(name="dies", executor=upper, human_review=HumanReview(requires_confirmation=True, timeout=1)), db=db).acontinue_run("r")
    assert (done.status, done.content) == (RunStatus.completed, "GO")


async def test_the_time_begins_once_the_run_has_paused(db: MongoDb) -> None:
    async def slow(step_input: StepInput) -> str:
        await asyncio.sleep(0.3)
        return "slow"

    workflow = flow(Parallel(asking(requires_confirmation=True, timeout=LONG), slow), db=db)
    began = time.time()
    [requirement] = (await workflow.arun("go")).step_requirements  # type: ignore[misc]
    assert requirement.timeout_at.timestamp() >= began + LONG + 0.25


async def test_a_late_answer_leaves_nothing_behind() -> None:
    workflow = flow(asking(requires_output_review=True, timeout=OVER, on_timeout="approve"))
    run = await workflow.arun("go")
    over(run)[0].edit("edited too late")
    assert (await workflow.acontinue_run(run)).content == "GO"


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
        ({"requires_confirmation": True, "timeout": 0}, "timeout is a number of seconds above zero"),
        ({"on_timeout": "wait"}, "on_timeout"),
        ({"requires_user_input": True, "on_timeout": "approve"}, "cannot give the input"),
        ({"timeout": 5}, "it asks nothing"),
        ({"timeout": 5, "on_error": "pause"}, "it asks nothing"),
        ({"requires_confirmation": True, "timeout": float("inf")}, "timeout"),
        ({"requires_confirmation": True, "timeout": 1e12}, "hundred years"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(review: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        HumanReview(**review)
