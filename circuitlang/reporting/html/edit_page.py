"""The page of an edit: what becomes of the targets that were measured, and of the classes."""

from __future__ import annotations

from circuitlang.reporting.html.pages import render
from circuitlang.reporting.text import edit_sentences
from circuitlang.results.edit import EditResult
from circuitlang.results.edits import FILE


def edit_page(result: EditResult) -> bytes:
    """Render the report of an edit as a page."""
    # Bars of one page have one scale.
    largest = max((abs(response.change or 0) for response in result.responses), default=0)
    return render("edit.html", result=result, say=edit_sentences, largest=largest or 1, files=[FILE, "report.txt"])
