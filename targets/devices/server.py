"""Serve this machine as a device: TVM's RPC server, in this process and its forks.

TVM's own front end starts itself again through sys.executable, which an emulated user space
cannot. Needs TVM's runtime and NumPy only.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import multiprocessing
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from qcompile.errors import CompileError
from qcompile.targets.devices.facts import host_facts
from qcompile.targets.devices.url import host_port

FACTS = "qcompile.device_facts"
"""The function over RPC that gives `DeviceFacts` as JSON."""

GREETING_SECONDS = 5.0
"""How long a client may take for its first bytes; until then the server hears no other."""

TRACKER_SECONDS = 5.0
RETRY_SECONDS = 1.0
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""A peer whose machine is gone is noticed after 30 seconds of silence."""


class Listener(socket.socket):
    """A listening socket that drops clients which connect and say nothing."""

    def accept(self) -> tuple[socket.socket, object]:
        """Return a connection whose first bytes are there.

        Raises:
            TimeoutError: The client said nothing; TVM's loop takes that as a lost client.
        """
        connection, address = super().accept()
        keep_alive(connection)
        if not select.select([connection], [], [], GREETING_SECONDS)[0]:
            connection.close()
            raise TimeoutError("the client says nothing")
        return connection, address


def serve(
    host: str,
    port: int,
    key: str,
    tracker: tuple[str, int] | None,
    ready: Callable[[int], None],
) -> NoReturn:
    """Serve one client after the other until interrupted.

    Args:
        host: The address to listen at; 127.0.0.1 keeps others out.
        port: The port, or 0 for any free one.
        key: What a client must name.
        tracker: A tracker to tell of this device.
        ready: Called with the port once clients can connect.

    Raises:
        CompileError: The port is taken, or nobody is at the tracker's address.
    """
    os.environ.setdefault("TVM_USE_RUNTIME_LIB", "1")  # the compiler takes 10 s on a board
    import tvm
    import tvm_ffi
    from tvm.rpc import server as rpc_server

    extra = Path(tvm.__file__).parent / "lib" / "libtvm_runtime_extra.so"
    if extra.is_file():
        ctypes.CDLL(str(extra), ctypes.RTLD_GLOBAL)  # sort and random, for float islands
    tvm_ffi.register_global_func(FACTS, lambda: json.dumps(host_facts()), override=True)
    multiprocessing.set_start_method("fork", force=True)
    if tracker is not None:
        check_tracker(tracker)
    with listen(host, port) as listener, sessions_end_with_this():
        port = listener.getsockname()[1]
        ready(port)
        folder = Path.cwd()
        while True:
            try:
                rpc_server._listen_loop(listener, port, key, tracker, "", None)
            except Exception as error:
                # A session that crashed (an illegal instruction, say), a client that does
                # not speak the protocol, a tracker that is gone: the board stays up.
                print(f"qcompile device: {error}", file=sys.stderr, flush=True)
                os.chdir(folder)
                time.sleep(RETRY_SECONDS)


def listen(host: str, port: int) -> Listener:
    """Return the listening socket.

    Raises:
        CompileError: It cannot be had.
    """
    where = host_port(host, port)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = Listener(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(8)
    except OSError as error:
        raise CompileError(
            f"cannot listen: {error.strerror}", where=where, hint="take another --port"
        ) from error
    return listener


def check_tracker(tracker: tuple[str, int]) -> None:
    """Refuse a tracker that is not there; TVM would try for a minute.

    Raises:
        CompileError: Nobody listens at its address.
    """
    try:
        socket.create_connection(tracker, TRACKER_SECONDS).close()
    except OSError as error:
        raise CompileError(
            f"no tracker: {error.strerror or error}",
            where=host_port(*tracker),
            hint="start one: python -m tvm.exec.rpc_tracker --host HOST --port PORT "
            "(it needs tornado, cloudpickle)",
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def keep_alive(connection: socket.socket) -> None:
    """Notice a peer that vanished without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, number in KEEPALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, number)


@contextlib.contextmanager
def sessions_end_with_this() -> Iterator[None]:
    """End the forked sessions when this process is told to end."""

    def stop(*_: object) -> NoReturn:
        raise SystemExit(0)

    previous = signal.signal(signal.SIGTERM, stop)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    try:
        yield
    finally:
        for session in multiprocessing.active_children():
            session.kill()
        signal.signal(signal.SIGTERM, previous)
