"""A Plan as one page of HTML: bars, command, flags and reasons. Nothing is fetched."""

from html import escape
from itertools import dropwhile
from typing import Final

from nvfp4_serve.plan.types import Budget, Plan
from nvfp4_serve.render.budget import bar_parts
from nvfp4_serve.render.shell import render_shell
from nvfp4_serve.units import format_bytes

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin-top: 2rem; }
pre, code { font: 0.85rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { padding: 0.8rem; overflow-x: auto; border: 1px solid #8886; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.8rem 0.35rem 0; }
tr { border-top: 1px solid #8884; }
figure { margin: 1rem 0; }
svg { display: block; width: 100%; height: 1.6rem; }
.weights { fill: #3366aa; background: #3366aa; }
.engine { fill: #b8860b; background: #b8860b; }
.cache { fill: #2e8b57; background: #2e8b57; }
.free { fill: #8885; background: #8885; }
.key { display: inline-block; width: 0.8rem; height: 0.8rem; margin-right: 0.3rem; }
.source { opacity: 0.75; font-size: 0.85rem; }
"""
_CLASSES: Final = {
    "weights": "weights",
    "engine": "engine",
    "KV cache": "cache",
    "free": "free",
}
#: Units of a bar's width.
_WIDE: Final = 1000


def render_page(plan: Plan) -> str:
    """Return ``plan`` as a page that needs no other file and no network.

    Every word that comes from a checkpoint or a machine is escaped.
    """
    title = escape(f"{plan.served_model_name}: {plan.engine}, {plan.status}")
    bars = "\n".join(_gpu(number, budget) for number, budget in enumerate(plan.budgets))
    tokens = "" if plan.kv_cache_tokens is None else f"{plan.kv_cache_tokens:,}"
    said = f"<p>The KV cache holds {tokens} tokens in all.</p>" if tokens else ""
    reasons = "\n".join(
        f"<tr><td><code>{escape(reason.flag)}</code></td><td>{escape(reason.why)}"
        f'<div class="source">{escape(reason.source)}</div></td></tr>'
        for reason in plan.because
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
<h1>{title}</h1>
<h2>Memory</h2>
<p>{_key()}</p>
{bars}
{said}
<h2>Command</h2>
<pre>{escape(_command(plan))}</pre>
<h2>Flags and reasons</h2>
<table><tr><th>Flag</th><th>Why</th></tr>
{reasons}
</table>
</html>
"""


def _command(plan: Plan) -> str:
    """Return the command without its comments: the table has them."""
    lines = render_shell(plan).splitlines()
    return "\n".join(dropwhile(lambda line: line.startswith("#"), lines))


def _key() -> str:
    return " ".join(
        f'<span class="key {css}"></span>{escape(name)}&ensp;'
        for name, css in _CLASSES.items()
    )


def _gpu(number: int, budget: Budget) -> str:
    parts = bar_parts(budget)
    words = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts)
    name = f"GPU {number}: {budget.device}" if budget.context else budget.device
    return (
        f"<figure><figcaption>{escape(name)}, {format_bytes(budget.total)}: "
        f"{escape(words)}</figcaption>{_svg(parts, words)}</figure>"
    )


def _svg(parts: tuple[tuple[str, int], ...], words: str) -> str:
    total = sum(size for _, size in parts) or 1
    drawn, start = [], 0
    for name, size in parts:
        x, width = start * _WIDE / total, size * _WIDE / total
        drawn.append(
            f'<rect class="{_CLASSES[name]}" x="{x:.1f}" y="0" width="{width:.1f}" '
            f'height="10"><title>{escape(name)} {format_bytes(size)}</title></rect>'
        )
        start += size
    return (
        f'<svg viewBox="0 0 {_WIDE} 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(words)}">{"".join(drawn)}</svg>'
    )
