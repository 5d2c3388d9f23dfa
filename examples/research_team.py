"""A research team: one member looks things up, one checks, and the leader writes. All of it is one session.

::

    python examples/research_team.py
    python examples/research_team.py "What lives in the deep sea?"

The session is in ``tmp/data``: run it again, and the team has the notes of the run before. Without ``OPENAI_API_KEY`` models with
a script stand in for real ones.
"""

import os
import sys
from typing import Any

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models.openai import OpenAIChat
from agno_mongo.run import RunContext
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall

LIBRARY = {
    "depth": "The Challenger Deep is the deepest known point of the sea: about 10,900 metres.",
    "light": "Below 1,000 metres there is no sunlight; most animals there make light of their own.",
    "life": "Amphipods, sea cucumbers and snailfish live in the deep sea, the latter down to some 8,300 metres.",
}


def look_up(run_context: RunContext, words: list[str]) -> str:
    """Look up single words, such as "depth", in the library. What is found is noted for all members."""
    found = [text for word, text in LIBRARY.items() if word in words]
    run_context.state.append("notes", *found)
    return "\n".join(found) or f"Nothing. There is something on: {', '.join(LIBRARY)}."


def model(*script: Any) -> Any:
    """OpenAI's model; without a key one that says the lines of a script."""
    return OpenAIChat(id="gpt-5-mini") if os.environ.get("OPENAI_API_KEY") else ScriptedModel(*script)


def told(request: Any) -> str:
    """What a scripted leader makes of its members' answers."""
    return "From the library: " + " ".join(str(message.content) for message in request.messages if message.role == "tool")


question = " ".join(sys.argv[1:]) or "How deep is the sea, and what lives there?"
searcher = Agent(
    name="Searcher",
    role="Looks things up in the library",
    model=model(ToolCall("look_up", {"words": ["depth", "life"]}), LIBRARY["depth"], "Nothing more."),
    tools=[look_up],
    instructions="Look up before you answer, and answer with what you found alone.",
)
checker = Agent(
    name="Checker",
    role="Says which of some statements the notes do not bear out",
    model=model("The notes bear it out."),
    add_session_state_to_context=True,
)
team = Team(
    members=[searcher, checker],
    name="Research",
    model=model(
        ToolCall("delegate_task_to_member", {"member_id": "searcher", "task": question}),
        ToolCall("delegate_task_to_member", {"member_id": "checker", "task": f"Is this so? {LIBRARY['depth']}"}),
        told,
    ),
    instructions="Have things looked up, then checked, before you answer in two sentences.",
    db=EmbeddedMongoDb(path="tmp/data"),
    session_id="research",
    session_state={"notes": []},
    add_history_to_context=True,
    show_members_responses=True,
)
team.print_response(question)

session = team.get_session()
assert session is not None
print(f"\nSession {session.session_id!r} has {len(session.session_state['notes'])} notes and {session.run_count} runs:")
for run in session.runs or ():
    who = getattr(run, "team_name", None) or getattr(run, "agent_name", None)
    print(f"    {'    ' if run.parent_run_id else ''}{who}: {run.status.value}, {run.metrics.total_tokens} tokens")
