"""Templates → pages that stand alone: no file beside them, no network, no markup but their own."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from circuitlang.base.printable import lines
from circuitlang.reporting.diagram.svg import FORBIDDEN
from circuitlang.reporting.text import circuit_sentences
from circuitlang.reporting.text.extension_calls import curve_label, without_defaults

_FOLDER = Path(__file__).with_name("templates")


def render(template: str, **values: Any) -> bytes:
    """Render a page. Everything but Markup is escaped, and its policy allows only its own script."""
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template(template).render(script=Markup(script), script_hash=digest, **values)
    # Characters that no text file may hold, such as a lone surrogate in a file's name.
    return FORBIDDEN.sub("\ufffd", page).encode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=shown,
    )
    environment.filters |= {"number": "{:,}".format, "percent": percent, "fixed": "{:.3f}".format, "signed": signed}
    environment.filters |= {"interval": circuit_sentences.interval, "written": without_defaults}
    environment.filters |= {"curve_label": curve_label, "raw": Markup}
    return environment


@cache
def _script() -> str:
    return "\n".join(asset(name) for name in ("theme.js", "page.js"))


@cache
def asset(name: str) -> str:
    """Return a script or a style sheet of the pages."""
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")


def shown(value: Any) -> Any:
    """Return a value as a template may print it: text without control characters; markup unchanged."""
    return lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def percent(share: float) -> str:
    """Format a share with one decimal, as in the terminal."""
    return f"{share:.1%}"


def signed(value: float) -> str:
    """Format a difference with three decimals and a typographic sign; zero has none."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−") if round(value, 3) else "0.000"
