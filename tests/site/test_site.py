"""The page of models and machines, in a browser: found, filtered, copied, quiet."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from nvfp4_serve.recipe.load import load_recipes
from site_browser import console_of, open_browser, requests_of

pytestmark = pytest.mark.browser

RECIPES = load_recipes()
#: The widths that the page is laid out for: a phone, a tablet, a desk.
WIDTHS = (360, 820, 1360)


@pytest.fixture(scope="module")
def browser(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[webdriver.Chrome]:
    """Yield one browser for all tests; each opens its own page."""
    with open_browser(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture
def index(browser: webdriver.Chrome, site: Path) -> webdriver.Chrome:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get((site / "index.html").as_uri())
    return browser


def shown(chrome: webdriver.Chrome) -> list[str]:
    rows = chrome.find_elements(By.CSS_SELECTOR, "tr[data-name]")
    return [str(row.get_attribute("data-name")) for row in rows if row.is_displayed()]


def pick(chrome: webdriver.Chrome, name: str, value: str) -> None:
    Select(chrome.find_element(By.ID, name)).select_by_value(value)


def test_it_shows_every_model_that_has_a_recipe(index: webdriver.Chrome) -> None:
    models = {recipe.model_id.lower() for recipe in RECIPES}

    assert set(shown(index)) == models
    assert f"{len(models)} of {len(models)}" in index.find_element(By.ID, "count").text


def test_searching_narrows_the_table(index: webdriver.Chrome) -> None:
    index.find_element(By.ID, "search").send_keys("35b Qwen3.6")

    assert shown(index) == ["nvidia/qwen3.6-35b-a3b-nvfp4"]
    assert index.find_element(By.ID, "count").text.startswith("1 of ")


def test_what_is_not_there_is_said_in_words(index: webdriver.Chrome) -> None:
    index.find_element(By.ID, "search").send_keys("no such model")

    assert shown(index) == []
    assert index.find_element(By.ID, "nothing").is_displayed()


def test_clearing_shows_everything_again(index: webdriver.Chrome) -> None:
    index.find_element(By.ID, "search").send_keys("qwen")
    pick(index, "machine", "gb10")

    index.find_element(By.CSS_SELECTOR, "button[type=reset]").click()

    assert len(shown(index)) == len({recipe.model_id for recipe in RECIPES})


def test_a_machine_shows_the_models_that_have_a_recipe_for_it(
    index: webdriver.Chrome,
) -> None:
    pick(index, "machine", "b300x8")
    pick(index, "kind", "recipe")

    found = shown(index)

    assert "canada-quant/deepseek-v4-pro-nvfp4-fp8-mtp" in found
    assert "unsloth/qwen3.8-27b-nvfp4" not in found
    pick(index, "machine", "rtx-pro-6000x8")
    assert "canada-quant/deepseek-v4-pro-nvfp4-fp8-mtp" not in shown(index)


def test_a_kind_shows_those_alone(index: webdriver.Chrome) -> None:
    pick(index, "kind", "blocked")
    blocked = {r.model_id.lower() for r in RECIPES if r.blocked is not None}

    assert "skt/a.x-k2-nvfp4" in shown(index)
    assert set(shown(index)) <= blocked


def copied(chrome: webdriver.Chrome) -> str:
    script = "navigator.clipboard.readText().then(arguments[0])"
    return str(chrome.execute_async_script(script))


def test_the_button_copies_the_command_that_is_shown(
    browser: webdriver.Chrome, site: Path
) -> None:
    browser.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    browser.get((site / "models/qwen3.6-35b-a3b-nvfp4.html").as_uri())
    # What is said is gone again after two seconds, which a busy machine may miss.
    browser.execute_script(
        "window.heard = []; const said = document.getElementById('said');"
        "new MutationObserver(() => heard.push(said.textContent))"
        ".observe(said, {childList: true, characterData: true, subtree: true})"
    )
    cards = browser.find_elements(By.CSS_SELECTOR, ".command")

    for card in cards:
        browser.execute_script("heard.length = 0")
        command = card.find_element(By.TAG_NAME, "pre").text
        card.find_element(By.TAG_NAME, "button").click()
        WebDriverWait(browser, 20).until(
            lambda chrome: "Copied." in chrome.execute_script("return heard")
        )

        assert copied(browser) == command
    assert len({card.find_element(By.TAG_NAME, "pre").text for card in cards}) >= 5


def test_it_asks_the_network_for_nothing_and_complains_of_nothing(
    browser: webdriver.Chrome, site: Path
) -> None:
    pages = ["index.html", *(f"models/{path.name}" for path in _some_pages(site))]
    requests_of(browser)
    console_of(browser)

    for page in pages:
        browser.get((site / page).as_uri())

    asked = requests_of(browser)
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
    assert len([url for url in asked if url.startswith("file://")]) == len(pages)
    assert console_of(browser) == []


def _some_pages(site: Path) -> list[Path]:
    return sorted((site / "models").glob("*.html"))[::8]


def test_its_policy_allows_no_script_but_its_own(index: webdriver.Chrome) -> None:
    console_of(index)

    index.execute_script(
        "const script = document.createElement('script');"
        "script.textContent = 'document.title = \"changed\"';"
        "document.head.append(script);"
    )

    assert index.title != "changed"
    assert any("Content Security Policy" in row["message"] for row in console_of(index))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", ["index.html", "models/glm-5.2-nvfp4.html"])
def test_nothing_is_wider_than_its_place(
    browser: webdriver.Chrome, site: Path, page: str, width: int
) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get((site / page).as_uri())

    wide, seen, spilt = browser.execute_script(
        "return [document.documentElement.scrollWidth,"
        " document.documentElement.clientWidth,"
        " [...document.querySelectorAll('tbody *, pre, h1, h2, button')]"
        " .filter((e) => e.offsetParent && e.scrollWidth > e.clientWidth + 1)"
        " .map((e) => e.textContent)]"
    )

    assert wide <= seen
    assert spilt == []


_CONTRAST = """
const channel = (value) => {
  const part = value / 255;
  return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
};
const light = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).map(Number);
  return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (!/, 0\\)$/.test(color)) return color;
  }
  return "rgb(255, 255, 255)";
};
const least = new Map();
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || !element.offsetParent || element.tagName === "OPTION") continue;
  const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const name = element.tagName + "." + element.className;
  least.set(name, Math.min(ratio, least.get(name) ?? 99));
}
return JSON.stringify(Object.fromEntries(least));
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["index.html", "models/glm-5.2-nvfp4.html"])
def test_words_stand_out_from_what_is_behind_them(
    browser: webdriver.Chrome, site: Path, page: str, scheme: str
) -> None:
    # WCAG 2.2, 1.4.3: 4.5 to 1 for text of this size.
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get((site / page).as_uri())

    least: dict[str, float] = json.loads(browser.execute_script(_CONTRAST))

    assert len(least) > 10
    assert {name: ratio for name, ratio in least.items() if ratio < 4.5} == {}


def test_it_can_be_used_with_the_keyboard_alone(index: webdriver.Chrome) -> None:
    unnamed = index.execute_script(
        "return [...document.querySelectorAll('input, select, button')]"
        ".filter((e) => !e.labels?.length && !e.textContent.trim()"
        " && !e.ariaLabel).length"
    )
    index.execute_script("document.getElementById('search').focus()")
    index.switch_to.active_element.send_keys("lightning\t\t\t\t\t")

    assert unnamed == 0
    assert index.switch_to.active_element.tag_name in {"a", "div"}
    assert shown(index) == ["nvidia/nvidia-nemotron-3.5-lightning-30b-a3b-nvfp4"]


@pytest.mark.parametrize("width", WIDTHS)
def test_it_stays_a_table_to_a_screen_reader(
    browser: webdriver.Chrome, site: Path, width: int
) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((site / "index.html").as_uri())

    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]

    roles = [node["role"]["value"] for node in tree if not node["ignored"]]
    models = len({recipe.model_id for recipe in RECIPES})
    assert roles.count("table") == 1
    assert roles.count("rowheader") == models


def test_without_scripts_it_is_still_a_table(
    browser: webdriver.Chrome, site: Path
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((site / "index.html").as_uri())

        assert len(shown(browser)) == len({recipe.model_id for recipe in RECIPES})
        assert not browser.find_element(By.ID, "tools").is_displayed()
    finally:
        enable = {"value": False}
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", enable)
