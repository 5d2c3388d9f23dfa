"""Search over what was said, through a text index of MongoDB that is made only where search is switched on.

The index stands on the session collection and on the archive of older runs. It begins with the owner: a search walks the entries of
one user, and neither finds nor weighs what belongs to another.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo import ASCENDING, TEXT, IndexModel

from agno_mongo import checks
from agno_mongo.db import archive, values
from agno_mongo.db.connections import Connection
from agno_mongo.db.documents import Session
from agno_mongo.errors import ConfigurationError, UnstorableValueError

ARCHIVED_PARTS: Final = 1_000
"""How many archive documents with a hit a search considers, the best ones."""

EXCERPTS: Final = 3
"""How many excerpts a match shows at most."""

_AROUND: Final = 80
"""Characters of an excerpt before and after the word that was found."""

_NEVER_STORED: Final = "language%00"
"""A key that no stored document has: ``values.encode_key`` gives ``%00`` for the empty key alone.

MongoDB takes the text of a field ``language`` for the name of a language, and refuses the document if it knows none of that name.
"""

SEARCH_INDEX: Final = IndexModel(
    [
        ("user_id", ASCENDING),
        ("runs.messages.content", TEXT),
        ("runs.messages.content.text", TEXT),
        ("session_data.session_name", TEXT),
    ],
    name="search",
    # Words as they are written: no stemming, nothing left out as too common.
    default_language="none",
    language_override=_NEVER_STORED,
)


QUERY_LENGTH: Final = 500
"""Characters of a query, at most: each of its letters is looked for with all its accents."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A piece of a message around the first word that was found in it. ``run_id`` and ``role`` say whose it is."""

    run_id: str | None
    role: str | None
    text: str


@dataclass(frozen=True, kw_only=True)
class SessionMatch:
    """A session that was found, without its runs. ``score`` is MongoDB's text score, of the session's best part.

    ``excerpts`` are a few, in the order of the conversation; none if only the session's name was found.
    """

    session: Session
    score: float
    excerpts: tuple[Excerpt, ...]


def check_query(query: Any) -> str:
    """The query, if it is text with something in it, and no more than QUERY_LENGTH characters; else ConfigurationError."""
    if isinstance(query, str) and len(query) > QUERY_LENGTH:
        raise ConfigurationError(f"a query has at most {QUERY_LENGTH} characters, not {len(query)}")
    if not isinstance(query, str) or not query.strip() or "\x00" in query:
        raise ConfigurationError(f"a query is text of at least one character, not {checks.shown(query)}")
    try:
        return str(values.encode(query, path="query"))
    except UnstorableValueError as error:
        raise ConfigurationError(str(error)) from error


async def search_sessions(
    connection: Connection, query: str, user_id: str | None, which: Mapping[str, Any], limit: int
) -> list[SessionMatch]:
    """The sessions of one owner, or of none, in which the words were said, best first.

    Two aggregates by the text index, over the sessions and over their archived runs: they examine the documents of this owner in which a
    word occurs. Where archived runs were found, three commands more, by their ids. The text of at most twice ``limit`` documents is
    read. ``which`` narrows the sessions further. Of archived runs, those of ARCHIVED_PARTS documents are considered, the best.
    """
    await connection.ensure_indexes()
    await connection.ensure_archive()
    wanted = {"user_id": user_id, "$text": {"$search": query}}
    pattern = _pattern_of(query)
    found = await _aggregate(connection.collection, _among_sessions({**which, **wanted}, limit))
    best = {document["_id"]: _match_of(connection, document, pattern) for document in found}
    for archived in await _archived_matches(connection, wanted, which, pattern, limit):
        newer = best.get(archived["_id"])
        older = _match_of(connection, archived, pattern)
        best[archived["_id"]] = older if newer is None else _joined(newer, older)
    return sorted(best.values(), key=lambda match: (-match.score, match.session.session_id))[:limit]


@dataclass(frozen=True)
class _Hit:
    """The best of a session's archive documents, and which of its runs are the session's."""

    session_key: Any
    score: float
    bucket: Any
    runs: slice
    whole: bool


async def _archived_matches(
    connection: Connection, wanted: Mapping[str, Any], which: Mapping[str, Any], pattern: re.Pattern[str] | None, limit: int
) -> list[dict[str, Any]]:
    """The sessions in whose archived runs the words were said, in the form of :func:`_among_sessions`."""
    parts = await _aggregate(connection.archive, _among_archived(wanted))
    if not parts:
        return []
    segments = list({part["archive_id"]: None for part in parts})
    readers = {"$or": [{name: {"$in": segments}} for name in ("_id", "archive_id", "archive_lineage.id")]}
    owned = {"$and": [dict(which), readers, {"user_id": wanted["user_id"]}]}
    sessions = await connection.collection.find(owned, projection=archive.ARCHIVE_FIELDS).to_list(None)
    hits = [hit for session in sessions if (hit := _best_hit(session, parts)) is not None]
    hits = sorted(hits, key=lambda hit: -hit.score)[:limit]
    said = await _said_in(connection, [hit.bucket for hit in hits])
    whole = await connection.collection.find(
        {"_id": {"$in": [hit.session_key for hit in hits]}, "user_id": wanted["user_id"]}, projection={"runs": 0}
    ).to_list(None)
    stored = {session["_id"]: session for session in whole}
    matches = []
    for hit in hits:
        runs = said.get(_frozen(hit.bucket), [])[hit.runs]
        # What stands in runs that a fork or a rewind left behind was not said here.
        shown = hit.whole or (pattern is not None and any(_excerpts(runs, pattern)))
        if shown and hit.session_key in stored:
            matches.append({"_id": hit.session_key, "score": hit.score, "said": runs, "session": stored[hit.session_key]})
    return matches


def _best_hit(session: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> _Hit | None:
    """The first of ``parts``, which are sorted, that holds runs of the session; None if none does."""
    segments = {segment.archive_id: segment for segment in archive.segments_of(session)}
    for part in parts:
        segment = segments.get(part["archive_id"])
        if segment is None:
            continue
        low, high = max(part["first"], segment.begin), min(part["end"], segment.end)
        if low < high:
            whole = (low, high) == (part["first"], part["end"])
            runs = slice(low - part["first"], high - part["first"])
            return _Hit(session["_id"], part["score"], part["_id"], runs, whole)
    return None


async def _said_in(connection: Connection, buckets: Sequence[Any]) -> dict[Any, list[dict[str, Any]]]:
    pipeline = [{"$match": {"_id": {"$in": list(buckets)}}}, {"$project": {"said": _SAID}}]
    return {_frozen(bucket["_id"]): bucket["said"] for bucket in await _aggregate(connection.archive, pipeline)}


def _frozen(bucket: Mapping[str, Any]) -> tuple[Any, ...]:
    """The ``_id`` of an archive document, which is a document itself, as a key."""
    return tuple(bucket.values())


async def _aggregate(collection: Any, pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    cursor = await collection.aggregate(list(pipeline))
    found: list[dict[str, Any]] = await cursor.to_list(None)
    return found


def _each(array: str, name: str, shape: Mapping[str, Any]) -> dict[str, Any]:
    """``shape`` for every element of an array; nothing for what is none."""
    return {"$map": {"input": {"$cond": [{"$isArray": [array]}, array, []]}, "as": name, "in": dict(shape)}}


_MESSAGE: Final = {name: f"$$message.{name}" for name in ("role", "content", "from_history", "misfit")}

_SAID: Final = _each(
    "$runs",
    "run",
    {
        "run_id": "$$run.run_id",
        "messages": _each("$$run.messages", "message", _MESSAGE),
    },
)
"""Of all runs, who said what: an excerpt needs no more."""


def _among_sessions(wanted: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    return [
        {"$match": dict(wanted)},
        {"$sort": {"score": {"$meta": "textScore"}}},
        {"$limit": limit},
        {"$project": {"score": {"$meta": "textScore"}, "said": _SAID, "session": "$$ROOT"}},
        {"$unset": "session.runs"},
    ]


def _among_archived(wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"$match": dict(wanted)},
        {"$sort": {"score": {"$meta": "textScore"}}},
        {"$limit": ARCHIVED_PARTS},
        {"$project": {"archive_id": 1, "first": 1, "end": 1, "score": {"$meta": "textScore"}}},
    ]


def _match_of(connection: Connection, document: Mapping[str, Any], pattern: re.Pattern[str] | None) -> SessionMatch:
    excerpts = () if pattern is None else tuple(_excerpts(document.get("said") or (), pattern))
    return SessionMatch(session=connection.parse(document["session"]), score=document["score"], excerpts=excerpts)


def _joined(newer: SessionMatch, older: SessionMatch) -> SessionMatch:
    """One match of a session that was found in its newer runs and in its archived ones."""
    return SessionMatch(
        session=newer.session,
        score=max(newer.score, older.score),
        excerpts=(older.excerpts + newer.excerpts)[:EXCERPTS],
    )


_MARKS: Final = "[\u0300-\u036f]*"
_PIECES: Final = re.compile(r'(?P<minus>-?)"(?P<phrase>[^"]*)"|(?P<word>\S+)')


def _pattern_of(query: str) -> re.Pattern[str] | None:
    """What to show of a message: the first of the words and phrases of the query, whatever its case and accents."""
    wanted = [words for words in map(_words_of, _PIECES.finditer(query)) if words]
    if not wanted:
        return None
    phrases = (r"\W+".join(map(_accented, words)) for words in sorted(wanted, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)


def _words_of(piece: re.Match[str]) -> list[str]:
    if piece["word"] is None:
        return [] if piece["minus"] else re.findall(r"\w+", piece["phrase"])
    # A minus in the middle of a word only parts it.
    return [] if piece["word"].startswith("-") else re.findall(r"\w+", piece["word"])


def _accented(word: str) -> str:
    plain = re.sub(_MARKS, "", unicodedata.normalize("NFD", word))
    return "".join(re.escape(letter) + _MARKS for letter in plain)


def _excerpts(said: Sequence[Mapping[str, Any]], pattern: re.Pattern[str]) -> Iterator[Excerpt]:
    left = EXCERPTS
    for run in said:
        for message in run["messages"]:
            # What an earlier run said is shown as that run's.
            is_shown = not (message.get("from_history") or message.get("misfit"))
            excerpt = _excerpt_of(_text_of(message.get("content")), pattern) if is_shown else None
            if excerpt is not None:
                yield Excerpt(run_id=run.get("run_id"), role=message.get("role"), text=excerpt)
                left -= 1
            if not left:
                return


def _text_of(content: Any) -> str:
    """A message's text; of a message in parts, that of its parts of text."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return _text_of(content.get("text"))
    return "\n".join(filter(None, map(_text_of, content))) if isinstance(content, list) else ""


def _excerpt_of(text: str, pattern: re.Pattern[str]) -> str | None:
    text = text if text.isascii() else unicodedata.normalize("NFD", text)
    found = pattern.search(text)
    if found is None:
        return None
    start, end = max(0, found.start() - _AROUND), min(len(text), found.end() + _AROUND)
    # Whole words, if the cut does not fall into the only one.
    start = start and (text.find(" ", start, found.start()) + 1 or start)
    if end < len(text):
        end = max(text.rfind(" ", found.end(), end), 0) or end
    piece = " ".join(unicodedata.normalize("NFC", text[start:end]).split())
    return f"{'…' if start else ''}{piece}{'…' if end < len(text) else ''}"
