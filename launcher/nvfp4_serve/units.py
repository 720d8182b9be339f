"""Bytes for people. The only place that formats sizes; standard library only."""

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

_STEPS: Final = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))


def format_bytes(count: int) -> str:
    """Return ``count`` bytes as GiB, MiB or KiB (powers of 1024), one decimal.

    >>> format_bytes(980_000_000_000)
    '912.7 GiB'
    >>> format_bytes(512)
    '512 bytes'
    """
    for size, name in _STEPS:
        if count >= size:
            return f"{count / size:.1f} {name}"
    return f"{count} bytes"


def format_count(count: int) -> str:
    """Return a number of parameters as people say it (powers of 1000).

    >>> format_count(30_532_122_624)
    '30.5 B'
    >>> format_count(1_234)
    '1,234'
    """
    for size, name in ((10**12, "T"), (10**9, "B"), (10**6, "M")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return f"{count:,}"
