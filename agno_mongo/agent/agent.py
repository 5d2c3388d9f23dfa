"""``Agent``: a model with instructions, tools, and a session that outlives the process."""

from __future__ import annotations

from agno_mongo import renamed
from agno_mongo.agent.actor import Actor
from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import AgentSession
from agno_mongo.run.agent import RunOutput, RunOutputEvent
from agno_mongo.tools.signature import FILLED_IN_TYPES


@renamed.older_settings_accepted
class Agent(Actor[AgentSession, RunOutput, RunOutputEvent]):
    """A model with instructions, tools and a session.

    ``model``: who answers; OpenAIChat by default; a text such as ``"openai:gpt-5-mini"`` names one. ``db``: where sessions live; without one
    nothing is remembered.
    ``session_id`` and ``user_id``: whose conversation, unless a call says otherwise. Without a ``session_id`` the agent makes one up
    and goes on with it for as long as the same user calls.

    ``session_state``: what a new session starts with; stored state beats it later. Instructions read it as ``{key}``, tools
    through ``run_context.session_state``. ``overwrite_db_session_state``: a call's ``session_state`` replaces what is stored.
    ``on_state_conflict``: when two runs changed the same key at once, ``"ours"`` keeps the later run's value,
    ``"raise"`` the earlier's and raises StateConflictError.
    ``concurrent_runs``: what a run does that meets others in its session: go on beside them (``"allow"``), raise SessionBusy (``"reject"``), or
    wait until all who came before it have finished (``"queue"``), at most ``queue_timeout`` seconds.
    ``checkpoint``: ``"tool-batch"`` stores a run after each round of tools too, one update more for each, so that a crash leaves those rounds;
    ``continue_run`` goes on from there.

    ``add_history_to_context``: show the model earlier runs of the session: the last ``num_history_runs`` that came to an answer (3 if no
    limit is set), at most ``num_history_messages`` messages, the newest whole runs of ``num_history_tokens`` tokens, at most
    ``max_tool_calls_from_history`` tool calls. ``introduction``: what the assistant says first in a new session, stored as a run of its own.

    The system message is made of ``description``, ``role`` (what the agent is for, which a team's leader is told too), ``instructions`` (text, a list, or a function; in tags with ``use_instruction_tags``),
    ``markdown``, the name (``add_name_to_context``), ``expected_output``, ``additional_context``, then the session's summary and state
    (``add_session_summary_to_context``, ``add_session_state_to_context``) and the time (``add_datetime_to_context``,
    ``timezone_identifier``, ``datetime_format``); or it is ``system_message``. ``build_context=False`` leaves it out,
    ``resolve_in_context=False`` leaves ``{key}`` as it is. ``additional_input`` are examples that each run is shown and none stores.
    ``dependencies`` are values, or functions called when a run begins, for tools (``run_context.dependencies``), for ``{key}``, and with
    ``add_dependencies_to_context`` for the model, behind the input.

    ``tools``: functions, methods, what ``@tool`` made of them, Toolkits, and dicts for what the provider runs itself; or a function that makes the
    list for each run. ``tool_choice`` is OpenAI's; what forces a call does so in the first request only. ``tool_call_limit``: how many calls a run may
    make; further ones are refused. ``tool_hooks`` are called around every call. ``tool_timeout``: seconds that a call may take.
    ``max_tool_rounds``: after so many rounds of tools (50) the model has to answer without them; one that does not fails with TooManyToolRounds.
    ``read_chat_history``, ``read_tool_call_history`` and ``search_past_sessions`` give the model tools for what was said earlier, in this session and
    in others of the same user; ``enable_agentic_state`` one that changes the state.

    ``enable_session_summaries``: sum up the session after every ``summary_every`` runs, by its model or as ``session_summary_manager`` says; in the
    background, for which ``db.close()`` waits, or before the run is over with ``summary_in_background=False``.

    ``retries``, after ``delay_between_retries`` seconds, twice as many each time with ``exponential_backoff``: how often the model is asked again
    after a failure that may pass. ``fallback_models``: who is asked when it has failed for good; ``fallback_config``: by the kind of failure.
    ``output_schema``: a pydantic model class or a JSON schema that the answer must fit; ``run.content`` is then an instance, or a dict. The provider
    is given the schema; with ``use_json_mode``, or ``structured_outputs=False``, the system message says it. An answer that does not fit is asked
    for once more; one that still does not makes the run an ERROR (OutputSchemaError). ``parse_response=False`` leaves the answer as text.
    ``output_model``: a second model that writes the answer, in the place of what the first has come to, with ``output_model_prompt`` as system message.
    ``parser_model``: one that makes the object of the answer, with ``parser_model_prompt``; the first is told nothing of the ``output_schema`` then.
    ``input_schema``: what a run's input must fit. ``pre_hooks``, ``post_hooks``: functions that look at the input before the model is asked, and at
    the answer before it is stored; they may change it, or refuse it by raising InputCheckError or OutputCheckError: then the run has status
    ERROR, and with ``raise_check_errors`` the refusal is raised too, once the run is stored.

    ``stream`` and ``stream_events`` are the defaults of ``run()``. A model's error ends the run with status ERROR; with
    ``raise_model_errors`` it is raised too, once the run is stored. ``metadata`` is stored with session and run.
    ``store_media=False``: images, sounds and files are sent to the model, and stored as a note that says type, length and SHA-256.
    ``send_media_to_model=False``: they are stored, and the model is not shown them, nor those of earlier runs.
    ``store_tool_messages=False``: nothing is stored of what tools were asked and answered, but that they were called.
    ``store_history_messages``: a run is stored with the history it was shown, too. ``store_events``: its events are stored with it, but for
    ``events_to_skip`` (``[RunEvent.run_content]``). ``cache_session``: the newest runs of the sessions last used are kept in memory and sent again
    only if somebody else has written to the session meanwhile.
    """

    SESSION_TYPE = SessionType.AGENT
    RUN_TYPE = RunOutput


FILLED_IN_TYPES[Agent] = "agent"
