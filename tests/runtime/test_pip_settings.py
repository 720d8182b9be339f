from pathlib import Path

import pytest

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.pip_settings import read_pip_settings


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user without settings; the machine's files are its own."""
    return {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "named.conf")}


def test_every_place_that_pip_is_told_of_is_told_to_uv(home: dict[str, str]) -> None:
    told = home | {
        "PIP_INDEX_URL": "http://one/packages",
        "PIP_EXTRA_INDEX_URL": "http://two/packages\nhttp://three/packages",
        "PIP_FIND_LINKS": "/wheels /more",
        "PIP_CERT": "/ca.pem",
    }

    assert read_pip_settings(told) == {
        "UV_DEFAULT_INDEX": "http://one/packages",
        "UV_INDEX": "http://two/packages http://three/packages",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/ca.pem",
    }


def test_an_index_that_uv_is_told_of_itself_is_not_overruled(
    home: dict[str, str],
) -> None:
    told = home | {"PIP_INDEX_URL": "http://one", "UV_DEFAULT_INDEX": "http://two"}

    assert "UV_DEFAULT_INDEX" not in read_pip_settings(told)
    assert "UV_INDEX" not in read_pip_settings(told | {"PIP_EXTRA_INDEX_URL": "x"})


def test_variables_win_over_the_users_file_and_that_over_its_global_section(
    home: dict[str, str],
) -> None:
    named = Path(home["PIP_CONFIG_FILE"])
    named.write_text(
        "[global]\nindex-url = http://global\nfind_links = /global\n"
        "[install]\nfind-links = /install\n"
    )

    from_file = read_pip_settings(home)
    with_variable = read_pip_settings(home | {"PIP_INDEX_URL": "http://variable"})

    assert from_file["UV_DEFAULT_INDEX"] == "http://global"
    assert from_file["UV_FIND_LINKS"] == "/install"
    assert with_variable["UV_DEFAULT_INDEX"] == "http://variable"


def test_pips_way_to_read_no_file_is_kept() -> None:
    assert read_pip_settings({"PIP_CONFIG_FILE": "/dev/null"}) == {}


def test_a_file_that_cannot_be_read_is_named(home: dict[str, str]) -> None:
    named = Path(home["PIP_CONFIG_FILE"])
    named.write_text("index-url = no section\n")

    with pytest.raises(EngineError, match=r"named.conf` cannot be read") as caught:
        read_pip_settings(home)

    assert "pip config debug" in caught.value.fix
