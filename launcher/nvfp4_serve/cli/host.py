"""`nvfp4-serve host`: say what this machine has."""

import json

import click

from nvfp4_serve.host import Host, detect_host, facts_json
from nvfp4_serve.units import format_bytes


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for `--facts`.")
def host(as_json: bool) -> None:
    """Say what this machine has."""
    found = detect_host()
    if as_json:
        click.echo(json.dumps(facts_json(found), indent=2))
        return
    for name, value in _rows(found):
        click.echo(f"{name:<18} {value}")


def _rows(found: Host) -> list[tuple[str, str]]:
    rows = [
        ("architecture", found.architecture),
        ("cpus", str(found.cpus)),
        ("memory nodes", str(found.numa_nodes)),
        ("memory", format_bytes(found.memory_total)),
        ("memory available", format_bytes(found.memory_available)),
        ("C++ compiler", found.cxx_compiler or "none"),
        ("NVIDIA driver", found.driver or "none"),
    ]
    for index, gpu in enumerate(found.gpus):
        major, minor = gpu.compute_capability
        memory = (
            "unified" if gpu.memory_total is None else format_bytes(gpu.memory_total)
        )
        rows.append(
            (f"gpu {index}", f"{gpu.name}, {major}.{minor}, {memory}, {gpu.uuid}")
        )
    return rows
