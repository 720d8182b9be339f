import json
from dataclasses import replace
from typing import Any

import pytest

from nvfp4_serve.errors import EngineError
from nvfp4_serve.host.types import Attach
from nvfp4_serve.runtime.container_body import (
    Order,
    cache_volume,
    container_body,
    labels_of,
)
from orders import GPU, IMAGE, engine, order, plan


def body(wanted: Order) -> dict[str, Any]:
    return container_body(wanted, labels_of(wanted, "x-8000-abcd"))


def mounts(wanted: Order) -> dict[str, dict[str, Any]]:
    return {m["Target"]: m for m in body(wanted)["HostConfig"]["Mounts"]}


def test_the_plans_words_follow_the_images_command() -> None:
    made = body(order())

    assert made["Entrypoint"] == ["vllm"]
    assert made["Cmd"][:4] == ["serve", "/model", "--host", "0.0.0.0"]  # noqa: S104
    assert made["Image"] == IMAGE.id


def test_the_caches_of_this_machine_are_not_those_of_the_container() -> None:
    made = body(
        order(plan=plan(env=(("VLLM_CACHE_ROOT", "/here"), ("NCCL_DEBUG", "INFO"))))
    )

    assert "VLLM_CACHE_ROOT=/cache/vllm" in made["Env"]
    assert "NCCL_DEBUG=INFO" in made["Env"]


def test_an_address_of_ipv6_is_published_as_it_is() -> None:
    made = body(order(plan=plan(bind="[::1]:8000")))

    assert made["HostConfig"]["PortBindings"] == {
        "8000/tcp": [{"HostIp": "::1", "HostPort": "8000"}]
    }


def test_a_name_is_never_left_to_the_engine_which_publishes_to_all() -> None:
    made = body(order(plan=plan(bind="localhost:8000")))

    assert made["HostConfig"]["PortBindings"]["8000/tcp"][0]["HostIp"] == "127.0.0.1"
    with pytest.raises(EngineError, match=r"at the name `spark\.local`"):
        body(order(plan=plan(bind="spark.local:8000")))


def test_a_path_with_any_letters_is_one_mount() -> None:
    made = mounts(order())["/model"]

    assert (made["Source"], made["ReadOnly"]) == ("/data/my model", True)


def test_a_model_of_the_hub_gets_the_users_cache_or_a_volume() -> None:
    bound = mounts(order(model=None, hub="/home/me/hub"))["/hub/cache"]
    named = mounts(order(model=None, user=(2000, 0)))["/hub"]

    assert (bound["Type"], bound["ReadOnly"]) == ("bind", False)
    assert (named["Type"], named["Source"]) == ("volume", "nvfp4-serve-hub-2000")


def test_a_token_is_named_by_its_file_and_a_key_read_from_its_own() -> None:
    made = body(order(model=None, secrets=("HF_TOKEN", "VLLM_API_KEY")))

    assert "HF_TOKEN_PATH=/run/nvfp4-serve/HF_TOKEN" in made["Env"]
    assert not [v for v in made["Env"] if v.startswith(("HF_TOKEN=", "VLLM_API_KEY="))]
    assert made["Entrypoint"][:2] == ["/bin/sh", "-c"]
    assert made["Cmd"][:3] == ["sh", "vllm", "serve"]


def test_the_cache_is_apart_for_each_image_gpu_and_user() -> None:
    first = order()
    others = (
        replace(first, image=replace(IMAGE, id="sha256:" + "ef" * 32)),
        replace(first, capability="12.1"),
        replace(first, user=(1001, 1000)),
    )

    names = {cache_volume(one) for one in (first, *others)}

    assert len(names) == 4


@pytest.mark.parametrize(
    ("attach", "asked"),
    [
        (
            Attach.DEVICE_REQUEST,
            {"Driver": "", "DeviceIDs": [GPU], "Capabilities": [["gpu"]]},
        ),
        (
            Attach.CDI,
            {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={GPU}"]},
        ),
    ],
)
def test_gpus_are_asked_for_as_the_engine_gives_them(
    attach: Attach, asked: dict[str, Any]
) -> None:
    wanted = order(
        plan=plan(gpus=(GPU,)),
        container=engine(attach, cdi_devices=(f"nvidia.com/gpu={GPU}",)),
    )

    (request,) = body(wanted)["HostConfig"]["DeviceRequests"]

    assert asked.items() <= request.items()


def test_a_jetson_is_asked_by_its_runtime() -> None:
    made = body(order(plan=plan(gpus=(GPU,)), container=engine(Attach.RUNTIME)))

    assert made["HostConfig"]["Runtime"] == "nvidia"
    assert f"NVIDIA_VISIBLE_DEVICES={GPU}" in made["Env"]


def test_gpus_that_cannot_be_given_are_never_left_out() -> None:
    with pytest.raises(EngineError, match="The plan has 1 GPUs") as caught:
        body(order(plan=plan(gpus=(GPU,))))

    assert "its CDI is off" in caught.value.problem


def test_a_cdi_spec_that_knows_indices_alone_is_refused() -> None:
    wanted = order(
        plan=plan(gpus=(GPU,)),
        container=engine(Attach.CDI, cdi_devices=("nvidia.com/gpu=0",)),
    )

    with pytest.raises(EngineError, match="No CDI spec has the GPU") as caught:
        body(wanted)

    assert caught.value.evidence == ("listed: nvidia.com/gpu=0",)


def test_podman_gets_what_its_separation_by_selinux_needs() -> None:
    made = body(order(container=engine(engine="podman")))

    assert made["HostConfig"]["SecurityOpt"] == ["no-new-privileges", "label=disable"]


def test_the_plans_own_variables_win_but_for_folders_of_this_machine() -> None:
    mine = (("HF_HUB_OFFLINE", "1"), ("USER", "me"), ("VLLM_CACHE_ROOT", "/home/me"))
    made = body(order(plan=plan(env=mine)))

    assert {"HF_HUB_OFFLINE=1", "USER=me"} <= set(made["Env"])
    assert "VLLM_CACHE_ROOT=/cache/vllm" in made["Env"]


def test_a_body_is_json_and_labels_are_text() -> None:
    made = body(order())

    assert json.loads(json.dumps(made)) == made
    assert all(isinstance(value, str) for value in made["Labels"].values())
    assert made["Labels"]["org.nvfp4-serve.image"] == IMAGE.exact
