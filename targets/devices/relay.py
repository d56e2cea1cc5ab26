"""A process between TVM's client and a device: it carries their bytes, and cuts a late call.

TVM's client waits for an answer without a limit, at times with Python's lock held (when an
object of the device is dropped), so neither it nor a thread beside it could give up. Run as a
program, on two inherited sockets; imports the standard library only.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import struct
import sys
import time

DONE, OVERDUE, LOST = 0, 3, 4
"""Exit status: the client is through; the device did not answer in time, or hung up."""

MAGIC = 0xFF271
"""What greets in TVM's RPC, both ways (kRPCMagic)."""

CHUNK = 1 << 20
LENGTH = struct.Struct("<Q")
"""What each packet begins with: how many bytes follow."""


class Packets:
    """Follows a stream of packets; tells whether it stands between two of them."""

    def __init__(self) -> None:
        self._left = 0
        self._head = b""

    def feed(self, data: bytes) -> None:
        """Follow these bytes."""
        while data:
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
                continue
            taken = LENGTH.size - len(self._head)
            self._head += data[:taken]
            data = data[taken:]
            if len(self._head) == LENGTH.size:
                (self._left,) = LENGTH.unpack(self._head)
                self._head = b""

    @property
    def between(self) -> bool:
        """Whether the last packet is whole."""
        return not self._left and not self._head


def greet(client: socket.socket) -> None:
    """Greet TVM's client; the device is greeted already."""
    (length,) = struct.unpack("<4xi", exactly(client, 8))
    exactly(client, length)
    client.sendall(struct.pack("<ii", MAGIC, 0))


def exactly(source: socket.socket, count: int) -> bytes:
    """Return the next so many bytes."""
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise ConnectionError("the client has gone")
        data += more
    return data


def carry(client: socket.socket, device: socket.socket, seconds: float) -> int:
    """Carry bytes both ways until one side ends, or an answer is late; return which."""
    answer = Packets()
    due: float | None = None
    while True:
        left = None if due is None else max(due - time.monotonic(), 0.0)
        ready = select.select([client, device], [], [], left)[0]
        if not ready:
            return OVERDUE
        try:
            if device in ready:
                data = device.recv(CHUNK)
                if not data:
                    return LOST
                answer.feed(data)
                due = None if answer.between else time.monotonic() + seconds
            else:
                data = client.recv(CHUNK)
                if not data:
                    return DONE
                device.sendall(data)
                due = time.monotonic() + seconds
                continue
        except TimeoutError:
            return OVERDUE
        except OSError:
            return LOST
        with contextlib.suppress(OSError):  # a client that has gone is seen at its receive
            client.sendall(data)


def main(listener: int, device: int, seconds: float) -> int:
    """Serve one client on the listening socket, then end."""
    with socket.socket(fileno=device) as remote, socket.socket(fileno=listener) as local:
        local.settimeout(seconds)
        try:
            client, _ = local.accept()
        except TimeoutError:
            return DONE
        with client:
            for end in (client, remote):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            greet(client)
            remote.settimeout(seconds)
            return carry(client, remote, seconds)


if __name__ == "__main__":
    # An interrupt from the keyboard ends the relay, and thereby the call that waits on it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
