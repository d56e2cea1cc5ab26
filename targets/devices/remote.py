"""A device over TVM's RPC: open it, see what it is, run and time libraries there."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

import onnx_ir as ir
from tvm import rpc

from qcompile.device import DeviceFacts, check_fits
from qcompile.errors import CompileError
from qcompile.target import Arrays, Target
from qcompile.targets.devices import tracker
from qcompile.targets.devices.facts import tvm_version
from qcompile.targets.devices.link import Link, greet
from qcompile.targets.devices.runner import RemoteRunner
from qcompile.targets.devices.server import FACTS
from qcompile.targets.devices.url import DeviceUrl

CALL_SECONDS = 60.0
"""How long a device may take for one answer unless told."""

CONNECT_SECONDS = 5.0
"""How long to try to connect."""


class RemoteDevice:
    """A connected device; one thread at a time may use it.

    Attributes:
        url: Where it is.
        facts: What it says of itself.
        timeout: Seconds that the device may take for one answer.
        cpu: Its CPU, for TVM.
    """

    def __init__(self, url: str, link: Link, timeout: float) -> None:
        self.url = url
        self.timeout = timeout
        self._link = link
        self._modules: dict[str, Any] = {}
        with self.explained("connect"):
            self._session = rpc.connect("127.0.0.1", link.port)
            self.cpu = self._session.cpu(0)
            self.facts = self._facts()

    def explained(self, doing: str) -> AbstractContextManager[None]:
        """Say what is wrong where calls to the device fail; see `Link.explained`."""
        return self._link.explained(doing)

    def load(
        self, target: Target, library: bytes, model: ir.Model, *, every_value: bool = False
    ) -> RemoteRunner:
        """Upload a library that was built for the target, and load it there.

        Raises:
            CompileError: The device cannot run it, or is gone.
        """
        check_fits(target.name, target.arch, target.features, self.facts, where=self.url)
        digest = hashlib.sha256(library).hexdigest()
        with self.explained("load the library"):
            if digest not in self._modules:
                name = f"{digest}.so"
                self._session.upload(bytearray(library), name)
                self._modules[digest] = self._session.load_module(name)
            return RemoteRunner(self, self._modules[digest], model, every_value=every_value)

    def forget(self, module: Any) -> None:
        """Unload a library once nobody uses it."""
        kept = {key: each for key, each in self._modules.items() if each is not module}
        self._modules = kept

    def seconds(
        self,
        target: Target,
        library: bytes,
        model: ir.Model,
        inputs: Arrays,
        *,
        runs: int,
        threads: int,
    ) -> list[float]:
        """Return how long each of so many runs took, measured on the device."""
        runner = self.load(target, library, model)
        return runner.seconds(inputs, runs, threads)

    def round_trip(self, tries: int = 20) -> float:
        """Return the seconds of the fastest of some look-ups of a function."""
        times = []
        with self.explained("measure the round trip"):
            for _ in range(tries):
                start = time.perf_counter()
                self._session.get_function(FACTS)
                times.append(time.perf_counter() - start)
        return min(times)

    def close(self) -> None:
        """End the session; the device takes the next client."""
        self._modules.clear()
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _facts(self) -> DeviceFacts:
        """Ask the device what it is, and refuse another version of TVM."""
        try:
            facts: DeviceFacts = json.loads(self._session.get_function(FACTS)())
        except AttributeError as error:
            raise CompileError(
                "the server does not say what its CPU is: it is TVM's own",
                where=self.url,
                hint="start it on the device with `qcompile device serve`",
            ) from error
        theirs, ours = facts["versions"]["apache-tvm"], tvm_version()
        if theirs != ours:
            raise CompileError(
                f"the device has apache-tvm {theirs}, here it is {ours}",
                where=self.url,
                hint=f"install the same there: pip install apache-tvm=={ours}",
            )
        return facts


def open_device(
    url: str, *, timeout: float = CALL_SECONDS, connect_timeout: float = CONNECT_SECONDS
) -> RemoteDevice:
    """Connect to a device; use the result in a `with` statement.

    Args:
        url: `rpc://host:port/key`, or `tracker://host:port/key` for any free device.
        timeout: Seconds that the device may take for one answer.
        connect_timeout: Seconds to try to connect; failures are tried again with growing
            pauses.

    Raises:
        CompileError: Nobody listens, another key, another version, no answer in time; one
            line says which.
    """
    parsed = DeviceUrl.parse(url)
    deadline = time.monotonic() + connect_timeout
    address, key = (parsed.host, parsed.port), parsed.key
    if parsed.scheme == "tracker":
        address, key = tracker.request(parsed, deadline)
    link = greet(address, key, deadline=deadline, seconds=timeout, where=url)
    try:
        return RemoteDevice(url, link, timeout)
    except BaseException:
        link.close()
        raise
