"""A small plain LLaMA in PyTorch, read from a GGUF file through the `gguf` package and dequantised once.

GGUF keeps the query and key rows of a LLaMA interleaved (rope turns the pairs 2i, 2i+1); they are put back into halves here
(pairs i, i + d/2), which is the faster layout in PyTorch. The projections of one input (q, k, v; gate, up) are joined into one
matrix each. All weights are frozen: the only gradients are those of the activations.
"""

import gguf
import torch
from torch.nn import functional as F


class Moved(torch.autograd.Function):
    """The rows of x by `ids`. Their gradient is the rows of it by `back`, which are where each row of x went."""

    @staticmethod
    def forward(ctx, x, ids, back):
        ctx.save_for_backward(back)
        return x.index_select(0, ids)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.index_select(0, *ctx.saved_tensors), None, None


class Llama:
    """The weights of one model and its forward pass. `dtype` is that of weights and activations."""

    def __init__(self, path, dtype=torch.float32):
        reader = gguf.GGUFReader(path)
        field = lambda name, default=None: self._field(reader, name, default)
        if field("general.architecture") != "llama":
            raise SystemExit(f"{path}: the architecture is {field('general.architecture')!r}, this peer knows only 'llama'")
        stored = {tensor.name: tensor for tensor in reader.tensors}

        def weight(name):
            tensor = stored[name]
            return torch.tensor(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=torch.float32)

        self.heads = int(field("llama.attention.head_count"))
        self.kv_heads = int(field("llama.attention.head_count_kv", self.heads))
        self.epsilon = float(field("llama.attention.layer_norm_rms_epsilon"))
        self.rope_base = float(field("llama.rope.freq_base", 10000.0))
        self.dtype = dtype
        self.embedding = weight("token_embd.weight").to(dtype)
        self.width = self.embedding.shape[1]
        self.head_width = self.width // self.heads
        self.head = weight("output.weight").to(dtype) if "output.weight" in stored else self.embedding
        self.norm = weight("output_norm.weight").to(dtype)
        self.layers = []
        for i in range(int(field("llama.block_count"))):
            part = lambda name: weight(f"blk.{i}.{name}.weight")
            q, k = self._halves(part("attn_q"), self.heads), self._halves(part("attn_k"), self.kv_heads)
            layer = {
                "attn_norm": part("attn_norm"),
                "qkv": torch.cat([q, k, part("attn_v")]),
                "out": part("attn_output"),
                "ffn_norm": part("ffn_norm"),
                "gate_up": torch.cat([part("ffn_gate"), part("ffn_up")]),
                "down": part("ffn_down"),
            }
            self.layers.append({name: value.to(dtype).contiguous() for name, value in layer.items()})

    @staticmethod
    def _field(reader, name, default):
        field = reader.get_field(name)
        return default if field is None else field.contents()

    @staticmethod
    def _halves(weight, heads):
        rows, columns = weight.shape
        return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)

    def embed(self, tokens):
        """The embeddings of int64 tokens of any shape."""
        return self.embedding[tokens]

    def turns(self, start, count):
        """Cosines and sines of positions [count, head_width], by which queries and keys are rotated."""
        half = self.head_width // 2
        frequency = self.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.arange(start, start + count, dtype=torch.float64)[:, None] * frequency
        return torch.cat([angle.cos()] * 2, -1).to(self.dtype), torch.cat([-angle.sin(), angle.sin()], -1).to(self.dtype)

    def hidden(self, x, prefix=None, keep=None, cache=None, packed=None):
        """The normalised last hidden states [n, positions, width] of the rows x, after an optional prefix.

        `prefix` is a list of (K, V) per layer, [kv_heads, length, head_width]; `keep`, a list, receives such pairs for x
        itself. `cache`, a list, holds pairs [n, kv_heads, length, head_width] of the positions before, and gets those of x
        too. Attention is causal; padding belongs at the end, where no real position sees it. `packed`, if given, is n,
        positions, the row at each place that attention takes, and the place of each row: x is then [rows, width].
        """
        n, count = packed[:2] if packed else x.shape[:2]
        past = prefix[0][0].shape[1] if prefix else cache[0][0].shape[2] if cache else 0
        cos, sin = self.turns(past, count)
        mask = torch.ones(count, past + count, dtype=torch.bool).tril(past).repeat(self.heads // self.kv_heads, 1)
        for i, layer in enumerate(self.layers):
            before = None
            if prefix:
                before = tuple(t.expand(n, -1, -1, -1) for t in prefix[i])
            elif cache:
                before = cache[i] if len(cache) == len(self.layers) else None
            x, k, v = self.layer(layer, x, cos, sin, mask, before, packed)
            if keep is not None:
                keep.append((k[0], v[0]))
            if cache is not None:
                cache[i : i + 1] = [(k, v)]
        return self.normed(x)

    def normed(self, x):
        """What the head is applied to, of the rows after the last layer."""
        return F.rms_norm(x, (self.width,), self.norm, self.epsilon)

    def layer(self, layer, x, cos, sin, mask, before, packed=None):
        """One layer: the rows behind it, and the keys and values [n, kv_heads, length, head_width] of all positions, of which
        `before`, a pair or None, has those before x."""
        q, k, v = self.project(layer, x, cos, sin, packed)
        if before is not None:
            k, v = (torch.cat(pair, 2) for pair in zip(before, (k, v)))
        return self.finish(layer, x, F.scaled_dot_product_attention(q, k, v, attn_mask=mask), packed), k, v

    def project(self, layer, x, cos, sin, packed=None):
        """Rotated queries, and keys and values, of the rows x. The query heads of one key head are rows of one product, so that
        keys and values are not copied: [n, kv_heads, query heads of each · positions, head_width]."""
        n, count = packed[:2] if packed else x.shape[:2]
        wide = self.head_width
        turn = lambda t: t * cos + t.roll(wide // 2, -1) * sin
        y = F.rms_norm(x, (self.width,), layer["attn_norm"], self.epsilon)
        y = F.linear(y, layer["qkv"])
        if packed:
            y = Moved.apply(y, *packed[2:])
        y = y.view(n, count, -1, wide).transpose(1, 2)
        q, k, v = y.split([self.heads, self.kv_heads, self.kv_heads], 1)
        return turn(q).reshape(n, self.kv_heads, self.heads // self.kv_heads * count, wide), turn(k), v

    def finish(self, layer, x, y, packed=None):
        """The rows x after the layer, given the result y of attention, which is laid out as the queries are."""
        n, count = packed[:2] if packed else x.shape[:2]
        y = y.reshape(n, self.heads, count, self.head_width).transpose(1, 2).reshape(n, count, self.width)
        if packed:
            y = Moved.apply(y.flatten(0, 1), packed[3], packed[2])
        x = x + F.linear(y, layer["out"])
        gate, up = F.linear(F.rms_norm(x, (self.width,), layer["ffn_norm"], self.epsilon), layer["gate_up"]).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, layer["down"])
