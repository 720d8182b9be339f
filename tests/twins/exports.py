"""The tiny checkpoints of the matrix, and the real producers that make them."""

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from twins.environments import (
    CACHE,
    LLM_COMPRESSOR,
    MODELOPT_0_47,
    Environment,
    digest,
    made_once,
)

_HERE: Final = Path(__file__).parent
_REFUSAL: Final = "refused.txt"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What one producer is to make of one tiny random model.

    Attributes:
        architecture: The class of transformers, and of config.json.
        model_type: As transformers names its config.
        config: The config's own fields, as JSON.
        environment: Who makes it.
        recipe: ModelOpt's config, or llm-compressor's scheme.
        kv_cache: Whether the cache is calibrated for FP8.
        save: How it is written.
        leaves_out: More patterns of what is not quantized.
        seed: Of the weights.
    """

    architecture: str
    model_type: str
    config: str
    environment: Environment = MODELOPT_0_47
    recipe: str = "NVFP4_DEFAULT_CFG"
    kv_cache: Literal["FP8"] | None = None
    save: Literal[
        "export",
        "export, experts unchecked",
        "compress, export",
        "compress, save_pretrained",
    ] = "export"
    leaves_out: tuple[str, ...] = ()
    seed: int = 1

    def asked(self) -> dict[str, Any]:
        """Return what the maker is told."""
        told = dataclasses.asdict(self)
        del told["environment"]
        return {**told, "config": json.loads(self.config)}

    @property
    def folder(self) -> Path:
        """Where it is, or will be."""
        arguments = json.dumps(self.asked(), sort_keys=True).encode()
        identity = self.environment.identity.encode()
        maker = _maker(self.environment).read_bytes()
        return CACHE / "twins" / digest(maker, arguments, identity)

    @property
    def refusal(self) -> str | None:
        """Why the producer made none; None where it did."""
        note = self.folder / _REFUSAL
        return note.read_text() if note.exists() else None


def make_exports(exports: Iterable[Export]) -> None:
    """Make every checkpoint that is missing; one process for each environment."""
    by_environment: defaultdict[Environment, list[Export]] = defaultdict(list)
    for export in sorted(set(exports), key=lambda export: export.folder):
        by_environment[export.environment].append(export)
    for environment, wanted in by_environment.items():
        _make(environment, wanted)


def _make(environment: Environment, exports: list[Export]) -> None:
    with contextlib.ExitStack() as stack:
        todo: dict[Path, Mapping[str, Any]] = {}
        for export in exports:
            scratch = stack.enter_context(made_once(export.folder))
            if scratch is not None:
                todo[scratch] = export.asked()
        if not todo:
            return
        asked = json.dumps([(str(folder), what) for folder, what in todo.items()])
        done = subprocess.run(
            [environment.python, _maker(environment), asked],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        sys.stderr.write(done.stdout)
        for folder, why in json.loads(done.stdout.splitlines()[-1]).items():
            Path(folder).mkdir(exist_ok=True)
            (Path(folder) / _REFUSAL).write_text(why)


def _maker(environment: Environment) -> Path:
    is_llm_compressor = environment == LLM_COMPRESSOR
    return _HERE / ("make_compressed.py" if is_llm_compressor else "make_exports.py")
