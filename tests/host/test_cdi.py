import json
from pathlib import Path

import pytest

from nvfp4_serve.host.cdi import read_cdi_devices

#: The shape that `nvidia-ctk cdi generate` writes: hooks and nodes have names too.
GENERATED = """\
---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
    - path: /dev/nvidia-modeset
  hooks:
    - args:
        - nvidia-cdi-hook
      hookName: createContainer
devices:
    - containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
              name: not-a-device
      name: "0"
    - name: GPU-1
      containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
    - containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
      name: all
kind: nvidia.com/gpu
"""


def read(folder: Path, name: str, text: str) -> tuple[str, ...]:
    (folder / "etc/cdi").mkdir(parents=True)
    (folder / "etc/cdi" / name).write_text(text)
    return read_cdi_devices(("/etc/cdi", "/var/run/cdi"), folder)


def test_the_gpus_of_a_generated_spec_are_named(tmp_path: Path) -> None:
    assert read(tmp_path, "nvidia.yaml", GENERATED) == (
        "nvidia.com/gpu=0",
        "nvidia.com/gpu=GPU-1",
        "nvidia.com/gpu=all",
    )


def test_a_spec_whose_list_is_not_indented_is_read_too(tmp_path: Path) -> None:
    text = 'kind: "nvidia.com/gpu"\ndevices:\n- name: all\n  containerEdits: {}\n'

    assert read(tmp_path, "nvidia.yml", text) == ("nvidia.com/gpu=all",)


def test_a_spec_in_json_is_read(tmp_path: Path) -> None:
    spec = {"kind": "nvidia.com/gpu", "devices": [{"name": "0"}, {"name": 1}, 2]}

    assert read(tmp_path, "nvidia.json", json.dumps(spec)) == ("nvidia.com/gpu=0",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("x.yaml", GENERATED.replace("nvidia.com", "v.com"), id="others"),
        pytest.param("x.yaml", "", id="empty"),
        pytest.param("x.json", "{", id="cut"),
        pytest.param("x.json", "[]", id="list"),
        pytest.param("x.txt", GENERATED, id="no-spec"),
    ],
)
def test_what_names_no_gpu_is_passed_over(tmp_path: Path, name: str, text: str) -> None:
    assert read(tmp_path, name, text) == ()
