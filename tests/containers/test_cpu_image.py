"""The launcher outside, the real engine in the CPU image: the whole way."""

import json
import urllib.request
from pathlib import Path

from container_runs import EXAMPLE, Launcher, connect
from docker_session import Docker
from nvfp4_serve.errors import ExitCode

PROMPT = "Shall I compare thee"


def test_the_example_is_served_from_the_cpu_image_answers_and_is_stopped(
    docker: Docker, cpu_image: str, tmp_path: Path
) -> None:
    client = connect(docker.address)
    launcher = Launcher(docker.address, tmp_path, client)
    launcher.variables |= {"VLLM_API_KEY": "sesame-open-4711"}
    expected = json.loads((EXAMPLE / "canary.json").read_text())[PROMPT]

    done = launcher.serve("--detach", "--ready-timeout", "400", image=cpu_image)
    assert done.returncode == ExitCode.OK, done.stderr
    text = _ask(launcher)
    (row,) = json.loads(launcher.run("ps", "--json").stdout)
    inspected = json.dumps(launcher.inspect())
    log = launcher.run("logs").stdout
    stopped = launcher.run("stop", row["id"])
    left = client.containers(all=True, filters={"label": "org.nvfp4-serve.instance"})
    client.close()

    assert text
    assert expected.startswith(text)
    assert "asking the canary 'Shall I compare thee'" in done.stderr
    assert row["image"] == image_of(inspected)
    assert "sesame-open-4711" not in inspected + log
    assert stopped.returncode == ExitCode.OK
    assert left == []


def image_of(inspected: str) -> str:
    """Return the id of the image that a container was made from."""
    image: str = json.loads(inspected)["Image"]
    return image


def _ask(launcher: Launcher) -> str:
    question = {
        "model": "sonnet-18-nvfp4",
        "prompt": PROMPT,
        "max_tokens": 24,
        "temperature": 0,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{launcher.port}/v1/completions",
        json.dumps(question).encode(),
        {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {launcher.variables['VLLM_API_KEY']}",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
        text: str = json.load(answer)["choices"][0]["text"]
    return text
