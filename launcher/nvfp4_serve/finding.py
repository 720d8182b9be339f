"""One thing that a user should know of a checkpoint or of a machine. Values only."""

import enum
from dataclasses import dataclass


class Severity(enum.StrEnum):
    """How bad a finding is. An ``ERROR`` means: do not serve before it is mended."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it."""

    id: str
    severity: Severity
    message: str
    fix: str
