"""Workflows: steps in order, kept whole in a session, under Agno's names."""

from agno_mongo.workflow.agent import WorkflowAgent
from agno_mongo.workflow.condition import Condition
from agno_mongo.workflow.decorators import pause
from agno_mongo.workflow.loop import Loop
from agno_mongo.workflow.parallel import Parallel
from agno_mongo.workflow.router import Router
from agno_mongo.workflow.step import Step
from agno_mongo.workflow.steps import Steps
from agno_mongo.workflow.types import HumanReview, OnError, OnReject, OnTimeout, StepInput, StepOutput, WorkflowExecutionInput
from agno_mongo.workflow.workflow import Workflow

__all__ = [
    "Condition",
    "HumanReview",
    "Loop",
    "OnError",
    "OnReject",
    "OnTimeout",
    "Parallel",
    "Router",
    "Step",
    "StepInput",
    "StepOutput",
    "Steps",
    "Workflow",
    "WorkflowAgent",
    "WorkflowExecutionInput",
    "pause",
]
