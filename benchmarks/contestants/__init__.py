"""Who takes part: one module each."""

from __future__ import annotations

from contestants.base import Contestant, Size


def everybody(size: Size, prefix: str = "bench") -> list[Contestant]:
    """All contestants, each on a database of its own, agno_mongo and bare PyMongo first; those that are not installed too."""
    from contestants.agno_db import Agno
    from contestants.bare import Bare
    from contestants.langgraph_saver import LangGraph
    from contestants.openai_agents import OpenAIAgents
    from contestants.ours import Ours
    from contestants.run_documents import RunDocuments

    ours = Ours(f"{prefix}_ours", size)
    return [
        ours,
        Bare(f"{prefix}_bare", size, ours),
        RunDocuments(f"{prefix}_run_documents", size, ours),
        Agno(f"{prefix}_agno", size),
        OpenAIAgents(f"{prefix}_openai_agents", size),
        LangGraph(f"{prefix}_langgraph", size),
    ]


__all__ = ["Contestant", "Size", "everybody"]
