"""Write the tables of docs/backends.md from plan/rules.yaml.

``make auto`` runs it; a test compares the page with what this writes, so that they
cannot drift.
"""

import sys
from pathlib import Path

from nvfp4_serve.recipe.backend_rules import (
    BackendRules,
    Row,
    When,
    read_rules,
    words_of,
)

PAGE = Path(__file__).parent / "backends.md"
_BEGIN = "<!-- Written by docs/make_backends.py from plan/rules.yaml. -->"
_END = "<!-- End of what is written by docs/make_backends.py. -->"
#: The parts of the page: a heading, and the field whose rows it shows.
_PARTS = (
    ("Experts (`--moe-backend`)", "moe"),
    ("Other NVFP4 layers (`--linear-backend`)", "linear"),
    ("Experts of the draft (`moe_backend` of `--speculative-config`)", "draft_moe"),
    ("Attention (`--attention-backend`)", "attention"),
    ("KV cache (`--kv-cache-dtype`, `--block-size`)", "kv_cache_dtype"),
    ("FlashInfer's tuning (`--no-enable-flashinfer-autotune`)", "autotune"),
    ("Variables", "env"),
)


def main() -> int:
    """Write the page; with ``--check``, only say whether it would change."""
    page = PAGE.read_text()
    wanted = with_tables(page, read_rules())
    if sys.argv[1:] == ["--check"]:
        if wanted != page:
            sys.stderr.write("backends.md is stale: `make auto`\n")
        return wanted != page
    PAGE.write_text(wanted)
    return 0


def with_tables(page: str, rules: BackendRules) -> str:
    """Return the page with the tables of ``rules`` between its two marks."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    parts = [_part(heading, field, rules) for heading, field in _PARTS]
    tables = "\n\n".join((*parts, _refused(rules)))
    return f"{before}{_BEGIN}\n\n{tables}\n\n{_END}{after}"


def _part(heading: str, field: str, rules: BackendRules) -> str:
    rows = [row for row in rules.rows if row.says(field) not in (None, {})]
    lines = [
        f"### {heading}",
        "",
        "| row | when | chosen | vLLM then says | why | source |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_line(row, field) for row in rows]
    return "\n".join(lines)


def _line(row: Row, field: str) -> str:
    expected = getattr(row.expect, field, None)
    cells = (
        f"`{row.id}`",
        _when(row.when),
        _chosen(row, field),
        f"`{expected}`" if expected else "",
        row.why,
        f"{row.source} ({row.proof})",
    )
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _when(when: When) -> str:
    said = []
    for name, wanted in when.given.items():
        label = name.replace("_", " ")
        if isinstance(wanted, bool):
            said.append(label if wanted else f"not {label}")
        else:
            said.append(f"{label} {' or '.join(words_of(getattr(when, name)))}")
    return ", ".join(said) or "always"


def _chosen(row: Row, field: str) -> str:
    if field == "env":
        pairs = row.choose.env.items()
        return ", ".join(f"`{name}={value}`" for name, value in pairs)
    if field == "autotune":
        return "off"
    chosen = f"`{row.says(field)}`"
    if field == "kv_cache_dtype" and row.choose.block_size is not None:
        chosen += f", blocks of {row.choose.block_size}"
    return chosen


def _refused(rules: BackendRules) -> str:
    lines = [
        "### Refused",
        "",
        "| what | of what | why | instead | source |",
        "|---|---|---|---|---|",
    ]
    for row in rules.refused:
        cells = (f"`--moe-backend {row.moe}`", ", ".join(row.experts), row.why)
        lines.append(f"| {' | '.join((*cells, row.instead, row.source))} |")
    for cache in rules.cache_refused:
        about = _when(cache.when)
        flag = f"`--kv-cache-dtype {cache.kv_cache_dtype[0]}...`"
        cells = (flag, about, cache.why, cache.instead, cache.source)
        lines.append(f"| {' | '.join(cells)} |")
    for missing in rules.missing:
        flags = f"`--moe-backend` or `--linear-backend {missing.backend}`"
        why = f"needs the package `{missing.package}`, which is not in our engine"
        lines.append(f"| {flags} | NVFP4 | {why} | | {missing.source} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
