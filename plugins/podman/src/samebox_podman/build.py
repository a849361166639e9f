"""PodmanBuilder: images made on the service by its own build API."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

from samebox.engine.labels import MADE
from samebox.engine.oci.made_images import note_use
from samebox.engine.oci.refusal import RefusedError
from samebox.errors import BuildError, EngineUnavailableError
from samebox.images.builder import ImageBuilder
from samebox.images.syntax import HEREDOC, check_needs
from samebox_podman.images import find_image, inspect_image, parse_report, tag_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox.config.build import ImageBuild
    from samebox.config.model import SandboxConfig
    from samebox.images.builder import BuildLog
    from samebox.images.context import BuildContext
    from samebox_podman.client import PodmanClient

_HEREDOCS = (5,)
"""The first version whose builder has them."""
SILENCE = 3600.0
"""How long a step may be silent, in seconds."""
_PRIVATE = [{"Name": "network", "Host": False, "Path": ""}]
"""What `podman build` has by default and its API has not: a network of its own, not the host's with its loopback."""


class PodmanBuilder(ImageBuilder):
    """Builds on one service.

    Args:
        client: The service.
        version: Its version, as (5, 8, 2).
    """

    step = re.compile(r"(\[\d+/\d+\] )?STEP \d+/\d+: ")
    chatter = ("--> ", "COMMIT ", "Getting image source ", "Copying ", "Writing manifest ", "Storing signatures")

    def __init__(self, client: PodmanClient, version: tuple[int, ...]) -> None:
        super().__init__(client.engine)
        self._client = client
        self._version = version

    def check(self, build: ImageBuild) -> None:
        """Refuse what the service's builder can't do; see `samebox.images.builder.ImageBuilder.check`."""
        lacking = () if self._version >= _HEREDOCS else (HEREDOC,)
        check_needs(build, lacking, engine="podman", builder=f"Podman {'.'.join(map(str, self._version))}")

    def find(self, name: str) -> str | None:
        """Return an image's id; None if it is not there."""
        facts = inspect_image(self._client, name)
        return None if facts is None else facts.id

    def base(self, image: str, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Make an image available that a build begins with; see `samebox.images.builder.ImageBuilder.base`."""
        facts = find_image(self._client, image, config.pull, progress, config.platform)
        note_use(facts)
        return facts.id

    def run(self, config: SandboxConfig, name: str, context: BuildContext, log: BuildLog, *, fresh: bool) -> None:
        """Build an image, all steps as one layer; see `samebox.images.builder.ImageBuilder.run`.

        With a layer for each step, those before a failed one would stay. The service does not end a step whose caller
        has gone: it runs to its end, and then all of the build is removed.
        """
        build = config.build
        assert build is not None  # noqa: S101 - what else is built
        params: dict[str, Any] = {
            "dockerfile": context.dockerfile,
            "t": name,
            "layers": "false",
            "rm": "true",
            "forcerm": "true",
            "nocache": json.dumps(fresh),
            "identitylabel": "false",
            "labels": json.dumps({MADE: "build"}),
            "pullpolicy": "never" if config.pull == "never" else "missing",
            "buildargs": json.dumps(build.args),
            # The rest is left out already: the service loses files that a pattern with ! takes back. Never empty, for
            # then it would look for patterns itself.
            "excludes": json.dumps(context.unwanted or ["!*"]),
            "nsoptions": json.dumps(_PRIVATE),
            "outputformat": "application/vnd.docker.distribution.manifest.v2+json",  # OCI's has no health check
        }
        if build.target is not None:
            params["target"] = build.target
        if config.platform is not None:
            params["platform"] = config.platform
        try:
            response = self._client.call(
                "post", "/build", params=params, data=context.file, stream=True, timeout=SILENCE
            )
            with contextlib.closing(response):
                for line in response.iter_lines():
                    report = parse_report(line)
                    if error := report.get("error"):
                        raise log.failed(self.engine, str(error))
                    log.add(str(report.get("stream") or ""))
        except (BuildError, EngineUnavailableError):
            raise
        except RefusedError as error:
            raise log.failed(self.engine, error.words) from None
        except OSError as error:
            raise self._client.unreachable(error) from error

    def tag(self, image: str, name: str) -> None:
        """Give an image another name."""
        tag_image(self._client, image, name)
