"""A connection to a device on which no call waits longer than it may; see `relay`."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from tvm.rpc import base

from qcompile.errors import CompileError
from qcompile.targets.devices import relay
from qcompile.targets.devices.server import keep_alive
from qcompile.targets.devices.url import host_port

FIRST_PAUSE, PAUSE_FACTOR = 0.1, 2.0
"""Seconds between two tries to connect, and how they grow."""

VERDICT_SECONDS = 2.0
"""How long the relay may take to end once its connection is gone."""

SAME_TVM = "install the same apache-tvm there as here"
SERVE = "start it on the device: qcompile device serve"


class Link:
    """A greeted connection to a TVM RPC server, with the relay that guards it.

    Attributes:
        port: Where TVM's client connects, on 127.0.0.1.
    """

    def __init__(self, device: socket.socket, seconds: float, where: str) -> None:
        self._where = where
        self._seconds = seconds
        with socket.create_server(("127.0.0.1", 0)) as listener, device:
            sockets = (listener.fileno(), device.fileno())
            self.port: int = listener.getsockname()[1]
            self._relay = subprocess.Popen(
                [sys.executable, "-I", "-S", relay.__file__, *map(str, sockets), str(seconds)],
                pass_fds=sockets,
            )

    @contextlib.contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """Run calls to the device, and say what is wrong where they fail.

        Raises:
            CompileError: No answer in time, the device is gone, or it refused.
        """
        if self._relay.poll() is not None:
            self._fail(doing, "the connection is closed", "connect again")
        try:
            yield
        except RuntimeError as error:
            if "server protocol=" in str(error):
                self._fail(doing, "the device has another version of TVM", SAME_TVM)
            verdict = self._verdict()
            if verdict == relay.OVERDUE:
                late = f"no answer within {self._seconds:g} seconds"
                self._fail(doing, late, "see whether the device still runs, or give --timeout")
            if verdict is not None:
                self._fail(doing, "the device ended the connection", "see the server's log")
            self._fail(doing, f"the device says: {last_line(error)}", "see the server's log")

    def close(self) -> None:
        """End the connection; the device takes the next client."""
        self._relay.kill()
        self._relay.wait()

    def _verdict(self) -> int | None:
        """Return how the relay ended; None where the connection still stands."""
        try:
            return self._relay.wait(VERDICT_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def _fail(self, doing: str, problem: str, hint: str) -> NoReturn:
        raise CompileError(f"cannot {doing}: {problem}", where=self._where, hint=hint)


def greet(
    address: tuple[str, int], key: str, *, deadline: float, seconds: float, where: str
) -> Link:
    """Connect to a TVM RPC server, again and again with growing pauses until the deadline.

    Args:
        address: Host and port.
        key: What the server serves under.
        deadline: When to stop, on `time.monotonic`'s clock.
        seconds: How long the device may take for an answer.
        where: The device's address, for messages.

    Raises:
        CompileError: Nobody listens, nobody answers, another key, no TVM RPC server.
    """
    connection = dial(address, deadline, where, "device", "qcompile device serve")
    keep_alive(connection)
    name = f"client:{key}".encode()
    try:
        connection.settimeout(max(deadline - time.monotonic(), FIRST_PAUSE))
        connection.sendall(struct.pack("<ii", base.RPC_MAGIC, len(name)) + name)
        (code,) = struct.unpack("<i", base.recvall(connection, 4))
        if code == base.RPC_CODE_SUCCESS:
            (length,) = struct.unpack("<i", base.recvall(connection, 4))
            base.recvall(connection, length)
            connection.settimeout(None)
            return Link(connection, seconds, where)
    except TimeoutError as error:
        connection.close()
        raise CompileError(
            "connected, but no greeting: the device is busy with another client, "
            "or this is no TVM RPC server",
            where=where,
            hint="a server takes one client at a time; try again later",
        ) from error
    except OSError as error:
        connection.close()
        raise CompileError(
            "the server hung up at the greeting: this is no TVM RPC server, or it is ending",
            where=where,
            hint=SERVE,
        ) from error
    connection.close()
    if code == base.RPC_CODE_MISMATCH:
        raise CompileError(
            f"the server has another key than {key!r}",
            where=where,
            hint="name the key that `qcompile device serve --key KEY` was given there",
        )
    raise CompileError(
        "this is no TVM RPC server",
        where=where,
        hint=SERVE,
    )


def dial(
    address: tuple[str, int], deadline: float, where: str, what: str, start: str
) -> socket.socket:
    """Return a connection; tries with growing pauses until the deadline.

    Raises:
        CompileError: There is no such host, or nobody listens there.
    """
    begin, pause, tries = time.monotonic(), FIRST_PAUSE, 0
    while True:
        tries += 1
        left = deadline - time.monotonic()
        try:
            connection = socket.create_connection(address, max(left, FIRST_PAUSE))
        except socket.gaierror as error:
            raise CompileError(
                f"no host {address[0]!r}: {error.strerror}", where=where, hint="check the name"
            ) from error
        except OSError as error:
            if left <= pause:
                tried = f"{tries} {'try' if tries == 1 else 'tries'}"
                raise CompileError(
                    f"no {what} at {host_port(*address)}: {error.strerror or error} "
                    f"({tried} in {time.monotonic() - begin:.1f} seconds)",
                    where=where,
                    hint=f"start it there: {start}",
                ) from error
            time.sleep(pause)
            pause *= PAUSE_FACTOR
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def last_line(error: BaseException) -> str:
    """Return the line that says what is wrong, below TVM's frames."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
