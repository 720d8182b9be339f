"""The pages about recipes as files: whole, and their commands are ours."""

import html
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from nvfp4_serve.cli.main import commands
from nvfp4_serve.recipe.load import load_recipes

RECIPES = load_recipes()


def test_every_page_that_is_linked_is_there(site: Path) -> None:
    index = (site / "index.html").read_text()
    links = re.findall(r'href="(models/[^"#]+)(?:#([^"]+))?"', index)

    assert links
    for page, anchor in links:
        assert not anchor or f'id="{anchor}"' in (site / page).read_text(), page


def test_a_count_is_that_of_the_smallest_recipe_of_a_column(site: Path) -> None:
    # Eight B300 are published, and four GB300; the column is for both.
    index = (site / "index.html").read_text()
    (row,) = (r for r in index.split("<tr") if 'models/deepseek-v3.2-nvfp4.html"' in r)

    cells = dict(re.findall(r'data-family="([^"]+)">(.*?)</td>', row, re.DOTALL))

    assert "8 GPUs" in cells["B200, GB200"]
    assert "4 GPUs" in cells["B300, GB300"]
    assert "#gb300x4" in cells["B300, GB300"]


def words_of(command: str) -> tuple[str, dict[str, Any]]:
    """Return what our own parser makes of a command line."""
    program, *words = shlex.split(command)
    assert program == "nvfp4-serve"
    context = commands.make_context("nvfp4-serve", list(words))
    name, command_, rest = commands.resolve_command(
        context, [*context._protected_args, *context.args]
    )
    assert command_ is not None
    below = command_.make_context(name, rest, parent=context)
    return str(name), below.params


def test_our_parser_takes_every_command_of_every_page(site: Path) -> None:
    ids = set()

    for page in sorted((site / "models").glob("*.html")):
        for line in re.findall(r"<pre id=[^>]+>([^<]+)</pre>", page.read_text()):
            name, params = words_of(html.unescape(line))
            assert name == "serve"
            ids.add((params["model"], params["recipe"]))

    one_machine = {
        (recipe.model_id, recipe.id)
        for recipe in RECIPES
        if recipe.blocked is None and all(one.holds((1,)) for one in recipe.when.nodes)
    }
    assert ids == one_machine


def test_a_command_that_our_parser_does_not_know_would_be_seen() -> None:
    with pytest.raises(click.UsageError):
        words_of("nvfp4-serve serve nvidia/Model --recipes x")


def test_a_page_names_no_address_on_the_network(site: Path) -> None:
    for page in (site / "index.html", *sorted((site / "models").glob("*.html"))):
        text = page.read_text()
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), page.name
        assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", text), page.name
