"""Runs uv and the patch tool for the installation; knows what uv's words mean."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
import tty
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.children import end_with_parent
from nvfp4_serve.runtime.pip_settings import read_pip_settings

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class _Known:
    words: re.Pattern[str]
    cause: str
    fix: str


# The words of uv 0.9 to 0.13 for what may befall an installation, and what to do then.
# The first that occurs is taken.
_KNOWN: Final = (
    _Known(
        re.compile(r"No space left on device|os error 28|Disk quota exceeded"),
        cause="The disk is full.",
        fix="Free some space, or set XDG_DATA_HOME and UV_CACHE_DIR to folders on a "
        "larger disk, then install again.",
    ),
    _Known(
        re.compile(r"[Hh]ash mismatch|Hashes do not match|do not match the provided"),
        cause="A file is not the one that nvfp4-serve was pinned to.",
        fix="Do not use it. Check the package index or mirror that pip and uv are set "
        "to (PIP_INDEX_URL, UV_DEFAULT_INDEX), then `uv cache clean`.",
    ),
    _Known(
        re.compile(
            r"dns error|error sending request|[Cc]onnection refused|timed out|"
            r"Network connectivity is disabled|network was disabled|tcp connect error|"
            r"Network is unreachable|Could not connect"
        ),
        cause="A package index cannot be reached.",
        fix="Check the network and the proxy. Behind a mirror, set PIP_INDEX_URL or "
        "UV_DEFAULT_INDEX to it. What was fetched already is kept in uv's cache.",
    ),
)
_UNKNOWN: Final = _Known(
    re.compile(""),
    cause="",
    fix="Its last words are above; `nvfp4-serve engine install` starts over.",
)


def run_uv(
    step: str, arguments: Sequence[str], folder: Path, noun: str = "engine"
) -> None:
    """Run uv in ``folder``; show its own progress where stderr is a terminal.

    Args:
        step: What is done, for the error.
        arguments: What follows ``uv``.
        folder: Working folder; no foreign ``uv.toml`` or ``pyproject.toml`` above it
            can then change what is installed.
        noun: What is being made, for the error.

    Raises:
        EngineError: uv failed.
    """
    # Container images hold their engine already, and no uv: 60 MB.
    import uv

    command = [uv.find_uv_bin(), *arguments]
    status, words = _run(command, folder, _environment())
    if status:
        raise explain(step, status, words, noun)


def install_torch(version: str, folder: Path, noun: str = "engine") -> None:
    """Install torch's CPU build from where uv or pip is told to look, or PyTorch's.

    The local version ``+cpu`` keeps PyPI's build, several GB of CUDA, out of the first
    question. Its dependencies are in the list of requirements.

    Args:
        version: As PyPI names it, without the build.
        folder: The environment to install it into.
        noun: What is being made, for the error.

    Raises:
        EngineError: Neither place has it for this Python and machine.
    """
    here = ("pip", "install", "--no-deps", "--python", str(folder / "bin" / "python"))
    named: tuple[str, ...] = (*here, f"torch=={version}+cpu")
    try:
        run_uv("looking for torch", (*named, "--dry-run", "--quiet"), folder, noun)
    except EngineError:
        named = (*here, "--torch-backend", "cpu", f"torch=={version}")
    run_uv(f"installing torch {version}", named, folder, noun)


def run_series(series: Path, *arguments: str | Path) -> tuple[int, str]:
    """Run the patch tool with this Python; return its status and its words."""
    return _capture([sys.executable, "-I", str(series), *map(str, arguments)])


def run_python(python: Path, code: str) -> tuple[int, str]:
    """Run ``code`` with an engine's Python; return its status and its words.

    It may take minutes, and ends when we end.
    """
    return _capture([str(python), "-I", "-c", code], before=end_with_parent)


def explain(step: str, status: int, words: str, noun: str = "engine") -> EngineError:
    """Return the error that says what uv's ``words`` mean and what to do."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    found = next((known for known in _KNOWN if known.words.search(words)), _UNKNOWN)
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return EngineError(
        f"The {noun} was not installed: {step} failed (uv ended with {how}). "
        f"{found.cause}".rstrip(),
        evidence=tuple(lines[-8:]),
        fix=found.fix,
    )


def _capture(
    command: Sequence[str], before: Callable[[], None] | None = None
) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603 - our own tool, or the engine's Python
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=before,
    )
    return done.returncode, done.stdout + done.stderr


def _environment() -> Mapping[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    return read_pip_settings(os.environ) | kept | {"UV_PYTHON_DOWNLOADS": "never"}


def _run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run ``command``; it ends when we end, whatever ends us."""
    theirs, ours = _terminal() if sys.stderr.isatty() else os.pipe()[::-1]
    try:
        child = subprocess.Popen(  # noqa: S603 - uv, found in our own environment
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            # Its own session: the terminal's Ctrl-C reaches us alone, and we stop it.
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - we run one thread
        )
    finally:
        os.close(theirs)
    try:
        words = "".join(_tee(ours))
        return child.wait(), words
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        os.close(ours)


def _terminal() -> tuple[int, int]:
    """Return a terminal as large as ours, so that uv draws its progress bars."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)  # Line ends are for the real terminal to make.
    with contextlib.suppress(OSError):
        columns, rows = shutil.get_terminal_size()
        size = rows.to_bytes(2, sys.byteorder) + columns.to_bytes(2, sys.byteorder)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size + bytes(4))
    return theirs, ours


def _tee(source: int) -> Iterable[str]:
    show = sys.stderr.isatty()
    while True:
        try:
            data = os.read(source, 1 << 16)
        except OSError:  # A terminal whose other side is closed says EIO.
            return
        if not data:
            return
        text = data.decode(errors="replace")
        if show:
            sys.stderr.write(text)
            sys.stderr.flush()
        yield _ESCAPES.sub("", text)
