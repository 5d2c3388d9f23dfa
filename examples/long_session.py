"""A conversation of any length: page back through it, find what was said, try another way, take all of it along, and leave nothing.

::

    python examples/long_session.py

The sessions are in ``tmp/data``. Without ``OPENAI_API_KEY`` an offline demonstration model answers.
"""

import asyncio
import json
from collections import Counter

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models import openai_or_demo

WORDS = ("a lighthouse", "the harbour", "a storm", "the last train")


async def main() -> None:
    async with EmbeddedMongoDb(path="tmp/data", session_table="long_sessions", search=True) as db:
        agent = Agent(model=openai_or_demo("gpt-5-mini"), db=db, session_id="journal", user_id="john")
        for number in range(50):
            await agent.arun(f"Note {number}: I saw {WORDS[number % len(WORDS)]}.")
        await agent.arun("My name is John.")

        # Older notes have moved to the archive by now; a page is a page.
        page = await db.get_runs("journal", limit=10, user_id="john")
        pages = [len(page)]
        while page := await db.get_runs("journal", limit=10, before=page[0].run_id, user_id="john"):
            pages.append(len(page))
        print("Pages of runs, the newest first:", *pages)

        [found] = await db.search_sessions("storm", user_id="john")
        print(f"{found.session.session_id!r} speaks of a storm: {found.excerpts[0].text}")

        # Go back to note 20 and on from there in another way; the journal itself stays as it is.
        notes = (await agent.aget_session()).runs
        fork = await db.fork_session("journal", at_run=notes[20].run_id, new_session_id="what_if", user_id="john")
        await agent.arun("What is my name?", session_id="what_if")
        print(f"{fork.session_id!r} begins with {fork.run_count} runs of {fork.forked_from['session_id']!r}")

        # All that is stored of a user, a line each; and then nothing.
        kinds = Counter([json.loads(line)["kind"] async for line in db.export_user("john")])
        print("Exported:", ", ".join(f"{count} of kind {kind!r}" for kind, count in sorted(kinds.items())))
        print(f"Deleted {await db.delete_user('john')} sessions; John has {await db.count_sessions(user_id='john')}")


asyncio.run(main())
