"""Bars in the terminal, and the same as a page."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from hosts import cpu_host, gpu, gpu_host
from layouts import knowledge, layout
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.plan.types import Budget
from nvfp4_serve.render import render_budget, render_page
from nvfp4_serve.units import GIB, format_bytes

HALF = Budget(
    total=100 * GIB,
    weights=50 * GIB,
    overhead=10 * GIB,
    kv_cache=30 * GIB,
    free=10 * GIB,
    context=GIB,
    device="a GPU",
)


def plan(host: Host, name: str = "/models/tiny") -> Plan:
    made_of = layout(model=name, folder=name, weight_bytes=40 * GIB)
    return make_plan(made_of, host, Request(), knowledge())


def bars(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("[")]


def test_a_bar_shares_its_width_as_the_bytes_are() -> None:
    (bar,) = bars(render_budget((HALF,), width=102))

    assert bar == f"[{'#' * 50}{'+' * 10}{'=' * 30}{'.' * 10}]"


@pytest.mark.parametrize("width", [12, 40, 80, 200])
def test_a_bar_is_as_wide_as_the_terminal(width: int) -> None:
    (bar,) = bars(render_budget((HALF,), width=width))

    assert len(bar) == width


def test_what_is_there_is_seen_however_small() -> None:
    tiny = replace(HALF, weights=1, free=60 * GIB - 1)

    (bar,) = bars(render_budget((tiny,), width=42))

    assert bar.count("#") == 1


def test_gpus_that_are_alike_share_a_bar_and_others_do_not() -> None:
    fuller = replace(HALF, weights=55 * GIB, kv_cache=25 * GIB)

    text = render_budget((HALF, HALF, HALF, fuller), width=80)

    names = [line.split("  ")[0] for line in text.splitlines() if "a GPU" in line]
    assert names == ["GPU 0-2", "GPU 3"]
    assert len(bars(text)) == 2


def test_a_machine_without_gpus_has_a_bar_too() -> None:
    text = render_budget(plan(cpu_host()).budgets, width=80)

    assert text.startswith("memory  16 CPUs, 120.0 GiB\n[#")


def test_every_number_of_the_budget_is_written_beside_its_bar() -> None:
    made = plan(gpu_host(gpu()))

    text = render_budget(made.budgets, width=80)

    for size in (made.budget.weights, made.budget.kv_cache, made.budget.free):
        assert format_bytes(size) in text
    assert text.isascii()


class _Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_has_the_numbers_the_flags_and_their_reasons() -> None:
    made = plan(gpu_host(*(gpu(i, memory=32 * GIB) for i in range(2))))

    page = _Page(render_page(made))

    assert page.tags.count("svg") == len(made.budgets) == 2
    assert page.tags.count("rect") == 8
    assert format_bytes(made.budget.weights) in page.words
    assert f"{made.kv_cache_tokens:,} tokens" in page.words
    for reason in made.because:
        assert reason.flag in page.words
        assert reason.why in page.words
        assert reason.source in page.words


def test_the_page_fetches_nothing() -> None:
    page = _Page(render_page(plan(gpu_host(gpu()))))

    assert page.links == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)


@pytest.mark.parametrize(
    "name",
    [
        "/m/<script>alert(1)</script>",
        '/m/"><img src=x onerror=alert(1)>',
        "/m/</title><svg onload=alert(1)>",
        "/m/&lt;b&gt;",
    ],
)
def test_a_hostile_name_stays_text(name: str) -> None:
    plain = _Page(render_page(plan(cpu_host())))

    page = _Page(render_page(plan(cpu_host(), name)))

    assert page.tags == plain.tags
    assert name in page.words


def test_a_hostile_gpu_stays_text() -> None:
    named = replace(gpu(), name="<b>GPU</b>")

    page = _Page(render_page(plan(gpu_host(named))))

    assert "<b>GPU</b>" in page.words
    assert "b" not in page.tags
