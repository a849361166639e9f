"""RefusedError: a container engine's service answered a call with an error."""

from __future__ import annotations

from samebox.errors import EngineError


class RefusedError(EngineError):
    """The service answered a call with an error.

    Args:
        message: The text for the user.
        status: The HTTP status.
        words: The service's own words.
    """

    def __init__(self, message: str, status: int = 0, words: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.words = words

    @property
    def no_container(self) -> bool:
        """Whether the service does not know the container.

        Podman says so with an internal error where the container was removed in the middle of the call.
        """
        words = self.words.lower()
        if self.status == 500:
            return "does not exist in database: no such container" in words or "has already been removed" in words
        return self.status == 404 and "no such container" in words

    @property
    def name_taken(self) -> bool:
        """Whether a container could not be made because its name is another one's.

        Docker says so with a status of its own, Podman with an internal error, in words of each version.
        """
        words = self.words.lower()
        return self.status == 409 or "already in use" in words or "container already exists" in words
