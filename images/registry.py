"""Ask a registry for the digest behind a tag: the HTTP API, and nothing else.

Source:
    OCI distribution specification 1.1, "Pulling manifests"; the token protocol is
    Docker's (distribution, "Token Authentication Specification").
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

#: Names without a host are Docker Hub's, and this is where its API answers.
_DOCKER_HUB: Final = "registry-1.docker.io"
_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
#: An index is a few kB; the specification asks registries to take 4 MB.
_LARGEST: Final = 4 << 20
_TIMEOUT: Final = 20
_TRIES: Final = 3
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})


class RegistryError(Exception):
    """A registry did not say what was asked, or said something impossible."""


class UnreachableError(RegistryError):
    """No answer at all: the network, and not this image."""


@dataclasses.dataclass(frozen=True)
class Index:
    """A multi-platform image.

    Attributes:
        digest: ``sha256:`` and 64 hexadecimal digits, of the index itself.
        platforms: ``linux/amd64`` and so on, sorted.
    """

    digest: str
    platforms: tuple[str, ...]


def read_index(
    repository: str, tag: str, *, wait: Callable[[float], None] = time.sleep
) -> Index:
    """Return the index that ``tag`` leads to.

    Args:
        repository: ``vllm/vllm-openai``, or with a host in front.
        tag: The tag.
        wait: Sleeps between two tries.

    Raises:
        RegistryError: There is none, or its digest is not that of its content.
    """
    base, name = _place(repository)
    url = f"{base}/v2/{name}/manifests/{tag}"
    headers = {"Accept": ", ".join(_INDEXES)}
    answer, body = _get(url, headers, wait)
    kind = answer.get("Content-Type", "").partition(";")[0]
    if kind not in _INDEXES:
        raise RegistryError(f"{repository}:{tag} is no multi-platform image ({kind}).")
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    said = answer.get("Docker-Content-Digest", digest)
    if said != digest:
        raise RegistryError(
            f"{repository}:{tag}: the registry says {said}, and its content is "
            f"{digest}."
        )
    return Index(digest, _platforms(json.loads(body)))


def _platforms(index: dict[str, Any]) -> tuple[str, ...]:
    """Return the platforms; attestations call theirs ``unknown/unknown``."""
    found = {
        f"{platform['os']}/{platform['architecture']}"
        for manifest in index["manifests"]
        if (platform := manifest.get("platform"))
    }
    return tuple(sorted(found - {"unknown/unknown"}))


def _place(repository: str) -> tuple[str, str]:
    """Return the address of the API, and the name that it knows."""
    first, slash, rest = repository.partition("/")
    if not slash or not re.search(r"[.:]|^localhost$", first):
        name = repository if slash else f"library/{repository}"
        return f"https://{_DOCKER_HUB}", name
    is_here = re.match(r"(127\.|localhost(:|$))", first)
    return f"{'http' if is_here else 'https'}://{first}", rest


def _get(
    url: str, headers: dict[str, str], wait: Callable[[float], None]
) -> tuple[Any, bytes]:
    """Return the headers and the body of ``url``; fetch a token where one is asked."""
    try:
        return _fetch(url, headers, wait)
    except urllib.error.HTTPError as error:
        challenge = error.headers.get("WWW-Authenticate", "")
        asked = challenge.startswith("Bearer ") and "Authorization" not in headers
        if error.code != HTTPStatus.UNAUTHORIZED or not asked:
            raise RegistryError(
                f"{url} answers {error.code} {error.reason}."
            ) from error
    token = _token(challenge, wait)
    return _get(url, {**headers, "Authorization": f"Bearer {token}"}, wait)


def _token(challenge: str, wait: Callable[[float], None]) -> str:
    words = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    try:
        realm = words.pop("realm")
        _, body = _fetch(f"{realm}?{urllib.parse.urlencode(words)}", {}, wait)
        answer = json.loads(body)
        return str(answer.get("token") or answer["access_token"])
    except (KeyError, ValueError, urllib.error.HTTPError) as error:
        raise RegistryError(f"No token for `{challenge}`: {error!r}.") from error


def _fetch(
    url: str, headers: dict[str, str], wait: Callable[[float], None]
) -> tuple[Any, bytes]:
    """GET ``url``; try again where the answer says that it may be another one."""
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise RegistryError(f"{url} is no address of the web.")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - looked at
    for number in range(1, _TRIES + 1):
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
                body = answer.read(_LARGEST + 1)
                if len(body) > _LARGEST:
                    raise RegistryError(f"{url} is larger than {_LARGEST} bytes.")
                return answer.headers, body
        except urllib.error.HTTPError as error:
            if error.code not in _AGAIN or number == _TRIES:
                raise
            error.close()
        except OSError as error:
            if number == _TRIES:
                raise UnreachableError(f"{url} cannot be reached: {error}.") from error
        wait(2.0**number)
    raise AssertionError("unreachable")
