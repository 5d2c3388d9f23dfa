"""What a session that was read tells of its runs: turns as text, and whose messages."""

from __future__ import annotations

from typing import Any

from agno_mongo.session import AgentSession, TeamSession, WorkflowSession


def turn(number: int, **fields: Any) -> dict[str, Any]:
    return {"run_id": str(number), "input": {"input_content": f"q{number}"}, "content": f"a{number}", "status": "COMPLETED", **fields}


class TestASessionsTurns:
    def test_of_a_workflow_are_input_and_answer_of_what_came_to_one(self) -> None:
        runs = [turn(1), turn(2, status="ERROR"), turn(3, input=None, content={"a": 1})]
        session = WorkflowSession.from_dict({"session_id": "s", "runs": [{"workflow_id": "w", **run} for run in runs]})
        assert session.get_workflow_history() == [("q1", "a1"), ("", '{"a": 1}')]
        assert session.get_workflow_history(num_runs=1) == [("", '{"a": 1}')]
        assert session.get_workflow_history(num_runs=0) == []
        told = session.get_workflow_history_context()
        assert told is not None
        assert told.index("q1") < told.index("a1")
        assert session.get_workflow_history_context(0) is None

    def test_of_a_team_are_the_leaders_or_those_of_a_team_within_it(self) -> None:
        inner = turn(1, team_id="inner", parent_run_id="2")
        session = TeamSession.from_dict({"session_id": "s", "runs": [inner, turn(2, team_id="outer")]})
        assert session.get_team_history() == [("q2", "a2")]
        assert session.get_team_history("inner") == [("q1", "a1")]
        assert session.get_team_history(num_runs=0) == []
        told = session.get_team_history_context()
        assert told is not None
        assert told.index("q2") < told.index("a2")
        assert TeamSession(session_id="s").get_team_history_context() is None


class TestATeamsMessages:
    def test_are_the_leaders_unless_members_are_asked_for(self) -> None:
        def said(text: str, **fields: Any) -> dict[str, Any]:
            return turn(1, messages=[{"role": "assistant", "content": text}], **fields)

        runs = [
            said("of a", run_id="1", agent_id="a", parent_run_id="3"),
            said("of b", run_id="2", agent_id="b", parent_run_id="3"),
            said("of all", run_id="3", team_id="t"),
        ]
        session = TeamSession.from_dict({"session_id": "s", "team_id": "t", "runs": runs})

        def contents(**wanted: Any) -> list[Any]:
            return [message.content for message in session.get_messages(**wanted)]

        assert contents() == ["of all"]
        assert contents(skip_member_messages=False) == ["of a", "of b", "of all"]
        assert contents(member_ids=["b"]) == ["of b"]
        assert contents(member_ids=["b"], limit=0) == []
        assert AgentSession(session_id="s").get_messages() == []
