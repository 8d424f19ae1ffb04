"""The images of nodes in the static diagram."""

from dataclasses import replace

from circuitlang.reporting.formats.diagram import diagram
from circuitlang.results.types import FeatureVisualisations
from tests.helpers.diagram_page import seen, strands


def test_images_that_were_made_take_the_place_of_crops():
    made = seen(strands())
    visions = made.visualisations.channels
    network, circuit = ({channel: images[place] for channel, images in visions.items()} for place in (0, 1))
    none = FeatureVisualisations(made.visualisations.target)
    of_crops = diagram(replace(made, visualisations=none, exemplars=circuit))
    assert diagram(replace(made, exemplars=circuit)) == diagram(replace(made, visualisations=none, exemplars=network))
    assert diagram(replace(made, exemplars=circuit)) != of_crops
    # One channel has none of its own: there its crop is.
    some = FeatureVisualisations(made.visualisations.target, {one: visions[one] for one in visions if one != (1, 2)})
    mixed = {**network, (1, 2): circuit[1, 2]}
    assert diagram(replace(made, visualisations=some, exemplars=circuit)) == diagram(
        replace(made, visualisations=none, exemplars=mixed)
    )
