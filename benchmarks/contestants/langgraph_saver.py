"""LangGraph: a graph of one node over MessagesState, kept by langgraph-checkpoint-mongodb's MongoDBSaver."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import DocumentTooLarge, OperationFailure

from contestants.base import HISTORY_RUNS, TOKENS, Contestant, Stopped, remember
from measuring import Wire

try:
    from langchain_core.messages import AIMessage, HumanMessage
    from langgraph.checkpoint.mongodb import MongoDBSaver
    from langgraph.graph import END, START, MessagesState, StateGraph
except ImportError as error:
    MISSING: str | None = str(error)
else:
    MISSING = None


class LangGraph(Contestant):
    """Its saver is a blocking one, run in threads by its own async methods. The state of a long session is put in with one
    ``aupdate_state``, before a last turn of its own; the checkpoints that real turns would have left behind are not there.
    """

    name = "LangGraph, MongoDBSaver"
    missing = MISSING
    distributions = ("langgraph", "langgraph-checkpoint-mongodb")

    async def open(self, url: str, wire: Wire | None = None) -> None:
        self.url = url
        self.client = AsyncMongoClient(url)
        self.database = self.client[self.database_name]
        self._saver_client: Any = MongoClient(url, event_listeners=[wire] if wire else [])
        saver = MongoDBSaver(self._saver_client, db_name=self.database_name)
        graph = StateGraph(MessagesState)
        graph.add_node("model", self._answer)
        graph.add_edge(START, "model")
        graph.add_edge("model", END)
        self.graph = graph.compile(checkpointer=saver)

    async def close(self) -> None:
        self._saver_client.close()
        await super().close()

    async def _answer(self, state: Any) -> dict[str, Any]:
        shown = state["messages"][-(2 * HISTORY_RUNS + 1) :]
        usage = {"input_tokens": TOKENS[0], "output_tokens": TOKENS[1], "total_tokens": sum(TOKENS)}
        return {"messages": [AIMessage(self.answer(len(shown)), usage_metadata=usage)]}

    async def seed(self, runs: int, sessions: int) -> None:
        await self.empty()
        self.sessions = [str(uuid4()) for _ in range(sessions)]
        try:
            for session_id in self.sessions:
                await self._fill(session_id, runs - 1)
                await self.turn(session_id, self.size.input(runs - 1))
        except (DocumentTooLarge, OperationFailure) as error:
            await self.client.drop_database(self.database_name)
            raise Stopped(f"{type(error).__name__}: the whole conversation is one document") from error
        await remember(self)

    async def _fill(self, session_id: str, runs: int) -> None:
        if not runs:
            return
        usage = {"input_tokens": TOKENS[0], "output_tokens": TOKENS[1], "total_tokens": sum(TOKENS)}
        messages: list[Any] = []
        for number in range(runs):
            messages.append(HumanMessage(self.size.input(number), id=str(uuid4())))
            messages.append(AIMessage(self.size.answer(number), id=str(uuid4()), usage_metadata=usage))
        await self.graph.aupdate_state(self._config(session_id), {"messages": messages}, as_node="model")

    def _config(self, session_id: str) -> Any:
        return {"configurable": {"thread_id": session_id}}

    async def turn(self, session_id: str, text: str) -> None:
        await self.graph.ainvoke({"messages": [HumanMessage(text)]}, self._config(session_id))

    async def runs_of(self, session_id: str) -> int:
        state = await self.graph.aget_state(self._config(session_id))
        return sum(isinstance(message, AIMessage) for message in state.values["messages"])
