"""The form of a service's answers: what passes, and the one error for what does not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from samebox.engine.oci.answers import CONTAINER, CREATED, IDENTIFIED, PORTS, check_answer, many, record
from samebox.errors import EngineError

ANSWERS: list[tuple[str, str, Any]] = [
    ("post", "/containers/create", CREATED),
    ("get", "/containers/[^/]+/json", record(CONTAINER, NetworkSettings=record(Ports=PORTS))),
    ("get", "/containers/json", many(IDENTIFIED) | None),
]
WHOLE = {
    "Id": "a" * 64,
    "Name": "/x",
    "Created": "2026-01-02T03:04:05.123456789Z",
    "Image": "sha256:b",
    "Config": {"Labels": None, "Image": "x", "More": [1]},
    "State": {"Status": "running", "ExitCode": 0},
    "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": None}},
}


def test_what_is_known_passes() -> None:
    """So does what may be missing, and what is asked for in a way that nothing is known of."""
    check_answer(ANSWERS, "get", "/containers/x/json", WHOLE, "E")
    check_answer(ANSWERS, "get", "/containers/json", None, "E")
    check_answer(ANSWERS, "get", "/containers/x/top", "?", "E")
    check_answer(ANSWERS, "get", "/containers/create", "?", "E")


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("x/json", [], "the answer is a list (a valid dictionary)"),
        ("x/json", None, "the answer is null (a valid dictionary)"),
        ("x/json", {**WHOLE, "Config": "hunter2"}, "Config is a text (a valid dictionary)"),
        ("x/json", {**WHOLE, "State": {}}, "State.Status is nothing (Field required)"),
        ("x/json", {**WHOLE, "State": {"Status": "running", "ExitCode": "0"}}, "State.ExitCode is a text (a valid"),
        ("x/json", {**WHOLE, "Id": "x/../y"}, "Id is a text (String should match pattern"),
        ("x/json", {**WHOLE, "Created": "hunter2"}, "Created is a text (it is no time in RFC 3339)"),
        (
            "x/json",
            {**WHOLE, "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "", "HostPort": "x"}]}}},
            "NetworkSettings.Ports.80/tcp.0.HostPort is a text (it is no number)",
        ),
        ("json", [{"Id": 1}], "0.Id is a number (a valid string)"),
    ],
)
def test_another_form_is_told(path: str, answer: object, said: str) -> None:
    """The text has the call, the place in the answer and what kind of thing is there; never the thing itself."""
    text = f"Docker at unix:///x answered GET /containers/{path} in a form that is not known: {said}"
    with pytest.raises(
        EngineError, match=f"^{re.escape(text)}.*See that it is what it is taken for, of a version"
    ) as e:
        check_answer(ANSWERS, "get", f"/containers/{path}", answer, "Docker at unix:///x")
    assert "hunter2" not in str(e.value)
