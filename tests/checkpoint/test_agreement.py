"""The fast way through headers and index says what the exact way says, always.

Random headers and indexes, most of them spoilt at random; what is read of them is held
against ``malformed``, which looks at everything one by one, and against a plain count.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from checkpoint.builders import tensor_count, write_index, write_shard
from nvfp4_serve.checkpoint import read_checkpoint
from nvfp4_serve.checkpoint.header import Entry
from nvfp4_serve.checkpoint.malformed import check_body, parse_strictly
from nvfp4_serve.checkpoint.nvfp4 import DTYPE_BITS, tensor_bytes
from nvfp4_serve.checkpoint.types import Checkpoint
from nvfp4_serve.errors import CheckpointError

Json = dict[str, object]
#: What a checkpoint holds, counted; or what is said of it.
Outcome = Counter[tuple[object, ...]] | tuple[str, tuple[str, ...], str]

NAMES = [
    f"model.layers.{layer}.{part}.{suffix}"
    for layer in (0, 1, 12)
    for part in ("mlp.experts.0.up", "mlp.experts.17.up", "mlp.experts.gate.3", "norm")
    for suffix in ("weight", "weight_scale", "bias")
] + ["weight", ".weight", "a:b.weight", "é.weight", "x{y}.weight", 'q".weight']
EXPERT = re.compile(r"^(.*?\.experts\.(?:[a-z]+\.)?)\d+(?=\.|$)")
METADATA = [{}, {"format": "pt"}, {"a": "b", "c": "{d}"}, {"a": 1}, [], {"k": "\\"}]
#: What is put somewhere into a text, or instead of a character.
SPLINTERS = ['"', "{", "}", "[", "]", ":", ",", "\\", " ", "0", "9", "-", ".", "e"]
SPLINTERS += ["null", "true", '"shape":[1],', ',"x":1', "1e3", "\\u0061", "\n", "\x01"]


def outcome_of(folder: Path) -> Outcome:
    try:
        return counted(read_checkpoint(str(folder)))
    except CheckpointError as error:
        return error.problem, error.evidence, error.fix


def counted(checkpoint: Checkpoint) -> Outcome:
    return Counter(
        {
            (group.name, t.suffix, t.dtype, t.shape, t.bytes): group.count
            for group in checkpoint.groups
            for t in group.tensors
        }
    )


def exact_outcome(raw: bytes, body: int) -> Outcome:
    """Return what is to be expected of one shard, looked at one by one."""
    label = "model.safetensors"
    try:
        content = parse_strictly(raw, label=label)
        header = msgspec.convert(content, dict[str, Entry])
        check_body(header, label=label, body=body)
    except CheckpointError as error:
        return error.problem, error.evidence, error.fix
    found: Counter[tuple[object, ...]] = Counter()
    for name, entry in header.items():
        module, _, suffix = name.rpartition(".")
        begin, end = entry.data_offsets
        folded = EXPERT.sub(r"\1*", module)
        suffix = suffix if module else name
        found[folded, suffix, entry.dtype, entry.shape, end - begin] += 1
    return found


def any_header(rng: random.Random) -> tuple[str, int]:
    """Return a header, right but unusual, and the bytes behind it."""
    entries: Json = {}
    if rng.random() < 0.7:
        entries["__metadata__"] = rng.choice(METADATA)
    cursor = 0
    for name in rng.sample(NAMES, rng.randrange(8)):
        dtype, shape = rng.choice(list(DTYPE_BITS)), [rng.choice((0, 1, 2, 16))] * 2
        size = tensor_bytes(dtype, tuple(shape)) or 0
        fields: Json = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [cursor, cursor + size],
        }
        keys = rng.sample(list(fields), 3) if rng.random() < 0.2 else fields
        entries[name] = {key: fields[key] for key in keys}
        cursor += size
    if rng.random() < 0.2:
        entries = {key: entries[key] for key in rng.sample(list(entries), len(entries))}
    separators = rng.choice(((",", ":"), (", ", ": "), (",\n", " : ")))
    plain = rng.random() < 0.5
    text = json.dumps(entries, separators=separators, ensure_ascii=plain)
    return text + " " * rng.randrange(8), cursor


def spoilt(text: str, rng: random.Random) -> str:
    """Return ``text`` with something cut out, put in, doubled or exchanged."""
    begin = rng.randrange(len(text))
    end = min(len(text), begin + rng.choice((0, 0, 1, 1, 2, 9, 60)))
    kept = rng.choice(("", text[begin:end] * 2, rng.choice(SPLINTERS)))
    return text[:begin] + kept + text[end:]


@pytest.mark.parametrize("seed", range(12))
def test_says_of_any_header_what_the_exact_way_says(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    (tmp_path / "config.json").write_text("{}")
    read = refused = 0

    for _ in range(150):
        text, body = any_header(rng)
        for _ in range(rng.choice((0, 1, 1, 2))):
            text = spoilt(text, rng) or "{}"
        raw = text.encode().ljust(2)
        body += rng.choice((0, 0, 0, 0, 1))
        write_shard(tmp_path / "model.safetensors", raw, body)

        expected = exact_outcome(raw, body)

        assert outcome_of(tmp_path) == expected, raw
        read += isinstance(expected, Counter)
        refused += not isinstance(expected, Counter)

    assert read > 20
    assert refused > 20


@pytest.mark.parametrize(
    "header",
    [
        pytest.param('{"__metadata__":{"a":"b"}%s}', id="no-comma"),
        pytest.param('{"__metadata__":{"a":"b"},,%s}', id="two-commas"),
        pytest.param('{"__metadata__":{"a":"b","a":"c"},%s}', id="metadata-key-twice"),
        pytest.param('{"__metadata__":{},"__metadata__":{},%s}', id="metadata-twice"),
        pytest.param(
            '{"\\u005f_metadata__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},%s}',
            id="metadata-in-disguise",
        ),
        pytest.param('{"__metadata__":{"a":"b"},}', id="comma-behind-all"),
        pytest.param('{"__metadata__":{"a":"b"} }', id="metadata-only"),
        pytest.param(
            '{"b":{"dtype":"U8","shape":[0,9223372036854775808],"data_offsets":[0,0]},'
            "%s}",
            id="side-of-2-to-the-63",
        ),
        pytest.param(
            '{"b":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":0},'
            '"c":{"dtype":"U8","data_offsets":[0,0]},%s}',
            id="one-field-more-and-one-less",
        ),
    ],
)
def test_says_of_an_odd_header_what_the_exact_way_says(
    tmp_path: Path, header: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    tensor = '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    raw = header.replace("%s", tensor).encode()
    write_shard(tmp_path / "model.safetensors", raw, 1 if "%s" in header else 0)

    outcome = outcome_of(tmp_path)

    assert outcome == exact_outcome(raw, 1 if "%s" in header else 0)


#: So many that the index is read in several pieces.
MANY = [f"model.layers.{i % 40}.mlp.experts.{i // 40}.up.weight" for i in range(2400)]
SHARDS = ("a.safetensors", "b.safetensors", "c.safetensors")
PLACES = {name: SHARDS[i * 3 // len(MANY)] for i, name in enumerate(MANY)}


def write_many(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    for shard in SHARDS:
        names = [name for name in MANY if PLACES[name] == shard]
        entries = {
            name: {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]}
            for i, name in enumerate(names)
        }
        write_shard(folder / shard, json.dumps(entries).encode(), len(names))


def any_index(rng: random.Random) -> str:
    """Return an index that is right, in some order, and perhaps spoilt."""
    items = list(PLACES.items())
    if rng.random() < 0.5:
        rng.shuffle(items)
    if rng.random() < 0.3:
        name, _ = rng.choice(items)
        items[rng.randrange(len(items))] = name, rng.choice(SHARDS)
    if rng.random() < 0.2:
        del items[rng.randrange(len(items))]
    members = ",\n".join(f'"{name}": "{shard}"' for name, shard in items)
    if rng.random() < 0.2:
        members += ',"{}": "{}"'.format(*rng.choice(items))
    text = rng.choice(
        (
            '{"metadata": {"total_size": 1}, "weight_map": {%s}}',
            '{"weight_map":{%s},"metadata":{}}',
            '{"metadata": {"weight_map": {}}, "weight_map" : {%s}}',
            '{"weight_map": {}, "weight_map": {%s}}',
            '{"weight_map": {%s}, "weight_map": {"a": "a.safetensors"}}',
            '{"x": "\\"weight_map\\": {", "weight_map": {%s}}',
        )
    ).replace("%s", members)
    return spoilt(text, rng) if rng.random() < 0.4 else text


def exact_words(data: bytes) -> Iterator[str]:
    """Yield what is to be said of an index, looked at name by name."""
    try:
        index = msgspec.json.decode(data, type=dict[str, object])
        weight_map = msgspec.convert(index["weight_map"], dict[str, str])
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError):
        yield "`model.safetensors.index.json` is not"
        return
    if set(weight_map.values()) - set(SHARDS):
        yield "is missing|outside of its folder|not a regular file"
        return
    yield from _words_of(weight_map)


def _words_of(weight_map: Mapping[str, str]) -> Iterator[str]:
    used = set(weight_map.values())
    absent = [n for n in weight_map if n not in PLACES or PLACES[n] not in used]
    strays = [
        name
        for name, shard in PLACES.items()
        if shard in used and weight_map.get(name) != shard
    ]
    if not used:
        yield "names no tensor"
    elif absent:
        yield f"names {len(absent):,} tensors that are in no shard"
    elif strays:
        yield f"{len(strays):,} tensors are not where `model.safetensors.index.json`"
    else:
        yield "^$"


@pytest.mark.parametrize("seed", range(40))
def test_says_of_any_index_what_the_exact_way_says(tmp_path: Path, seed: int) -> None:
    write_many(tmp_path)
    data = any_index(random.Random(seed)).encode()  # noqa: S311
    (tmp_path / "model.safetensors.index.json").write_bytes(data)

    try:
        notes = read_checkpoint(str(tmp_path)).notes
        said = " ".join(n.message for n in notes if n.id == "index-disagrees")
    except CheckpointError as error:
        said = " ".join((error.problem, *error.evidence))

    for words in exact_words(data):
        assert re.search(words, said), data[:80]


def test_reads_a_right_index_in_pieces(tmp_path: Path) -> None:
    write_many(tmp_path)
    write_index(tmp_path, PLACES)

    checkpoint = read_checkpoint(str(tmp_path))

    assert tensor_count(checkpoint) == len(MANY)
    assert checkpoint.notes == ()
