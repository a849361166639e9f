"""Markup: HTML whose text can't be left unescaped by mistake, and the frame of a self-contained page."""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from importlib.resources import files


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: str | bool | None) -> Markup:
    """Return an element. Content that is no `Markup` is escaped, as every attribute is.

    Args:
        name: The element's name.
        content: The parts of the element's content, in order.
        attributes: The element's attributes. An underscore in a name stands for a dash, and an underscore at the end is
            dropped; False and None leave the attribute out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            words.append(key.rstrip("_").replace("_", "-") + ("" if value is True else f'="{escape(str(value))}"'))
    inside = join(*content)
    closing = "" if name in {"input", "meta", "br"} else f"</{name}>"
    return Markup(f"<{' '.join(words)}>{inside}{closing}")


def join(*content: str) -> Markup:
    """Return the parts joined into one, escaped where they are no `Markup`."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in content))


def escape(text: str) -> str:
    """Return text escaped for HTML; a lone surrogate, which UTF-8 can't encode, becomes a backslash escape."""
    return html.escape(text).encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def asset(name: str) -> str:
    """Return the text of one of this package's asset files."""
    return (files("samebox.conformance.report") / "assets" / name).read_text(encoding="utf-8")


def page(title: str, body: Markup, *, columns: int) -> str:
    """Return a whole page, which makes no requests and allows no script and style but its own.

    Args:
        title: The window's title.
        body: The page's body.
        columns: How many engines stand side by side.
    """
    style = f":root {{ --columns: {columns}; }}\n{asset('page.css')}"
    script = asset("page.js")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; base-uri 'none'"
    text = asset("page.html")
    # All values are filled in in one pass, so that no text of a value is taken for the place of another value.
    values = {"policy": escape(policy), "title": escape(title), "style": style, "script": script, "body": body}
    parts = text.split("{{")
    return parts[0] + "".join(values[name] + rest for name, rest in (part.split("}}", 1) for part in parts[1:]))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
