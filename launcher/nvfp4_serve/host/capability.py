"""What a compute capability says of a part. Tables; nothing is asked here."""

from typing import Final

#: Those that the pinned engine has kernels or rules for, and their elders.
#: vLLM 0.33.0, docker/Dockerfile, the CUDA arch lists of both architectures; and 10.3
#: and 12.1, which its CMakeLists covers with the families 10.0f and 12.0f.
KNOWN: Final = frozenset(
    {
        *((5, 0), (5, 2), (5, 3), (6, 0), (6, 1), (6, 2), (7, 0), (7, 2), (7, 5)),
        *((8, 0), (8, 6), (8, 7), (8, 9), (9, 0)),
        *((10, 0), (10, 3), (11, 0), (12, 0), (12, 1)),
    }
)

#: Orin, Thor, GB10. vLLM 0.17 to 0.19, the list of its is-integrated check.
INTEGRATED: Final = frozenset({(8, 7), (11, 0), (12, 1)})

#: Jetson parts, whose toolkit refuses `--gpus` ("invoking the NVIDIA Container Runtime
#: Hook directly is not supported") and takes `--runtime nvidia`.
TEGRA: Final = frozenset({(8, 7), (11, 0)})


def capability_text(capability: tuple[int, int]) -> str:
    """Return ``12.1`` for ``(12, 1)``."""
    return f"{capability[0]}.{capability[1]}"
