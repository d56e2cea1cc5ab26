"""Ask a TVM tracker for a free device of a key, within a time."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from tvm.rpc import base

from qcompile.errors import CompileError
from qcompile.targets.devices.link import FIRST_PAUSE, PAUSE_FACTOR, dial
from qcompile.targets.devices.url import DeviceUrl

START = (
    "python -m tvm.exec.rpc_tracker --host HOST --port PORT (it needs tornado, cloudpickle)"
)


def request(url: DeviceUrl, deadline: float) -> tuple[tuple[str, int], str]:
    """Return the address of a free device, and the key that it expects.

    Raises:
        CompileError: No tracker there, no device of that key, or all are busy.
    """
    where = str(url)
    connection = dial((url.host, url.port), deadline, where, "tracker", START)
    with connection:
        connection.settimeout(max(deadline - time.monotonic(), FIRST_PAUSE))
        try:
            greet_tracker(connection, where)
            wait_for_key(connection, url, deadline)
            wanted = [base.TrackerCode.REQUEST, url.key, "", 1]
            host, port, key = ask(connection, wanted, where)
        except TimeoutError as error:
            raise CompileError(
                f"no free device with key {url.key!r}",
                where=where,
                hint="all are busy; try again later",
            ) from error
        except (OSError, ValueError, struct.error) as error:
            raise no_tracker(where) from error
    return (host, port), key


def greet_tracker(connection: socket.socket, where: str) -> None:
    """Say who we are.

    Raises:
        CompileError: The other side is no tracker.
    """
    connection.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
    (magic,) = struct.unpack("<i", base.recvall(connection, 4))
    if magic != base.RPC_TRACKER_MAGIC:
        raise no_tracker(where)


def ask(connection: socket.socket, question: list[Any], where: str) -> Any:
    """Return the tracker's answer."""
    base.sendjson(connection, question)
    code, *answer = base.recvjson(connection)
    if code != base.TrackerCode.SUCCESS:
        raise CompileError(f"the tracker refuses: {answer}", where=where)
    return answer[0]


def wait_for_key(connection: socket.socket, url: DeviceUrl, deadline: float) -> None:
    """Wait until a device has that key: it may be starting again.

    Raises:
        CompileError: None has it at the deadline; says which keys there are.
    """
    pause = FIRST_PAUSE
    while True:
        summary = ask(connection, [base.TrackerCode.SUMMARY], str(url))
        keys = {info["key"].partition(":")[2] for info in summary["server_info"]}
        if url.key in keys:
            return
        if deadline - time.monotonic() <= pause:
            raise CompileError(
                f"the tracker has no device with key {url.key!r}",
                where=str(url),
                hint=f"its keys: {', '.join(sorted(keys)) or 'none'}",
            )
        time.sleep(pause)
        pause *= PAUSE_FACTOR


def no_tracker(where: str) -> CompileError:
    """Return the error of a server that is something else."""
    return CompileError("this is no TVM tracker", where=where, hint=f"start one: {START}")
