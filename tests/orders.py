"""Orders for containers, for tests: a plan, an image and an engine, all made up."""

from dataclasses import replace
from typing import Any

from nvfp4_serve.host.types import Attach, Container
from nvfp4_serve.plan import Plan
from nvfp4_serve.runtime.container_body import Order
from nvfp4_serve.runtime.containers import Image
from nvfp4_serve.runtime.model_mount import ModelMount
from stand_in import plan_of

GPU = "GPU-c0de6000-0000-4000-8000-000000000000"
IMAGE = Image(
    ref="registry/me/x:1",
    id="sha256:" + "ab" * 32,
    digests=("registry/me/x@sha256:" + "cd" * 32,),
    os="linux",
    architecture="amd64",
    entrypoint=("vllm", "serve"),
    labels={},
)


def engine(attach: Attach = Attach.NONE, **changes: Any) -> Container:
    plain = Container(
        engine="docker",
        address="unix:///s",
        remote=False,
        version="28.5.2",
        rootless=False,
        runtimes=("runc",),
        cdi_spec_dirs=(),
        cdi_devices=(),
        attach=attach,
        reason="no runtime `nvidia`, and its CDI is off",
    )
    return replace(plain, **changes)


def plan(**changes: Any) -> Plan:
    made = plan_of(8000)
    head, *rest = made.argv
    words = (head, "--host", "127.0.0.1", *rest)
    return replace(made, **{"argv": words, "env": (), **changes})


def order(**changes: Any) -> Order:
    plain = Order(
        plan=plan(),
        image=IMAGE,
        container=engine(),
        command=("vllm", "serve"),
        model=ModelMount("/data/my model", "/model"),
        user=(1000, 1000),
        capability="cpu",
    )
    return replace(plain, **changes)
