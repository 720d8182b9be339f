from pathlib import Path

import pytest

from nvfp4_serve.host.kernel import Kernel, read_kernel


def tree(root: Path, *names: str, release: str = "6.8.0-generic") -> Path:
    for name in ("proc/sys/kernel/osrelease", *names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(release)
    return root


def test_a_machine_without_a_driver_shows_nothing(tmp_path: Path) -> None:
    assert read_kernel(tree(tmp_path)) == Kernel(None, False, None, False)


def test_gpus_are_counted_where_the_kernel_lists_them(tmp_path: Path) -> None:
    listed = tree(
        tmp_path / "proc-only",
        *(f"proc/driver/nvidia/gpus/0000:0{n}:00.0/information" for n in range(3)),
    )
    nodes = tree(
        tmp_path / "nodes-only",
        *(f"dev/{name}" for name in ("nvidia0", "nvidia11", "nvidiactl", "nvidia-uvm")),
    )

    assert read_kernel(listed).gpus == 3
    assert read_kernel(nodes).gpus == 2


def test_windows_linux_is_known_by_its_kernel(tmp_path: Path) -> None:
    nvml = "usr/lib/wsl/lib/libnvidia-ml.so.1"
    root = tree(tmp_path, nvml, release="6.6.87.2-microsoft-standard-WSL2")

    found = read_kernel(root)

    assert (found.wsl, found.wsl_nvml) == (True, f"/{nvml}")


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_a_container_is_known_by_the_file_that_engines_leave(
    tmp_path: Path, mark: str
) -> None:
    assert read_kernel(tree(tmp_path, mark)).in_container
