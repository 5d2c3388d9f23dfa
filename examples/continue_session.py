"""Go on with the newest session of a user, or begin a new one.

::

    python examples/continue_session.py "My name is Ada."
    python examples/continue_session.py "What is my name?"          # goes on
    python examples/continue_session.py --new "What is my name?"    # begins anew
    python examples/continue_session.py --user bob "Who am I?"      # somebody else's sessions

The sessions are in ``tmp/data``. Without ``OPENAI_API_KEY`` an offline demonstration model answers.
"""

import argparse
from uuid import uuid4

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models import openai_or_demo


def main() -> None:
    parser = argparse.ArgumentParser(description="Go on with the newest session of a user, or begin a new one.")
    parser.add_argument("message", nargs="?", default="What was my last question?")
    parser.add_argument("--user", default="ada", help="whose session (default: ada)")
    parser.add_argument("--new", action="store_true", help="begin a new session")
    options = parser.parse_args()

    db = EmbeddedMongoDb(path="tmp/data")
    # The last used first. In a coroutine: await db.get_all_session_ids(user).
    earlier = db.blocking.get_all_session_ids(options.user)
    if earlier and not options.new:
        session_id = earlier[0]
        print(f"Going on with session {session_id}, the newest of {len(earlier)}.")
    else:
        session_id = str(uuid4())
        print(f"Beginning session {session_id}.")

    agent = Agent(
        model=openai_or_demo("gpt-5-mini"),
        db=db,
        session_id=session_id,
        user_id=options.user,
        add_history_to_context=True,
    )
    agent.print_response(options.message)


if __name__ == "__main__":
    main()
