"""The page of a class says in a sentence what was found, by the verdict on the circuit."""

import msgspec
import pytest

from circuitlang.base.source import Source
from circuitlang.pipeline import compile_source
from circuitlang.reporting.text.verdict_sentences import conclusion
from circuitlang.results.types import Summary
from tests.helpers.fake_results import invented


def summary(pearson: float, text: str = "preserve class(7) on bundled.dogs keep<=10%") -> Summary:
    (made,) = invented(compile_source(Source("x.circuit", text)).plan, lambda _: pearson).values()
    return made


@pytest.mark.parametrize(
    ("pearson", "words"),
    [
        (0.95, "as it does in the network."),
        (0.7, "roughly as it does in the network."),
        (0.3, "otherwise than in the network: they say nothing about the class."),
    ],
)
def test_the_sentence_follows_the_verdict(pearson: float, words: str) -> None:
    start = "With these 100 kernels alone, the output for class(7) differs among 8 held-out images of bundled.dogs "
    assert conclusion(summary(pearson)) == start + words


def test_baselines_and_constant_outputs_qualify_it() -> None:
    made = summary(0.95)
    equal = msgspec.structs.replace(made, baselines={**made.baselines, "random": made.judged})
    assert conclusion(equal).endswith("but so it does with as many by another rule (random).")
    assert conclusion(msgspec.structs.replace(made, unheard=True)).startswith(
        "The output for class(7) is the same for 8"
    )


def test_other_targets_and_single_images_have_none() -> None:
    assert conclusion(summary(0.95, "preserve conv5:34 on bundled.dogs keep<=10%")) == ""
    made = summary(0.95)
    assert made.test is not None
    assert conclusion(msgspec.structs.replace(made, test=msgspec.structs.replace(made.test, images=1))) == ""
