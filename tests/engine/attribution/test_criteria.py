"""Every criterion against a naive float64 rewrite of its formula, on networks with all that is easy to get wrong."""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from circuitlang.engine.attribution.multi_target import MultiTargetPass
from circuitlang.engine.attribution.scorer import Scorer, block_sums, score, score_all
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.masked_layer import MaskedLayer
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.fidelity import measure, responses
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.loops import backend
from circuitlang.plan.clauses import EndToEnd
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import CRITERIA, signs
from tests.helpers.reference_circuits import alone, naive_ablate, naive_refit
from tests.helpers.toy_networks import CASES, IDS, SIZE, Branches, Chain, Fixed, build, images, layers, naive_trace


def subnetwork(module: nn.Module, path: str, unit: int) -> TargetSubnetwork:
    graph = trace(module, (SIZE, SIZE))
    return TargetSubnetwork(graph, Target(graph.find(path), (unit,)))


def naive_snip(module, path, unit, x, masks=None, circuit=None) -> dict[str, Tensor]:
    """Image by image: mean over the kernel of |w dL/dw|, with the network's weight and the gradient of the masked
    network, or of the circuit."""
    sums = {name: torch.zeros(layer.weight.shape[:2]).double() for name, layer in layers(module).items()}
    for image in x.split(1):
        feature, twin, _ = naive_trace(circuit or module, path, unit, image, masks)
        feature.abs().sum().backward()
        for name, layer in layers(twin).items():
            if layer.weight.grad is not None:
                weight = layers(module)[name].weight
                product = (weight * layer.weight.grad).abs().detach()
                sums[name] += product.reshape(*product.shape[:2], -1).mean(-1)
    return sums


def naive_actgrad(module, path, unit, x) -> dict[str, Tensor]:
    """Kernel by kernel: its own output map times the gradient of the layer's output, absolute, mean over positions."""
    sums = {name: torch.zeros(layer.weight.shape[:2]).double() for name, layer in layers(module).items()}
    for image in x.split(1):
        feature, twin, seen = naive_trace(module, path, unit, image)
        feature.abs().sum().backward()
        for name, layer in layers(twin).items():
            given, output = seen[name]
            if output.grad is None:
                continue
            out, inner = layer.weight.shape[:2]
            groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
            for o in range(out):
                for i in range(inner):
                    channel = o // (out // groups) * inner + i
                    alone = torch.zeros_like(given)
                    alone[:, channel] = given[:, channel].detach()
                    with torch.no_grad():
                        bias = layer.bias
                        layer.bias = None
                        # Only this kernel's input is there, so channel o of the layer's output is the kernel's own.
                        response = layer.forward(alone)[:, o]
                        layer.bias = bias
                    sums[name][o, i] += (response * output.grad[:, o]).abs().mean()
    return sums


def best(scores: dict[str, Tensor], relevant: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    """The k best kernels by plain sorting."""
    entries = [
        (-float(scores[name][o, i]), number, o, i, name)
        for number, name in enumerate(relevant)
        for o, i in relevant[name].nonzero().tolist()
        if scores[name][o, i] > 0
    ]
    masks = {name: torch.zeros_like(mask) for name, mask in relevant.items()}
    for _, _, o, i, name in sorted(entries)[:k]:
        masks[name][o, i] = True
    return masks


def naive_force(module, path, unit, x, relevant, k, steps) -> dict[str, Tensor]:
    total, masks = count(relevant), None
    for step in range(1, steps + 1):
        scores = naive_snip(module, path, unit, x, masks)
        kept = round(math.exp(step / steps * math.log(k) + (1 - step / steps) * math.log(total)))
        masks = best(scores, relevant, kept)
    return scores


def assert_scores(found, expected, relevant) -> None:
    assert found.keys() == relevant.keys()
    for name, mask in relevant.items():
        torch.testing.assert_close(found[name], expected[name].double() * mask, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_snip(net, path, unit):
    module, x = build(net), images()
    part = subnetwork(module, path, unit)
    found = score(Builder(part, Fixed(x)), "snip", {}, 5, 0)
    assert_scores(found, naive_snip(module, path, unit, x), part.relevant)


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_actgrad(net, path, unit):
    module, x = build(net), images(3)
    part = subnetwork(module, path, unit)
    found = score(Builder(part, Fixed(x)), "actgrad", {}, 5, 0)
    assert_scores(found, naive_actgrad(module, path, unit, x), part.relevant)


def kernel_maps(module, path, unit, x) -> Iterator[tuple[Tensor, dict[str, Tensor], Callable]]:
    """Of each image the feature map, every kernel's own output map [O, I, P] by layer, and a function from a cotangent
    on the feature map to the gradient of each layer's output [O, P]."""
    for image in x.split(1):
        feature, twin, seen = naive_trace(module, path, unit, image)
        own = {}
        for name, layer in layers(twin).items():
            given, _ = seen[name]
            out, inner = layer.weight.shape[:2]
            groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
            layer.bias, responses = None, {}
            with torch.no_grad():
                for channel in range(inner * groups):
                    alone = torch.zeros_like(given)
                    alone[:, channel] = given[:, channel]
                    responses[channel] = layer.forward(alone)[0].reshape(out, -1)
            rows = [
                torch.stack([responses[o // (out // groups) * inner + i][o] for i in range(inner)]) for o in range(out)
            ]
            own[name] = torch.stack(rows)

        def gradients(cotangent: Tensor, feature=feature, seen=seen) -> dict[str, Tensor]:
            outputs = [output for _, output in seen.values()]
            found = torch.autograd.grad(feature, outputs, cotangent, retain_graph=True, allow_unused=True)
            return {
                name: (torch.zeros_like(output) if gradient is None else gradient).reshape(output.shape[1], -1)
                for (name, (_, output)), gradient in zip(seen.items(), found, strict=True)
            }

        yield feature.detach(), own, gradients


def naive_centred(module, path, unit, x, cotangents) -> dict[str, Tensor]:
    """Kernel by kernel: squares of the gradient times what the kernel's map is above its mean, summed over positions.

    `cotangents` makes of all feature maps, for each image, the cotangents whose squares are added up.
    """
    seen = list(kernel_maps(module, path, unit, x))
    means = {name: torch.stack([own[name] for _, own, _ in seen]).mean((0, -1)) for name in seen[0][1]}
    sums = {name: torch.zeros_like(mean) for name, mean in means.items()}
    chosen = cotangents(torch.stack([feature for feature, _, _ in seen]))
    for (_, own, gradients), those in zip(seen, chosen, strict=True):
        for cotangent in those:
            for name, gradient in gradients(cotangent).items():
                above = own[name] - means[name][..., None]
                sums[name] += (above * gradient[:, None]).sum(-1) ** 2
    return sums


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_taylor(net, path, unit):
    module, x = build(net), images(3)
    part = subnetwork(module, path, unit)
    found = score(Builder(part, Fixed(x)), "taylor", {}, 5, 0)
    expected = naive_centred(module, path, unit, x, lambda features: [[each] for each in features.sign()])
    assert_scores(found, expected, part.relevant)


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_gn_is_right_on_average(net, path, unit):
    """The mean over seeds comes as near to the exact diagonal, taken position by position, as its spread allows."""
    module, x = build(net), images(3)
    part = subnetwork(module, path, unit)
    draws = 64
    drawn = [score(Builder(part, Fixed(x)), "gn", {}, 5, seed) for seed in range(draws)]

    def positions(features: Tensor) -> list[list[Tensor]]:
        shape = features[0].shape
        return [list(torch.eye(shape.numel()).double().reshape(-1, *shape))] * len(features)

    exact = naive_centred(module, path, unit, x, positions)
    for name, mask in part.relevant.items():
        found = torch.stack([scores[name] for scores in drawn])
        spread = found.std(0) / math.sqrt(draws)
        off = (found.mean(0) - exact[name] * mask).abs()
        assert (off <= 5 * spread + 1e-9 * exact[name] + 1e-12).all()


def test_gn_of_one_position_is_exact():
    """A square doesn't tell one sign from the other."""
    module, x = build(Chain), images(3)
    part = subnetwork(module, "fc2", 0)
    expected = naive_centred(module, "fc2", 0, x, lambda features: [[torch.ones_like(each)] for each in features])
    assert_scores(score(Builder(part, Fixed(x)), "gn", {}, 5, 0), expected, part.relevant)


def test_gn_draws_by_seed_and_image():
    part = subnetwork(build(Chain), "conv2", 2)
    one, same, other = (score(Builder(part, Fixed(images(3))), "gn", {}, 5, seed)["conv1"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_random_signs_are_signs_and_differ_between_images():
    part = subnetwork(build(Chain), "conv2", 2)
    scoring = Scorer(Builder(part, Fixed(images(2))), 5, 0)
    x = images(2)
    drawn = scoring.cotangents(signs, x, part.feature(x))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("criterion", ["taylor", "gn"])
def test_a_kernel_whose_output_never_changes_has_no_say(criterion, dtype):
    """Its first-order effect is its mean's, however large."""
    module, x = build(Chain, dtype), images(3, dtype)
    # What the first layer puts out of channel 0 is the same for every image, everywhere.
    module.conv1.weight.data[0] = 0
    module.conv1.bias.data[0] = 3
    found = score(Builder(subnetwork(module, "conv2", 2), Fixed(x)), criterion, {}, 5, 0)["conv2"]
    assert found[2, 0] == 0
    assert (found[2, 1:] > 0).all()


@pytest.mark.parametrize(("net", "path", "unit"), [CASES[1], CASES[3], CASES[5], CASES[7], CASES[10]])
def test_force(net, path, unit):
    module, x = build(net), images(3)
    part = subnetwork(module, path, unit)
    found = score(Builder(part, Fixed(x)), "force", {"steps": 4}, 6, 0)
    expected = naive_force(module, path, unit, x, part.relevant, 6, 4)
    assert_scores(found, expected, part.relevant)


def test_force_lets_masked_kernels_return():
    """Scores of the last step cover kernels that the step before had masked."""
    module, x = build(Branches), images(3)
    part = subnetwork(module, "head", 4)
    last = score(Builder(part, Fixed(x)), "force", {"steps": 3}, 8, 0)
    scored = sum(int((each > 0).sum()) for each in last.values())
    assert scored > 8


def naive_path(module, path, unit, x, relevant, k, steps, rebuild) -> dict[str, Tensor]:
    total, circuit = count(relevant), None
    for step in range(1, steps + 1):
        scores = naive_snip(module, path, unit, x, circuit=circuit)
        kept = round(math.exp(step / steps * math.log(k) + (1 - step / steps) * math.log(total)))
        circuit = rebuild(module, path, unit, x, best(scores, relevant, kept))
    return scores


@pytest.mark.parametrize(("net", "path", "unit"), [CASES[1], CASES[5], CASES[7], CASES[10]])
def test_path_scores_in_circuits_that_are_ablated(net, path, unit):
    module, x = build(net), images(3)
    part = subnetwork(module, path, unit)
    found = score(Builder(part, Fixed(x), Choice("mean")), "path", {"steps": 4, "base": "snip"}, 6, 0)
    assert_scores(found, naive_path(module, path, unit, x, part.relevant, 6, 4, naive_ablate), part.relevant)


@pytest.mark.parametrize(("net", "path", "unit"), [CASES[3], CASES[5], CASES[7], CASES[10]])
def test_path_scores_in_circuits_that_are_refitted(net, path, unit):
    module, x = build(net), images(4)
    part = subnetwork(module, path, unit)
    builder = Builder(part, Fixed(x), calibrate="kernels")
    found = score(builder, "path", {"steps": 3, "base": "snip"}, 9, 0)
    refit = partial(naive_refit, how="kernels")
    expected = naive_path(module, path, unit, x, part.relevant, 9, 3, refit)
    for name, mask in part.relevant.items():
        torch.testing.assert_close(found[name], expected[name] * mask, rtol=1e-4, atol=1e-6)


def test_path_refits_layer_by_layer_where_the_circuit_is_trained_in_the_end():
    part = subnetwork(build(Chain), "fc2", 0)
    ways = [
        Builder(part, Fixed(images(4)), calibrate=calibrate, refill="live") for calibrate in ("kernels", EndToEnd())
    ]
    found, expected = (score(each, "path", {"steps": 3, "base": "snip"}, 9, 0) for each in ways)
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize(("net", "path", "unit"), [CASES[5], CASES[7]])
def test_path_without_ablation_and_refit_is_force(net, path, unit):
    part = subnetwork(build(net), path, unit)
    builder = Builder(part, Fixed(images(3)))
    found = score(builder, "path", {"steps": 4, "base": "taylor"}, 6, 0)
    expected = score(builder, "force", {"steps": 4, "base": "taylor"}, 6, 0)
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("refill", ["none", "live"])
def test_path_replaces_dead_kernels_on_its_way(refill, monkeypatch):
    part = subnetwork(build(Chain), "fc1", 3)
    built = []
    monkeypatch.setattr(Builder, "build_layerwise", lambda _, masks: built.append(masks))
    score(Builder(part, Fixed(images(3)), refill=refill), "path", {"steps": 4, "base": "random"}, 4, 0)
    assert len(built) == 3
    alive = [count(part.connected(masks)) == count(masks) for masks in built]
    assert all(alive) if refill == "live" else not all(alive)


def naive_greedy(module, path, unit, x, relevant, sensitivities, means, circuit=None) -> dict[str, Tensor]:
    """Channel by channel, trying each kernel's removal; `means` is what stands in for each kernel."""
    wanted = naive_trace(module, path, unit, x)[2]
    given = naive_trace(circuit or module, path, unit, x)[2]
    found = {name: torch.zeros(mask.shape).double() for name, mask in relevant.items()}
    for name, mask in relevant.items():
        layer = layers(module)[name]
        for o in range(len(mask)):
            left = mask[o].nonzero()[:, 0].tolist()
            maps = {i: alone(layer, given[name][0].detach(), o, i) for i in left}
            y = wanted[name][1][:, o].detach() - (0 if layer.bias is None else layer.bias[o].detach())
            e, most = y - sum(maps.values(), torch.zeros_like(y)), 0.0

            def loss(e, final=name == path) -> float:
                return float(e.var(correction=0) if final else e.square().mean())

            least = 1e-12 * max([loss(maps[i] - means[name][o, i]) for i in left], default=0)
            while left:
                after = {i: loss(e + maps[i] - means[name][o, i]) for i in left}
                gone = min(after, key=after.__getitem__)
                most = max(after[gone] - loss(e), most * (1 + 1e-9), least)
                if maps[gone].abs().max() > 0:
                    found[name][o, gone] = most * float(sensitivities[name][o])
                e = e + maps[gone] - means[name][o, gone]
                left.remove(gone)
    return found


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_greedy(net, path, unit, ablation, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(backend, "compiled", lambda _: None)
    module, x = build(net), images(4)
    part = subnetwork(module, path, unit)
    builder = Builder(part, Fixed(x), Choice(ablation))
    found = score(builder, "greedy", {}, 5, 0)
    sensitivities = Scorer(builder, 5, 0).sensitivities()
    assert_greedy(found, naive_greedy(module, path, unit, x, part.relevant, sensitivities, builder.ablation_values))


def assert_greedy(found, expected) -> None:
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-9 * float(expected[name].max()))


@pytest.mark.parametrize(("net", "path", "unit"), [CASES[1], CASES[3], CASES[5], CASES[7], CASES[10]])
def test_sensitivities_are_the_squared_gradients_on_average(net, path, unit):
    module, x = build(net), images(2)
    part = subnetwork(module, path, unit)
    draws = 64
    drawn = [Scorer(Builder(part, Fixed(x)), 5, seed).sensitivities() for seed in range(draws)]
    exact = {name: torch.zeros(len(mask)).double() for name, mask in part.relevant.items()}
    for feature, _, gradients in kernel_maps(module, path, unit, x):
        for cotangent in torch.eye(feature.numel()).double().reshape(-1, *feature.shape):
            for name, gradient in gradients(cotangent).items():
                if name in exact:
                    exact[name] += gradient.square().sum(1)
    for name, mask in part.relevant.items():
        found = torch.stack([each[name] for each in drawn])
        off = (found.mean(0) - exact[name] * mask.any(1)).abs()
        assert (off <= 5 * found.std(0) / math.sqrt(draws) + 1e-9 * exact[name] + 1e-12).all()


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_layers_are_seen_in_the_network_itself_where_nothing_is_edited(net, path, unit, monkeypatch):
    part, runs = subnetwork(build(net), path, unit), []
    forward = MaskedLayer.forward
    monkeypatch.setattr(MaskedLayer, "forward", lambda self, x: runs.append(self.layer.path) or forward(self, x))
    builder = Builder(part, Fixed(images(4)))

    def passages(edits=None) -> tuple[dict[str, torch.Tensor], int]:
        runs.clear()
        seen, scoring = {}, Scorer(builder, 5, 0)
        scoring.edits = edits
        scoring.visit_layer_inputs(lambda path, passage: seen.update({path: passage.patches}))
        return seen, len(runs)

    own, once = passages()
    edited, twice = passages(part.relevant)
    assert twice == 2 * once
    for layer in part.layers:
        patches, rows = own[layer.path], part.rows(layer)
        relevant = part.relevant[layer.path][slice(None) if rows is None else rows]
        used = relevant.reshape(patches.shape[1], -1, layer.in_channels_per_group).any(1)
        assert used.any()
        torch.testing.assert_close(patches[:, used], edited[layer.path][:, used])


@pytest.mark.parametrize(("net", "path", "unit"), [CASES[1], CASES[3], CASES[5], CASES[7]])
def test_greedy_in_a_circuit_makes_up_for_what_is_missing(net, path, unit):
    module, x = build(net), images(4)
    part = subnetwork(module, path, unit)
    builder = Builder(part, Fixed(x))
    masks = best(score(builder, "random", {}, 5, 0), part.relevant, count(part.relevant) * 2 // 3)
    scoring = Scorer(builder, 5, 0)
    found = scoring.score("greedy", masks)
    scoring.edits = masks
    circuit = naive_ablate(module, path, unit, x, masks, mean=False)
    expected = naive_greedy(
        module, path, unit, x, part.relevant, scoring.sensitivities(), builder.ablation_values, circuit
    )
    assert_greedy(found, expected)
    assert any(not torch.allclose(found[name], each) for name, each in score(builder, "greedy", {}, 5, 0).items())


@pytest.mark.parametrize(("sign", "ratio"), [(1, 3), (-1, 1)])
def test_greedy_knows_what_two_kernels_do_together(sign, ratio):
    """Of two that do the same the second costs three times what the first has cost; two that cancel out go together."""
    module, x = build(Chain), images(4)
    module.conv1.weight.data[1], module.conv1.bias.data[:] = module.conv1.weight.data[0], 1
    module.conv2.weight.data[2] = 0
    module.conv2.weight.data[2, 0] = 1
    module.conv2.weight.data[2, 1] = sign
    found = score(Builder(subnetwork(module, "conv2", 2), Fixed(x)), "greedy", {}, 5, 0)["conv2"][2]
    first, second = sorted(found[:2].tolist())
    assert second == pytest.approx(ratio * first)
    assert found[2:].tolist() == [0] * (len(found) - 2)


def naive_learned(module, path, unit, x, relevant, k, steps, means) -> dict[str, Tensor]:
    """Kernel by kernel, in plain numbers; `means` is what stands in for each kernel."""
    scores = naive_snip(module, path, unit, x)
    kernels = [(name, o, i) for name, mask in relevant.items() for o, i in mask.nonzero().tolist()]
    ranking = sorted((each for each in kernels if scores[each[0]][each[1:]] > 0), key=lambda e: -scores[e[0]][e[1:]])
    logit = {kernel: math.log(k / rank) for rank, kernel in enumerate(ranking, 1)}
    velocity = dict.fromkeys(logit, 0.0)
    f = naive_trace(module, path, unit, x)[0].detach().flatten()

    def circuit() -> tuple[Tensor, nn.Module]:
        kept = sorted(logit, key=lambda kernel: -logit[kernel])[:k]
        twin = copy.deepcopy(module)
        for name, layer in layers(twin).items():
            layer.bias = nn.Parameter(torch.zeros(len(layer.weight)).double() if layer.bias is None else layer.bias)
            for o, i in relevant[name].nonzero().tolist() if name in relevant else []:
                if (name, o, i) not in kept:
                    layer.weight.data[o, i] = 0
                    layer.bias.data[o] += means[name][o, i]
        feature, twin, _ = naive_trace(twin, path, unit, x)
        return feature.flatten(), twin

    def line(c: Tensor) -> tuple[float, float, float]:
        design = torch.stack([c, torch.ones_like(c)], 1)
        s, b = torch.linalg.lstsq(design, f[:, None]).solution[:, 0].tolist()
        if s <= 0 or c.var() == 0:
            return 1.0, float(f.mean() - c.mean()), 1.0
        return s, b, float((s * c + b - f).var() / f.var())

    (s, b, _), best, least = line(circuit()[0].detach()), None, math.inf
    for step in range(steps):
        c, twin = circuit()
        (s * c + b - f).square().sum().backward()
        s, b, lost = line(c.detach())
        if lost < least * (1 - 1e-9):
            best, least = dict(logit), lost
        slope = {}
        for name, o, i in kernels:
            weight, layer = layers(module)[name].weight[o, i].detach(), layers(twin)[name]
            slope[name, o, i] = float((weight * layer.weight.grad[o, i]).sum() - means[name][o, i] * layer.bias.grad[o])
        size = math.sqrt(sum(each**2 for each in slope.values()) / k)
        for kernel in logit:
            velocity[kernel] = 0.9 * velocity[kernel] + 0.1 * slope[kernel] / size
            speed = velocity[kernel] / (1 - 0.9 ** (step + 1))
            logit[kernel] -= 0.5 * (1 - step / steps) * max(-3.0, min(3.0, speed))
    found = {name: torch.zeros(mask.shape).double() for name, mask in relevant.items()}
    for (name, o, i), value in best.items():
        found[name][o, i] = math.exp(value)
    return found


@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize(("net", "path", "unit"), [CASES[1], CASES[5], CASES[7], CASES[9], CASES[10]])
def test_learned(net, path, unit, ablation):
    module, x = build(net), images(3)
    part = subnetwork(module, path, unit)
    means = (
        part.mean_outputs([x]) if ablation == "mean" else {n: torch.zeros(m.shape) for n, m in part.relevant.items()}
    )
    k, steps = count(part.relevant) * 3 // 4, 6
    parameters = {"steps": steps, "rate": 0.5, "base": "snip"}
    found = score(Builder(part, Fixed(x), Choice(ablation)), "learned", parameters, k, 0)
    expected = naive_learned(module, path, unit, x, part.relevant, k, steps, means)
    for name, mask in part.relevant.items():
        torch.testing.assert_close(found[name], expected[name] * mask, rtol=1e-6, atol=1e-9)


def test_learned_masks_are_better_than_what_they_began_with():
    part, x = subnetwork(build(Branches), "head", 4), images(6)
    builder, k = Builder(part, Fixed(x)), count(part.relevant) // 3
    whole = responses(part, Fixed(x), "")
    reached = {}
    for steps in (0, 1, 40):
        masks = builder.select(score(builder, "learned", {"steps": steps}, k, 0), k)
        assert count(masks) == k
        reached[steps] = measure(whole, responses(part, Fixed(x), "", masks)).metrics["pearson"]
    base = builder.select(score(builder, "greedy", {}, k, 0), k)
    assert reached[0] == reached[1] == measure(whole, responses(part, Fixed(x), "", base)).metrics["pearson"]
    assert reached[40] > reached[0] + 0.1


def test_learned_gives_up_where_nothing_reaches_the_target():
    """The single kernel that is kept is dead: the scores are those of the ranks it began with."""
    part = subnetwork(build(Chain), "fc2", 0)
    builder = Builder(part, Fixed(images(2)))
    found = score(builder, "learned", {"base": "random"}, 1, 0)
    ranks = sorted(float(1 / each) for scores in found.values() for each in scores[scores > 0])
    torch.testing.assert_close(torch.tensor(ranks), torch.arange(1.0, len(ranks) + 1))


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_magnitude(net, path, unit):
    module = build(net)
    part = subnetwork(module, path, unit)
    expected = {
        name: torch.tensor(
            [[kernel.abs().mean().item() for kernel in row] for row in layer.weight], dtype=torch.float64
        )
        for name, layer in layers(module).items()
    }
    assert_scores(score(Builder(part, Fixed(images(1))), "magnitude", {}, 5, 0), expected, part.relevant)


def test_random_is_drawn_by_the_seed_and_leaves_the_global_generator_alone():
    part = subnetwork(build(Chain), "conv2", 2)
    before = torch.random.get_rng_state()
    one, same, other = (score(Builder(part, Fixed(images(1))), "random", {}, 5, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("places", [4096, 40], ids=["all places", "some places"])
@pytest.mark.parametrize("criterion", sorted(CRITERIA.declarations))
def test_scores_depend_on_neither_batch_size_nor_order(criterion, places, monkeypatch):
    monkeypatch.setattr("circuitlang.engine.circuits.builder.PLACES", places)
    part = subnetwork(build(Branches), "head", 4)
    x = images(5)
    whole = score(Builder(part, Fixed(x, 5)), criterion, {}, 9, 0)
    single = score(Builder(part, Fixed(x.flip(0), 1)), criterion, {}, 9, 0)
    for name in whole:
        torch.testing.assert_close(whole[name], single[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("structure", ["kernel", "weight"])
@pytest.mark.parametrize(("net", "path", "unit"), [CASES[3], CASES[5], CASES[9]])
def test_criteria_that_share_a_pass_find_what_each_finds_alone(net, path, unit, structure, monkeypatch):
    part, x = subnetwork(build(net), path, unit), images(3)
    builder = Builder(part, Fixed(x), structure=structure)
    choices = [Choice(name) for name in ("taylor", "snip", "random", "actgrad", "gn", "magnitude")]
    alone = [score(builder, choice.name, {}, 5, 7) for choice in choices]
    seen = []
    observe = MultiTargetPass.observe
    monkeypatch.setattr(MultiTargetPass, "observe", lambda self, *given: (seen.append(given[0]), observe(self, *given)))
    together = score_all(builder, choices, 5, 7)
    assert sum(map(len, seen)) == len(x)
    for found, expected in zip(together, alone, strict=True):
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["kernel", "weight"])
@pytest.mark.parametrize("criterion", ["snip", "actgrad", "taylor", "gn"])
@pytest.mark.parametrize(("net", "path", "unit"), [CASES[3], CASES[5], CASES[9]])
def test_sums_over_blocks_of_the_images_give_the_scores_on_resamples_of_them(
    net, path, unit, criterion, structure, monkeypatch
):
    """The same scores as from every resample's own images, each as often as its block was drawn."""
    module, x = build(net), images(7)
    part = subnetwork(module, path, unit)
    # The halves of four blocks, resamples, and all of the images.
    draws = ([1, 0, 1, 0], [0, 1, 0, 1], [0, 3, 0, 1], [2, 0, 1, 1], [1, 1, 1, 1])
    blocks = torch.split(x, (1, 3, 2, 1))
    resamples = [torch.cat([x[:0], *(blocks[i] for i, n in enumerate(draw) for _ in range(n))]) for draw in draws]
    expected = [score(Builder(part, Fixed(own), structure=structure), criterion, {}, 5, 7) for own in resamples]
    seen = []
    observe = MultiTargetPass.observe
    monkeypatch.setattr(MultiTargetPass, "observe", lambda self, *given: (seen.append(given[0]), observe(self, *given)))
    builder = Builder(part, Fixed(x), structure=structure)
    sums = block_sums(builder, Choice(criterion), 7, [Fixed(own) for own in blocks])
    # One pass.
    assert sum(map(len, seen)) == len(x)
    assert len(sums) == 4
    for draw, right, own in zip(draws, expected, resamples, strict=True):
        assert_scores(sums.scores(draw), right, builder.relevant)
        if criterion == "snip" and structure == "kernel":
            assert_scores(sums.scores(draw), naive_snip(module, path, unit, own), part.relevant)


@pytest.mark.parametrize(("memory", "blocks"), [(1 << 30, 20), (1, 8), (0, 8)])
def test_parts_share_blocks_where_they_would_take_too_much_memory(memory, blocks, monkeypatch):
    monkeypatch.setattr("circuitlang.engine.attribution.block_sums.MEMORY", memory)
    part, x = subnetwork(build(Chain), "conv2", 2), images(20)
    builder = Builder(part, Fixed(x))
    sums = block_sums(builder, Choice("gn"), 7, [Fixed(own) for own in torch.split(x, 1)])
    assert 5 <= len(sums) <= blocks
    assert (len(sums) == 20) == (memory > 1)
    assert_scores(sums.scores([1] * len(sums)), score(builder, "gn", {}, 5, 7), part.relevant)


@pytest.mark.parametrize("criterion", ["snip", "actgrad", "taylor", "gn"])
def test_all_images_twice_count_twice(criterion):
    part = subnetwork(build(Chain), "conv2", 2)
    x = images(3)
    once, twice = (score(Builder(part, Fixed(each)), criterion, {}, 5, 0) for each in (x, torch.cat([x, x])))
    for name in once:
        torch.testing.assert_close(twice[name], 2 * once[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("criterion", ["snip", "actgrad"])
def test_an_image_twice_counts_twice(criterion):
    part = subnetwork(build(Chain), "conv2", 2)
    x = images(2)
    one, two, both = (
        score(Builder(part, Fixed(each)), criterion, {}, 5, 0)
        for each in (x[:1], x[1:], torch.cat([x[:1], x[:1], x[1:]]))
    )
    for name in one:
        torch.testing.assert_close(both[name], 2 * one[name] + two[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("criterion", sorted(CRITERIA.declarations))
def test_scores_are_never_negative_and_zero_where_irrelevant(criterion):
    part = subnetwork(build(Branches), "left", 3)
    for name, scores in score(Builder(part, Fixed(images(2))), criterion, {}, 3, 0).items():
        assert (scores >= 0).all()
        assert (scores[~part.relevant[name]] == 0).all()
