"""Foreign recipes for tests, written for them; nothing is copied from a registry."""

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.detect import Form
from nvfp4_serve.recipe.foreign.document import Imported
from nvfp4_serve.recipe.foreign.flags import Flags, pinned_flags
from nvfp4_serve.recipe.foreign.read import Wanted, read_foreign
from nvfp4_serve.recipe.foreign.types import Machine
from nvfp4_serve.recipe.foreign.vllm_recipes import Asked

FLAGS: Flags = pinned_flags()

SPARKRUN = """\
recipe_version: "2"
model: acme/Tiny-30B-NVFP4
model_revision: 0123456789abcdef0123456789abcdef01234567
runtime: vllm
min_nodes: 2
container: registry.example/acme/dgx-vllm:20260601@sha256:{digest}
metadata:
  description: a small one
defaults:
  port: 8000
  host: 127.0.0.1
  tensor_parallel: 2
  gpu_memory_utilization: 0.80
  spec: '{{"method": "mtp", "num_speculative_tokens": 2}}'
env:
  VLLM_MARLIN_USE_ATOMIC_ADD: "1"
command: |
  vllm serve {{model}} \\
    --host {{host}} --port {{port}} \\
    -tp {{tensor_parallel}} \\
    --gpu-memory-utilization {{gpu_memory_utilization}} \\
    --speculative-config '{{spec}}' \\
    --kv_cache_dtype fp8
""".format(digest="a" * 64)

EUGR = """\
recipe_version: "1"
name: Tiny
model: acme/Tiny-30B-NVFP4
container: vllm-node
mods:
  - mods/fix-tiny
build_args:
  - --pre-tf
defaults:
  port: 8000
  host: 0.0.0.0
  tensor_parallel: 2
  tokens: 3
env:
  VLLM_USE_FLASHINFER_MOE_FP4: 1
  VLLM_ALLOW_LONG_MAX_MODEL_LEN: 1
command: |
  vllm serve acme/Tiny-30B-NVFP4 \\
      --host {host} --port {port} \\
      --trust-remote-code \\
      --tensor-parallel-size {tensor_parallel} \\
      --speculative-config '{{"method":"mtp","num_speculative_tokens":{tokens}}}' \\

      --hf-overrides '{{"a": 1}}' \\
      --enable-prefix-caching \\
      --tool-call-parser=hermes \\
      --load-format auto
"""

COMPOSE = """\
x-common: &common
  restart: always
services:
  proxy:
    image: nginx:1.27
  engine:
    <<: *common
    image: vllm/vllm-openai:v0.32.0
    ipc: host
    ports: ["127.0.0.1:8000:8000"]
    environment:
      VLLM_ALLOW_LONG_MAX_MODEL_LEN: "1"
      HF_TOKEN: ${HF_TOKEN}
    command: >
      --model acme/Tiny-30B-NVFP4
      --tensor-parallel-size 2
      --kv-cache-dtype fp8
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              count: 2
              capabilities: [gpu]
"""

VLLM_RECIPES = """\
meta:
  title: Tiny
  hardware: {b300: verified, dgx_spark_gb10: verified}
model:
  model_id: acme/Tiny-30B
  min_vllm_version: 0.31.0
  base_args: ["--kv-cache-dtype", "fp8", "--block-size", "64"]
  base_env: {VLLM_ALLOW_LONG_MAX_MODEL_LEN: "1"}
features:
  tool_calling:
    args: ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
  spec:
    default_mode: mtp
    modes:
      eagle: {args: ["--speculative-config", '{"method":"eagle3"}']}
      mtp: {args: ["--speculative-config", '{"method":"mtp"}']}
  extra:
    args: ["--seed", "1"]
opt_in_features: [extra]
compatible_strategies: [single_node_tp, single_node_tep, multi_node_tp]
hardware_overrides:
  blackwell:
    extra_args: ["--attention-config.use_fp4_indexer_cache=True"]
variants:
  default: {precision: bf16, vram_minimum_gb: 60}
  nvfp4:
    precision: nvfp4
    model_id: acme/Tiny-30B-NVFP4
    vram_minimum_gb: 200
    extra_args: ["--block-size", "256"]
    hardware_overrides:
      b300: {extra_env: {NCCL_DEBUG: WARN}}
strategy_overrides:
  single_node_tep:
    hardware_overrides:
      blackwell: {extra_args: ["--max-num-seqs", "8"]}
"""


def read(
    text: str | bytes,
    *,
    form: Form | None = None,
    model: str | None = None,
    machine: Machine | None = None,
    asked: Asked | None = None,
) -> Imported:
    """Return ``text``, imported as ``recipe.yaml``."""
    raw = text.encode() if isinstance(text, str) else text
    wanted = Wanted(form, model, machine or Machine(), asked or Asked())
    return read_foreign(raw, "recipe.yaml", wanted, FLAGS)


def arguments(imported: Imported) -> dict[str, object]:
    """Return the flags of the recipe, by name."""
    return {argument.name: argument.value for argument in imported.arguments}


def environment(imported: Imported) -> dict[str, str]:
    """Return the variables of the recipe, by name."""
    return {setting.name: setting.value for setting in imported.environment}


def found(imported: Imported, kind: str) -> list[Finding]:
    """Return the findings of one kind."""
    return [finding for finding in imported.findings if finding.id == kind]


def only(imported: Imported, kind: str) -> Finding:
    """Return the finding of one kind; there must be exactly one."""
    (one,) = found(imported, kind)
    return one
