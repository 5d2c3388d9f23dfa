"""Mode tasks: a list in the session's state, members who work on it, and an answer once it is done."""

from __future__ import annotations

import json
import re
from typing import Any

from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ModelError
from agno_mongo.models.base import ModelRequest
from agno_mongo.team import Task, TaskList, TaskStatus
from agno_mongo.team.task import load_task_list
from agno_mongo.testing import ToolCall
from tests.test_team_pausing import Till
from tests.test_teams import member, sent, team_of, tree


def make(title: str, assignee: str = "", **more: Any) -> ToolCall:
    return ToolCall("create_task", {"title": title, "assignee": assignee, **more})


def ids_of(request: ModelRequest) -> list[str]:
    """The ids of the tasks that the leader has been told of, in the order of their making."""
    told = " ".join(str(message.content) for message in request.messages if message.role == "tool")
    return list(dict.fromkeys(re.findall(r"Task \[(\w+)\]", told)))


def execute(*numbers: int) -> Any:
    def line(request: ModelRequest) -> list[ToolCall]:
        return [ToolCall("execute_task", {"task_id": ids_of(request)[number]}) for number in numbers]

    return line


def at_once(request: ModelRequest) -> ToolCall:
    return ToolCall("execute_tasks_parallel", {"task_ids": ids_of(request)})


def depending(request: ModelRequest) -> ToolCall:
    return make("Write", "writer", depends_on=ids_of(request))


class TestATeamWithTasks:
    async def test_works_through_its_list_in_the_order_that_the_tasks_need(self, db: MongoDb) -> None:
        finder, writer = member("finder", "The sea is deep."), member("writer", "A poem.")
        script = [
            make("Find", "finder", description="About the sea."),
            depending,
            execute(1),
            execute(0),
            execute(1),
            "Here it is.",
        ]
        team = team_of(finder, writer, script=script, db=db, mode="tasks")
        run = await team.arun("A poem.")
        assert run.content == "Here it is."
        assert sent(finder) == ["Find\n\nAbout the sea."]
        assert sent(writer) == ["Write\n\nResult of Find:\nThe sea is deep."]
        assert "waits for" in sent(team, 3)[-1]
        tasks = load_task_list(await team.aget_session_state())
        assert [(task.title, task.status, task.result) for task in tasks.tasks] == [
            ("Find", TaskStatus.completed, "The sea is deep."),
            ("Write", TaskStatus.completed, "A poem."),
        ]
        assert await tree(db) == [("finder", "crew", "COMPLETED"), ("writer", "crew", "COMPLETED"), ("crew", None, "COMPLETED")]

    async def test_does_several_at_once_and_tells_which_failed(self, db: MongoDb) -> None:
        good, broken = member("good", "Yes."), member("broken", ModelError("overloaded", model="m"))
        script = [[make("One", "good"), make("Two", "broken")], at_once, "Half of it."]
        team = team_of(good, broken, script=script, db=db, mode="tasks")
        await team.arun("Go.")
        assert re.fullmatch(r"\[\w+\] Yes\.\n\n\[\w+\] failed: broken failed: overloaded", sent(team, 2)[-1])
        tasks = load_task_list(await team.aget_session_state()).tasks
        assert [task.status.value for task in tasks] == ["completed", "failed"]

    async def test_is_asked_on_while_tasks_are_open_and_not_for_ever(self) -> None:
        worker = member("worker", "ok")
        team = team_of(
            worker, script=[make("One", "worker"), "I am done.", "Really.", "Leave me."], mode="tasks", max_iterations=3
        )
        run = await team.arun("Go.")
        assert run.content == "Leave me."
        assert [str(text).startswith("Not all tasks have ended.") for text in sent(team, 3)].count(True) == 2

    async def test_tells_of_each_of_its_turns(self) -> None:
        team = team_of(
            member("a", "ok"), script=[make("Find", "a"), "Soon.", execute(0), "Done."], mode="tasks", max_iterations=3
        )
        turns = [
            (event.event, event.iteration, event.max_iterations)
            async for event in team.arun("go", stream=True, stream_events=True)
            if "TaskIteration" in event.event
        ]
        assert turns == [
            ("TeamTaskIterationStarted", 1, 3),
            ("TeamTaskIterationCompleted", 1, 3),
            ("TeamTaskIterationStarted", 2, 3),
            ("TeamTaskIterationCompleted", 2, 3),
        ]

    async def test_may_end_its_work_or_need_no_tasks(self) -> None:
        script = [make("One"), ToolCall("mark_all_complete", {"summary": "Enough."}), "Sorry.", "Hello."]
        team = team_of(member("worker"), script=script, db=InMemoryDb(), mode="tasks")
        assert (await team.arun("Go.")).content == "Sorry."
        assert load_task_list(await team.aget_session_state()).goal_complete
        assert (await team.arun("Hi.")).content == "Hello."
        assert load_task_list(await team.aget_session_state()) == TaskList()

    async def test_goes_on_with_what_an_earlier_run_has_left_open(self) -> None:
        db = InMemoryDb()
        await team_of(member("worker"), script=[make("One", "worker"), "x"], db=db, mode="tasks", max_iterations=1).arun("Go.")

        def pick(request: ModelRequest) -> ToolCall:
            listed = re.findall(r"^\[(\w+)\]", str(request.messages[-1].content), re.MULTILINE)
            return ToolCall("execute_task", {"task_id": listed[0]})

        team = team_of(member("worker", "ok"), script=[ToolCall("list_tasks"), pick, "Done."], db=db, mode="tasks")
        assert (await team.arun("Go on.")).content == "Done."

    async def test_is_told_what_cannot_be(self) -> None:
        calls = [
            make("One", "nobody"),
            make("One", depends_on=["x"]),
            ToolCall("execute_task", {"task_id": "x"}),
            ToolCall("update_task_status", {"task_id": "x", "status": "done"}),
        ]
        team = team_of(
            member("worker"),
            script=[calls, [make("One"), make(" one ")], execute(0), "Hm.", "Hm."],
            mode="tasks",
            max_iterations=2,
        )
        run = await team.arun("Go.")
        results = [str(call.result) for call in run.tools or ()]
        assert "There is no member with the id 'nobody'" in results[0]
        assert "There is no task 'x'" in results[1]
        assert "There is no task 'x'" in results[2]
        assert "status" in results[3]
        assert "There is a task of this title already" in results[5]
        assert "is for nobody yet" in results[6]

    async def test_can_do_a_task_itself_and_leave_a_note(self) -> None:
        def own(request: ModelRequest) -> list[ToolCall]:
            [first, second] = ids_of(request)
            return [
                ToolCall("update_task_status", {"task_id": first, "status": "completed", "result": "42"}),
                ToolCall("add_task_note", {"task_id": second, "note": "In prose."}),
            ]

        worker = member("worker", "ok")
        team = team_of(worker, script=[[make("One"), make("Two", "worker")], own, execute(1), "Done."], mode="tasks")
        assert (await team.arun("Go.")).content == "Done."
        assert sent(worker) == ["Two\n\nNote: In prose."]

    async def test_pauses_with_a_member_and_does_the_others_tasks_only_once(self, db: MongoDb) -> None:
        till = Till()
        script = [[make("One", "first"), make("Two", "second"), make("Three", "third")], at_once]
        members = [till.buyer("first", amount=1), till.buyer("second", amount=2), member("third", "three")]
        paused = await team_of(*members, script=script, db=db, mode="tasks").arun("Go.", run_id="r")
        assert len(paused.active_requirements) == 2
        for one in paused.active_requirements:
            one.confirm()
        members = [till.buyer("first", "one", asks=False), till.buyer("second", "two", asks=False), member("third")]
        team = team_of(*members, script=["All."], db=db, mode="tasks")
        done = await team.acontinue_run(run_id="r", requirements=paused.requirements)
        assert (done.content, sorted(till.paid)) == ("All.", [1, 2])
        tasks = load_task_list(await team.aget_session_state()).tasks
        assert [(task.status.value, task.result) for task in tasks] == [("completed", text) for text in ("one", "two", "three")]
        assert len(await tree(db)) == 4

    async def test_tells_of_its_list_in_events_and_hands_the_schema_of_the_answer_on(self) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        script = [make("One", "worker"), execute(0), json.dumps({"n": 1})]
        team = team_of(member("worker", "ok"), script=script, mode="tasks", output_schema=schema)
        events: list[Any] = [event async for event in team.arun("Go.", stream=True, stream_events=True, yield_run_output=True)]
        assert events[-1].content == {"n": 1}
        names = ("TeamTaskCreated", "TeamTaskUpdated", "TeamTaskStateUpdated")
        told = [event for event in events if getattr(event, "event", "") in names]
        assert [(event.event, getattr(event, "status", None)) for event in told if event.event != "TeamTaskStateUpdated"] == [
            ("TeamTaskCreated", "pending"),
            ("TeamTaskUpdated", "in_progress"),
            ("TeamTaskUpdated", "completed"),
        ]
        assert told[-1].tasks[0]["result"] == "ok"


class TestAList:
    def test_blocks_frees_and_fails_what_depends_on_others(self) -> None:
        tasks = TaskList()
        first = tasks.create_task("first")
        second = tasks.create_task("second", dependencies=[first.id])
        third = tasks.create_task("third", dependencies=[second.id])
        assert [task.status.value for task in tasks.tasks] == ["pending", "blocked", "blocked"]
        assert tasks.get_available_tasks() == [first]
        tasks.update_task(first.id, status="completed", result="x" * 300)
        assert second.status is TaskStatus.pending
        tasks.update_task(second.id, status=TaskStatus.failed)
        assert (third.status, third.result) == (TaskStatus.failed, "A task that it depends on has failed.")
        assert tasks.all_terminal()
        assert f"result: {'x' * 200}…" in tasks.get_summary_string()
        assert tasks.update_task("nothing", status="failed") is None

    def test_comes_back_from_its_dict_and_is_empty_where_something_else_stands(self) -> None:
        tasks = TaskList(tasks=[Task(title="a", assignee="b", notes=["n"])], completion_summary="s")
        assert TaskList.from_dict(json.loads(json.dumps(tasks.to_dict()))) == tasks
        assert load_task_list({"_team_tasks": 7}) == load_task_list({"_team_tasks": {"tasks": [{"id": []}]}}) == TaskList()

    def test_with_a_circle_stays_blocked(self) -> None:
        tasks = TaskList(tasks=[Task(id="a", dependencies=["b"]), Task(id="b", dependencies=["a"])])
        assert [task.status.value for task in TaskList.from_dict(tasks.to_dict()).tasks] == ["blocked", "blocked"]
