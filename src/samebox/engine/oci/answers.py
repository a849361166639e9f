"""The form of a service's answers: what is read of them later is there, and of the kind that is expected."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, Required

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from samebox.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_typed_dict: Any = TypedDict
_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


def _time(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("it is no time in RFC 3339") from None
    return text


def _number(text: str) -> str:
    if not re.fullmatch("[0-9]{0,5}", text):  # none is any
        raise ValueError("it is no number")
    return text


TIME = Annotated[str, AfterValidator(_time)]
"""A time in RFC 3339."""
ID = Annotated[str, Field(pattern=r"^[\w.:-]+$")]
"""What becomes part of the paths of later calls."""
TEXTS = dict[str, Any]
"""An object whose values are taken as texts, as labels."""


def record(required: Mapping[str, Any] | None = None, **optional: Any) -> Any:
    """Return the form of an object; fields that it does not name may be anything.

    Args:
        required: The kinds of fields that have to be there, by name.
        optional: The kinds of fields that may be missing or null.
    """
    fields = {name: Required[kind] for name, kind in (required or {}).items()}
    return _typed_dict("Answer", fields | {name: NotRequired[kind | None] for name, kind in optional.items()})


def many(form: Any) -> Any:
    """Return the form of a list."""
    return list[form]


def by_name(form: Any) -> Any:
    """Return the form of an object with any names."""
    return dict[str, form]


CREATED = record({"Id": ID}, Warnings=list[str])
IDENTIFIED = record({"Id": ID})
IMAGE = record(
    {"Id": ID},
    Architecture=str,
    Os=str,
    Variant=str,
    RepoTags=list[str],
    Config=record(
        Labels=TEXTS,
        Volumes=TEXTS,
        User=str,
        Env=list[str],
        Entrypoint=list[str],
        Cmd=list[str],
        WorkingDir=str,
    ),
)
VOLUME = record({"Name": ID}, CreatedAt=TIME, Labels=TEXTS, Mountpoint=str)
_PLACE = record({"HostIp": str, "HostPort": Annotated[str, AfterValidator(_number)]})
PORTS = by_name(many(_PLACE) | None)
"""Where ports are published, by "80/tcp"."""
CONTAINER: dict[str, Any] = {
    "Id": ID,
    "Name": str,
    "Created": TIME,
    "Image": str,
    "Config": record(Labels=TEXTS, Image=str),
    "State": record({"Status": str}, ExitCode=int, OOMKilled=bool),
}
"""What both engines tell of a container, in the words of `inspect`."""


def check_answer(answers: Sequence[tuple[str, str, Any]], method: str, path: str, answer: Any, engine: str) -> None:
    """Check that an answer has the form that is known; one that no form is known of passes.

    Args:
        answers: The forms: the method, a regular expression for the whole path, and the form.
        method: As "get".
        path: As Docker and Podman document it, without the version.
        answer: What was decoded.
        engine: Which engine and where, for the error.

    Raises:
        EngineError: It is of another form; the text has the path, where in the answer, and what was found.
    """
    for asked, pattern, form in answers:
        if asked == method and re.fullmatch(pattern, path):
            try:
                _adapter(form).validate_python(answer, strict=True)
            except ValidationError as error:
                raise _other(error, method, path, engine) from None
            return


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)


def _other(error: ValidationError, method: str, path: str, engine: str) -> EngineError:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(each) for each in first["loc"])
    found = "nothing" if first["type"] == "missing" else _KINDS.get(type(first["input"]), "something else")
    wanted = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return EngineError(
        f"{engine} answered {method.upper()} {path} in a form that is not known: "
        f"{where or 'the answer'} is {found} ({wanted}). See that it is what it is taken for, of a version that is "
        "supported, and that nothing stands between"
    )
