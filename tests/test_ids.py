"""Ids that nobody else has."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from agno_mongo.ids import new_id


def test_an_id_is_a_random_uuid_as_python_writes_it() -> None:
    made = [new_id() for _ in range(1000)]
    for one in made:
        read = UUID(one)
        assert (str(read), read.version, read.variant) == (one, 4, RFC_4122)
    assert len(set(made)) == len(made)
    assert {one[19] for one in made} == set("89ab")
