"""Circles between the agent's C modules are found, and there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import c_modules

if TYPE_CHECKING:
    from pathlib import Path


def test_the_agent_has_no_circles() -> None:
    """A module that two others need lies below both."""
    assert len(c_modules.uses(c_modules.SOURCES)) > 30
    assert c_modules.circle(c_modules.uses(c_modules.SOURCES)) == []
    assert c_modules.strangers(c_modules.SOURCES) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    """Through headers as well as C files."""
    (tmp_path / "one.c").write_text('#include "two.h"\n')
    (tmp_path / "two.h").write_text('#include "three.h"\n')
    (tmp_path / "three.c").write_text('#include "three.h"\n#include "one.h"\n')

    found = c_modules.circle(c_modules.uses(tmp_path))

    assert set(found) == {"one", "two", "three"}
    assert found[0] == found[-1]


def test_a_header_of_another_file_is_found(tmp_path: Path) -> None:
    """Else the includes would not say who uses whom."""
    (tmp_path / "one.h").write_text("/* int old(void); */\nint mine(int a,\n         int b);\nchar *theirs(void);\n")
    (tmp_path / "one.c").write_text('#include "one.h"\nint mine(int a, int b)\n{\n    return a + b;\n}\n')

    assert c_modules.strangers(tmp_path) == ["one.h: theirs"]
