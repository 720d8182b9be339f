"""What vLLM has renamed or dropped, as far as recipes in the wild still say it.

A test holds every row against the flags that the pinned version takes.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Renamed:
    """A flag that means the same under another name.

    Attributes:
        switch: The value that a switch has under its new name; None: keep the value.
    """

    name: str
    switch: bool | None = None
    since: str = ""


#: Old spelling to what says the same today; the importer writes the new one.
RENAMED: Final = {
    "--disable-flashinfer-autotune": Renamed(
        "--enable-flashinfer-autotune",
        switch=False,
        since="that spelling exists from vLLM 0.33.0 on",
    ),
    "--no-disable-flashinfer-autotune": Renamed(
        "--enable-flashinfer-autotune",
        switch=True,
        since="that spelling exists from vLLM 0.33.0 on",
    ),
    "--disable-log-requests": Renamed("--enable-log-requests", switch=False),
    "--cuda-graph-sizes": Renamed("--cudagraph-capture-sizes"),
    "--max-seq-len-to-capture": Renamed("--max-cudagraph-capture-size"),
}

#: Flags that are gone, and what to give in their place; nothing is written for them.
GONE: Final = {
    "--swap-space": "vLLM's V1 engine swaps nothing; leave it out",
    "--task": "give `--runner` or `--convert`; a chat model needs neither",
    "--guided-decoding-backend": "give `--structured-outputs-config.backend`",
    "--enable-reasoning": "`--reasoning-parser` alone is enough",
    "--use-v2-block-manager": "there is no other one; leave it out",
    "--num-scheduler-steps": "give `--async-scheduling`, or leave it out",
    "--speculative-model": "give `--speculative-config`",
    "--num-speculative-tokens": "give `--speculative-config`",
    "--rope-scaling": "give `--hf-overrides`",
    "--device": "the engine that is installed decides; leave it out",
    "--worker-use-ray": "give `--distributed-executor-backend`",
    "--preemption-mode": "there is no choice any more; leave it out",
    "--disable-frontend-multiprocessing": "there is no choice any more; leave it out",
    "--calculate-kv-scales": "scales are read from the checkpoint; leave it out",
    "--disable-mm-preprocessor-cache": "give `--mm-processor-cache-gb 0`",
    "--max-num-partial-prefills": "leave it out",
    "--expert-parallel-size": "give `--enable-expert-parallel`",
}

#: Keys of an object that vLLM no longer takes: flag, key -> what to say.
GONE_KEYS: Final = {
    ("--attention-config", "use_fp4_indexer_cache"): (
        "gone since vLLM 0.30; give `indexer_kv_dtype` (mxfp4 on 10.x, fp8 on 12.x)"
    ),
}
