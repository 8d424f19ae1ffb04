"""Which criteria can score by what kernels do on some images beyond what they do on others."""

from __future__ import annotations

from collections.abc import Mapping

from circuitlang.base.diagnostics import Finding, listing
from circuitlang.base.source import Span
from circuitlang.plugins.registry import Declaration, Value


def contrastable(criterion: str, parameters: Mapping[str, Value], known: Mapping[str, Declaration]) -> bool:
    """Return whether a criterion can take account of images that a circuit is contrasted with.

    It can if its scores are sums over images, or those of criteria it names that are, or if it does so itself.
    """
    if criterion not in known:
        # A missing criterion was reported already.
        return True
    declaration = known[criterion]
    if declaration.decorator == "criterion" or {"sums", "own"} & {*declaration.options}:
        return True
    if "bases" not in declaration.options:
        return False
    bases = [parameter for parameter in declaration.parameters if parameter.type == "CriterionName"]
    return all(contrastable(str(parameters.get(base.name, base.default)), {}, known) for base in bases)


def uncontrasted(criterion: str, known: Mapping[str, Declaration], span: Span | None = None) -> Finding:
    """Return the finding about a criterion that can't be contrasted."""
    fit = [name for name in sorted(known) if contrastable(name, {}, known)]
    label, cure = "its scores know no other images", f"leave criterion out, or take {listing(fit, 'or')}"
    return Finding("E219", f"{criterion} can't be contrasted", span, label, cure)
