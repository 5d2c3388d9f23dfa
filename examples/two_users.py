"""One agent, two users, two sessions: nobody is told what the other said.

The agent itself is nobody's: each call says whose conversation goes on. Run it twice; the second process knows both names
from the start::

    python examples/two_users.py

The sessions are in ``tmp/data``. Without ``OPENAI_API_KEY`` an offline demonstration model answers.
"""

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.errors import SessionOwnedByAnotherUser
from agno_mongo.models import openai_or_demo

agent = Agent(
    model=openai_or_demo("gpt-5-mini"),
    db=EmbeddedMongoDb(path="tmp/data"),
    add_history_to_context=True,
)

if agent.get_session("john_1", user_id="john") is None:
    agent.print_response("Hello, my name is John.", session_id="john_1", user_id="john")
    agent.print_response("Hello, my name is Jane.", session_id="jane_1", user_id="jane")

agent.print_response("What is my name?", session_id="john_1", user_id="john")
agent.print_response("What is my name?", session_id="jane_1", user_id="jane")

# Who knows the id of another user's session still does not get in.
try:
    agent.run("What is my name?", session_id="john_1", user_id="jane")
except SessionOwnedByAnotherUser as error:
    print(f"Refused: {error}")
