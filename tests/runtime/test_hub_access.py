from pathlib import Path

import pytest

from nvfp4_serve.host.disk import hub_cache
from nvfp4_serve.runtime.hub_access import network_variables, read_token


def test_a_token_is_found_where_the_hubs_own_program_puts_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of home\n")
    (tmp_path / "other").write_text("of path\n")
    home = {"HF_HOME": str(tmp_path)}

    assert read_token(home) == "of home"
    assert read_token(home | {"HF_TOKEN_PATH": str(tmp_path / "other")}) == "of path"
    assert read_token(home | {"HF_TOKEN": "of variable"}) == "of variable"
    assert read_token({"HF_HOME": str(tmp_path / "none")}) is None


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_hubs_own_program_looks(
    environ: dict[str, str], folder: str
) -> None:
    assert hub_cache(environ) == Path(folder)


def test_a_proxy_with_a_password_is_not_shown_to_everybody() -> None:
    found = network_variables(
        {
            "HTTPS_PROXY": "http://me:secret@proxy:3128",
            "http_proxy": "http://proxy:3128",
            "HF_ENDPOINT": "https://mirror",
        }
    )

    assert found == {"HTTP_PROXY": "http://proxy:3128", "HF_ENDPOINT": "https://mirror"}
