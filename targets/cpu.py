"""Where the host's facts were."""

from qcompile.host import CPUINFO, host_arch, host_features

__all__ = ["CPUINFO", "host_arch", "host_features"]
