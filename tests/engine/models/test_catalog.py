"""The list of known models, which is read from text without importing what builds them."""

from __future__ import annotations

from circuitlang.engine.models.catalog import known_models


def test_networks_with_attention_are_marked() -> None:
    known = {model.name: model.attention for model in known_models()}
    assert not known["bundled.doodle"]
    marked = {name for name, attention in known.items() if attention}
    assert {"vit_b_16", "swin_t", "swin_v2_s", "maxvit_t"} <= marked
    assert {name.split("_")[0] for name in marked} == {"vit", "swin", "maxvit"}
    assert {"resnet50", "alexnet", "convnext_tiny", "efficientnet_b0"} <= known.keys() - marked
