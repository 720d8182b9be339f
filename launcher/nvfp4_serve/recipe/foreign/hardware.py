"""Names of machines in vllm-project/recipes -> what they are.

Source:
    vllm-project/recipes, ``taxonomy.yaml``, 2026-08-21, for the names and the numbers
    of GPUs; NVIDIA's table of CUDA GPUs for the compute capabilities.
"""

from typing import Final

from nvfp4_serve.recipe.foreign.types import Machine

MACHINES: Final = {
    name: Machine(name, capability, gpus)
    for name, capability, gpus in (
        ("h100", "9.0", 8),
        ("h200", "9.0", 8),
        ("b200", "10.0", 8),
        ("gb200", "10.0", 4),
        ("b300", "10.3", 8),
        ("gb300", "10.3", 4),
        ("dgx_station_gb300", "10.3", 1),
        ("dgx_spark_gb10", "12.1", 1),
        ("rtx_pro_6000", "12.0", 1),
        ("rtx_pro_6000_2x", "12.0", 2),
        ("rtx_pro_6000_8x", "12.0", 8),
        ("rtx_pro_5000", "12.0", 1),
        ("rtx_pro_5000_4x", "12.0", 4),
        ("rtx_5090", "12.0", 1),
        ("rtx_5090_2x", "12.0", 2),
        ("rtx_4090_2x", "8.9", 2),
    )
}
