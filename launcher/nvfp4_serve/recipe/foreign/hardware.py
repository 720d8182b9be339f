"""Names of machines in vllm-project/recipes -> what they are.

Source:
    vllm-project/recipes, ``taxonomy.yaml``, 2026-08-21, for the names, the numbers of
    GPUs and the memory; NVIDIA's table of CUDA GPUs for the compute capabilities.
"""

from dataclasses import dataclass
from typing import Final

from nvfp4_serve.recipe.foreign.types import Machine


@dataclass(frozen=True, slots=True)
class Profile:
    """A machine, as vllm-project/recipes knows it.

    Attributes:
        generation: Its word for a family of GPUs.
        memory: Of all GPUs of one node, in the GB of its makers.
        is_scalable: Several of them can work together.
    """

    name: str
    generation: str
    compute_capability: str
    gpus: int
    memory: int
    is_scalable: bool = True

    @property
    def machine(self) -> Machine:
        """One node of it."""
        return Machine(self.name, self.compute_capability, self.gpus)


PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("h100", "hopper", "9.0", 8, 640),
        Profile("h200", "hopper", "9.0", 8, 1128),
        Profile("b200", "blackwell", "10.0", 8, 1440),
        Profile("gb200", "blackwell", "10.0", 4, 768),
        Profile("b300", "blackwell", "10.3", 8, 2144),
        Profile("gb300", "blackwell", "10.3", 4, 1152),
        Profile("dgx_station_gb300", "blackwell", "10.3", 1, 252, is_scalable=False),
        Profile("dgx_spark_gb10", "blackwell", "12.1", 1, 128),
        Profile("rtx_pro_6000", "blackwell", "12.0", 1, 96, is_scalable=False),
        Profile("rtx_pro_6000_2x", "blackwell", "12.0", 2, 192, is_scalable=False),
        Profile("rtx_pro_6000_8x", "blackwell", "12.0", 8, 768, is_scalable=False),
        Profile("rtx_pro_5000", "blackwell", "12.0", 1, 72, is_scalable=False),
        Profile("rtx_pro_5000_4x", "blackwell", "12.0", 4, 288, is_scalable=False),
        Profile("rtx_5090", "blackwell", "12.0", 1, 32, is_scalable=False),
        Profile("rtx_5090_2x", "blackwell", "12.0", 2, 64, is_scalable=False),
        Profile("rtx_4090_2x", "ada", "8.9", 2, 48, is_scalable=False),
    )
}
