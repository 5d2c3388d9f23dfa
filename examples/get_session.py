"""Read a stored session: its runs, what went in, what came out, how many tokens.

Run it twice; the second process finds the first one's run::

    python examples/get_session.py

The session is in ``tmp/data``. Without ``OPENAI_API_KEY`` an offline demonstration model answers.
"""

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models import openai_or_demo

agent = Agent(model=openai_or_demo("gpt-5-mini"), db=EmbeddedMongoDb(path="tmp/data"))

session = agent.get_session(session_id="123")
print("There is no session 123 yet." if session is None else f"Found session 123 with {len(session.runs)} run(s).")

agent.run("What is the capital of Japan?", session_id="123")

session = agent.get_session(session_id="123")
for number, run in enumerate(session.runs, start=1):
    print(f"Run {number}, {run.status.value}, {run.metrics.total_tokens} tokens")
    print(f"    asked:    {run.input.input_content}")
    print(f"    answered: {run.content}")
