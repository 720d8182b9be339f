import os
from pathlib import Path

import pytest

from hosts import gpu
from nvfp4_serve.errors import HostError
from nvfp4_serve.host import detect_host
from nvfp4_serve.host.detect import select_gpus
from nvfp4_serve.host.memory import Memory, read_memory, read_numa_nodes
from nvfp4_serve.units import GIB, MIB

MEMINFO = "MemTotal:       4194304 kB\nMemFree: 1 kB\nMemAvailable:    2097152 kB\n"


def tree(root: Path, **files: str) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine_is_described_as_proc_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    host = detect_host()

    assert host.recorded
    assert host.architecture == os.uname().machine
    assert host.cpus == len(os.sched_getaffinity(0))
    assert 0 < host.memory_available <= host.memory_total
    assert host.gpus == ()


def test_memory_is_the_machines_where_no_cgroup_limits_it(tmp_path: Path) -> None:
    assert read_memory(tree(tmp_path)) == Memory(4 * GIB, 2 * GIB)


@pytest.mark.parametrize(
    ("limit", "usage"),
    [
        ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
        (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ],
    ids=["v2", "v1"],
)
def test_a_cgroup_limit_counts_and_page_cache_does_not(
    tmp_path: Path, limit: str, usage: str
) -> None:
    stat = str(Path(usage).parent / "memory.stat")
    root = tree(
        tmp_path,
        **{
            limit: f"{GIB}\n",
            usage: f"{768 * MIB}\n",
            stat: f"anon 1\ninactive_file {256 * MIB}\n",
        },
    )

    assert read_memory(root) == Memory(total=GIB, available=512 * MIB)


def test_an_unlimited_cgroup_changes_nothing(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        **{"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "1\n"},
    )

    assert read_memory(root).total == 4 * GIB


def test_an_unreadable_meminfo_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="meminfo") as caught:
        read_memory(tmp_path)

    assert "--facts" in caught.value.fix


def test_cuda_visible_devices_selects_by_index_and_uuid() -> None:
    gpus = (gpu(0), gpu(1), gpu(2))

    assert select_gpus(gpus, "2, GPU-00000001") == (gpus[2], gpus[1])


@pytest.mark.parametrize("visible", ["3", "GPU-9", "GPU-0", "0,,1"])
def test_a_gpu_that_is_not_there_is_named(visible: str) -> None:
    with pytest.raises(HostError, match="CUDA_VISIBLE_DEVICES") as caught:
        select_gpus((gpu(0), gpu(1)), visible)

    assert caught.value.evidence[0].startswith("0: GPU-00000000")


def test_memory_nodes_are_counted(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        **{f"sys/devices/system/node/node{n}/cpulist": "0\n" for n in (0, 1)},
    )

    assert read_numa_nodes(root) == 2
    assert read_numa_nodes(tmp_path / "none") == 1
