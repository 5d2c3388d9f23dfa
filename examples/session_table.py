"""Sessions in a collection of your own: ``session_table=``.

Two databases side by side on one server do not see each other's sessions. Run it twice: the table of one's own remembers,
the default one (``agno_sessions``) stays as it was::

    python examples/session_table.py

The sessions are in ``tmp/data``. Without ``OPENAI_API_KEY`` an offline demonstration model answers.
"""

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models import openai_or_demo

own = EmbeddedMongoDb(path="tmp/data", session_table="my_session_table")
default = EmbeddedMongoDb(path="tmp/data")

agent = Agent(
    model=openai_or_demo("gpt-5-mini"),
    db=own,
    session_id="session_in_my_table",
    add_history_to_context=True,
)
agent.print_response("What was my last question?")
agent.print_response("What is the capital of Kenya?")

for db in (own, default):
    print(f"{db.session_table}: {db.blocking.get_all_session_ids()}")
