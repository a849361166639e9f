"""Values of env and of a build's args are secret: no error, repr, log or record has them."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest

from lying_guest import LyingGuest
from samebox.config.build import ImageBuild, Runtime
from samebox.config.model import SandboxConfig
from samebox.config.record import differences, record
from samebox.config.sources import load_config
from samebox.errors import ConfigError
from samebox.guest.operation import run

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "hunter2"  # noqa: S105 - what the tests look for


def told(error: BaseException) -> Iterator[str]:
    """Yield what an error says: of itself, of what it holds, and of the errors before it."""
    seen: BaseException | None = error
    while seen is not None:
        yield from (str(seen), repr(seen), repr(seen.args), repr(vars(seen)), repr(getattr(seen, "object", "")))
        seen = seen.__cause__ or seen.__context__
    yield "".join(traceback.format_exception(error))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown setting": ({"envv": {"TOKEN": SECRET}}, "wrong config: envv: there is no such setting"),
    "unknown list": ({"environment": [f"TOKEN={SECRET}"]}, "wrong config: environment: there is no such setting"),
    "no mapping": ({"env": f"TOKEN={SECRET}"}, "wrong config: env: Input should be a valid dictionary"),
    "no pairs": ({"env": [SECRET]}, "env: an entry of the list is NAME=VALUE; one has no '='"),
    "no name": ({"env": {"": SECRET}}, r"env: a name of an environment is a text, not empty.*\(found ''\)"),
    "value in the name": ({"env": {f"TOKEN={SECRET}": ""}}, r"has no '=' or NUL \(found 'TOKEN=...'\)"),
    "NUL": ({"env": {"TOKEN": SECRET + "\0"}}, "env: the value of TOKEN has a NUL"),
    "no text": ({"env": {"TOKEN": [SECRET]}}, "env: Input should be a valid string"),
    "surrogate": ({"env": {"TOKEN": SECRET + "\ud800"}}, "wrong config: env: "),
    "args": ({"build": {"dockerfile": "FROM x", "args": {"TOKEN": [SECRET]}}}, "build: Input should be a valid"),
    "beside args": ({"build": {"args": {"TOKEN": SECRET}, "targget": "x"}}, "build: there is no such setting"),
    "args in the name": ({"build": {"dockerfile": "FROM x", "args": {f"T={SECRET}": ""}}}, r"found 'T=...'"),
    "args' NUL": ({"build": {"dockerfile": "FROM x", "args": {"T": SECRET + "\0"}}}, "the value of T has a NUL"),
    "runtime": ({"build": {"runtime": {"name": "r", "base_image": "x", "env": {"T": SECRET + "\n"}}}}, "values of one"),
    "no options": ({"options": [SECRET]}, "wrong config: options: Input should be a valid dictionary"),
}


@pytest.mark.parametrize("case", WRONG)
def test_no_error_of_a_config_shows_a_value(case: str) -> None:
    """A setting that is misspelt may be `env`, and a mapping that is wrong elsewhere may hold a token."""
    settings, words = WRONG[case]
    with pytest.raises(ConfigError, match=words) as caught:
        SandboxConfig(**settings)
    assert not [text for text in told(caught.value) if SECRET in text]


@pytest.mark.parametrize(
    "variables",
    [{"SAMEBOX_ENV": f'["{SECRET}"]'}, {"SAMEBOX_ENV": SECRET}, {"SAMEBOX_BUILD": f'{{"args": "{SECRET}"}}'}],
)
def test_no_error_of_a_variable_shows_it(variables: dict[str, str], tmp_path: Any) -> None:
    """SAMEBOX_ENV is where a token is given to CI."""
    with pytest.raises(ConfigError, match="SAMEBOX_") as caught:
        load_config(tmp_path, variables)
    assert not [text for text in told(caught.value) if SECRET in text]


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (
            {"TOKEN": SECRET + "\ud800"},
            "the name or value of 'TOKEN' has a lone surrogate, .* errors='surrogateescape'",
        ),
        ({"TOKEN": SECRET + "\0"}, "the value of TOKEN has a NUL"),
        ({"TOKEN": SECRET.encode()}, "the value of TOKEN is bytes; an environment has texts"),
        ({"TOKEN": [SECRET]}, "the value of TOKEN is list"),
        ({f"TOKEN={SECRET}": "x"}, "found 'TOKEN=...'"),
        ({1: SECRET}, r"a name of an environment is a text.*\(found 1\)"),
    ],
)
def test_no_error_of_a_command_shows_a_value(env: dict[Any, Any], words: str) -> None:
    """UnicodeEncodeError has the whole text in `object`, which error trackers send along."""
    with LyingGuest() as guest:
        for call in (guest.exec, guest.spawn):
            with pytest.raises(ValueError, match=words) as caught:
                run(call(["x"], env=env))
            assert not isinstance(caught.value, UnicodeError)
            assert not [text for text in told(caught.value) if SECRET in text]


def test_bytes_of_an_environment_arrive() -> None:
    """What os.environ has for bytes that are not UTF-8 is no lone surrogate."""
    with LyingGuest() as guest:
        assert run(guest.exec(["x"], env={"NAME": "\udcff"})).ok


def test_no_repr_and_no_record_shows_a_value() -> None:
    """The record is a label, which everybody sees who may list containers."""
    runtime = Runtime(name="r", base_image="x", env={"TOKEN": SECRET})
    configs = [
        SandboxConfig(env={"TOKEN": SECRET}),
        SandboxConfig(build=ImageBuild(dockerfile="FROM x", args={"TOKEN": SECRET})),
        SandboxConfig(build=runtime),
    ]
    for config in configs:
        assert SECRET not in repr(config)
        assert SECRET not in str(config)
        assert SECRET not in record(config)
        assert "'TOKEN': '***'" in repr(config)
    assert SECRET not in repr(runtime)


def test_a_build_with_another_value_is_another_build() -> None:
    """Without its value being told."""
    made, asked = (SandboxConfig(build={"dockerfile": "FROM x", "args": {"T": SECRET + end}}) for end in ("", "2"))
    (found,) = differences(asked, record(made))

    assert found.startswith("build: made with {")
    assert SECRET not in found
    assert differences(made, record(made)) == []
