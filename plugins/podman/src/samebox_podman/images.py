"""Images: what a config's `image` means on a Podman service, and what samebox has to know of it."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from samebox.engine.oci.image_facts import image_facts
from samebox.engine.oci.reference import LOCAL, has_registry, split_reference
from samebox.errors import ConfigError, EngineUnavailableError, ImageNotFoundError
from samebox_podman.client import error_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samebox.engine.oci.image_facts import ImageFacts
    from samebox_podman.client import PodmanClient

_ID = re.compile(r"(sha256:)?[0-9a-f]{12,64}")
_NO_CREDENTIALS = {"X-Registry-Auth": base64.urlsafe_b64encode(b"{}").decode()}
"""What tells a service not to look for any of its own."""
_BROKEN = re.compile(r"getting username and password: (.*)", re.DOTALL)
_HELPER = re.compile(r" - err: .*", re.DOTALL)
PULL_SILENCE = 600.0
"""How long a pull may say nothing, in seconds: Podman reports a layer when it is there."""


def find_image(
    client: PodmanClient, reference: str, pull: str, progress: Callable[[str], None], platform: str | None = None
) -> ImageFacts:
    """Return the image of a reference, fetching it if need be.

    A name with a registry is taken as it is. Another one, as `busybox`, is `localhost/busybox` if that is there, else
    `docker.io/library/busybox`, as on every engine; then what Podman itself finds for it among its images. Only the
    docker.io name is fetched: which registries a short name may mean differs from host to host, and Podman would have
    to ask. A name below `localhost/` is never fetched.

    Args:
        client: The service.
        reference: A name, with a tag or digest or without, or an id.
        pull: When to fetch it: "missing", "always" or "never".
        progress: Told what is being fetched, a line at a time.
        platform: The one that it has to be of, as "linux/arm64"; None: any that is there, else the service's own.

    Returns:
        What is known of it.

    Raises:
        ImageNotFoundError: It is not there and can't be had.
        ConfigError: It can't be an image's reference.
    """
    target = remote_name(reference)
    here, other = _local(client, reference), ""
    if here is not None and not here[1].fits(platform):
        other = f" for {platform} (the one there is of {here[1].platform})"
        here = None
    if here is not None and (pull != "always" or target is None or here[0].startswith(LOCAL)):
        return here[1]
    where = f"image {reference!r} is not on {client.engine}{other}"
    if target is None or pull == "never":
        why = 'it may not be fetched (pull="never")' if target else "names below localhost/ and ids are never fetched"
        raise ImageNotFoundError(
            f"{where}, and {why}. Build it there with `podman build -t NAME DIRECTORY`, or load it with `podman load`. "
            "Rootless and rootful Podman, and each user, have images of their own."
        )
    # "missing" would be content with the one of another platform.
    words = _pull_anyhow(client, target, "always" if other else pull, progress, platform)
    facts = None if words else inspect_image(client, target, reference)
    if facts is None:
        beginning = where if here is None else f'image {reference!r} is to be fetched anew (pull="always")'
        raise ImageNotFoundError(
            f"{beginning}, and fetching {target} failed: {words or 'no words'}. Check the name and the network there "
            f"(`podman pull {target}` says more; `podman login` for a private registry), or load it with `podman load`."
        )
    facts.check_platform(reference, platform)
    return facts


def _local(client: PodmanClient, reference: str) -> tuple[str, ImageFacts] | None:
    for name in local_names(reference):
        facts = inspect_image(client, name, reference)
        # Podman takes the beginning of an id as well, so that the image `cafe` could be any that happens to begin so.
        if facts is not None and (_ID.fullmatch(reference) or not facts.id.startswith(reference)):
            return name, facts
    return None


def local_names(reference: str) -> list[str]:
    """Return the names that a reference may have among a service's images, in the order in which they are tried."""
    if has_registry(reference):
        return [reference]
    if _ID.fullmatch(reference):
        return [reference]
    return [f"localhost/{reference}", _docker(reference), reference]


def remote_name(reference: str) -> str | None:
    """Return the name that a reference is fetched by; None if it never is."""
    if reference.startswith(LOCAL) or _ID.fullmatch(reference):
        return None
    return reference if has_registry(reference) else _docker(reference)


def _docker(reference: str) -> str:
    return f"docker.io/{reference}" if "/" in reference else f"docker.io/library/{reference}"


def new_name(image: str) -> str:
    """Return the full name of an image that is made: below localhost/ unless it names a registry.

    Podman itself would give it the name of one that is there, as docker.io/library/NAME.
    """
    return image if has_registry(image) else LOCAL + image


def tag_image(client: PodmanClient, image: str, name: str) -> None:
    """Give an image another name.

    Args:
        client: The service.
        image: Its id.
        name: With a tag or without; below localhost/ if it has no registry.
    """
    repository, tag = split_reference(new_name(name))
    client.call("post", f"/images/{image}/tag", params={"repo": repository, "tag": tag})


def inspect_image(client: PodmanClient, name: str, reference: str | None = None) -> ImageFacts | None:
    """Return what is known of an image, or None if the service has not got it.

    Args:
        client: The service.
        name: Its name or id.
        reference: What the user called it, for the error.

    Raises:
        ConfigError: The name can't be one.
    """
    response = client.call("get", f"/images/{quote(name, safe='')}/json", accept=(400, 404, 500))
    if response.status_code != 200:
        words = error_words(response.content)
        if "invalid reference format" in words:
            raise ConfigError(
                f"wrong config: image = {reference or name!r}: it is no image reference (Podman: {words}); a name is "
                "like 'busybox', 'python:3' or 'registry.example.com/team/name:tag', in lower case"
            )
        return None
    return image_facts(client.decoded(response))


def _pull_anyhow(
    client: PodmanClient, target: str, policy: str, progress: Callable[[str], None], platform: str | None
) -> str:
    """Fetch an image, without credentials where the service can't read its own: they may not be needed.

    Returns:
        What went wrong, in the service's words.
    """
    progress(f"fetching {target}")
    words = _pull(client, target, policy, progress, platform)
    broken = _BROKEN.search(words)
    if broken is None:
        return words
    words = _pull(client, target, policy, progress, platform, headers=_NO_CREDENTIALS)
    if not words:
        return ""
    registry, found = target.partition("/")[0], " ".join(_HELPER.sub("", broken[1]).split())
    return (
        f"{words}, and the credentials for {registry} that the service has could not be used: {found}. Correct its "
        f"auth.json, or run `podman login {registry}` anew"
    )


def _pull(
    client: PodmanClient,
    target: str,
    policy: str,
    progress: Callable[[str], None],
    platform: str | None,
    *,
    headers: Mapping[str, str] | None = None,
) -> str:
    """Fetch an image.

    Returns:
        What went wrong, in the service's words.
    """
    params = {"reference": target, "policy": policy}
    params |= zip(("OS", "Arch", "Variant"), (platform or "").split("/"), strict=False) if platform else ()
    response = client.call(
        "post",
        "/images/pull",
        params=params,
        stream=True,
        timeout=PULL_SILENCE,
        accept=(400, 401, 403, 404, 500),
        headers=headers,
    )
    wrong = []
    with contextlib.closing(response):
        try:
            for line in response.iter_lines():
                report = parse_report(line)
                if text := str(report.get("stream") or "").strip():
                    progress(text)
                if text := str(report.get("error") or report.get("message") or "").strip():
                    wrong.append(text)
        except EngineUnavailableError:
            raise
        except OSError as error:
            raise client.unreachable(error) from error
    return "; ".join(wrong)


def parse_report(line: bytes) -> dict[str, Any]:
    """Return one line of an answer that comes line by line; {} if it is none."""
    try:
        report = json.loads(line)
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}
