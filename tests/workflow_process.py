"""A process of its own that runs a workflow: ``python -m tests.workflow_process <what> <address> <database> <folder>``."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from agno_mongo.agent import Agent
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import SessionBusy
from agno_mongo.execution import Settings
from agno_mongo.run import RunContext
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool
from agno_mongo.workflow import Parallel, Step, StepInput, Steps, Workflow

STEPS = ("first", "second", "left", "branch", "last")


async def until_stored(db: MongoDb, session_id: str, name: str) -> None:
    """Wait until the step of that name, in another branch, has come to its end and is stored."""
    while True:
        session = await db.get_session(session_id, runs_limit=0)
        steps = [run.get_step_output(name) for run in session.unfinished_runs]
        if any(step is not None and not step.is_paused for step in steps):
            return
        await asyncio.sleep(0.02)


def pipeline(db: MongoDb, log: str, hangs_at: str | None) -> Workflow:
    """Steps that write their names into a file when they have done their work, of which one hangs before."""

    def step(name: str) -> Step:
        async def work(step_input: StepInput, run_context: RunContext) -> str:
            if name == hangs_at:
                if name == "branch":
                    await until_stored(db, name, "right")
                print("hanging", flush=True)
                await asyncio.sleep(60)
            with open(log, "a") as file:
                file.write(f"{name}\n")
                file.flush()
                os.fsync(file.fileno())
            run_context.state.increment("done")
            return f"{step_input.previous_step_content or ''}.{name}"

        return Step(name=name, executor=work)

    branches = Parallel(Steps(name="long", steps=[step("left"), step("branch")]), step("right"), name="both")
    return Workflow(
        name="durable", db=db, steps=[step("first"), step("second"), branches, step("last")], checkpoint="steps"
    )


async def hang(db: MongoDb, folder: str) -> None:
    """A run for each step, which hangs there."""
    await asyncio.gather(*(pipeline(db, f"{folder}/{at}", at).arun("go", session_id=at, run_id="r") for at in STEPS))


async def go_on(db: MongoDb, folder: str) -> None:
    """Whatever the others have left, as soon as their leases have run out."""

    async def one(at: str) -> dict[str, object]:
        workflow = pipeline(db, f"{folder}/{at}", None)
        while True:
            try:
                run = await workflow.acontinue_run(run_id="r", session_id=at)
            except SessionBusy:
                await asyncio.sleep(0.1)
                continue
            names = [output.step_name for output in run.step_results]
            return {"at": at, "status": run.status.value, "steps": names, "state": run.session_state, "content": run.content}

    print(json.dumps(await asyncio.gather(*map(one, STEPS))), flush=True)


def shop(db: MongoDb, log: str, *, asks: bool, hangs_at: str | None) -> Workflow:
    """Two agents at once whose tools ask first and write into a file when they have done their work; one hangs in its."""

    def buyer(name: str) -> Agent:
        @tool(requires_confirmation=True)
        async def pay() -> str:
            if name == hangs_at:
                await until_stored(db, "s", "quick")
                print("hanging", flush=True)
                await asyncio.sleep(60)
            with open(log, "a") as file:
                file.write(f"{name}\n")
            return "paid"

        script = [ToolCall("pay", id="pay")] if asks else [f"by {name}"]
        return Agent(name=name, model=ScriptedModel(*script), tools=[pay])

    def note(step_input: StepInput) -> str:
        with open(log, "a") as file:
            file.write("note\n")
        return str(step_input.input)

    both = Parallel(buyer("quick"), buyer("slow"), name="both")
    return Workflow(name="shop", db=db, session_id="s", steps=[note, both, note], checkpoint="steps")


async def pause(db: MongoDb, folder: str) -> None:
    """A run that waits for two answers."""
    run = await shop(db, f"{folder}/log", asks=True, hangs_at=None).arun("go", run_id="r")
    print(run.status.value, flush=True)


async def answer(db: MongoDb, folder: str) -> None:
    """Say yes to both, of which one hangs then."""
    workflow = shop(db, f"{folder}/log", asks=False, hangs_at="slow")
    run = await workflow.aget_run_output("r")
    for requirement in run.active_requirements:
        requirement.confirm()
    await workflow.acontinue_run(run_id="r", requirements=run.requirements)


async def finish(db: MongoDb, folder: str) -> None:
    """Go on with the answers that are stored, as soon as the lease has run out."""
    workflow = shop(db, f"{folder}/log", asks=False, hangs_at=None)
    while True:
        try:
            run = await workflow.acontinue_run(run_id="r")
        except SessionBusy:
            await asyncio.sleep(0.1)
            continue
        break
    runs = [(inner.agent_name, inner.status.value) for inner in run.step_executor_runs]
    print(json.dumps({"status": run.status.value, "content": run.content, "runs": sorted(runs)}), flush=True)


async def main() -> None:
    Settings.lease = 1.5
    what, url, db_name, folder = sys.argv[1:]
    async with MongoDb(url, db_name=db_name) as db:
        await {function.__name__: function for function in (hang, go_on, pause, answer, finish)}[what](db, folder)


if __name__ == "__main__":
    asyncio.run(main())
