"""Plugins: one that fails hurts no other, and is reported with all that its author needs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fakes import FakeEngine, Point, engine, plugin
from samebox.engine.registry import Registry
from samebox.errors import ConfigError


def test_a_plugin_that_does_not_import_hurts_no_other() -> None:
    """Pluggy's own loader stops at the first ImportError; this one goes on and reports it."""
    known = Registry([Point("bad", ImportError("no module named foo")), Point("good", plugin(engine("good")))], ())

    assert [*known.engines] == ["good"]
    assert [str(failure) for failure in known.failures] == [
        "engine 'bad' of an unknown distribution  could not be loaded: ImportError: no module named foo"
    ]
    with pytest.raises(ConfigError, match="could not be loaded: ImportError: no module named foo"):
        known.get("bad")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (plugin("no class"), r"gave \['no class'\], expected one subclass of samebox.engine.Engine"),
        (plugin(dict), r"expected one subclass"),
        (SimpleNamespace(), r"gave \[\], expected one"),
        (plugin(engine("other")), r"its engine is called 'other', the entry point 'mine'; they have to be the same"),
    ],
)
def test_a_plugin_that_registers_something_else_is_reported(found: object, words: str) -> None:
    """The author learns what was expected."""
    known = Registry([Point("mine", found)], ())

    assert known.engines == {}
    with pytest.raises(ConfigError, match=words):
        known.get("mine")


def test_disabled_engines_are_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """SAMEBOX_DISABLED_ENGINES blocks by name, before anything of the plugin is imported."""
    monkeypatch.setenv("SAMEBOX_DISABLED_ENGINES", "a, b")
    known = Registry([Point("a", AssertionError("was imported")), Point("c", plugin(engine("c")))])

    assert ([*known.engines], known.failures) == (["c"], [])
    with pytest.raises(ConfigError, match="engine 'a' is disabled by SAMEBOX_DISABLED_ENGINES"):
        known.get("a")


def test_an_unknown_engine_says_what_is_installed_and_how_to_get_it() -> None:
    """A misspelling and a missing package look alike to the user."""
    known = Registry([Point("good", plugin(engine("good")))], ())

    for name, words in {
        "docker": r"there is no engine 'docker'; `pip install samebox-docker` brings it$",
        "godo": r"there is no engine 'godo'; did you mean 'good'\?$",
        "dokcer": r"there is no engine 'dokcer'; installed: good$",
    }.items():
        with pytest.raises(ConfigError, match=words):
            known.get(name)


def test_options_are_checked_by_the_engine() -> None:
    """An option that an engine does not have is refused, and named."""
    with pytest.raises(ConfigError, match="wrong options for engine 'fake': speed: there is no such setting"):
        FakeEngine({"speed": 5})


def test_installed_engines_are_found() -> None:
    """The engines of this repository arrive by the same entry points as anyone's."""
    assert "local" in Registry(disabled=()).engines
