"""What is known of a checkpoint once its headers are read. Values only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from nvfp4_serve.checkpoint.shapes import KvShape, Part, Widths
from nvfp4_serve.finding import Finding, Severity


@dataclass(frozen=True, slots=True)
class Producer:
    """The program that wrote a checkpoint, as its own config says."""

    name: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Experts:
    """What a kernel must know of the routed experts; None: config.json does not say.

    Attributes:
        count: Experts in a layer.
        per_token: Experts that see a token.
        intermediate: Width between an expert's two projections.
        activation: vLLM's word: ``silu``, ``gelu_tanh``, ``relu2_no_mul``, ...
        gated: The first projection has a gate beside it.
        swiglu_limit: Where the model clamps the gate, the tightest clamp.
    """

    count: int
    per_token: int | None
    intermediate: int | None
    activation: str
    gated: bool
    swiglu_limit: float | None


@dataclass(frozen=True, slots=True)
class Draft:
    """The layers that predict more than one token, stored with the model.

    Attributes:
        layers: How many config.json counts.
        scheme: Of their routed experts; None where they have none.
        method: ``method`` of vLLM's ``--speculative-config``.
    """

    layers: int | None
    scheme: str | None
    method: str


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a module, as its shard's header describes it.

    Attributes:
        suffix: What follows the module's name: ``weight``, ``weight_scale_2``, ...
        dtype: The format's own word: ``U8``, ``F8_E4M3``, ``BF16``, ...
        shape: As stored; a packed weight has half of its logical columns.
        bytes: What it takes in the file.
    """

    suffix: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        """Stored elements; a packed weight has two values in each."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class ModuleGroup:
    """Modules that differ in the number of their expert only, and in nothing else.

    Attributes:
        name: The modules' name, the expert as ``*``:
            ``model.layers.3.mlp.experts.*.up_proj``.
        example: The name of one of them.
        count: How many there are; 1 for everything that is not an expert.
        tensors: What each of them stores, by suffix.
        members: The names of all of them.
    """

    name: str
    example: str
    count: int
    tensors: tuple[StoredTensor, ...]
    members: tuple[str, ...] = field(repr=False, compare=False)

    def tensor(self, suffix: str) -> StoredTensor | None:
        """Return the tensor that is called ``suffix``, if the modules have it."""
        for tensor in self.tensors:
            if tensor.suffix == suffix:
                return tensor
        return None


@dataclass(frozen=True, slots=True)
class RawHeader:
    """The header of one shard, not yet parsed.

    Attributes:
        shard: The file's name.
        raw: JSON text.
        body: Bytes of the file behind the header.
    """

    shard: str
    raw: bytes
    body: int


@dataclass(frozen=True, slots=True)
class ScalePair:
    """The global scales of two weights that vLLM puts into one parameter.

    Attributes:
        first: The name of the one that ``one`` is the value of.
    """

    first: str
    second: str
    one: float
    two: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the small files and the headers of a checkpoint say, not yet judged.

    Attributes:
        model: The path or Hub id as the user gave it.
        folder: The local folder, or None for a Hub id that is not downloaded.
        revision: The commit of a Hub checkpoint.
        config: config.json.
        hf_quant_config: hf_quant_config.json, where there is one.
        groups: Every module, those that are alike together.
        notes: What was noticed while reading and is no reason to stop.
        scale_pairs: Some of the global scales of a local checkpoint; None where the
            values cannot be read.
    """

    model: str
    folder: str | None
    revision: str | None
    config: Mapping[str, object]
    hf_quant_config: Mapping[str, object] | None
    groups: tuple[ModuleGroup, ...]
    notes: tuple[Finding, ...]
    scale_pairs: tuple[ScalePair, ...] | None = None


@dataclass(frozen=True, slots=True)
class Overlay:
    """A quantization config that says what the tensors say, where that is certain.

    Attributes:
        quantization_config: All of it, to stand in the place of config.json's own.
        changes: What it says otherwise, and how that is known; a sentence each.
    """

    quantization_config: Mapping[str, object]
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a checkpoint stores its weights. Read from headers; no weight byte is read.

    Attributes:
        model: The path or Hub id as the user gave it.
        folder: The local folder, or None for a Hub id that is not downloaded.
        revision: The commit of a Hub checkpoint.
        architecture: ``architectures[0]`` of config.json.
        producer: Who wrote it, where a config says so.
        layout: The layout id: one of those in the table of ``layout_ids``.
        schemes: Module class (``attention``, ``routed_experts``, ...) to scheme
            (``NVFP4``, ``W4A16_NVFP4``, ``FP8``, ``MXFP4``, ``BF16``, ...; several
            are joined by ``+``).
        weight_bytes: Exact bytes of all tensors, as stored.
        parameters: Logical parameters: packed values unpacked, scales not counted.
        dequantized_bytes: Bytes of all weights once every packed or FP8 weight is
            held in bfloat16, as an engine without NVFP4 kernels holds them.
        max_position_embeddings: Tokens that the model was made for.
        kv: What the KV cache depends on; None where that is not known here.
        needs_remote_code: config.json has an ``auto_map``.
        findings: Everything that a user should know, worst first.
        attention_heads: Heads of the queries, where config.json says it.
        rewrites: What the engine's adapter, or `repair`, has to change in the names:
            kinds of ``nvfp4_layouts.rewrite``; empty where nothing has to be.
        overlay: The quantization config that is right, where the files' own is not
            and the truth is certain.
        input_widths: The input features of every NVFP4 weight, by the name of its
            group.
        parts: The weights by how they are cut; together they are ``weight_bytes``.
        widths: What the engine's working memory depends on.
        experts: What kernels must know of the routed experts, where there are any.
        draft: The prediction layers that are stored, where there are any.
        attention_kind: ``plain``, ``latent``, ``latent-sparse`` or ``deepseek-v4``.
    """

    model: str
    folder: str | None
    revision: str | None
    architecture: str | None
    producer: Producer | None
    layout: str
    schemes: Mapping[str, str]
    weight_bytes: int
    parameters: int
    dequantized_bytes: int
    max_position_embeddings: int | None
    kv: KvShape | None
    needs_remote_code: bool
    findings: tuple[Finding, ...]
    attention_heads: int | None = None
    rewrites: tuple[str, ...] = ()
    overlay: Overlay | None = None
    input_widths: Mapping[str, int] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    widths: Widths = field(default_factory=Widths)
    experts: Experts | None = None
    draft: Draft | None = None
    attention_kind: str = "plain"

    @property
    def servable(self) -> bool:
        """True when nothing was found that forbids serving it."""
        return not any(f.severity is Severity.ERROR for f in self.findings)
