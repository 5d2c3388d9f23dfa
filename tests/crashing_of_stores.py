"""Scenarios of :mod:`tests.crashing` in which more than one document is written: archive, large content, checkpoints, forks, deletions; and a queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from agno_mongo.agent import Agent
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, RunAlreadyFinished
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool
from tests.crashing import (
    AFTERWARDS,
    ANSWER,
    CLOCKS,
    TOKENS_OF_A_TURN,
    USER,
    Report,
    Stage,
    Witness,
    agent_on,
    assert_history,
    assert_nothing_loose,
    fate_of,
    note,
    question,
    scenario,
    seeded,
    turns_are_whole,
)

# A move to the archive.

SHORT_OF_A_MOVE = 32
"""Runs of a session whose next run makes the oldest move."""


async def moves_are_finished(witness: Witness, report: Report) -> str:
    """All runs are read once and in order, whole session or page by page; the next turn's move takes up where the last one ended."""
    session_id = report.case.session_id
    before = [run.run_id for run in (await witness.db.get_session(session_id, user_id=USER)).runs]
    assert before[: len(report.seeded)] == report.seeded
    assert await witness.paged_ids(session_id) == before
    agent, model = agent_on(witness.db, session_id, num_history_runs=3)
    await agent.arun(question(AFTERWARDS), run_id=AFTERWARDS)
    assert [message.content for message in model.requests[0].messages if message.role == "user"] == [
        question(run_id) for run_id in [*before[-3:], AFTERWARDS]
    ]
    return "read"


async def moved_once(witness: Witness, report: Report) -> str:
    """The archive has no gap and no run twice, and what it has is not in the tail."""
    session_id = report.case.session_id
    while not (stored := await witness.stored(session_id) or {}).get("archived_runs"):
        await asyncio.sleep(0.01)
    buckets = await witness.buckets(session_id)
    read = [bucket for bucket in buckets if bucket["first"] < stored["archived_runs"]]
    assert [bucket["first"] for bucket in read] == [0, *(bucket["end"] for bucket in read[:-1])]
    assert read[-1]["end"] == stored["archived_runs"]
    ids = [run["run_id"] for bucket in read for run in bucket["runs"]] + [run["run_id"] for run in stored["runs"]]
    assert len(ids) == len(set(ids)) == stored["run_count"], ids
    assert ids[: len(report.seeded)] == report.seeded
    assert await witness.paged_ids(session_id) == ids
    return await turns_are_whole(witness, report)


@scenario(at_once=moves_are_finished, later=moved_once)
async def archive_move(stage: Stage) -> None:
    """A turn that is one too many for its session's document, and the move that follows it."""
    await stage.seed(SHORT_OF_A_MOVE)
    stage.arm()
    await stage.turn("one", agent=agent_on(stage.db, stage.session_id, num_history_runs=3)[0])
    await stage.db.close()


# Large content.


@scenario()
async def large_turn(stage: Stage) -> None:
    """A turn with 200 KB of input and 200 KB of tool result, after another one."""
    await stage.turn("large one")
    stage.arm()
    await stage.turn("large two")


# Checkpoints.

ROUNDS = ("one", "two", "three")
TOKENS_OF_THREE_ROUNDS = 60


def worker_on(
    db: MongoDb, session_id: str, rounds: tuple[str, ...], called: Callable[[str], None]
) -> tuple[Agent, ScriptedModel]:
    """An agent that works at these rounds, one after the other, and stores each. ``called`` hears of every call of its tool."""

    async def work(run_context: RunContext, at: str) -> str:
        called(at)
        run_context.session_state.setdefault("rounds", []).append(at)
        note(run_context)
        return f"Worked at {at}."

    calls = [ToolCall("work", {"at": at}) for at in rounds]
    return agent_on(db, session_id, *calls, ANSWER, tools=[work], checkpoint="tool-batch")


async def goes_on_from_its_checkpoint(witness: Witness, report: Report) -> str:
    """The rounds that were acknowledged are messages of the interrupted run; it goes on behind them and calls no tool of theirs again."""
    session_id = report.case.session_id
    session = await witness.db.get_session(session_id, user_id=USER)
    fate = fate_of(session, "rounds")
    acknowledged = "rounds" in report.acknowledged_ids
    assert fate in ({"stored"} if acknowledged else report.fates("rounds"))
    kept: tuple[str, ...] = ()
    if fate == "interrupted":
        messages = session.get_run("rounds").messages or []
        assert_nothing_loose(messages)
        kept = ROUNDS[: sum(message.role == "tool" for message in messages)]
        assert report.answered.count("checkpoint") <= len(kept) <= report.sent.count("checkpoint")
    called = [what for what in report.done if what in ROUNDS]
    assert tuple(called[: len(kept)]) == kept
    left = [at for at in ROUNDS if at not in kept]
    agent, model = worker_on(witness.db, session_id, tuple(left), called.append)
    if fate == "stored":
        with contextlib.suppress(RunAlreadyFinished):
            await agent.acontinue_run("rounds")
            raise AssertionError("a finished run went on")
    else:
        going_on = agent.acontinue_run("rounds") if fate == "interrupted" else agent.arun(question("rounds"), run_id="rounds")
        assert (await going_on).status == RunStatus.completed
        for request in model.requests:
            assert_nothing_loose(request.messages)
        assert Counter(called)[ROUNDS[0]] <= 2
        assert all(Counter(called)[at] == 1 for at in kept), (kept, called)
    await assert_worked_once(witness, session_id)
    return f"interrupted after {len(kept)} rounds" if fate == "interrupted" else "all acknowledged" if acknowledged else fate


async def assert_worked_once(witness: Witness, session_id: str) -> None:
    session = await witness.db.get_session(session_id, user_id=USER)
    assert session.active_runs == {}
    assert sorted(run.run_id for run in session.runs) == sorted(["one", "rounds", AFTERWARDS])
    (run,) = [run for run in session.runs if run.run_id == "rounds"]
    said = [question("rounds"), *(text for at in ROUNDS for text in (None, f"Worked at {at}.")), ANSWER]
    assert [message.content for message in run.messages] == said
    assert [tool.tool_args for tool in run.tools] == [{"at": at} for at in ROUNDS]
    assert run.metrics.total_tokens == TOKENS_OF_THREE_ROUNDS
    assert session.session_data["session_metrics"]["total_tokens"] == TOKENS_OF_THREE_ROUNDS + 2 * TOKENS_OF_A_TURN
    assert session.session_state["rounds"] == [*ROUNDS]


@scenario(later=goes_on_from_its_checkpoint)
async def checkpoints(stage: Stage) -> None:
    """A turn of three rounds of tools, each of which is stored."""
    await stage.turn("one")
    stage.arm()
    await stage.turn("rounds", agent=worker_on(stage.db, stage.session_id, ROUNDS, stage.done)[0])


# A pause.

BOUGHT = "bought"


def buyer_on(db: MongoDb, session_id: str, *script: Any, called: Callable[[str], None]) -> tuple[Agent, ScriptedModel]:
    """An agent that looks at once, and buys what somebody has confirmed. ``called`` hears of every call of its tools."""

    async def look(run_context: RunContext) -> str:
        called("look")
        run_context.state.increment("looked")
        return "Looked."

    async def buy(run_context: RunContext) -> str:
        called("buy")
        run_context.state.increment("bought")
        return "Bought."

    return agent_on(db, session_id, *script, tools=[look, tool(requires_confirmation=True)(buy)])


async def pause_and_answer_are_whole(witness: Witness, report: Report) -> str:
    """Whatever was acknowledged is there; what follows it can be done, and all of it counts once."""
    session_id, called = report.case.session_id, [what for what in report.done if what in {"look", "buy"}]
    calls = [ToolCall("look", id="look"), ToolCall("buy", id="buy")]
    session = await witness.db.get_session(session_id, user_id=USER)
    run = session.get_run(BOUGHT)
    was = "absent" if run is None else str(run.status.value)
    answered = was == "INTERRUPTED" and bool(run.tools)
    if "continued" in report.done:
        assert was == "COMPLETED"
    elif "paused" in report.done:
        assert was in {"PAUSED", "INTERRUPTED", "COMPLETED"}
        assert answered or was != "INTERRUPTED"
    if was in {"absent", "INTERRUPTED"} and not answered:
        agent, _ = buyer_on(witness.db, session_id, calls, called=called.append)
        going_on = agent.arun(question(BOUGHT), run_id=BOUGHT) if run is None else agent.acontinue_run(BOUGHT)
        run = await going_on
        assert run.is_paused
    elif was == "PAUSED":
        assert called == ["look"]
    if was != "COMPLETED":
        for requirement in run.active_requirements:
            requirement.confirm()
        agent, model = buyer_on(witness.db, session_id, ANSWER, called=called.append)
        await agent.acontinue_run(BOUGHT, requirements=None if answered else run.requirements)
        assert_nothing_loose(model.requests[0].messages)
    assert Counter(called)["buy"] <= 2 if answered else Counter(called)["buy"] == 1
    assert Counter(called)["look"] <= (2 if was in {"absent", "INTERRUPTED"} and not answered else 1)
    await assert_bought_once(witness, session_id)
    return f"{was}, answered" if answered else was


async def assert_bought_once(witness: Witness, session_id: str) -> None:
    session = await witness.db.get_session(session_id, user_id=USER)
    assert session.active_runs == {}
    assert sorted(run.run_id for run in session.runs) == sorted(["one", BOUGHT, AFTERWARDS])
    (run,) = [run for run in session.runs if run.run_id == BOUGHT]
    assert [message.content for message in run.messages] == [question(BOUGHT), None, "Looked.", "Bought.", ANSWER]
    assert [tool.result for tool in run.tools] == ["Looked.", "Bought."]
    assert run.metrics.total_tokens == TOKENS_OF_A_TURN
    assert session.session_data["session_metrics"]["total_tokens"] == 3 * TOKENS_OF_A_TURN
    assert (session.session_state["looked"], session.session_state["bought"]) == (1, 1)


@scenario(later=pause_and_answer_are_whole)
async def pausing(stage: Stage) -> None:
    """A run pauses, is answered and goes on."""
    await stage.turn("one")
    stage.arm()
    calls = [ToolCall("look", id="look"), ToolCall("buy", id="buy")]
    run = await buyer_on(stage.db, stage.session_id, calls, called=stage.done)[0].arun(question(BOUGHT), run_id=BOUGHT)
    stage.done("paused")
    run.active_requirements[0].confirm()
    await buyer_on(stage.db, stage.session_id, ANSWER, called=stage.done)[0].acontinue_run(run)
    stage.done("continued")


# Forks, rewinds and deletions of a session with an archive and large content.

SEEDED = 36
AT = 20
"""The run, in the archive, up to which a session is forked and rewound; what is before it stays there."""

EARLY = 6
"""A run that all of the archive is given up for."""

LARGE_SEEDS = (5, 34)
"""One that stays, in the archive, and one that goes, in the tail."""

WHOLE = [(f"seed{number}", seeded(number, large=number in LARGE_SEEDS).content) for number in range(SEEDED)]
UP_TO = WHOLE[: AT + 1]
UP_TO_EARLY = WHOLE[: EARLY + 1]


async def found(witness: Witness, session_id: str) -> list[tuple[str | None, Any]]:
    """Ids and content of a session's runs; none if there is no session."""
    session = await witness.db.get_session(session_id, user_id=USER)
    return [] if session is None else [(run.run_id, run.content) for run in session.runs]


async def goes_on(witness: Witness, session_id: str, before: list[tuple[str | None, Any]]) -> None:
    """The session takes one more turn."""
    await agent_on(witness.db, session_id, num_history_runs=3)[0].arun(question(AFTERWARDS), run_id=AFTERWARDS)
    after = [*before, (AFTERWARDS, ANSWER)]
    assert await found(witness, session_id) == after
    assert await witness.paged_ids(session_id, limit=25) == [run_id for run_id, _ in after]


async def fork_is_whole_or_absent(witness: Witness, report: Report) -> str:
    """The original is as it was."""
    session_id = report.case.session_id
    assert await found(witness, session_id) == WHOLE
    fork = await found(witness, f"{session_id}_fork")
    assert fork == (UP_TO if report.done else fork and UP_TO)
    return "forked" if fork else "not forked"


async def fork_can_be_repeated(witness: Witness, report: Report) -> str:
    """Forking again makes the fork, or says that it is there; it outlives its original.

    Where the child was killed after a command, nobody comes back to the fork, and the original is deleted at once.
    """
    session_id, fork_id = report.case.session_id, f"{report.case.session_id}_fork"
    was = await fork_is_whole_or_absent(witness, report)
    if report.case.moment == "after":
        assert await witness.db.delete_session(session_id, USER)
        assert await found(witness, fork_id) == (UP_TO if was == "forked" else [])
        return "all acknowledged" if report.done else was
    try:
        await witness.db.fork_session(session_id, f"seed{AT}", new_session_id=fork_id, user_id=USER)
        assert was == "not forked"
    except ConfigurationError:
        assert was == "forked"
    await goes_on(witness, fork_id, UP_TO)
    assert await found(witness, session_id) == WHOLE
    assert await witness.db.delete_session(session_id, USER)
    assert await found(witness, fork_id) == [*UP_TO, (AFTERWARDS, ANSWER)]
    return "all acknowledged" if report.done else was


@scenario(at_once=fork_is_whole_or_absent, later=fork_can_be_repeated)
async def fork(stage: Stage) -> None:
    """A session is forked at a run in its archive."""
    await stage.seed(SEEDED, large=LARGE_SEEDS)
    stage.arm()
    await stage.db.fork_session(stage.session_id, f"seed{AT}", new_session_id=f"{stage.session_id}_fork", user_id=USER)
    stage.done("fork")


async def rewound_or_as_before(witness: Witness, report: Report) -> str:
    """The session has all its runs, or those up to the one that was named; a copy of it has all."""
    session_id = report.case.session_id
    with_copy = report.case.scenario == "rewind_with_copy"
    rewound = UP_TO if with_copy else UP_TO_EARLY
    runs = await found(witness, session_id)
    assert runs in ([rewound] if report.done else [WHOLE, rewound])
    copies = [await found(witness, copy_id) for copy_id in await witness.forks_of(session_id)]
    assert copies in ([[], [WHOLE]] if with_copy and runs == WHOLE else [[WHOLE]] if with_copy else [[]])
    return ("rewound" if runs == rewound else "as before") + (", copied" if copies else "")


async def rewind_can_be_repeated(witness: Witness, report: Report) -> str:
    """Rewinding again does it, or changes nothing but that there is one copy more; the session goes on from there."""
    session_id = report.case.session_id
    was = await rewound_or_as_before(witness, report)
    with_copy = report.case.scenario == "rewind_with_copy"
    to, rewound = (AT, UP_TO) if with_copy else (EARLY, UP_TO_EARLY)
    copies = await witness.forks_of(session_id)
    await witness.db.rewind_session(session_id, f"seed{to}", keep_copy=with_copy, user_id=USER)
    await goes_on(witness, session_id, rewound)
    for copy_id in copies:
        assert await found(witness, copy_id) == WHOLE
    return "all acknowledged" if report.done else was


async def rewind(stage: Stage, to: int, *, keep_copy: bool) -> None:
    await stage.seed(SEEDED, large=LARGE_SEEDS)
    stage.arm()
    await stage.db.rewind_session(stage.session_id, f"seed{to}", keep_copy=keep_copy, user_id=USER)
    stage.done("rewind")


@scenario(at_once=rewound_or_as_before, later=rewind_can_be_repeated)
async def rewind_with_copy(stage: Stage) -> None:
    """A session is taken back to a run in its archive, and a copy of it kept."""
    await rewind(stage, AT, keep_copy=True)


@scenario(at_once=rewound_or_as_before, later=rewind_can_be_repeated)
async def rewind_without_copy(stage: Stage) -> None:
    """A session is taken back to a run in its archive, and what came after is deleted."""
    await rewind(stage, EARLY, keep_copy=False)


async def whole_or_gone(witness: Witness, report: Report) -> str:
    """A session that was being deleted is there with all that it had, or gone; its fork is there."""
    session_id = report.case.session_id
    runs = await found(witness, session_id)
    assert runs in ([[]] if report.done else [[], WHOLE])
    assert await found(witness, f"{session_id}_fork") == UP_TO
    return "whole" if runs else "gone"


async def large_deletion_can_be_repeated(witness: Witness, report: Report) -> str:
    """Deleting again ends it, and the fork keeps what it shares."""
    was = await whole_or_gone(witness, report)
    assert await witness.db.delete_session(report.case.session_id, USER) is (was == "whole")
    assert await whole_or_gone(witness, report) == "gone"
    await goes_on(witness, f"{report.case.session_id}_fork", UP_TO)
    return "all acknowledged" if report.done else was


@scenario(at_once=whole_or_gone, later=large_deletion_can_be_repeated)
async def large_deletion(stage: Stage) -> None:
    """A session with archive and large content is deleted, part of which a fork shares."""
    await stage.seed(SEEDED, large=LARGE_SEEDS)
    await stage.db.fork_session(stage.session_id, f"seed{AT}", new_session_id=f"{stage.session_id}_fork", user_id=USER)
    stage.arm()
    assert await stage.db.delete_session(stage.session_id, USER)
    stage.done("deletion")


# Turns.


async def next_in_line_gets_its_turn(witness: Witness, report: Report) -> str:
    """Who waits behind the dead has its turn when their leases have run out, not before, and sees what was finished."""
    session_id = report.case.session_id

    async def work(_request: Any) -> ToolCall:
        stored = await witness.stored(session_id) or {}
        waited_for = [entry for run_id, entry in stored["active_runs"].items() if run_id != AFTERWARDS]
        now = (await witness.db._connection()).now()
        assert all(entry["lease_until"] <= now + CLOCKS for entry in waited_for)
        return ToolCall("note")

    agent, model = agent_on(witness.db, session_id, work, ANSWER, concurrent_runs="queue", queue_timeout=20)
    run = await agent.arun(question(AFTERWARDS), run_id=AFTERWARDS)
    assert run.status == RunStatus.completed
    session = await witness.db.get_session(session_id, user_id=USER)
    assert_history(model.requests[0].messages, session.runs[:-1])
    return "its turn came"


@scenario(at_once=next_in_line_gets_its_turn)
async def queue(stage: Stage) -> None:
    """Two turns that go one after the other: the second has looked for its turn once when the first ends."""
    await stage.turn("one")
    stage.arm()
    begun, looks = asyncio.Event(), stage.answered("find")

    async def hold(_request: Any) -> ToolCall:
        begun.set()
        await stage.answers_to("find", looks + 1)
        return ToolCall("note")

    holder, _ = agent_on(stage.db, stage.session_id, hold, ANSWER, concurrent_runs="queue")
    first = asyncio.ensure_future(stage.turn("two", agent=holder))
    await begun.wait()
    await stage.turn("three", agent=agent_on(stage.db, stage.session_id, concurrent_runs="queue")[0])
    await first
