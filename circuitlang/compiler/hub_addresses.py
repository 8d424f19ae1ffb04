"""Words → addresses of the Hugging Face Hub, as far as they can be checked without it."""

from __future__ import annotations

from dataclasses import replace

from circuitlang.base.diagnostics import Finding, InputError, SpecError
from circuitlang.base.hub_address import HubFile, hub_file, is_on_hub
from circuitlang.compiler import syntax

# Beginnings of addresses that are copied from a browser.
_PAGES = ("https://huggingface.co/", "http://huggingface.co/")


def check_address(text: str, node: syntax.Node) -> HubFile | None:
    """Return the address that a text is, None for other texts. Raises SpecError if it isn't one of a file."""
    if text.startswith(_PAGES):
        cure = "an address on the Hub begins with hf://, as hf://datasets/user/repo/dogs/*.png"
        raise SpecError(Finding("E386", f"'{text}' is a page, and no file", node.span, "", cure))
    if not is_on_hub(text):
        return None
    try:
        return hub_file(text)
    except InputError as error:
        raise SpecError(replace(finding, span=node.span) for finding in error.findings) from None


def check_single(text: str, node: syntax.Node) -> None:
    """Raise SpecError for an address that isn't one of a single file."""
    file = check_address(text, node)
    if file is not None and any(sign in file.path for sign in "*?"):
        raise SpecError(Finding("E386", f"'{text}' is a pattern", node.span, "weights are in one file"))


def refuse_address(text: str, node: syntax.Node, subject: str) -> None:
    """Raise SpecError for an address where only a file of this machine is read."""
    if is_on_hub(text):
        cure = "download the file, as `hf download user/repo FILE --local-dir .` does, and write its path"
        raise SpecError(Finding("E137", f"{subject} can't be on the Hub", node.span, "weights and images can", cure))
