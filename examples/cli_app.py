"""A chat in the terminal that goes on where it was left.

Say something, leave with ``bye``, start it again and ask for your last question::

    python examples/cli_app.py

It reads a pipe too: ``echo "What was my last question?" | python examples/cli_app.py``. The session is in ``tmp/data``.
Without ``OPENAI_API_KEY`` an offline demonstration model answers.
"""

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models import openai_or_demo

agent = Agent(
    model=openai_or_demo("gpt-5-mini"),
    db=EmbeddedMongoDb(path="tmp/data"),
    session_id="my_chat",
    add_history_to_context=True,
    num_history_runs=10,
)
agent.cli_app(markdown=True)
