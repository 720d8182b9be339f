"""The key that requests must show. Reads and sets VLLM_API_KEY of this process."""

import ipaddress
import os
import secrets
from typing import Final

from nvfp4_serve.cli.say import say
from nvfp4_serve.plan import Plan
from nvfp4_serve.runtime.port import split_bind

KEY: Final = "VLLM_API_KEY"


def given_key() -> str | None:
    """Return the key that the engine will want; its flag is refused as an argument."""
    return os.environ.get(KEY)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def makes_key(plan: Plan) -> bool:
    """Say whether `guard` would make a key."""
    return not (
        _is_loopback(split_bind(plan.bind)[0]) or given_key() or KEY in os.environ
    )


def guard(plan: Plan, *, is_published: bool = False) -> None:
    """Make a key where others may connect and none was given; print it, once.

    Not where the launcher is in a container and took the address from its image:
    whoever publishes the port says who may connect, and is told that no key is wanted.

    It goes to the engine through the environment of this process, as one that the user
    gave would. A VLLM_API_KEY that is set and empty says that none is wanted.
    """
    if _is_loopback(split_bind(plan.bind)[0]) or given_key():
        return
    if KEY in os.environ:
        say(f"warning: {plan.bind} can be reached by others, and no key is wanted")
        return
    if is_published:
        say(
            "no key is wanted: whoever the published port lets in may ask; "
            f"{KEY} is one that they must show"
        )
        return
    os.environ[KEY] = secrets.token_urlsafe(32)
    say(f"{plan.bind} can be reached by others; the key for requests, shown once:")
    say(f"  {KEY}={os.environ[KEY]}")
