"""Values of env and of a build's args are secret: no error, repr, log or record has them."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import AfterValidator, ValidationError

from fakes import FakeEngine
from lying_guest import LyingGuest
from samebox.cli import run as cli_run
from samebox.config.build import ImageBuild, Runtime
from samebox.config.model import SandboxConfig
from samebox.config.record import differences, record
from samebox.config.sources import load_config
from samebox.engine import EngineOptions
from samebox.errors import ConfigError
from samebox.guest.operation import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = "hunter2"  # noqa: S105 - what the tests look for


def told(error: BaseException) -> Iterator[str]:
    """Yield what an error says: of itself, of what it holds, and of the errors before it."""
    left: list[BaseException | None] = [error]
    while left:
        if (seen := left.pop()) is None:
            continue
        # An encoding's error has the text, a parser's the document, and pydantic's what was given.
        held = [getattr(seen, name, "") for name in ("object", "doc")]
        held += [seen.errors()] if isinstance(seen, ValidationError) else []
        yield from (str(seen), repr(seen), repr(seen.args), repr(vars(seen)), *map(repr, held))
        left += [seen.__cause__, seen.__context__]
    yield "".join(traceback.format_exception(error))


def tells(error: BaseException) -> list[str]:
    """Return what of an error has the secret."""
    return [text for text in told(error) if SECRET in text]


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
    assert tells(caught.value) == []


SECRETIVE = ("env", "build", "options", "envv")
"""The fields whose values are secret, and one that is misspelt."""
SHAPES: dict[str, Any] = {
    "text": SECRET,
    "list": [SECRET],
    "pairs": [f"TOKEN={SECRET}", SECRET],
    "table": {"TOKEN": [SECRET]},
    "tables": {"TOKEN": {"TOKEN": SECRET}},
    "name": {f"TOKEN={SECRET}": 1},
    "number": {1: SECRET},
    "no name": {"": [SECRET]},
    "NUL": {"TOKEN": SECRET + "\0", "dockerfile": 5},
    "surrogate": {"TOKEN": SECRET + "\ud800", "dockerfile": 5},
    "bytes": {"TOKEN": SECRET.encode(), "dockerfile": 5},
    "args": {"dockerfile": "FROM x", "args": {"TOKEN": SECRET}, "file": SECRET},
    "too much": {"dockerfile": "FROM x", "args": {"TOKEN": SECRET}, "preset": "x"},
    "runtime": {"runtime": {"name": "r", "base_image": "x", "env": {"TOKEN": SECRET}, "packages": ["; rm"]}},
    "set": {SECRET},
    "bare bytes": SECRET.encode(),
}
WAYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "keywords": lambda settings: SandboxConfig(**settings),
    "replace": lambda settings: SandboxConfig().replace(**settings),
    "validate": SandboxConfig.model_validate,
    "flags": lambda settings: load_config("/", {}, **settings),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", SandboxConfig.model_fields)
def test_no_error_of_any_field_shows_a_secret_one(field: str, way: str) -> None:
    """What is wrong is one thing, and the values beside it another; nor are they in pydantic's error behind ours."""
    secret = {"env": {"TOKEN": SECRET}, "options": {"TOKEN": SECRET}, "build": {"preset": "x", "args": {"T": SECRET}}}
    for shape, value in [("object", object()), *SHAPES.items()]:
        if field not in SECRETIVE and shape != "object":
            continue
        settings = {**{name: value for name, value in secret.items() if name != field}, field: value}
        preset = field == "build" and shape == "text"
        table = field == "options" and isinstance(value, dict) and all(isinstance(name, str) for name in value)
        if preset or table:
            continue  # which is right, as far as is known here
        with pytest.raises(ConfigError) as caught:
            WAYS[way](settings)
        assert tells(caught.value) == [], shape


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_error_of_a_misspelt_field_shows_its_value(shape: str, way: str) -> None:
    """It may be `env`."""
    with pytest.raises(ConfigError, match="envv: there is no such setting") as caught:
        WAYS[way]({"envv": SHAPES[shape]})
    assert tells(caught.value) == []


@pytest.mark.parametrize(
    "text", [f'{{"env": "{SECRET}"}}', f'{{"envv": "{SECRET}"}}', f'{{"env": {{"T": "{SECRET}', f"5{SECRET}"]
)
def test_no_error_of_json_shows_it(text: str) -> None:
    """Neither where it is no JSON."""
    with pytest.raises(ConfigError, match="wrong config: ") as caught:
        SandboxConfig.model_validate_json(text)
    assert tells(caught.value) == []


@pytest.mark.parametrize(
    "data",
    [
        f'env = {{T = "{SECRET}"',
        f'env = "{SECRET}"',
        f'env = ["{SECRET}"]',
        f'envv.T = "{SECRET}"',
        f'[env]\nT = "{SECRET}\\x"',
        f'[env]\nT = "{SECRET}"\nT = "{SECRET}2"',
        f'env."T={SECRET}" = "x"',
        f'[build]\ndockerfile = "FROM x"\npreset = "{SECRET}"',
        f"{SECRET}\xff",
    ],
)
@pytest.mark.parametrize("name", ["samebox.toml", "pyproject.toml"])
def test_no_error_of_a_file_shows_what_is_in_it(data: str, name: str, tmp_path: Path) -> None:
    """A decoder's error has the whole file."""
    prefix = "[tool.samebox]\n" if name == "pyproject.toml" else ""
    text = (prefix + data).replace("\n[env]", "\n[tool.samebox.env]").replace("\n[build]", "\n[tool.samebox.build]")
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}/{name}")) as caught:
        load_config(tmp_path, {})
    assert tells(caught.value) == []


BUILDS: dict[str, Callable[[], Any]] = {
    "args": lambda: ImageBuild.model_validate({"dockerfile": "FROM x", "args": {"T": [SECRET]}}),
    "too much": lambda: ImageBuild(dockerfile="FROM x", preset="x", args={"T": SECRET}),
    "misspelt": lambda: ImageBuild.model_validate({"dockerfile": "FROM x", "argss": {"T": SECRET}}),
    "package": lambda: Runtime(name="r", base_image="x", env={"T": SECRET}, packages=("; rm",)),
    "line": lambda: Runtime(name="r", base_image="x", env={"T": SECRET + "\n"}),
    "env misspelt": lambda: Runtime.model_validate({"name": "r", "base_image": "x", "envv": {"T": SECRET}}),
}


@pytest.mark.parametrize("case", BUILDS)
def test_no_error_of_a_build_has_a_value(case: str) -> None:
    """It is pydantic's own, which keeps what was given even where it hides it."""
    with pytest.raises(ValidationError) as caught:
        BUILDS[case]()
    assert tells(caught.value) == []


def test_no_error_of_options_has_a_value() -> None:
    """An unknown option may be a token; an address has no password in it, and one that has is not shown with it."""

    class Options(EngineOptions):
        url: Annotated[str, AfterValidator(lambda _: (_ for _ in ()).throw(ValueError("no")))] = "x"

    FakeEngine.options_model = Options
    try:
        for options, words in (
            ({"tokenn": SECRET}, "tokenn: there is no such setting"),
            ({"url": f"ssh://me:{SECRET}@host"}, r"url = 'ssh://me:\*\*\*@host': no"),
        ):
            with pytest.raises(ConfigError, match=words) as caught:
                FakeEngine(options)
            assert tells(caught.value) == []
    finally:
        FakeEngine.options_model = EngineOptions


@pytest.mark.parametrize("text", [SECRET, f"={SECRET}"])
def test_no_error_of_a_flag_shows_a_value(text: str) -> None:
    """What has no name is a value alone, or half of one."""
    with pytest.raises(ConfigError, match="--option takes NAME=VALUE; it got ") as caught:
        cli_run._pairs([text], "--option")
    assert tells(caught.value) == []


@pytest.mark.parametrize(
    "variables",
    [{"SAMEBOX_ENV": f'["{SECRET}"]'}, {"SAMEBOX_ENV": SECRET}, {"SAMEBOX_BUILD": f'{{"args": "{SECRET}"}}'}],
)
def test_no_error_of_a_variable_shows_it(variables: dict[str, str], tmp_path: Any) -> None:
    """SAMEBOX_ENV is where a token is given to CI."""
    with pytest.raises(ConfigError, match="SAMEBOX_") as caught:
        load_config(tmp_path, variables)
    assert tells(caught.value) == []


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
        ([f"TOKEN={SECRET}"], "an environment is a mapping of names to texts, not list"),
        (f"TOKEN={SECRET}", "an environment is a mapping of names to texts, not str"),
        ({1: SECRET}, r"a name of an environment is a text.*\(found 1\)"),
    ],
)
def test_no_error_of_a_command_shows_a_value(env: Any, words: str) -> None:
    """UnicodeEncodeError has the whole text in `object`, which error trackers send along."""
    with LyingGuest() as guest:
        for call in (guest.exec, guest.spawn):
            with pytest.raises(ValueError, match=words) as caught:
                run(call(["x"], env=env))
            assert not isinstance(caught.value, UnicodeError)
            assert tells(caught.value) == []


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
