"""A conversation that outlives its process.

Run it twice: the first process cannot know the last question, the second one can::

    python examples/storage.py
    python examples/storage.py

The sessions are in ``tmp/data``, in a MongoDB server that runs as long as the script. With ``OPENAI_API_KEY`` the answers
are OpenAI's; without it, an offline demonstration model's.
"""

from rich.pretty import pprint

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models import openai_or_demo

agent = Agent(
    model=openai_or_demo("gpt-5-mini"),  # OpenAIChat(id="gpt-5-mini") if there is a key
    session_id="fixed_id_for_demo",
    db=EmbeddedMongoDb(path="tmp/data"),
    add_history_to_context=True,
    num_history_runs=3,
)
agent.print_response("What was my last question?")
agent.print_response("What is the capital of France?")
agent.print_response("What was my last question?")
pprint(agent.get_session_messages())
