"""The relay between TVM's client and a device: packets, and answers that are late."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.devices.relay import DONE, LENGTH, LOST, OVERDUE, Packets, carry

SECONDS = 0.3


def packet(body: bytes) -> bytes:
    return LENGTH.pack(len(body)) + body


@given(st.lists(st.binary(max_size=20), max_size=5), st.data())
def test_packets_are_followed_however_they_are_cut(
    bodies: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(packet, bodies))
    ends = {0}
    for body in bodies:
        ends.add(max(ends) + len(packet(body)))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    packets, position = Packets(), 0
    for cut in [*cuts, len(stream)]:
        packets.feed(stream[position:cut])
        position = cut
        assert packets.between == (cut in ends)


def answer(reply: bytes) -> Callable[[socket.socket], None]:
    def device(end: socket.socket) -> None:
        end.recv(100)
        end.sendall(reply)

    return device


def hang_up(end: socket.socket) -> None:
    end.recv(100)
    end.close()


CASES = {
    "no answer": (lambda end: None, OVERDUE),
    "half an answer": (answer(packet(b"12345678")[:-1]), OVERDUE),
    "half a length": (answer(packet(b"")[:-1]), OVERDUE),
    "hangs up": (hang_up, LOST),
}


@pytest.mark.parametrize(("device", "verdict"), CASES.values(), ids=CASES)
def test_verdict(device: Callable[[socket.socket], None], verdict: int) -> None:
    client, local = socket.socketpair()
    remote, end = socket.socketpair()
    with client, local, remote, end:
        remote.settimeout(SECONDS)
        threading.Thread(target=device, args=(end,), daemon=True).start()
        client.sendall(packet(b"call"))
        start = time.monotonic()
        assert carry(local, remote, SECONDS) == verdict
        assert time.monotonic() - start < 3 * SECONDS


def test_whole_answers_may_be_followed_by_any_pause() -> None:
    client, local = socket.socketpair()
    remote, end = socket.socketpair()
    verdicts: list[int] = []
    thread = threading.Thread(target=lambda: verdicts.append(carry(local, remote, SECONDS)))
    with client, local, remote, end:
        thread.start()
        for body in (b"", b"one", b"two" * 1000):
            client.sendall(packet(b"call"))
            assert end.recv(100) == packet(b"call")
            end.sendall(packet(body))
            assert client.recv(len(packet(body)), socket.MSG_WAITALL) == packet(body)
        time.sleep(2 * SECONDS)
        assert thread.is_alive()
        client.close()
        thread.join(5)
    assert verdicts == [DONE]
