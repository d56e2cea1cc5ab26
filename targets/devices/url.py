"""The address of a device: `rpc://host:port/key` or `tracker://host:port/key`."""

from __future__ import annotations

import dataclasses
import re

from qcompile.errors import CompileError

DEFAULT_PORTS = {"rpc": 9090, "tracker": 9190}
PATTERN = re.compile(
    r"(?P<scheme>rpc|tracker)://(?P<host>\[[0-9a-fA-F:.]+\]|[^\s/:\[\]]+)"
    r"(:(?P<port>\d{1,5}))?(/(?P<key>[^\s/]*))?"
)


@dataclasses.dataclass(frozen=True)
class DeviceUrl:
    """One device, or any free device of that key which a tracker knows."""

    scheme: str
    host: str
    port: int
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> DeviceUrl:
        """Return the address that the text names.

        Raises:
            CompileError: It is none.
        """
        match = PATTERN.fullmatch(text)
        if match is None:
            raise CompileError(
                "not the address of a device",
                where=repr(text),
                hint="rpc://host:port/key, or tracker://host:port/key",
            )
        scheme, key = match["scheme"], match["key"] or ""
        port = int(match["port"] or DEFAULT_PORTS[scheme])
        if not 0 < port < 1 << 16:
            raise CompileError(
                f"there is no port {port}", where=repr(text), hint="name one from 1 to 65535"
            )
        if scheme == "tracker" and not key:
            raise CompileError(
                "a tracker has devices of several keys: which one?",
                where=repr(text),
                hint=f"name a key: {text.rstrip('/')}/KEY",
            )
        return cls(scheme, match["host"].strip("[]"), port, key)

    def __str__(self) -> str:
        key = f"/{self.key}" if self.key else ""
        return f"{self.scheme}://{host_port(self.host, self.port)}{key}"


def host_port(host: str, port: int) -> str:
    """Return both in one word; an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
