"""Fuses operations into the convolutions before them: scales into the weights, activations and sums into the store."""

from __future__ import annotations

from collections import Counter

import numpy as np

from engine.inference.native.ops import NOTHING, Conv, Elementwise, Network, Op, Patch, Tensor, sources


def fuse(network: Network) -> None:
    """Rewrite `network.ops` in place until nothing changes. Patches of the result are kept up to date."""
    _drop_unused(network)
    for step in (_scale, _activate, _join, _activate):
        step(network)
    _activate_patches(network)


def uses(network: Network) -> Counter[Tensor]:
    """Count the reads of each tensor, by operations and by the result."""
    count = Counter(tensor for op in network.ops for tensor in sources(op))
    count.update(patch.tensor for patch in _patches(network))
    return count


def _patches(network: Network) -> tuple[Patch, ...]:
    return network.result.patches if network.result is not None else ()


def _drop_unused(network: Network) -> None:
    wanted = {patch.tensor for patch in _patches(network)}
    kept: list[Op] = []
    for op in reversed(network.ops):
        if op.out in wanted:
            kept.append(op)
            wanted.update(sources(op))
    network.ops = kept[::-1]


def _makers(network: Network) -> dict[Tensor, Op]:
    return {op.out: op for op in network.ops}


def _scale(network: Network) -> None:
    """Fuse a depthwise 1x1 convolution into the plain convolution before it, as a factor of its weights."""
    count, makers, kept = uses(network), _makers(network), list[Op]()
    for op in network.ops:
        if isinstance(op, Conv) and op.depthwise and op.weight.shape[2:] == (1, 1) and op.strides == (1, 1):
            maker = makers.get(op.source) if op.source is not None else None
            if isinstance(maker, Conv) and count[maker.out] == 1:
                factor = op.weight.reshape(-1).astype(np.float64)
                maker.weight = (maker.weight * factor[:, None, None, None]).astype(np.float32)
                maker.bias = (maker.bias * factor + op.bias).astype(np.float32)
                maker.out = op.out
                makers[op.out] = maker
                continue
        kept.append(op)
    network.ops = kept


def _activate(network: Network) -> None:
    """Fuse an activation into a preceding convolution or sum that has none."""
    count, makers, kept = uses(network), _makers(network), list[Op]()
    for op in network.ops:
        if isinstance(op, Elementwise) and op.other is None:
            maker = makers.get(op.source)
            bare = isinstance(maker, Conv | Elementwise) and maker.activation == NOTHING
            if isinstance(maker, Conv | Elementwise) and bare and count[maker.out] == 1 and _may_activate(maker):
                maker.activation = op.activation
                maker.out = op.out
                makers[op.out] = maker
                continue
        kept.append(op)
    network.ops = kept


def _may_activate(maker: Conv | Elementwise) -> bool:
    """Return whether the activation would come last; other ways to join would follow it."""
    return maker.when in ("no", "add_before")


def _join(network: Network) -> None:
    """Fuse a sum (or product) of a convolution and a tensor that exists before it."""
    count, makers = uses(network), _makers(network)
    order = {id(op): i for i, op in enumerate(network.ops)}
    kept: list[Op] = []
    for op in network.ops:
        if isinstance(op, Elementwise) and op.other is not None:
            pairs = [(op.source, op.other), (op.other, op.source)]
            pairs.sort(key=lambda pair: -order[id(makers[pair[0]])])
            mine, other = pairs[0]
            maker = makers[mine]
            if (
                isinstance(maker, Conv)
                and maker.other is None
                and count[mine] == 1
                and mine is not other
                and (maker.activation == NOTHING or op.activation == NOTHING)
                and (op.when == "add_before" or op.activation == NOTHING)
            ):
                bare = maker.activation == NOTHING
                maker.when = op.when if op.when != "add_before" or bare else "add_after"
                maker.activation = op.activation if bare else maker.activation
                maker.other = other
                maker.out = op.out
                makers[op.out] = maker
                continue
        kept.append(op)
    network.ops = kept


def _activate_patches(network: Network) -> None:
    """Fuse an activation of a whole tensor, read only by the result, into its convolution."""
    count, makers = uses(network), _makers(network)
    for patch in _patches(network):
        maker = makers[patch.tensor]
        if isinstance(maker, Conv) and count[patch.tensor] == 1 and maker.activation == NOTHING and maker.other is None:
            maker.activation, patch.activation = patch.activation, NOTHING
