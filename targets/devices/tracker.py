"""Ask a TVM tracker for a free device of a key, within a time."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from tvm.rpc import base

from qcompile.errors import CompileError
from qcompile.targets.devices.link import dial
from qcompile.targets.devices.url import DeviceUrl

START = "python -m tvm.exec.rpc_tracker --host HOST --port PORT"


def request(url: DeviceUrl, deadline: float) -> tuple[tuple[str, int], str]:
    """Return the address of a free device, and the key that it expects.

    Raises:
        CompileError: No tracker there, no device of that key, or all are busy.
    """
    where = str(url)
    connection = dial((url.host, url.port), deadline, where, "tracker", START)
    with connection:
        connection.settimeout(max(deadline - time.monotonic(), 0.1))
        try:
            greet_tracker(connection, where)
            check_key(ask(connection, [base.TrackerCode.SUMMARY], where), url)
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


def check_key(summary: dict[str, Any], url: DeviceUrl) -> None:
    """Refuse a key that no device of the tracker has.

    Raises:
        CompileError: There is none; says which keys there are.
    """
    keys = {info["key"].partition(":")[2] for info in summary["server_info"]}
    if url.key not in keys:
        listed = ", ".join(sorted(keys)) or "none yet"
        raise CompileError(
            f"the tracker has no device with key {url.key!r}",
            where=str(url),
            hint=f"its keys: {listed}",
        )


def no_tracker(where: str) -> CompileError:
    """Return the error of a server that is something else."""
    return CompileError("this is no TVM tracker", where=where, hint=f"start one: {START}")
