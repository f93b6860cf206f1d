"""A model of 16 bits that computes in 32 for a while, without a second copy of it.

Belongs here: casting weights where they are used. Not here: what is done with the result (trial.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@contextmanager
def in_float32(model: "PreTrainedModel") -> "Iterator[None]":
    """Computes with the model's own weights in float32, layer after layer: memory grows by one layer and an embedding.

    The weights themselves stay where and as they are.
    """
    import torch

    held: dict[torch.nn.Module, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def widen(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        whole = module in layers
        narrow_ones = [
            tensor
            for tensor in (*module.parameters(recurse=whole), *module.buffers(recurse=whole))
            if tensor.dtype in (torch.bfloat16, torch.float16)
        ]
        held[module] = [(tensor, tensor.data) for tensor in narrow_ones]
        for tensor in narrow_ones:
            tensor.data = tensor.data.float()
        return _widened(args), _widened(kwargs)

    def restore(module: torch.nn.Module, *_: object) -> None:
        for tensor, data in held.pop(module):
            tensor.data = data

    layers = _layers(model)
    inside = {module for layer in layers for module in layer.modules()}
    outside = [m for m in model.modules() if m not in inside and any(True for _ in m.parameters(recurse=False))]
    hooks = []
    for module in (*layers, *outside) if model.dtype != torch.float32 else ():
        hooks += [module.register_forward_pre_hook(widen, with_kwargs=True), module.register_forward_hook(restore)]
    try:
        yield
    finally:
        for module in list(held):
            restore(module)
        for hook in hooks:
            hook.remove()


def _layers(model: "PreTrainedModel") -> "set[torch.nn.Module]":
    """The members of the outermost lists of modules."""
    import torch

    lists = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)}
    outermost = [module for name, module in lists.items() if not any(name.startswith(f"{other}.") for other in lists)]
    return {layer for module in outermost for layer in module}


def _widened(value: object) -> object:
    """The same with floating-point tensors in float32, in tuples, lists and dictionaries too."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if type(value) in (tuple, list):
        return type(value)(map(_widened, value))
    if type(value) is dict:
        return {name: _widened(entry) for name, entry in value.items()}
    return value
