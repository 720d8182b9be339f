"""Where the Hub's cache is, and what is free there."""

import shutil
from pathlib import Path

from nvfp4_serve.host.disk import hub_cache, hub_free


def test_the_free_space_is_that_of_the_nearest_folder_that_is_there(
    tmp_path: Path,
) -> None:
    named = {"HF_HUB_CACHE": str(tmp_path / "not/yet/there")}

    free = hub_free(named)

    assert free is not None
    assert abs(free - shutil.disk_usage(tmp_path).free) < 1 << 30


def test_the_cache_is_where_the_hubs_own_library_has_it(tmp_path: Path) -> None:
    assert hub_cache({"HF_HOME": str(tmp_path)}) == tmp_path / "hub"
    assert hub_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")
