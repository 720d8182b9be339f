"""Write the tables of docs/layouts.md from what the matrix of twins found.

``make twins`` runs it; a test compares the page with what this writes, so that they
cannot drift.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PAGE = FOLDER / "layouts.md"
RESULTS = FOLDER.parent / "tests" / "twins" / "results" / "matrix.json"
_BEGIN = (
    "<!-- Written by docs/make_layouts.py from tests/twins/results/matrix.json. -->"
)
_END = "<!-- End of what is written by docs/make_layouts.py. -->"


def main() -> int:
    """Write the page; with ``--check``, only say whether it would change."""
    page = PAGE.read_text()
    wanted = with_table(page, json.loads(RESULTS.read_text()))
    if sys.argv[1:] == ["--check"]:
        if wanted != page:
            sys.stderr.write("layouts.md is stale: `make twins`\n")
        return wanted != page
    PAGE.write_text(wanted)
    return 0


def with_table(page: str, found: dict[str, Any]) -> str:
    """Return the page with the tables of ``found`` between its two marks."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{_table(found)}\n\n{_END}{after}"


def _table(found: dict[str, Any]) -> str:
    notes: list[str] = []
    rows = [
        "| layout | architecture | which | producer | stock | ours |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(found.values(), key=_order):
        stock, ours = (_cell(row, tree, notes) for tree in ("stock", "ours"))
        names = (row["layout"], row["architecture"])
        about = (*map("`{}`".format, names), row["kind"], row["producer"])
        rows.append(f"| {' | '.join((*about, stock, ours))} |")
    said = [f"{number}. `{words}`" for number, words in enumerate(notes, 1)]
    return "\n".join((*rows, "", "What was said:", "", *said))


def _order(row: dict[str, Any]) -> tuple[int, str, str, str]:
    is_seed = row["architecture"] == "Qwen3MoeForCausalLM"
    return not is_seed, row["layout"], row["architecture"], row["kind"]


def _cell(row: dict[str, Any], tree: str, notes: list[str]) -> str:
    if "not made" in row:
        return f"not made {_note(row['not made'], notes)}"
    found = row[tree]
    if "no plain twin" in row and found["words"] == row["no plain twin"]:
        return f"cannot run here {_note(found['words'], notes)}"
    if found["verdict"] == "right":
        return f"**right**, {found['words']}"
    if found["verdict"] == "wrong answers":
        is_number = not found["words"].startswith("nan")
        return f"**wrong answers**, {found['words'] if is_number else 'not numbers'}"
    return f"{found['verdict']} {_note(found['words'], notes)}"


def _note(words: str, notes: list[str]) -> str:
    words = re.sub(r"`", "'", words)
    if words not in notes:
        notes.append(words)
    return f"[{notes.index(words) + 1}]"


if __name__ == "__main__":
    sys.exit(main())
