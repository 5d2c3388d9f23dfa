"""The socket of a folder's mongod: where it is, and whether anybody listens there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import struct
import sys
import tempfile
import time

from agno_mongo.db.mongod.binary import WAY_OUT
from agno_mongo.db.mongod.locks import DYING_TIME, POLL_INTERVAL
from agno_mongo.errors import EmbeddedServerError

# sun_path without its closing NUL; BSD's, and so macOS's, is shorter than Linux's.
SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107


def socket_name(folder: str) -> str:
    """The file name of the folder's socket, by which its mongod is told, too."""
    return f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.sock"


def choose_socket(folder: str, recorded: str | None) -> str:
    """Return a socket path for the folder, in a directory that only this user can enter.

    The directory of the ``recorded`` one comes first: users of a server that died reconnect there.
    """
    short = "/tmp"  # noqa: S108  (for a private directory in it)
    bases = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), short]
    if recorded is not None:
        bases.insert(0, os.path.dirname(os.path.dirname(recorded)))
    directories = [os.path.join(base, f"agno_mongo-{os.getuid()}") for base in bases if os.path.isabs(base)]
    trouble = []
    for directory in dict.fromkeys(directories):
        path = os.path.join(directory, socket_name(folder))
        if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
            trouble.append(f"{path} is too long for a Unix socket (more than {SOCKET_PATH_LIMIT} bytes)")
        elif not _make_private(directory):
            trouble.append(f"{directory} cannot be made, or is not a directory that only this user can enter")
        else:
            return path
    message = (
        f"There is no place for the socket of the embedded mongod on {folder}: {'; '.join(trouble)}. "
        f"Set TMPDIR to a directory of yours with a short path, {WAY_OUT}."
    )
    raise EmbeddedServerError(message)


def _make_private(directory: str) -> bool:
    """Make the directory with mode 0700 and say whether it is ours alone: anybody may have made it first."""
    try:
        if not os.path.isdir(os.path.dirname(directory)):
            return False
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return False
        if stat.S_IMODE(found.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
            os.chmod(directory, 0o700)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)


def accepts(socket_path: str) -> bool:
    """Say whether somebody listens on the socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(socket_path)
        except (BlockingIOError, TimeoutError):
            return True  # somebody listens, and has a long queue
        except OSError:
            return False
    return True


def falls_silent(socket_path: str) -> bool:
    """Wait a moment for a mongod that was killed to let go of its socket, and say whether nobody listens."""
    deadline = time.monotonic() + DYING_TIME
    while accepts(socket_path):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL)
    return True


def peer_of(socket_path: str) -> int | None:
    """Return the pid of the process that listens on a socket, where the system tells; else None."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(socket_path)
        except OSError:
            return None
        pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))[0]
        return pid
