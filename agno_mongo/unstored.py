"""How a run begins that nobody stores: its component has no database."""

from __future__ import annotations

from dataclasses import replace
from time import time

from agno_mongo.db import values
from agno_mongo.db.documents import SESSION_CLASSES
from agno_mongo.db.store import RunBegin, RunBegun
from agno_mongo.errors import RunAlreadyFinished
from agno_mongo.recording import paused_entry
from agno_mongo.run.base import BaseRunOutput, RunInput
from agno_mongo.run_settings import Settings


def unstored(begin: RunBegin, settings: Settings) -> RunBegun:
    """A session that nobody keeps, for a component without a database. What a run had come to when it paused, the run itself says."""
    key, paused, entry = begin.key, settings.paused_run, None
    if settings.continues and paused is not None:
        _check_waits(begin, paused)
        record = paused.to_dict()
        entry = paused_entry(paused, {name: record[name] for name in record if name != "requirements"}, input_changed=False)
        given = paused.input or RunInput()
        entry |= {"input": given.input_content, **given.media(), "started_at": paused.created_at}
        given_now = [{**answer, "answered_at": time()} for answer in begin.answers or ()]
        entry |= {"pending": [], "answers": given_now, **paused.past_parts()}
        entry["inner"] = [values.encode_lenient(record, path="run")[0] for record in paused.inner_records()]
        begin = replace(begin, state=values.encode(paused.session_state or {}, path="session_state"))
    session = SESSION_CLASSES[key.session_type](
        session_id=key.session_id,
        user_id=key.user_id,
        session_data={"session_state": values.decode(begin.state)},
        runs=values.decode(list(begin.first_runs)),
    )
    return RunBegun(session=session, state=begin.state, state_revision=None, entry=entry)


def _check_waits(begin: RunBegin, paused: BaseRunOutput) -> None:
    """Where only its caller has the run, nobody else could say that it has gone on already."""
    if not paused.may_go_on:
        raise RunAlreadyFinished(
            f"run {begin.run_id!r} does not wait, or has gone on already; a paused run goes on once",
            session_id=begin.key.session_id,
            run_id=begin.run_id,
        )
