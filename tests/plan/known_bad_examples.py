"""For each row of the known-bad list, a case of somebody's."""

from dataclasses import dataclass, field, replace
from typing import Any

from hosts import cpu_host, gpu
from layouts import layout
from nvfp4_serve.host.types import Fabric
from nvfp4_serve.plan.case import Case, read_flags
from nvfp4_serve.recipe.flags import read_spellings
from nvfp4_serve.recipe.known_bad import SHIPPED
from nvfp4_serve.units import GIB

SPELLINGS = read_spellings()


@dataclass(frozen=True)
class Example:
    """A case, in few words. ``words`` are what follows `vllm serve MODEL`."""

    words: str = ""
    model: str = "nvidia/Some-Model-NVFP4"
    layout: str = "modelopt-per-expert"
    architecture: str = "Qwen3MoeForCausalLM"
    schemes: dict[str, str] = field(default_factory=lambda: {"routed_experts": "NVFP4"})
    capability: tuple[int, int] = (10, 0)
    gpus: int = 1
    memory: int = 96
    unified: bool = False
    mig: bool = False
    nvlinks: int = 18
    fabric: Fabric = Fabric.COMPLETED
    cpu: str = "x86_64"
    driver: str = "580.95.05"
    cuda_driver: tuple[int, int] = (13, 0)
    nodes: int = 1
    image: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def case(self) -> Case:
        """Return it as the plan knows it."""
        one = gpu(
            capability=self.capability,
            memory=None if self.unified else self.memory * GIB,
        )
        one = replace(
            one,
            nvlinks=self.nvlinks,
            nvlinks_active=self.nvlinks,
            fabric=self.fabric,
            mig_parent="GPU-1" if self.mig else None,
        )
        return Case(
            layout=layout(
                model=self.model,
                folder=None,
                layout=self.layout,
                architecture=self.architecture,
                schemes=self.schemes,
            ),
            host=cpu_host(
                architecture=self.cpu, driver=self.driver, cuda_driver=self.cuda_driver
            ),
            gpus=(one,) * self.gpus,
            flags=read_flags(tuple(self.words.split()), SPELLINGS),
            env=self.env,
            versions={**SHIPPED, **self.versions},
            image=self.image,
            nodes=self.nodes,
        )


def gb10(words: str = "", **changes: Any) -> Example:
    """Return a case on one GB10."""
    return replace(
        Example(words, capability=(12, 1), unified=True, nvlinks=0, cpu="aarch64"),
        **changes,
    )


def rtx_pro(words: str = "", **changes: Any) -> Example:
    """Return a case on RTX PRO 6000."""
    return replace(Example(words, capability=(12, 0), nvlinks=0), **changes)


def deepseek_v4(words: str = "", **changes: Any) -> Example:
    """Return a case with a DeepSeek-V4 whose experts are NVFP4."""
    return replace(
        Example(
            words,
            layout="deepseek-v4",
            architecture="DeepseekV4ForCausalLM",
            schemes={"routed_experts": "NVFP4", "mtp": "BF16+FP8_BLOCK+MXFP4"},
            gpus=8,
        ),
        **changes,
    )


_MTP = '--speculative-config {"method":"mtp","num_speculative_tokens":1}'
_DSPARK = '--speculative-config {"method":"dspark","model":"x/y"}'

EXAMPLES: dict[str, Example] = {
    "glm-5.3-flash-libertaidai": gb10(model="LibertAIDAI/GLM-5.3-Flash-NVFP4"),
    "glm-5.3-flash-blackfrost": gb10(
        model="Blackfrost-AI/GLM-5.3-Flash-DERISKED-NVFP4"
    ),
    "glm-5.3-flash-mtp-nan": Example(_MTP, architecture="Glm5NextForCausalLM"),
    "glm-5.2-sparse-mla-sm120": rtx_pro(model="nvidia/GLM-5.2-NVFP4", gpus=8),
    "glm-5.2-marlin-mtp": gb10(
        f"--moe-backend marlin {_MTP}", model="nvidia/GLM-5.2-NVFP4"
    ),
    "deepseek-v4-flash-redhat-no-mtp": Example(
        _MTP, model="RedHatAI/DeepSeek-V4-Flash-NVFP4-FP8"
    ),
    "deepseek-v4-flash-canada-quant-sm12x": rtx_pro(
        model="canada-quant/DeepSeek-V4-Flash-NVFP4-FP8-MTP"
    ),
    "inkling-small-cutlass": gb10(
        "--moe-backend=cutlass", model="thinkingmachines/Inkling-Small-NVFP4"
    ),
    "qwen3.8-27b-fp8-kv-gb10": gb10(
        "--kv-cache-dtype fp8_e4m3", model="unsloth/Qwen3.8-27B-NVFP4"
    ),
    "qwen3.8-27b-r0b0tlab-eager": gb10(model="r0b0tlab/Qwen3.8-27B-NVFP4-MTP-sm121"),
    "llama-3.3-70b-gb10-slow": gb10(model="nvidia/Llama-3.3-70B-Instruct-NVFP4"),
    "laguna-b12x-vllm-0.25": rtx_pro(
        "--moe-backend b12x",
        model="poolside/Laguna-S-2.1-NVFP4",
        versions={"vllm": "0.25.1"},
    ),
    "qwen3.6-35b-lm-head-vllm-0.22": rtx_pro(
        model="nvidia/Qwen3.6-35B-A3B-NVFP4", versions={"vllm": "0.22.1"}
    ),
    "qwen3.5-397b-b300": Example(
        model="nvidia/Qwen3.5-397B-A17B-NVFP4", capability=(10, 3), gpus=8
    ),
    "minimax-m2-sm120-cudnn": rtx_pro(architecture="MiniMaxM2ForCausalLM", gpus=2),
    "mega-moe-nvfp4-deepseek-v4": deepseek_v4("--moe-backend deep_gemm_mega_moe"),
    "mega-moe-compressed-tensors-glm": Example(
        "--moe-backend deep_gemm_mega_moe",
        layout="compressed-tensors",
        architecture="GlmMoeDsaForCausalLM",
    ),
    "mtp-experts-built-as-nvfp4": deepseek_v4(_MTP, versions={"vllm": "0.30.0"}),
    "dspark-nvfp4-sm12x": deepseek_v4(_DSPARK, capability=(12, 1)),
    "trtllm-relu2-nemotron-nano": Example(
        model="nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4"
    ),
    "b12x-with-parallel": rtx_pro("--moe-backend flashinfer-b12x", gpus=2),
    "b12x-on-mixed": rtx_pro("--moe-backend flashinfer_b12x", layout="modelopt-mixed"),
    "b12x-mla-sparse": gb10("--attention-backend B12X_MLA_SPARSE"),
    "fp4-indexer-sm12x": rtx_pro("--attention_config.indexer_kv_dtype mxfp4"),
    "nvfp4-kv-sm12x-vllm-0.31": gb10(
        "--kv-cache-dtype nvfp4_ds_mla", versions={"vllm": "0.31.0"}
    ),
    "cpu-offload-nvfp4": rtx_pro("--cpu-offload-gb 5", versions={"vllm": "0.18.2"}),
    "cpu-offload-ignored": rtx_pro("--cpu-offload-gb 10"),
    "sleep-mode-gb10": gb10("--enable-sleep-mode"),
    "sleep-mode-16-gib": rtx_pro("--enable-sleep-mode", memory=16),
    "hybrid-prefix-cache-speculation": gb10(
        f"{_MTP} --enable-prefix-caching",
        architecture="NemotronHForCausalLM",
        versions={"vllm": "0.31.0"},
    ),
    "batch-invariant-emulation": Example(
        "--moe-backend emulation", env={"VLLM_BATCH_INVARIANT": "1"}
    ),
    "trtllm-kv-transfer-b200": Example(
        '--kv-transfer-config {"kv_connector":"LMCacheConnectorV1"}'
    ),
    "flashinfer-sampler-sm12x": gb10(env={"VLLM_USE_FLASHINFER_SAMPLER": "1"}),
    "deep-gemm-sm12x": rtx_pro(env={"VLLM_USE_DEEP_GEMM": "1"}),
    "autotune-gb300": Example(capability=(10, 3), cpu="aarch64", gpus=4),
    "autotune-cache-parallel": Example(
        gpus=2, env={"VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "/cache"}
    ),
    "no-cubins-vllm-0.19": gb10(versions={"vllm": "0.19.1"}),
    "illegal-instruction-vllm-0.19": rtx_pro(versions={"vllm": "0.18.1"}),
    "marlin-sm12x-vllm-0.22": rtx_pro(versions={"vllm": "0.22.1"}),
    "gb10-load-vllm-0.23": gb10(versions={"vllm": "0.23.0"}),
    "dense-unaligned-vllm-0.25": rtx_pro(gpus=8, versions={"vllm": "0.25.1"}),
    "full-graphs-qwen3.8-vllm-0.27": rtx_pro(
        _MTP, model="nvidia/Qwen3.8-27B-NVFP4", versions={"vllm": "0.27.1"}
    ),
    "custom-all-reduce-vllm-0.27": Example(
        capability=(9, 0), gpus=8, versions={"vllm": "0.27.1"}
    ),
    "flashinfer-trtllm-nan": Example(versions={"flashinfer": "0.6.17"}),
    "flashinfer-0.6.11-deepseek-v4": deepseek_v4(
        versions={"flashinfer": "0.6.11.post2"}
    ),
    "flashinfer-ep8-hang": deepseek_v4(
        "--enable-expert-parallel", versions={"flashinfer": "0.6.8.post1"}
    ),
    "flashinfer-sm12x-grouped-gemm": gb10(versions={"flashinfer": "0.6.6"}),
    "nccl-2.28.9-nodes": gb10(nodes=2, versions={"nccl": "2.28.9"}),
    "image-deepseekv4-cu130": deepseek_v4(image="vllm/vllm-openai:deepseekv4-cu130"),
    "image-cu129": gb10(image="vllm/vllm-openai:v0.32.0-cu129"),
    "image-toolkit-newer-than-driver": gb10(image="example/vllm:0.30.0-cu132"),
    "image-floating": gb10(image="eugr/spark-vllm:latest"),
    "driver-too-old": Example(driver="570.133.20"),
    "driver-gb10-no-memory": gb10(driver="580.159.03"),
    "driver-gb10-595-no-memory": gb10(driver="595.84"),
    "mig-by-uuid": Example(
        mig=True,
        env={"CUDA_VISIBLE_DEVICES": "MIG-377e"},
        versions={"vllm": "0.20.1"},
    ),
    "mig-parent": Example(mig=True, env={"CUDA_VISIBLE_DEVICES": "MIG-377e"}),
    "many-sequences-speculation-unified": gb10(_MTP),
    "ray-unified": gb10("--distributed-executor-backend ray"),
    "expandable-segments-unified": gb10(
        env={"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    ),
    "fabric-not-up": Example(gpus=8, fabric=Fabric.NOT_STARTED),
    "pcie-all-reduce": rtx_pro(gpus=2),
    "hard-coded-gid": gb10(env={"NCCL_IB_GID_INDEX": "3"}),
}

#: What else a flag of a condition could be.
OTHER_FLAGS = {
    "--moe-backend": "--moe-backend humming",
    "--attention-backend": "--attention-backend TRITON_MLA",
    "--attention-config.indexer_kv_dtype": "--attention-config.indexer_kv_dtype fp8",
    "--speculative-config.method": "--no-enable-chunked-prefill",
    "--kv-cache-dtype": "--kv-cache-dtype auto",
    "--cpu-offload-gb": "--cpu-offload-gb 0",
    "--enable-sleep-mode": "--no-enable-sleep-mode",
    "--enforce-eager": "--enforce-eager",
    "--enable-prefix-caching": "--no-enable-prefix-caching",
    "--mamba-cache-mode": "--mamba-cache-mode align",
    "--kv-transfer-config": "",
    "--enable-flashinfer-autotune": "--no-enable-flashinfer-autotune",
    "--disable-custom-all-reduce": "--disable-custom-all-reduce",
    "--enable-expert-parallel": "--no-enable-expert-parallel",
    "--gpu-memory-utilization": "--gpu-memory-utilization 0.85",
    "--max-num-seqs": "--max-num-seqs 8",
    "--distributed-executor-backend": "--distributed-executor-backend mp",
}


def without(words: str, flag: str) -> str:
    """Return ``words`` without the flag, and with what else it could be."""
    name = flag.partition(".")[0]
    kept = [
        group
        for group in words.split(" --")
        if not f"--{group.removeprefix('--')}".replace("_", "-").startswith(name)
    ]
    text = " --".join(kept)
    text = text if text.startswith("--") or not text else f"--{text}"
    return f"{text} {OTHER_FLAGS[flag]}".strip()


#: For every other condition, the same case where it does not hold.
OTHERS: dict[str, dict[str, Any]] = {
    "model": {"model": "nvidia/Another-Model-NVFP4"},
    "layout": {"layout": "unquantized"},
    "architecture": {"architecture": "LlamaForCausalLM"},
    "compute_capability": {"capability": (8, 9)},
    "gpus": {"gpus": 0},
    "gpu_memory": {"memory": 96},
    "unified": {"unified": False},
    "mig": {"mig": False},
    "nvlink": {"nvlinks": 18},
    "fabric": {"fabric": Fabric.COMPLETED},
    "driver": {"driver": "590.10"},
    "cuda_driver": {"cuda_driver": (13, 3)},
    "nodes": {"nodes": 1},
    "image": {"image": "vllm/vllm-openai@sha256:00"},
}


def neighbours(example: Example, condition: str, value: Any) -> list[Example]:
    """Return cases that differ from ``example`` in one condition."""
    if condition == "flags":
        return [replace(example, words=without(example.words, f)) for f in value]
    if condition == "env":
        other = {"VLLM_ENABLE_CUDA_COMPATIBILITY": "1", "NCCL_P2P_DISABLE": "1"}
        return [
            replace(example, env={other_name: other[other_name]})
            if (other_name := name) in other
            else replace(
                example, env={k: v for k, v in example.env.items() if k != name}
            )
            for name in value
        ]
    if condition == "schemes":
        return [
            replace(example, schemes={**example.schemes, name: "BF16"})
            for name in value
        ]
    if condition == "cpu":
        return [replace(example, cpu="riscv64")]
    if condition in SHIPPED:
        newer = "0.0.1" if value.startswith(">=") and "," not in value else "99.0"
        return [replace(example, versions={**example.versions, condition: newer})]
    return [replace(example, **OTHERS[condition])]
