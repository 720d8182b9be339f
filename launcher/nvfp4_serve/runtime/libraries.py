"""The system libraries that an engine's wheels need and do not bring."""

import ctypes
from collections.abc import Iterable

from nvfp4_serve.errors import EngineError

#: Who brings each, in the words of Debian and of Fedora.
_PACKAGES = {"libnuma.so.1": ("libnuma1", "numactl-libs")}


def check_libraries(names: Iterable[str]) -> None:
    """Check that every library can be loaded.

    vLLM 0.32.0 only warns when one is missing, and fails much later with
    ``AttributeError: '_OpNamespace' '_C' object has no attribute ...``.

    Raises:
        EngineError: Names every one that cannot.
    """
    faults = {name: fault for name in names if (fault := _fault(name))}
    if not faults:
        return
    debian = " ".join(_PACKAGES[name][0] for name in faults)
    fedora = " ".join(_PACKAGES[name][1] for name in faults)
    raise EngineError(
        f"The engine needs a system library that is not here: {', '.join(faults)}.",
        evidence=tuple(faults.values()),
        fix=f"Debian and Ubuntu: `apt-get install {debian}`. "
        f"Fedora: `dnf install {fedora}`.",
    )


def _fault(name: str) -> str | None:
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return str(error)
    return None
