"""A CUDA machine for vLLM's selection code, where there is none; run in the engine.

Nothing of vLLM's is replaced but the answers of the hardware and of two kinds of
packages that a CPU engine lacks. Each of them is written down in ``STANDS_IN``, which
the table carries, so that a reader can weigh it.
"""

from __future__ import annotations

import enum
import importlib.abc
import importlib.machinery
import os
import sys
from types import ModuleType
from typing import Any

#: What stands in for what, and how its answer is known.
STANDS_IN = {
    "vllm.platforms.current_platform": (
        "a CudaPlatformBase whose get_device_capability() answers the capability of "
        "the row; everything else is vLLM's own"
    ),
    "flashinfer, flashinfer_cubin": (
        "an empty package that has every name asked of it; the names of `asked` were "
        "looked up in the source of flashinfer-python 0.7.0.post1, which "
        "requirements/engine-cuda.txt pins"
    ),
    "humming": (
        "an empty package but for GemmType, whose words are those of humming-kernels "
        "0.1.17, which requirements/engine-cuda.txt pins"
    ),
    "b12x": (
        "an empty package whose is_supported() says yes: an optional extra of vLLM "
        "(`pip install vllm[b12x]`), which the managed engine does not have"
    ),
    "vllm._C_stable_libtorch, vllm._flashmla_C, vllm._flashmla_extension_C, "
    "vllm.vllm_flash_attn._vllm_fa2_C and _vllm_fa3_C": (
        "empty modules, which are there: extensions of the CUDA build"
    ),
    "the workspace of vllm.v1.attention.backends.mla.cutlass_mla": (
        "a tensor without memory"
    ),
    "torch.ops._C.cutlass_scaled_mm_supports_fp4": (
        "true from capability 100 up to 129; read in vLLM's "
        "csrc/libtorch_stable/quantization/fp4/nvfp4_scaled_mm_entry.cu, not run"
    ),
}


#: The operators of the CUDA build that are asked for a capability: the first and the
#: last one that each says yes to.
_OPERATORS = (
    ("cutlass_scaled_mm_supports_fp4", 100, 129),
    ("cutlass_scaled_mm_supports_fp8", 89, 129),
    ("cutlass_scaled_mm_supports_block_fp8", 90, 129),
    ("cutlass_group_gemm_supported", 90, 119),
)


class _Anything:
    """Whatever a selection asks of a kernel package: it is there."""

    def __getattr__(self, name: str) -> Any:
        return _Anything()

    def __call__(self, *_: Any, **__: Any) -> bool:
        return True

    def __mro_entries__(self, _: tuple[type, ...]) -> tuple[type, ...]:
        return (object,)

    def __or__(self, _: object) -> Any:
        return Any

    __ror__ = __or__


class _GemmType(enum.Enum):
    """The words of humming-kernels 0.1.17, ``humming/config/enum.py``."""

    DENSE = "dense"
    INDEXED = "indexed"
    GROUPED_CONTIGUOUS = "grouped_contiguous"
    GROUPED_MASKED = "grouped_masked"


class _Package(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        ASKED.add(f"{self.__name__}.{name}")
        return _GemmType if name == "GemmType" else _Anything()


#: The names that vLLM asked of the packages that stand in.
ASKED: set[str] = set()
_PACKAGES = ("flashinfer", "flashinfer_cubin", "humming", "b12x")
#: Extensions of the CUDA build; importing them is all that is asked of them.
_EXTENSIONS = (
    "vllm._C_stable_libtorch",
    "vllm.vllm_flash_attn._vllm_fa2_C",
    "vllm.vllm_flash_attn._vllm_fa3_C",
    "vllm._flashmla_C",
    "vllm._flashmla_extension_C",
    "vllm.third_party.flashmla.flash_mla_interface",
)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if name.partition(".")[0] not in _PACKAGES and not name.startswith(_EXTENSIONS):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Package(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        del module


def stand_in() -> Any:
    """Put the stand-ins in place, before vLLM's kernels are imported.

    Returns:
        The platform; its class attribute ``capability`` is the GPU's.
    """
    for name in [name for name in os.environ if name.startswith("VLLM_")]:
        del os.environ[name]
    sys.meta_path.insert(0, _Finder())
    from vllm import platforms
    from vllm.platforms.cuda import CudaPlatformBase
    from vllm.platforms.interface import DeviceCapability

    class Machine(CudaPlatformBase):  # type: ignore[misc]  # vLLM is not seen here
        capability = 100
        device_name = "stand-in"

        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> DeviceCapability:
            del device_id
            return DeviceCapability(*divmod(cls.capability, 10))

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            del device_id
            return "stand-in"

        @classmethod
        def num_compute_units(cls, device_id: int = 0) -> int:
            del device_id
            return 148

    platforms._current_platform = Machine()
    _teach_torch()
    _import_with_buffers_elsewhere("vllm.v1.attention.backends.mla.cutlass_mla")
    return Machine


def _import_with_buffers_elsewhere(module: str) -> None:
    """Import a module that takes GPU memory as it is imported."""
    import torch

    real = torch.empty

    def empty(*sizes: Any, **keys: Any) -> torch.Tensor:
        return real(*sizes, **{**keys, "device": "meta"})

    torch.empty = empty
    try:
        importlib.import_module(module)
    finally:
        torch.empty = real


def _teach_torch() -> None:
    import torch

    library = torch.library.Library("_C", "FRAGMENT")
    for name, first, last in _OPERATORS:
        library.define(f"{name}(int capability) -> bool")
        library.impl(
            name,
            lambda capability, first=first, last=last: first <= capability <= last,
            "CompositeImplicitAutograd",
        )
    _KEPT.append(library)


#: A library's operators go when it goes.
_KEPT: list[Any] = []
