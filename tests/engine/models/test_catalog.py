"""The list of known models, which is read from text without importing what builds them."""

from __future__ import annotations

from circuitlang.engine.models.catalog import known_models, names_in


def test_networks_with_attention_are_marked() -> None:
    known = {model.name: model.attention for model in known_models()}
    assert not known["bundled.doodle"]
    marked = {name for name, attention in known.items() if attention}
    assert {"vit_b_16", "swin_t", "swin_v2_s", "maxvit_t"} <= marked
    assert {name.split("_")[0] for name in marked} == {"vit", "swin", "maxvit"}
    assert {"resnet50", "alexnet", "convnext_tiny", "efficientnet_b0"} <= known.keys() - marked


def test_all_models_of_torchvision_are_known_by_name() -> None:
    """Those that `known_models` leaves out as well, as networks for segmentation are run too."""
    from torchvision import models

    assert names_in("torchvision") == set(models.list_models())
    assert not names_in("timm")
