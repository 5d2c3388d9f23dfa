"""A content pipeline: research, two drafts at once, polishing in rounds, a person who has to say yes, publishing.

Each finished step is stored (``checkpoint="steps"``), so a run whose process died goes on where it stood. The run waits for the editor; the second process
finds it, answers, and goes on::

    python examples/content_pipeline.py "Why cats sleep"   # pauses before publishing
    python examples/content_pipeline.py --publish          # or: --reject "Too long"

The session is in ``tmp/data``. Without ``OPENAI_API_KEY`` scripted models write; steps, state and storage are the same.
"""

import asyncio
import os
import sys

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models.base import Model
from agno_mongo.models.openai import OpenAIChat
from agno_mongo.run import RunContext
from agno_mongo.testing import ScriptedModel
from agno_mongo.workflow import HumanReview, Loop, Parallel, Step, StepInput, StepOutput, Workflow

HAS_KEY = bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))


def model(*script: str) -> Model:
    return OpenAIChat(id="gpt-5-mini") if HAS_KEY else ScriptedModel(*script)


researcher = Agent(
    name="researcher", model=model("Cats sleep 14 hours a day. They hunt at dawn and dusk."), instructions="Three short facts."
)
headliner = Agent(name="headliner", model=model("The 14-hour day"), instructions="One headline, nothing else.")
writer = Agent(
    name="writer", model=model("Cats sleep 14 hours a day, because they hunt at dawn and dusk, and hunting is tiring, very tiring.")
)
editor = Agent(
    name="editor",
    model=model("Cats sleep 14 hours: they hunt at dawn and dusk, and hunting is tiring.", "Cats sleep 14 hours: hunting is tiring."),
    instructions="Make it a fifth shorter, keep the facts. The text alone.",
)


def put_together(step_input: StepInput, run_context: RunContext) -> str:
    parts = step_input.get_step_content("drafts")
    run_context.session_state["headline"] = parts["headline"]
    return parts["draft"]


def short_enough(outputs: list[StepOutput]) -> bool:
    return len(outputs[-1].content.split()) <= 8


def publish(step_input: StepInput, run_context: RunContext) -> str:
    run_context.state.increment("published")
    return f"# {run_context.session_state['headline']}\n\n{step_input.previous_step_content}"


def pipeline(db: EmbeddedMongoDb) -> Workflow:
    return Workflow(
        name="Content pipeline",
        db=db,
        session_id="content",
        checkpoint="steps",
        steps=[
            Step(name="research", agent=researcher),
            Parallel(Step(name="headline", agent=headliner), Step(name="draft", agent=writer), name="drafts"),
            put_together,
            Loop(
                name="polish",
                steps=[Step(name="edit", agent=editor)],
                end_condition=short_enough,
                max_iterations=3,
                forward_iteration_output=True,
            ),
            Step(
                name="publish",
                executor=publish,
                human_review=HumanReview(
                    requires_confirmation=True, confirmation_message="Publish this article?", on_reject="cancel"
                ),
            ),
        ],
    )


async def main(arguments: list[str]) -> None:
    if not HAS_KEY:
        print("No OPENAI_API_KEY: scripted models write.")
    async with EmbeddedMongoDb(path="tmp/data") as db:
        workflow = pipeline(db)
        if arguments[:1] not in (["--publish"], ["--reject"]):
            await workflow.aprint_response(arguments[0] if arguments else "Why cats sleep")
            return
        session = await workflow.aget_session()
        for paused in session.paused_runs if session else ():
            for requirement in paused.active_step_requirements:
                requirement.confirm() if arguments[0] == "--publish" else requirement.reject(" ".join(arguments[1:]))
            run = await workflow.acontinue_run(run_id=paused.run_id, step_requirements=paused.step_requirements)
            print(f"{run.status.value}: {run.content}")
            print(run.to_mermaid())
        print("state:", await workflow.aget_session_state())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
