from circuitlang.results.outputs import ComparisonResult, comparison_format


@comparison_format
def diagram_html(result: ComparisonResult) -> dict[str, bytes]:
    """Two circuits in one diagram as a page to explore, `diagram.html`: what both have and what either has alone, each
    to be shown or hidden; of more than two circuits the first with each of the next."""
    from circuitlang.reporting.diagram.compared import compared_pages

    return compared_pages(result)
