"""The command ``agno-mongo``: a demonstration, and a chat, on a database of one's own."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from rich.text import Text

from agno_mongo.agent import Agent
from agno_mongo.blocking import portal
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.db.mongo import URL_VARIABLE, MongoDb
from agno_mongo.errors import AgnoMongoError
from agno_mongo.models import openai_or_demo
from agno_mongo.terminal.parts import new_console

DEMO_SESSION = "demo"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status: 0, or 1 with the error's text on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except AgnoMongoError as error:
        print(f"agno-mongo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        portal.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agno-mongo", description="Agents whose sessions live in MongoDB and outlive the process."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser("demo", help="an agent in two processes: the second remembers what the first was told")
    demo.add_argument("--process", type=int, choices=(1, 2), help="run only this half, in this process")
    demo.set_defaults(run=_demo)

    chat = commands.add_parser("chat", help="talk to an agent; goes on with your newest session")
    chat.add_argument("--user", default=os.environ.get("USER", "me"), help="whose sessions (default: your login name)")
    chat.add_argument("--new", action="store_true", help="begin a new session")
    chat.add_argument("--session", help="go on with this session")
    chat.set_defaults(run=_chat)

    sessions = commands.add_parser("sessions", help="list the sessions")
    sessions.add_argument("--user", help="only this user's")
    sessions.set_defaults(run=_sessions)

    for command in (demo, chat, sessions):
        command.add_argument("--data", default="data", help="folder of the embedded server (default: ./data)")
        command.add_argument("--db-url", help=f"a MongoDB server instead of the embedded one (default: ${URL_VARIABLE})")
        command.add_argument("--db-name", default="agno", help="the database (default: agno)")
        command.add_argument("--model", default="gpt-5-mini", help="OpenAI model, if there is a key (default: gpt-5-mini)")
    return parser


def _db(options: argparse.Namespace) -> MongoDb:
    url = options.db_url or os.environ.get(URL_VARIABLE)
    if url:
        return MongoDb(url, db_name=options.db_name)
    return EmbeddedMongoDb(path=options.data, db_name=options.db_name)


def _agent(options: argparse.Namespace, *, session_id: str | None, user_id: str | None) -> Agent:
    return Agent(
        name="Demo",
        model=openai_or_demo(options.model),
        db=_db(options),
        session_id=session_id,
        user_id=user_id,
        add_history_to_context=True,
        num_history_runs=10,
    )


def _demo(options: argparse.Namespace) -> int:
    if options.process is None:
        return _demo_in_two_processes(options)
    console = new_console()
    agent = _agent(options, session_id=DEMO_SESSION, user_id=None)
    if options.process == 1:
        agent.delete_session()
        agent.print_response("My name is John.", console=console)
        agent.print_response("What is the capital of France?", console=console)
        return 0
    agent.print_response("What was my last question?", console=console)
    agent.print_response("What is my name?", console=console)
    session = agent.get_session()
    runs = [] if session is None else session.runs or []
    console.print(f"{len(runs)} runs in session {DEMO_SESSION!r}, read back from {agent.db!r}", soft_wrap=True)
    return 0


def _demo_in_two_processes(options: argparse.Namespace) -> int:
    console = new_console()
    for process in (1, 2):
        console.rule(f"process {process}")
        command = [sys.executable, "-m", "agno_mongo.cli", "demo", "--process", str(process)]
        command += ["--data", options.data, "--model", options.model, "--db-name", options.db_name]
        command += ["--db-url", options.db_url] if options.db_url else []
        status = subprocess.run(command, check=False).returncode
        if status:
            return status
    return 0


def _chat(options: argparse.Namespace) -> int:
    console = new_console()
    agent = _agent(options, session_id=options.session, user_id=options.user)
    assert agent.db is not None
    if options.session is None and not options.new:
        agent.session_id = next(iter(agent.db.blocking.get_all_session_ids(options.user, session_type="agent")), None)
    if agent.session_id is not None and (session := agent.get_session()) is not None:
        shown = session.session_name or agent.session_id
        console.print(Text(f"Session {shown}, {session.run_count} run{'s' * (session.run_count != 1)} so far.", style="dim"))
    else:
        console.print("[dim]A new session.[/dim]")
    console.print("[dim]Leave with bye; /help lists what else there is.[/dim]")
    agent.cli_app(user=options.user, markdown=True, console=console)
    return 0


def _sessions(options: argparse.Namespace) -> int:
    for session in _db(options).blocking.get_sessions(user_id=options.user):
        name = session.session_name or ""
        print(f"{session.session_id}\t{session.session_type}\t{session.user_id or ''}\t{session.run_count} runs\t{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
