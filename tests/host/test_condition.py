from pathlib import Path

from nvfp4_serve.host.condition import Orphan, read_condition

MEMINFO = """\
MemTotal:       125829120 kB
Cached:          10485760 kB
SwapTotal:       16777216 kB
SwapFree:        12582912 kB
"""


def process(root: Path, pid: int, name: str, parent: int, pages: int = 0) -> None:
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} ({name}) S {parent} {pid} {pid} 0 -1\n")
    (folder / "statm").write_text(f"1000 {pages} 10 1 0 1 0\n")


def test_memory_swap_and_iommu_are_read(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    (tmp_path / "proc/cmdline").write_text("quiet iommu=pt\n")
    for number in range(3):
        (tmp_path / f"sys/kernel/iommu_groups/{number}").mkdir(parents=True)

    found = read_condition((), tmp_path)

    assert (found.swap_total, found.swap_used) == (16 << 30, 4 << 30)
    assert found.page_cache == 10 << 30
    assert (found.iommu_groups, found.kernel_command_line) == (3, "quiet iommu=pt")


def test_a_machine_that_says_nothing_is_not_known(tmp_path: Path) -> None:
    found = read_condition((), tmp_path)

    assert (found.swap_total, found.swap_used, found.page_cache) == (None, None, None)
    assert found.orphans == ()


def test_an_engine_without_its_server_is_an_orphan(tmp_path: Path) -> None:
    process(tmp_path, 1, "systemd", 0)
    process(tmp_path, 10, "python3", 1)
    process(tmp_path, 11, "VLLM::EngineCor", 10)
    process(tmp_path, 20, "VLLM::EngineCor", 1, pages=256)
    process(tmp_path, 21, "VLLM::Worker_TP", 1)
    process(tmp_path, 30, "bash", 1)

    found = read_condition((), tmp_path)

    assert found.orphans == (
        Orphan(20, "VLLM::EngineCor", 1 << 20),
        Orphan(21, "VLLM::Worker_TP", 0),
    )


def test_an_engine_under_the_first_process_of_a_container_is_none(
    tmp_path: Path,
) -> None:
    process(tmp_path, 1, "python3", 0)
    process(tmp_path, 11, "VLLM::EngineCor", 1)

    assert read_condition((), tmp_path).orphans == ()
