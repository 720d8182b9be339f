"""The records of what was started: one folder an instance, with its log."""

import contextlib
import dataclasses
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.lock import exclusive
from nvfp4_serve.runtime.places import instances_folder, unusable
from nvfp4_serve.runtime.proc import read_boot, read_members, read_process
from nvfp4_serve.runtime.types import Instance, Say

_RECORD: Final = "instance.json"
#: Logs of engines that have ended are of use for some days, not for ever.
_KEEP_LOGS: Final = 14 * 24 * 3600


@contextlib.contextmanager
def no_other_start(say: Say) -> Iterator[None]:
    """Let no engine start meanwhile, but what is started inside.

    Raises:
        EngineError: The folder of the records cannot be used.
    """
    home = instances_folder()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with exclusive(home / ".lock", waiting_for="another start", say=say):
            yield
    except OSError as error:
        raise unusable(error, home, "XDG_STATE_HOME") from error


def make_folder(name: str, port: int) -> Path:
    """Make the folder of a new instance; its name is the instance's id."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[-40:] or "model"
    instances_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        folder = instances_folder() / f"{slug}-{port}-{secrets.token_hex(2)}"
        with contextlib.suppress(FileExistsError):  # Of an engine that has ended.
            folder.mkdir()
            return folder


def write_record(instance: Instance) -> None:
    """Write ``instance.json``, whole or not at all."""
    content = dataclasses.asdict(instance) | {"folder": str(instance.folder)}
    partial = instance.folder / f"{_RECORD}.partial"
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(instance.folder / _RECORD)


def remove_record(instance: Instance) -> None:
    """Forget ``instance``; its log stays for some days.

    Raises:
        EngineError: Its folder cannot be written.
    """
    try:
        (instance.folder / _RECORD).unlink(missing_ok=True)
    except OSError as error:
        raise unusable(error, instance.folder, "XDG_STATE_HOME") from error


def list_instances() -> tuple[Instance, ...]:
    """Return every instance that lives, by id; forget those that have ended.

    Raises:
        EngineError: A record is not one of ours, or cannot be read.
    """
    home = instances_folder()
    try:
        return _list_instances(home) if home.is_dir() else ()
    except OSError as error:
        raise unusable(error, home, "XDG_STATE_HOME") from error


def _list_instances(home: Path) -> tuple[Instance, ...]:
    living = []
    for folder in sorted(path for path in home.iterdir() if path.is_dir()):
        instance = _read_record(folder)
        if instance and lives(instance):
            living.append(instance)
            continue
        if instance:
            remove_record(instance)
        _remove_old(folder)
    return tuple(living)


def lives(instance: Instance) -> bool:
    """True while any process that ``instance`` started is left."""
    if instance.boot != read_boot():
        return False
    first = read_process(instance.pid)
    if first and first.born != instance.born:
        # The pid was given to somebody else, so the session had ended before.
        return False
    return bool(read_members(instance.pid))


def find_instance(
    living: tuple[Instance, ...], name: str | None, port: int | None
) -> Instance:
    """Return the one instance of that name (id or model) and on that port.

    Args:
        living: All that there are.
        name: None: any.
        port: None: any.

    Raises:
        EngineError: None or several answer to it.
    """
    found = [
        i
        for i in living
        if (name is None or name in (i.id, i.name))
        and (port is None or i.url.endswith(f":{port}"))
    ]
    if len(found) == 1:
        return found[0]
    what = "No engine is running" if not found else f"{len(found)} engines are running"
    raise EngineError(
        f"{what}{f' by the name `{name}`' if name else ''}"
        f"{f' on port {port}' if port else ''}.",
        evidence=tuple(f"{i.id}  {i.url}  {i.where}" for i in living),
        fix="Name one by its id: `nvfp4-serve ps` lists them.",
    )


def _read_record(folder: Path) -> Instance | None:
    try:
        content = json.loads((folder / _RECORD).read_bytes())
        return _parse(content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise EngineError(
            f"`{folder / _RECORD}` does not describe an engine: {error}.",
            fix=f"Remove the folder `{folder}`.",
        ) from error


def _parse(content: Mapping[str, object]) -> Instance:
    fields = {**content, "folder": Path(str(content.get("folder")))}
    return Instance(**fields)  # type: ignore[arg-type]


def _remove_old(folder: Path) -> None:
    newest = max(_changed(folder), _changed(folder / "engine.log"))
    if time.time() - newest > _KEEP_LOGS:
        # Another `ps` may remove it at the same time: then it is gone all the same.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


def _changed(path: Path) -> float:
    """Return when ``path`` was changed, in seconds since 1970; 0 if it is not there."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
