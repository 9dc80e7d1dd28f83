"""Which content a tag stands for now: asked of the image's registry by the OCI distribution API, without an account."""

import hashlib
import re
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
    host = HUB_API if reference.registry == HUB else reference.registry
    url = f"{_scheme(host)}://{host}/v2/{reference.repository}/manifests/{reference.tag}"
    try:
        with httpx.Client(timeout=timeout_s, follow_redirects=True) as client:
            headers = {"Accept": ", ".join(KINDS)}
            answer = client.get(url, headers=headers)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                token = _token(client, answer.headers.get("www-authenticate", ""), reference)
                answer = client.get(url, headers=headers | {"Authorization": f"Bearer {token}"})
    except httpx.HTTPError as error:
        raise PullError(f"{reference.registry} is out of reach ({type(error).__name__})") from error
    return _digest(reference, answer)


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
