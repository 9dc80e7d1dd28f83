"""Which tags a repository has, and which content one stands for now: asked of its registry by the OCI distribution API,
without an account."""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx

from experiments.errors import PullError
from tasks.serving.image_reference import HUB, ImageReference

HUB_API = "registry-1.docker.io"
KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""Of all architectures together first: one digest then stands for a release wherever it runs."""

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of_tag(reference: ImageReference, *, timeout_s: float = 30.0) -> str:
    """The digest (`sha256:…`) of what the tag names. Raises PullError where the registry does not say."""
    with _asking(reference, timeout_s) as ask:
        return _digest(reference, ask(f"manifests/{reference.tag}", {"Accept": ", ".join(KINDS)}))


MOST_PAGES = 100


def tags_of(reference: ImageReference, *, timeout_s: float = 30.0) -> list[str]:
    """Every tag of the repository, page after page. Raises PullError where the registry does not say."""
    found: list[str] = []
    with _asking(reference, timeout_s) as ask:
        path = "tags/list?n=1000"
        for _ in range(MOST_PAGES):
            answer = ask(path, {})
            found += _tags(reference, answer)
            following = answer.links.get("next", {}).get("url", "")
            if not following:
                break
            path = f"tags/list?{urlsplit(following).query}"
    return found


def _tags(reference: ImageReference, answer: httpx.Response) -> list[str]:
    try:
        return [str(tag) for tag in answer.raise_for_status().json()["tags"] or []]
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
        raise PullError(
            f"{reference.registry} does not list the tags of {reference.repository} (http {answer.status_code})"
        ) from error


@contextlib.contextmanager
def _asking(reference: ImageReference, timeout_s: float) -> Iterator[Callable[[str, dict[str, str]], httpx.Response]]:
    """GETs below the repository, with an anonymous token once the registry asks for one."""
    host = HUB_API if reference.registry == HUB else reference.registry
    root = f"{_scheme(host)}://{host}/v2/{reference.repository}"
    try:
        with httpx.Client(timeout=timeout_s, follow_redirects=True) as client:

            def ask(path: str, headers: dict[str, str]) -> httpx.Response:
                answer = client.get(f"{root}/{path}", headers=headers)
                if answer.status_code != httpx.codes.UNAUTHORIZED:
                    return answer
                token = _token(client, answer.headers.get("www-authenticate", ""), reference)
                return client.get(f"{root}/{path}", headers=headers | {"Authorization": f"Bearer {token}"})

            yield ask
    except httpx.HTTPError as error:
        raise PullError(f"{reference.registry} is out of reach ({type(error).__name__})") from error


def _scheme(host: str) -> str:
    """As docker and podman do it: plain HTTP to this machine only."""
    return "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"


def _token(client: httpx.Client, challenge: str, reference: ImageReference) -> str:
    """An anonymous one, from where the registry's challenge says, and from nowhere less safe than the registry."""
    asked = dict(_PARAMETER.findall(challenge))
    realm = asked.pop("realm", "")
    if not challenge.lower().startswith("bearer ") or urlsplit(realm).scheme != _scheme(urlsplit(realm).netloc):
        raise PullError(f"{reference.registry} asks for a login to {reference.repository}")
    asked.setdefault("scope", f"repository:{reference.repository}:pull")
    answer = client.get(realm, params={name: asked[name] for name in ("service", "scope") if name in asked})
    try:
        body = answer.json()
        token = body.get("token") or body["access_token"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PullError(
            f"{reference.registry} gives no token to {reference.repository} (http {answer.status_code})"
        ) from error
    return str(token)


def _digest(reference: ImageReference, answer: httpx.Response) -> str:
    """The manifest's own hash; where the registry's header says another, neither is to be trusted."""
    if answer.status_code != httpx.codes.OK:
        why = {404: "has no such tag", 401: "asks for a login", 403: "refuses", 429: "has had too many requests"}
        said = why.get(answer.status_code, "does not say")
        raise PullError(f"{reference.registry} {said}: {reference} (http {answer.status_code})")
    told = answer.headers.get("docker-content-digest", "")
    found = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    if told and _DIGEST.fullmatch(told) and told != found:
        raise PullError(f"{reference.registry} says that {reference} is {told}, and sends {found}")
    return found
