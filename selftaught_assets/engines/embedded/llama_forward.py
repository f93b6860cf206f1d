"""The forward pass of Llama and its kin, written out: the same mathematics in a third of the operations.

Belongs here: blocks of RMSNorm, rotary attention and gated SiLU. Not here: attention itself, which the decoder brings
(shared_prefix.py), and any other architecture, which runs through its own class in `transformers`.

Projections of the same input are one matrix product, queries and keys are rotated together, and residuals are added
by the product that makes them. For a small model that is most of what is not matrix products.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from selftaught_assets.engines.embedded.attention import Attend

_MODEL_TYPES = {"llama", "mistral", "qwen2"}


class _Block(NamedTuple):
    """Weights of a layer, transposed: shape (inputs, outputs)."""

    norm_1: "torch.Tensor"
    qkv: "torch.Tensor"
    qkv_bias: "torch.Tensor | None"
    out: "torch.Tensor"
    norm_2: "torch.Tensor"
    gate_up: "torch.Tensor"
    down: "torch.Tensor"


def suits(model: "PreTrainedModel") -> bool:
    """Whether the model is built of such blocks and nothing else."""
    config = model.config
    return (
        config.model_type in _MODEL_TYPES
        and config.hidden_act == "silu"
        and not getattr(config, "mlp_bias", False)
        and all(layer.self_attn.o_proj.bias is None for layer in model.model.layers)
    )


class LlamaForward:
    """Fuses the weights of a model that `suits`, layer by layer, so memory grows by one layer for a moment.

    The model's own projections become views of the fused weights: it runs as before.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        config = model.config
        self._embed = model.model.embed_tokens
        self._rotary = model.model.rotary_emb
        self._norm = model.model.norm.weight
        self._head = model.lm_head.weight.T
        self._eps = config.rms_norm_eps
        self._size = model.model.layers[0].self_attn.head_dim
        self._heads, self._key_heads = config.num_attention_heads, config.num_key_value_heads
        self._scaling = model.model.layers[0].self_attn.scaling
        self._blocks = [_fused(layer) for layer in model.model.layers]

    def __call__(
        self, ids: "torch.Tensor", positions: "torch.Tensor", attend: "Attend", kept: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Logits of the tokens at the indices `kept` (all by default).

        Args:
            ids: shape (rows, tokens).
            positions: shape (rows, tokens), or (1, tokens) where all rows agree.
            attend: attention of one layer.
            kept: indices of tokens, the same for all rows.

        Returns:
            Shape (rows, kept, vocabulary).
        """
        import torch

        rows, tokens = ids.shape
        states = self._embed(ids).view(rows * tokens, -1)
        cos, sin = self._rotary(states, positions)
        cos, sin = (values[:, :, None, : self._size // 2] for values in (cos, sin))
        for layer, block in enumerate(self._blocks):
            projected = self._normalised(states, block.norm_1) @ block.qkv
            if block.qkv_bias is not None:
                projected += block.qkv_bias
            projected = projected.view(rows, tokens, self._heads + 2 * self._key_heads, self._size)
            values = projected[:, :, self._heads + self._key_heads :]
            rotated = _rotated(projected[:, :, : self._heads + self._key_heads], cos, sin)
            query, key = rotated.split([self._heads, self._key_heads], dim=2)
            attended = attend(layer, query.transpose(1, 2), key.transpose(1, 2), values.transpose(1, 2), self._scaling)
            states.addmm_(attended.reshape(rows * tokens, -1), block.out)
            gate, up = (self._normalised(states, block.norm_2) @ block.gate_up).chunk(2, dim=-1)
            states.addmm_(torch.nn.functional.silu(gate, inplace=True).mul_(up), block.down)
        states = states.view(rows, tokens, -1)
        states = states if kept is None else states[:, kept]
        return self._normalised(states, self._norm) @ self._head

    def _normalised(self, states: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
        import torch

        return torch.nn.functional.rms_norm(states, weight.shape, weight, self._eps)


def _rotated(vectors: "torch.Tensor", cos: "torch.Tensor", sin: "torch.Tensor") -> "torch.Tensor":
    """Rotary embedding of shape (rows, tokens, heads, size); number i turns with number i + size / 2."""
    import torch

    rotated = torch.empty_like(vectors, memory_format=torch.contiguous_format)
    first, second = vectors.chunk(2, dim=-1)
    to_first, to_second = rotated.chunk(2, dim=-1)
    torch.mul(first, cos, out=to_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=to_second).addcmul_(first, sin)
    return rotated


def _fused(layer: "torch.nn.Module") -> _Block:
    attention, mlp = layer.self_attn, layer.mlp
    qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
    return _Block(
        norm_1=layer.input_layernorm.weight,
        qkv=_joined(qkv, "weight").T,
        qkv_bias=None if attention.q_proj.bias is None else _joined(qkv, "bias"),
        out=attention.o_proj.weight.detach().T,
        norm_2=layer.post_attention_layernorm.weight,
        gate_up=_joined([mlp.gate_proj, mlp.up_proj], "weight").T,
        down=mlp.down_proj.weight.detach().T,
    )


def _joined(projections: "list[torch.nn.Module]", name: str) -> "torch.Tensor":
    """One tensor for a parameter of several layers, which becomes a view of it in each."""
    import torch

    parameters = [getattr(projection, name) for projection in projections]
    joined = torch.cat([parameter.detach() for parameter in parameters])
    for parameter, part in zip(parameters, joined.split([len(parameter) for parameter in parameters]), strict=True):
        parameter.data = part
    return joined
