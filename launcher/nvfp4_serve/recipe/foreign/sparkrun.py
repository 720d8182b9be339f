"""sparkrun's recipes, version 2 -> a launch.

Source:
    sparkrun 0.4.2, ``core/recipe.py``, ``core/recipe_overrides.py`` and
    ``runtimes/_vllm_common.py``: fields, conditions, and the names of the flags.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.command import read_command
from nvfp4_serve.recipe.foreign.conditions import applies
from nvfp4_serve.recipe.foreign.fields import (
    count_field,
    list_field,
    mapping_field,
    not_run,
    settings,
    text_field,
    unread,
)
from nvfp4_serve.recipe.foreign.template import fill, missing_values
from nvfp4_serve.recipe.foreign.types import Launch, Machine, info
from nvfp4_serve.recipe.foreign.words import Word
from nvfp4_serve.recipe.yaml_foreign import ForeignYaml

_READ: Final = frozenset(
    {
        "sparkrun_version", "recipe_version", "min_sparkrun_version", "name",
        "description", "model", "model_revision", "runtime", "runtime_version", "mode",
        "min_nodes", "max_nodes", "container", "defaults", "env", "command",
        "cluster_only", "solo_only", "metadata", "pre_exec", "post_exec",
        "post_commands", "mods", "overrides", "benchmark",
    }
)  # fmt: skip
_RUNTIMES: Final = frozenset({"vllm", "vllm-distributed", "vllm-ray", "eugr-vllm"})
_RENAMED: Final = {
    "tensor_parallel": "--tensor-parallel-size",
    "pipeline_parallel": "--pipeline-parallel-size",
    "data_parallel": "--data-parallel-size",
}
#: Keys of ``defaults`` that sparkrun hands to vLLM where there is no ``command``.
#: Another key is for the author's own template alone.
PASSED: Final = frozenset(
    {
        "allowed_local_media_path", "api_key", "async_scheduling",
        "attention_backend", "attention_config", "block_size", "chat_template",
        "compilation_config", "data_parallel", "dcp_comm_backend",
        "decode_refill_target", "default_chat_template_kwargs",
        "disable_custom_all_reduce", "distributed_executor_backend", "dtype",
        "enable_auto_tool_choice", "enable_chunked_prefill",
        "enable_flashinfer_autotune", "enable_force_include_usage",
        "enable_mamba_shared_prefix_checkpoint", "enable_prefix_caching",
        "enable_prompt_tokens_details", "enable_request_id_headers",
        "enforce_eager", "engram_config", "gdn_decode_kernel",
        "gdn_prefill_backend", "generation_config", "gpu_memory_utilization",
        "host", "hf_overrides", "jit_monitor_mode", "kda_prefill_backend",
        "kv_cache_dtype", "kv_cache_memory_bytes", "limit_mm_per_prompt",
        "linear_backend", "load_format", "long_prefill_token_threshold",
        "mamba_backend", "mamba_cache_dtype", "mamba_cache_mode",
        "mamba_ssm_cache_dtype", "max_cudagraph_capture_size", "max_model_len",
        "max_num_batched_tokens", "max_num_seqs", "max_parallel_prefills",
        "media_io_kwargs", "mm_encoder_tp_mode", "mm_processor_cache_gb",
        "model_loader_extra_config", "moe_backend", "otlp_traces_endpoint",
        "pipeline_parallel", "port", "prefill_compute_half_life",
        "prefill_compute_share", "prefill_policy", "prefill_schedule_interval",
        "prefix_cache_retention_interval", "prefix_match_unit", "quantization",
        "reasoning_parser", "reasoning_parser_plugin",
        "recurrent_checkpoint_policy", "safetensors_load_strategy",
        "scheduler_reserve_full_isl", "seed", "served_model_name",
        "speculative_config", "tensor_parallel", "tokenizer_mode",
        "tool_call_parser", "trust_remote_code", "video_pruning_rate",
    }
)  # fmt: skip
#: sparkrun mends this by itself, so nothing is lost to it there.
_TRAILING_BLANK: Final = re.compile(r"\\[ \t]+$", re.MULTILINE)


def read_sparkrun(source: ForeignYaml, label: str, target: Machine) -> Launch:
    """Return the way in which a recipe of sparkrun's starts vLLM on ``target``.

    Raises:
        RecipeError: It is for another server, or a field is of a wrong kind.
    """
    _refuse_runtime(source, label)
    findings: list[Finding] = []
    defaults = mapping_field(source, "defaults", label)
    machine = _machine(source, label, defaults, target)
    env = list(settings(source, mapping_field(source, "env", label), "env"))
    container = text_field(source, "container", label)
    for layer, at in _overrides(source, label, machine, target, findings):
        defaults |= layer.get("defaults") or {}
        env += settings(source, layer.get("env") or {}, "overrides", at, "env")
        container = layer.get("container") or container
    model = text_field(source, "model", label)
    launch = _command(source, label, {"model": model, **defaults}, findings)
    return replace(
        launch,
        environment=(*env, *launch.environment),
        image=container or launch.image,
        image_line=source.line("container"),
        model=model,
        revision=text_field(source, "model_revision", label),
        named=text_field(source, "name", label),
        machine=machine,
        findings=(
            *launch.findings,
            *findings,
            *not_run(source, ("mods", "pre_exec", "post_exec", "post_commands"), label),
            *unread(source, _READ, label),
        ),
    )


def _refuse_runtime(source: ForeignYaml, label: str) -> None:
    runtime = text_field(source, "runtime", label) or "vllm"
    if runtime not in _RUNTIMES:
        raise RecipeError(
            f"{label}: the recipe is for `{runtime}`, not for vLLM.",
            evidence=(f"line {source.line('runtime')}: runtime: {runtime}",),
            fix="Only recipes for vLLM can be read; its flags mean nothing to another.",
        )


def _machine(
    source: ForeignYaml, label: str, defaults: dict[str, Any], target: Machine
) -> Machine:
    if target.gpus is not None:
        return target
    least = count_field(source, "min_nodes", label) or 1
    if source.data.get("cluster_only") is True:
        least = max(least, 2)
    nodes = max(target.nodes, least)
    image = text_field(source, "container", label) or ""
    # A DGX Spark is one GB10: every further GPU is a further node.
    is_spark = "dgx" in image or "spark" in image
    if not is_spark:
        return replace(target, nodes=nodes)
    sizes = [defaults.get(key) for key in _RENAMED]
    gpus = 1
    for size in sizes:
        gpus *= size if isinstance(size, int) and size > 0 else 1
    capability = target.compute_capability or "12.1"
    return Machine("gb10", capability, 1, max(nodes, gpus))


def _overrides(
    source: ForeignYaml,
    label: str,
    machine: Machine,
    target: Machine,
    findings: list[Finding],
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the layers of ``overrides`` that are for this machine."""
    del target
    for index, layer in enumerate(list_field(source, "overrides", label)):
        if not isinstance(layer, dict):
            continue
        when = layer.get("when")
        at = f"{label}:{source.line('overrides', index)}"
        verdict = applies(when if isinstance(when, dict) else {}, machine, source.data)
        shown = json.dumps(when, default=str)
        if verdict.holds:
            yield layer, index
        findings.append(
            info(
                "override-taken" if verdict.holds else "override-left-out",
                f"{at}: the override for {shown} is "
                f"{'taken' if verdict.holds else 'left out'}: {verdict.why}.",
                "`--gpu CCxN` says which machine the recipe is wanted for.",
            )
        )


def _command(
    source: ForeignYaml, label: str, values: dict[str, Any], findings: list[Finding]
) -> Launch:
    template = text_field(source, "command", label)
    if template is None:
        return _without_command(source, label, values, findings)
    filled, missing = fill(template, values, doubled="{{" in template)
    line = source.line("command")
    findings += missing_values(template, missing, line, label)
    return read_command(_TRAILING_BLANK.sub("\\\\", filled), label, line)


def _without_command(
    source: ForeignYaml, label: str, values: dict[str, Any], findings: list[Finding]
) -> Launch:
    """Return the launch that sparkrun makes of ``defaults`` alone."""
    words = [Word(str(values.pop("model")), source.line("model"))]
    ignored = []
    for key, value in values.items():
        line = source.line("defaults", key)
        if key not in PASSED:
            ignored.append(key)
            continue
        flag = _RENAMED.get(key, f"--{key.replace('_', '-')}")
        if value is True:
            words.append(Word(flag, line))
        elif value is False:
            words.append(Word(f"--no-{flag[2:]}", line))
        elif value is not None:
            words += [Word(flag, line), Word(_shown(value), line)]
    if ignored:
        findings.append(
            info(
                "defaults-not-passed",
                f"{label}:{source.line('defaults')}: sparkrun hands these keys to no "
                f"flag of vLLM's: {', '.join(ignored)}.",
                "Write a `command`, if the engine needs them.",
            )
        )
    return Launch(words=tuple(words))


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return str(value)
