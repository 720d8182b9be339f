"""Runs the quantizer, inspects what it wrote, and only then gives it its name."""

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import CheckpointError, QuantizeError, UsageError
from nvfp4_serve.finding import Severity
from nvfp4_serve.quantize.compare import require_packed
from nvfp4_serve.quantize.conversation import Say, listen
from nvfp4_serve.quantize.place import (
    CHECKPOINT,
    check_place,
    is_finished,
    partial_folder,
    publish,
    remove,
)
from nvfp4_serve.quantize.recipes import recipe_of
from nvfp4_serve.quantize.types import Answered, Wish
from nvfp4_serve.runtime.children import followed

#: The program that runs under the quantizer's Python.
WORKER: Final = Path(__file__).with_name("worker.py")


def check_wish(wish: Wish) -> None:
    """Refuse what cannot be asked, before anything is read or made.

    Raises:
        UsageError: Says which argument, and what to give instead.
    """
    recipe = recipe_of(wish.recipe)
    check_place(wish)
    if wish.calibration is not None and not wish.calibration.is_file():
        raise UsageError(
            f"The calibration text `{wish.calibration}` is no file.",
            fix="Give a text file, or a `.jsonl` file with a `text` in each line.",
        )
    if wish.calibration is None and (recipe.inputs or wish.kv_cache):
        what = recipe.name if recipe.inputs else "`--kv-cache fp8`"
        raise UsageError(
            f"{what} sets scales from what the model sees, and there is no text.",
            evidence=(
                "scales from noise are wrong for real text, and nothing would tell",
            ),
            fix="Give `--calib FILE` with text like that which the model will see; "
            "some hundred samples. W4A16_NVFP4_CFG needs none.",
        )


def make_checkpoint(wish: Wish, command: Sequence[str], say: Say) -> Layout:
    """Return the layout of the new checkpoint in ``wish.out``.

    It is written under ``OUT.partial``, inspected there, and renamed when every module
    that the recipe means to quantize is packed. A cut-off run leaves at most that
    folder, which the next run clears away; a finished checkpoint in it is kept.

    Args:
        wish: What is asked; `check_wish` has let it pass.
        command: Runs the worker; the order follows it.
        say: Takes a line for the person who waits.

    Raises:
        QuantizeError: The quantizer failed, or did not pack what it meant to.
        UsageError: Another run writes the same checkpoint now, or what is read or kept
            would be lost.
    """
    check_place(wish)  # Again: what is there may have changed since it was asked.
    with partial_folder(wish.out, say) as partial:
        try:
            layout = _make(wish, command, partial, say)
        except QuantizeError:
            raise  # What explains it is kept, and what is finished.
        except KeyboardInterrupt:
            remove(partial)
            raise
        except BaseException:
            if not is_finished(partial):
                remove(partial)
            raise
        try:
            remove(partial)
        except OSError as error:
            say(f"warning: `{partial}` is not needed, but cannot be removed: {error}")
    return layout


def _make(wish: Wish, command: Sequence[str], partial: Path, say: Say) -> Layout:
    made, log = partial / CHECKPOINT, partial / "quantizer.log"
    order = json.dumps(_order(wish, made))
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    try:
        with followed([*command, order], environment, log) as lines:
            answered = listen(lines, say, log=str(log))
    except QuantizeError:
        shutil.rmtree(
            made, ignore_errors=True
        )  # Half of a checkpoint explains nothing.
        raise
    _say_left_out(answered, say)
    layout = _inspected(answered, made, wish, say)
    publish(made, wish.out)
    return dataclasses.replace(
        layout, model=str(wish.out), folder=str(wish.out.absolute())
    )


def _order(wish: Wish, made: Path) -> dict[str, object]:
    order = dataclasses.asdict(wish) | {"out": str(made.absolute())}
    folder = Path(wish.model).expanduser()
    is_folder = folder.is_dir()
    return order | {
        "model": str(folder.absolute()) if is_folder else wish.model,
        "is_folder": is_folder,
        "calibration": wish.calibration and str(wish.calibration.absolute()),
    }


def _say_left_out(answered: Answered, say: Say) -> None:
    if answered.left_out:
        say(
            f"warning: transformers did not load {len(answered.left_out)} tensors of "
            f"the model, the first is `{answered.left_out[0]}`; they are not in OUT"
        )


def _inspected(answered: Answered, made: Path, wish: Wish, say: Say) -> Layout:
    """Return the layout of what was written, if it is what was meant.

    Raises:
        QuantizeError: It is not.
    """
    kept = f"What was written is kept in `{made}` to look at; the next run removes it."
    try:
        checkpoint = read_checkpoint(str(made))
        layout = read_layout(checkpoint)
        count = require_packed(answered.meant, checkpoint)
    except (CheckpointError, QuantizeError) as error:
        raise QuantizeError(
            error.problem, evidence=error.evidence, fix=f"{error.fix} {kept}"
        ) from error
    faults = [f for f in layout.findings if f.severity is Severity.ERROR]
    if faults or (wish.kv_cache and layout.schemes.get("kv_cache") != "FP8"):
        words = [f"{f.id}: {f.message}" for f in faults]
        kv_cache = layout.schemes.get("kv_cache", "not said")
        raise QuantizeError(
            "What ModelOpt wrote must not be served.",
            evidence=(*words, f"KV cache: {kv_cache}, asked {wish.kv_cache or 'none'}"),
            fix=f"This is a bug of ModelOpt's with this model. {kept}",
        )
    say(f"inspected: all {count} modules that {wish.recipe} quantizes are packed")
    return layout
