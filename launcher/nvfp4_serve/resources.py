"""Where our own data files are, in a wheel or in a checkout. Standard library only."""

from pathlib import Path
from typing import Final

#: The vLLM that the patches, the flags and the pinned packages are for.
VLLM_VERSION: Final = "0.32.0"
#: The ModelOpt that the patches and the pinned packages of the quantizer are for.
MODELOPT_VERSION: Final = "0.47.0"

_PACKAGE: Final = Path(__file__).resolve().parent
#: A wheel carries the top-level data folders here (see ``pyproject.toml``).
_IN_WHEEL: Final = _PACKAGE / "_data"
#: ``launcher/nvfp4_serve`` is two levels below the top of a checkout.
_IN_CHECKOUT: Final = _PACKAGE.parents[1]


def images_folder() -> Path | None:
    """Return the folder that images are built from; None outside a checkout."""
    folder = _IN_CHECKOUT / "images"
    return folder if (folder / "build.py").is_file() else None


def data_folder(name: str) -> Path:
    """Return the folder of our data files that is called ``name``.

    Args:
        name: ``patches``, ``recipes`` or ``requirements``.

    Raises:
        FileNotFoundError: Neither a wheel nor a checkout holds it; the
            installation is broken.
    """
    for root in (_IN_WHEEL, _IN_CHECKOUT):
        folder = root / name
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}/ is neither in {_IN_WHEEL} nor in {_IN_CHECKOUT}")
