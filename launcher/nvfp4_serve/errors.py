"""The errors a user may see, and the exit code of each. Standard library only.

ServeError
 ├── UsageError         2   what was asked for cannot be asked for
 ├── CheckpointError   10   the checkpoint cannot be read, or contradicts itself
 ├── HostError         20   this machine cannot be described
 ├── RecipeError       30   a recipe is wrong
 ├── UndecidedError    31   no recipe, and the rules cannot decide
 ├── DoesNotFitError   40   the plan does not fit this machine
 ├── KnownBadError     41   what is planned is known not to work
 ├── EngineError       50   the engine cannot be installed, started or stopped
 ├── NotRightError     51   the engine started, and its answers are not right
 ├── PatchError        60   a patch does not apply, or the tree is not what it should be
 └── QuantizeError     70   quantizing failed, or did not do what was asked
"""

import enum
from typing import ClassVar


@enum.unique
class ExitCode(enum.IntEnum):
    """What the process says when it ends. Scripts may rely on these numbers."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    CHECKPOINT = 10
    HOST = 20
    RECIPE = 30
    UNDECIDED = 31
    DOES_NOT_FIT = 40
    KNOWN_BAD = 41
    ENGINE = 50
    NOT_RIGHT = 51
    PATCH = 60
    QUANTIZE = 70
    INTERRUPTED = 130


class ServeError(Exception):
    """Something in the world is wrong; the user can do something about it.

    Attributes:
        problem: What is wrong, with the value. One or more full sentences.
        evidence: What shows it, one line each.
        fix: What to do, as one or more full sentences.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.UNEXPECTED

    def __init__(
        self, problem: str, *, fix: str, evidence: tuple[str, ...] = ()
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix
        self.evidence = evidence


class UsageError(ServeError):
    """What was asked for cannot be asked for."""

    exit_code = ExitCode.USAGE


class CheckpointError(ServeError):
    """The checkpoint cannot be read, or contradicts itself."""

    exit_code = ExitCode.CHECKPOINT


class HostError(ServeError):
    """This machine, or the file that describes one, cannot be read."""

    exit_code = ExitCode.HOST


class RecipeError(ServeError):
    """A recipe is wrong."""

    exit_code = ExitCode.RECIPE


class UndecidedError(ServeError):
    """No recipe fits, and the rules cannot decide by themselves."""

    exit_code = ExitCode.UNDECIDED


class DoesNotFitError(ServeError):
    """The plan does not fit this machine; the message carries the arithmetic."""

    exit_code = ExitCode.DOES_NOT_FIT


class KnownBadError(ServeError):
    """What is planned is known not to work; the message says who saw it."""

    exit_code = ExitCode.KNOWN_BAD


class EngineError(ServeError):
    """The engine cannot be installed, started or stopped."""

    exit_code = ExitCode.ENGINE


class NotRightError(ServeError):
    """The engine started, and its answers are not right."""

    exit_code = ExitCode.NOT_RIGHT


class PatchError(ServeError):
    """A patch does not apply, or a patched tree is not what its lock says."""

    exit_code = ExitCode.PATCH


class QuantizeError(ServeError):
    """Quantizing failed, or what it wrote is not what was asked for."""

    exit_code = ExitCode.QUANTIZE
