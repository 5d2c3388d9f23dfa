"""A web service whose sessions go on from request to request, and from process to process.

::

    pip install fastapi uvicorn
    python examples/async_service.py --port 8000

    curl localhost:8000/sessions/1/runs -H 'content-type: application/json' -H 'x-user: ada' -d '{"text": "My name is Ada."}'
    curl localhost:8000/sessions/1/runs -H 'content-type: application/json' -H 'x-user: ada' -d '{"text": "What is my name?"}'
    curl localhost:8000/sessions/1/messages -H 'x-user: ada'

Several processes may serve the same folder at once. The header ``x-user`` stands for whatever tells users apart in earnest:
another user's session is answered with 404. The sessions are in ``tmp/data``; with ``AGNO_MONGO_URL`` they are on that
server. Without ``OPENAI_API_KEY`` an offline demonstration model answers.
"""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import SessionOwnedByAnotherUser
from agno_mongo.models import openai_or_demo
from agno_mongo.run import RunStatus

# A call that forgets its user is refused rather than let into everybody's sessions.
db = MongoDb(require_user_id=True) if os.environ.get("AGNO_MONGO_URL") else EmbeddedMongoDb(path="tmp/data", require_user_id=True)
# One agent serves all requests at once: it keeps nothing of a conversation.
agent = Agent(model=openai_or_demo("gpt-5-mini"), db=db, add_history_to_context=True)

User = Annotated[str, Header(alias="x-user", min_length=1)]


class Question(BaseModel):
    """What a client sends."""

    text: str


class Answer(BaseModel):
    """What a client gets."""

    run_id: str
    text: str


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with db:  # closed with the service; the last process stops the embedded server
        yield


app = FastAPI(title="Sessions", lifespan=lifespan)


@app.post("/sessions/{session_id}/runs")
async def ask(session_id: str, question: Question, user: User) -> Answer:
    run = await agent.arun(question.text, session_id=session_id, user_id=user)
    if run.status is not RunStatus.completed:  # stored all the same
        raise HTTPException(502, detail=run.get_content_as_string())
    return Answer(run_id=run.run_id, text=run.get_content_as_string())


@app.get("/sessions/{session_id}/messages")
async def messages(session_id: str, user: User) -> list[dict[str, str]]:
    found = await agent.aget_session_messages(session_id, user_id=user)
    return [{"role": message.role, "text": message.get_content_string()} for message in found]


@app.exception_handler(SessionOwnedByAnotherUser)
async def not_theirs(_request: Request, _error: SessionOwnedByAnotherUser) -> JSONResponse:
    return JSONResponse({"detail": "there is no such session"}, status_code=404)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A web service whose sessions are in MongoDB.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free one (default: 8000)")
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port)
