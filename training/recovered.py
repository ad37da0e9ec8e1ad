"""The weights of a published float32 graph, as a fit can begin with them.

A graph is all that is left of a model once its run is gone, or on a machine that never had it.
What an exporter folds away is put back: a batch norm that became part of the convolution before it
comes out as one that shifts alone, by statistics of the maps that images make, so that in
evaluation the network answers as its graph does and in training its norms begin near what they
will measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from training.classifier import TEMPERATURE
from training.errors import ConfigError
from training.networks.charlstm import CharLstm
from training.rebuilt import leading_to
from training.textgraph import Floats, read_text_graph

Weights = dict[str, torch.Tensor]
_LAYERS = ("Conv", "Gemm", "MatMul")


def recover_classifier(path: Path, network: nn.Module, x_BCHW: torch.Tensor) -> Weights:
    """What `network` held when `path` was exported from one like it.

    Args:
        path: a float32 graph with the output `probability`.
        network: convolutions, batch norms and linear layers, in the order in which the graph has
            them; is given the weights.
        x_BCHW: normalised training images, for the norms' statistics.

    Raises ConfigError if the graph is of other layers.

    """
    model = onnx.load(path)
    found = _layers(model)
    wanted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if [_shape(layer) for layer in wanted] != [weight.shape for weight, _ in found]:
        raise _another(path)
    temperature = float({p.key: p.value for p in model.metadata_props}.get(TEMPERATURE, 1))
    norms = _norms_behind(network)
    with torch.no_grad():
        for layer, (weight, bias) in zip(wanted, found, strict=True):
            scale = temperature if layer is wanted[-1] else 1.0
            layer.weight.copy_(weight * scale)
            norm = norms.get(layer)
            if norm is not None:
                assert norm.running_var is not None and norm.running_mean is not None
                norm.running_var.fill_(1 - norm.eps)
                norm.running_mean.zero_()
                norm.bias.copy_(_or_zero(bias, norm.num_features))
            elif layer.bias is not None:
                layer.bias.copy_(_or_zero(bias, len(layer.bias)) * scale)
        _centre(network, list(norms.values()), x_BCHW)
    return {name: value.clone() for name, value in network.state_dict().items()}


def recover_text(path: Path, network: CharLstm) -> Weights:
    """As `recover_classifier`, of an embedding, LSTM operators and a linear classifier."""
    graph = read_text_graph(onnx.load(path))
    if graph is None:
        raise _another(path)
    weights = {
        "embedding.weight": graph.table,
        "classifier.weight": graph.head.T,
        "classifier.bias": graph.head_bias,
    }
    for layer, cell in enumerate(graph.cells):
        weights[f"lstm.weight_ih_l{layer}"] = _torch_gates(cell.input)
        weights[f"lstm.weight_hh_l{layer}"] = _torch_gates(cell.recurrent)
        weights[f"lstm.bias_ih_l{layer}"] = _torch_gates(cell.bias[: len(cell.bias) // 2])
        weights[f"lstm.bias_hh_l{layer}"] = _torch_gates(cell.bias[len(cell.bias) // 2 :])
    found = {name: torch.tensor(value, dtype=torch.float32) for name, value in weights.items()}
    held = network.state_dict()
    if {name: value.shape for name, value in found.items()} != {
        n: v.shape for n, v in held.items()
    }:
        raise _another(path)
    return found


def _layers(model: onnx.ModelProto) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Weights in torch's layout, and biases, of the layers that lead to the logits."""
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = []
    for node in leading_to(model.graph, "probability"):
        if node.op_type not in _LAYERS or node.input[1] not in arrays:
            continue
        weight = torch.from_numpy(np.array(arrays[node.input[1]]))
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes.get("transB", 0)):
            weight = weight.T
        bias = arrays.get(node.input[2]) if len(node.input) > 2 else None
        found.append((weight, None if bias is None else torch.from_numpy(np.array(bias))))
    return found


def _norms_behind(network: nn.Module) -> dict[nn.Module, nn.BatchNorm2d]:
    """Each convolution's own batch norm: the one that is defined right after it."""
    parts = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    return {layer: norm for layer, norm in pairwise(parts) if isinstance(norm, nn.BatchNorm2d)}


def _centre(network: nn.Module, norms: Sequence[nn.BatchNorm2d], x_BCHW: torch.Tensor) -> None:
    """Give each norm the mean of its own maps, and take the same from what it adds afterwards."""

    def measure(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        means[norm] = inputs[0].mean(dim=(0, 2, 3))

    means: dict[nn.Module, torch.Tensor] = {}
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    training = network.training
    network.eval()(x_BCHW)
    network.train(training)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        assert norm.running_mean is not None  # and the deviation is 1
        norm.running_mean.copy_(means[norm])
        norm.bias.add_(means[norm])


def _shape(layer: nn.Module) -> torch.Size:
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight.shape


def _or_zero(bias: torch.Tensor | None, size: int) -> torch.Tensor:
    return torch.zeros(size) if bias is None else bias


def _torch_gates(rows: Floats) -> Floats:
    """ONNX has the gates in the order i, o, f, g, torch in i, f, g, o."""
    i, o, f, g = np.split(rows, 4)
    return np.concatenate((i, f, g, o))


def _another(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is of another network; give its preset and --set as well", field="start_from"
    )
