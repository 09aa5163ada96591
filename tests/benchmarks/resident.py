"""How much memory has this process held at most? Its own, not that of the process which started it.

`resource.getrusage` tells the larger of both on Linux, where a program inherits its parent's peak; a child of a large
parent then seems to need nothing.
"""

from __future__ import annotations

from pathlib import Path


def peak_resident() -> int:
    """Bytes; since the program started, or since the process was forked."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
