"""Import whole folders of other people's recipes, and count; for docs/import.md.

    python benchmarks/import_corpus.py FOLDER...
    python benchmarks/import_corpus.py --rendered COMMANDS.json FOLDER

The first imports every YAML file below the folders. The second holds the commands that
we make of a checkout of vllm-project/recipes against commands that its own scripts have
rendered: a JSON list of objects with ``model``, ``hw``, ``nodes``, ``image``, ``env``
and ``argv``. Both only read, and run nothing.
"""

import argparse
import collections
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.recipe.foreign.flags import pinned_flags
from nvfp4_serve.recipe.foreign.hardware import PROFILES
from nvfp4_serve.recipe.foreign.read import Wanted, read_foreign
from nvfp4_serve.recipe.foreign.vllm_recipes import Asked, read_vllm_recipes
from nvfp4_serve.recipe.yaml_foreign import ForeignYaml, parse_foreign


def main() -> None:
    """Read the arguments, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rendered", type=Path)
    parser.add_argument("folders", nargs="+", type=Path)
    given = parser.parse_args()
    if given.rendered is None:
        for folder in given.folders:
            count_imports(folder)
    else:
        count_agreement(given.folders[0], json.loads(given.rendered.read_text()))


def count_imports(folder: Path) -> None:
    """Print how many files are imported, why the others are not, and what is found."""
    flags = pinned_flags()
    forms: collections.Counter[str] = collections.Counter()
    refused: list[str] = []
    findings: collections.Counter[str] = collections.Counter()
    for path in sorted(folder.rglob("*.yaml")):
        try:
            imported = read_foreign(path.read_bytes(), path.name, Wanted(), flags)
        except RecipeError as error:
            refused.append(error.problem)
            continue
        forms[imported.form] += 1
        findings.update({finding.id for finding in imported.findings})
    print(f"{folder}: {forms.total()} imported {dict(forms)}, {len(refused)} refused")
    for problem in refused:
        print(f"  refused: {problem}")
    for name, count in findings.most_common():
        print(f"  {count:4}  {name}")


def count_agreement(folder: Path, rendered: list[dict[str, Any]]) -> None:
    """Print how many rendered commands are the same as ours, word for word."""
    variants = dict(_variants(folder))
    same = 0
    for command in rendered:
        candidates = variants.get(command["model"], [])
        if any(_is_same(command, *candidate) for candidate in candidates):
            same += 1
        else:
            print(f"differs: {command['model']} on {command['hw']}")
    print(f"{same} of {len(rendered)} are the same")


def _variants(folder: Path) -> Iterator[tuple[str, list[tuple[ForeignYaml, str]]]]:
    """Yield each model id with the files and variants that are for it."""
    found: dict[str, list[tuple[ForeignYaml, str]]] = {}
    for path in sorted(folder.rglob("*.yaml")):
        source = parse_foreign(path.read_text(), path.name)
        data = source.data if isinstance(source.data, dict) else {}
        for name, variant in (data.get("variants") or {}).items():
            model = variant.get("model_id") or (data.get("model") or {}).get("model_id")
            found.setdefault(str(model), []).append((source, name))
    yield from found.items()


def _is_same(command: dict[str, Any], source: ForeignYaml, variant: str) -> bool:
    machine = PROFILES[command["hw"]].machine
    try:
        launch = read_vllm_recipes(source, "file", machine, Asked(variant))
    except RecipeError:
        return False
    words = ["vllm", "serve", *(word.text for word in launch.words)]
    variables = {setting.name: setting.value for setting in launch.environment}
    ours = (words, variables, launch.image, launch.machine.nodes)
    return ours == tuple(command[key] for key in ("argv", "env", "image", "nodes"))


if __name__ == "__main__":
    main()
