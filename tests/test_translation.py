"""What the server's error codes become."""

from __future__ import annotations

import pytest
from pymongo.errors import AutoReconnect, OperationFailure

from agno_mongo.db.translation import translated
from agno_mongo.errors import (
    DocumentTooLarge,
    StoreAuthenticationError,
    StoreError,
    StorePermissionError,
    StoreUnavailable,
)


def translation_of(error: Exception) -> StoreError:
    with pytest.raises(StoreError) as caught, translated("storing run 'r'", lambda: "db.example:27017"):
        raise error
    assert caught.value.__cause__ is error
    assert "storing run 'r'" in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "code", [6, 7, 24, 50, 89, 91, 112, 133, 134, 189, 202, 262, 365, 402, 407, 433, 449, 9001, 11600, 13436]
)
def test_what_may_succeed_later_is_told_from_what_cannot(code: int) -> None:
    error = translation_of(OperationFailure("not now", code, {"errmsg": "not now", "code": code}))
    assert type(error) is StoreUnavailable
    assert "db.example:27017 could not do it now: not now" in str(error)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (13, StorePermissionError, "readWrite"),
        (18, StoreAuthenticationError, "user name or password"),
        (10334, DocumentTooLarge, "16 MB"),
        (388, StoreError, "wiredTigerCacheSizeGB"),
        (2, StoreError, "refused"),
        (121, StoreError, "refused"),
    ],
)
def test_what_will_not_succeed_says_why(code: int, kind: type, words: str) -> None:
    error = translation_of(OperationFailure("no", code, {"errmsg": "no", "code": code}))
    assert type(error) is kind
    assert words in str(error)


def test_a_server_that_is_away_is_named() -> None:
    assert "no MongoDB server answers at db.example:27017" in str(translation_of(AutoReconnect("gone")))
