"""The recommenders in plain PyTorch. Parameters have the names and shapes of the paper's authors' published weights, BERT4Rec's
those of RecBole, and HSTU's those of RecInt, so that a file of either side loads on the other.

Item ids are dense and 0-based; id `items` is padding, at the end of a history. A model maps int64 histories [n, T], T at most
its `positions`, and their true lengths [n] to states [n, width]; `scores` maps states to [n, items]. For DreamRec the state is the
guidance, and an oracle drawn by `sample` takes its place before the scores.

Dropout: on the embeddings of the history, and after them GRU4Rec and Caser on the state, SASRec and DreamRec on the attention
weights and the output of the feed-forward layer.
"""

import math

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

WIDTH, POSITIONS = 64, 10


def rows(count, index):
    """Row index[i] of sample i, as an index pair."""
    return torch.arange(count, device=index.device), index


class GRU4Rec(nn.Module):
    """One GRU layer over the embedded history."""

    name = "GRU"

    def __init__(self, items, width=WIDTH, positions=POSITIONS, dropout=0.0, spread=0.02):
        super().__init__()
        self.items, self.width, self.positions = items, width, positions
        self.item_embeddings = nn.Embedding(items + 1, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.s_fc = nn.Linear(width, items)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.item_embeddings.weight, std=spread)

    def forward(self, histories, lengths):
        outputs, _ = self.gru(self.dropout(self.item_embeddings(histories)))
        return self.dropout(outputs[rows(len(histories), lengths - 1)])

    def scores(self, states):
        return self.s_fc(states)


class Caser(nn.Module):
    """Horizontal filters of heights 2, 3 and 4 with max over time, and one vertical filter over all positions."""

    name = "Caser"

    def __init__(self, items, width=WIDTH, filters=16, heights=(2, 3, 4), positions=POSITIONS, dropout=0.0, spread=0.02):
        super().__init__()
        self.items, self.positions, self.heights, self.filters = items, positions, tuple(heights), filters
        self.width = filters * len(heights) + width
        self.item_embeddings = nn.Embedding(items + 1, width)
        self.horizontal_cnn = nn.ModuleList(nn.Conv2d(1, filters, (height, width)) for height in heights)
        self.vertical_cnn = nn.Conv2d(1, 1, (positions, 1))
        self.s_fc = nn.Linear(self.width, items)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.item_embeddings.weight, std=spread)

    @staticmethod
    def slide(x, convolution):
        """The largest response over time of each filter, [n, filters]. Called as nn.Conv2d it gives the same, but slower: as a
        convolution over time it trains fastest, as a product with overlapping windows it runs fastest."""
        n, count, width = x.shape
        height = convolution.weight.shape[2]
        if torch.is_grad_enabled() or torch.onnx.is_in_onnx_export():
            kernel = convolution.weight.squeeze(1).transpose(1, 2)
            return F.conv1d(x.transpose(1, 2), kernel, convolution.bias).amax(2)
        windows = x.as_strided((n, count - height + 1, height * width), (count * width, width, 1))
        return F.linear(windows, convolution.weight.flatten(1), convolution.bias).amax(1)

    def forward(self, histories, lengths):
        histories = F.pad(histories, (0, self.positions - histories.shape[1]), value=self.items)
        x = self.item_embeddings(histories) * (histories != self.items).unsqueeze(-1)
        x = self.dropout(x).contiguous()
        parts = [self.slide(x, convolution) for convolution in self.horizontal_cnn]
        # The vertical filter has one column of weights for all dimensions: a product of a row with each sample's matrix.
        parts.append(self.vertical_cnn.weight.view(-1) @ x + self.vertical_cnn.bias)
        return self.dropout(F.relu(torch.cat(parts, 1)))

    def scores(self, states):
        return self.s_fc(states)


class Pointwise(nn.Conv1d):
    """A convolution of width 1, its parameters stored as such and used as the matrix that it is."""

    def __init__(self, width):
        super().__init__(width, width, 1)

    def forward(self, x):
        return F.linear(x, self.weight.squeeze(-1), self.bias)


class Attention(nn.Module):
    """The projections of one attention head."""

    def __init__(self, width):
        super().__init__()
        self.linear_q, self.linear_k, self.linear_v = (nn.Linear(width, width) for _ in range(3))


class FeedForward(nn.Module):
    """With its residual and a norm of its own, or `bare` of both."""

    def __init__(self, width, dropout, bare):
        super().__init__()
        self.w_1, self.w_2 = Pointwise(width), Pointwise(width)
        self.layer_norm = None if bare else nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        y = self.dropout(self.w_2(F.relu(self.w_1(x))))
        return self.layer_norm(y + x) if self.layer_norm else y


class SASRec(nn.Module):
    """One block, one head. Queries are normalised, keys and values are not; with `norm_first` all are, and the residuals are not.
    `rotary` turns queries and keys by their positions, which then have no embeddings."""

    name = "SASRec"

    def __init__(self, items, width=WIDTH, positions=POSITIONS, dropout=0.0, spread=0.02, norm_first=False, rotary=False):
        super().__init__()
        self.items, self.width, self.positions = items, width, positions
        self.norm_first, self.rotary = norm_first, rotary
        self.item_embeddings = nn.Embedding(items + 1, width)
        if rotary:
            half = width // 2
            angles = torch.arange(positions).unsqueeze(1) * 10000.0 ** (-torch.arange(half) / half)
            self.register_buffer("cosines", torch.cat([angles.cos(), angles.cos()], 1), persistent=False)
            self.register_buffer("sines", torch.cat([-angles.sin(), angles.sin()], 1), persistent=False)
        else:
            self.positional_embeddings = nn.Embedding(positions, width)
            nn.init.normal_(self.positional_embeddings.weight, std=spread)
        self.ln_1, self.ln_2, self.ln_3 = (nn.LayerNorm(width) for _ in range(3))
        self.mh_attn = Attention(width)
        self.feed_forward = FeedForward(width, dropout, norm_first)
        self.s_fc = nn.Linear(width, items)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.item_embeddings.weight, std=spread)

    def embed(self, histories):
        x = self.item_embeddings(histories)
        return self.dropout(x if self.rotary else x + self.positional_embeddings.weight[: histories.shape[1]])

    def turn(self, x, places):
        other = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
        return x * self.cosines[places] + other * self.sines[places]

    def attend(self, x, last=None, **mask):
        """The states at all positions of x [n, T, width], or [n, 1, width] at the last ones [n]."""

        def pick(y):
            return y if last is None else y[rows(len(y), last)].unsqueeze(1)

        attention = self.mh_attn
        if self.norm_first:
            x, residual = self.ln_1(x), pick(x)
            queries = pick(x)
        else:
            queries = residual = self.ln_1(pick(x))
        q, k, v = attention.linear_q(queries), attention.linear_k(x), attention.linear_v(x)
        if self.rotary:
            k = self.turn(k, slice(x.shape[1]))
            q = self.turn(q, slice(x.shape[1]) if last is None else last.unsqueeze(1))
        q, k, v = (t.unsqueeze(1) for t in (q, k, v))
        dropped = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropped, **mask).squeeze(1) + residual
        forward = self.feed_forward(self.ln_2(attended))
        return self.ln_3(forward + attended if self.norm_first else forward)

    def forward(self, histories, lengths):
        # The only block needs the query of the last item alone.
        x = self.embed(histories)
        count = histories.shape[1]
        known = (torch.arange(count, device=lengths.device) < lengths.unsqueeze(1)).view(-1, 1, 1, count)
        return self.attend(x, lengths - 1, attn_mask=known).squeeze(1)

    def all_states(self, histories):
        """The state after each position, [n, T, width]; those of padding mean nothing."""
        return self.attend(self.embed(histories), is_causal=True)

    def scores(self, states):
        return self.s_fc(states)


class Block(nn.Module):
    """A block of BERT with RecBole's names. Queries may be fewer than keys and values."""

    def __init__(self, width, inner, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.multi_head_attention = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value", "dense")})
        self.multi_head_attention["LayerNorm"] = nn.LayerNorm(width, eps=1e-12)
        self.feed_forward = nn.ModuleDict({"dense_1": nn.Linear(width, inner), "dense_2": nn.Linear(inner, width),
                                           "LayerNorm": nn.LayerNorm(width, eps=1e-12)})

    def forward(self, queries, x, known):
        own = self.multi_head_attention
        q, k, v = (own[name](y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for name, y in (("query", queries), ("key", x), ("value", x)))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=known, dropout_p=self.dropout.p if self.training else 0.0)
        y = own["LayerNorm"](self.dropout(own["dense"](attended.transpose(1, 2).flatten(2))) + queries)
        own = self.feed_forward
        return own["LayerNorm"](self.dropout(own["dense_2"](F.gelu(own["dense_1"](y)))) + y)


class BERT4Rec(nn.Module):
    """Two blocks of two heads over the history and a mask after it; the state is the output at the mask."""

    name = "BERT4Rec"

    def __init__(self, items, width=WIDTH, positions=POSITIONS, inner=256, heads=2, blocks=2, dropout=0.0, spread=0.02):
        super().__init__()
        self.items, self.width, self.positions = items, width, positions
        self.item_embedding = nn.Embedding(items + 2, width)
        self.position_embedding = nn.Embedding(positions + 1, width)
        self.LayerNorm, self.output_ln = (nn.LayerNorm(width, eps=1e-12) for _ in range(2))
        self.trm_encoder = nn.ModuleDict({"layer": nn.ModuleList(Block(width, inner, heads, dropout) for _ in range(blocks))})
        self.output_ffn = nn.Linear(width, width)
        self.output_bias = nn.Parameter(torch.zeros(items))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.item_embedding.weight, std=spread)
        nn.init.normal_(self.position_embedding.weight, std=spread)

    def embed(self, histories, lengths):
        """The embedded history with the mask after it, which positions attention sees, and where the mask is."""
        slots = F.pad(histories, (0, 1), value=self.items)
        at_mask = rows(len(histories), lengths)
        slots[at_mask] = self.items + 1
        count = slots.shape[1]
        known = (torch.arange(count, device=lengths.device) <= lengths.unsqueeze(1)).view(-1, 1, 1, count)
        x = self.dropout(self.LayerNorm(self.item_embedding(slots) + self.position_embedding.weight[:count]))
        return x, known, at_mask

    def forward(self, histories, lengths):
        x, known, at_mask = self.embed(histories, lengths)
        *before, last = self.trm_encoder["layer"]
        for block in before:
            x = block(x, x, known)
        x = last(x[at_mask].unsqueeze(1), x, known).squeeze(1)  # the last block needs the mask's query alone
        return self.output_ln(F.gelu(self.output_ffn(x)))

    def states_at(self, asked, histories, lengths):
        """The states at the positions that are asked for, [n, positions + 1], of histories that may hold masks."""
        x, known, _ = self.embed(histories, lengths)
        for block in self.trm_encoder["layer"]:
            x = block(x, x, known)
        return self.output_ln(F.gelu(self.output_ffn(x[asked])))

    def scores(self, states):
        return F.linear(states, self.item_embedding.weight[: self.items], self.output_bias)


class Unit(nn.Module):
    """A block of HSTU. Queries may be fewer than keys and values: then they stand at the positions `places` [n, 1]."""

    def __init__(self, width, positions, heads, dropout):
        super().__init__()
        self.heads, self.positions, self.dropout = heads, positions, nn.Dropout(dropout)
        self.norm, self.attended_norm = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.uvqk = nn.Linear(width, 4 * width, bias=False)
        self.distance_bias = nn.Parameter(torch.empty(positions))
        self.output = nn.Linear(width, width)
        nn.init.normal_(self.uvqk.weight, std=0.02)
        nn.init.normal_(self.distance_bias, std=0.02)

    def forward(self, x, places=None):
        y, count = self.norm(x), x.shape[1]
        of_u, of_v, of_q, of_k = self.uvqk.weight.chunk(4)
        if places is None:
            queries, there, places = x, y, torch.arange(count, device=x.device).unsqueeze(0)
        else:
            at = places.unsqueeze(2).expand(-1, -1, x.shape[2])
            queries, there = x.gather(1, at), y.gather(1, at)
        gates = F.silu(F.linear(there, of_u))
        v, q, k = (F.silu(F.linear(z, w)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for z, w in ((y, of_v), (there, of_q), (y, of_k)))
        distances = places.unsqueeze(2) - torch.arange(count, device=x.device)  # [1 or n, queries, count]
        weights = F.silu(q @ k.transpose(2, 3) + self.distance_bias[distances.clamp(min=0)].unsqueeze(1)) / self.positions
        attended = (weights * (distances >= 0).unsqueeze(1)) @ v
        attended = self.attended_norm(attended.transpose(1, 2).flatten(2))
        return self.output(self.dropout(attended * gates)) + queries


class HSTU(nn.Module):
    """Two blocks of two heads of pointwise attention, with a bias of the distance between positions and none of times."""

    name = "HSTU"

    def __init__(self, items, width=WIDTH, positions=POSITIONS, heads=2, blocks=2, dropout=0.0, spread=0.02):
        super().__init__()
        self.items, self.width, self.positions = items, width, positions
        self.item_embedding = nn.Embedding(items + 1, width)
        self.position_embedding = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Unit(width, positions, heads, dropout) for _ in range(blocks))
        self.last_norm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.item_embedding.weight, std=spread)
        nn.init.normal_(self.position_embedding.weight, std=spread)

    def embed(self, histories):
        scaled = self.item_embedding(histories) * math.sqrt(self.width)
        return self.dropout(scaled + self.position_embedding.weight[: histories.shape[1]])

    def forward(self, histories, lengths):
        x = self.embed(histories)
        *before, last = self.blocks
        for block in before:
            x = block(x)
        return self.last_norm(last(x, (lengths - 1).unsqueeze(1)).squeeze(1))  # the last block needs one query alone

    def all_states(self, histories):
        x = self.embed(histories)
        for block in self.blocks:
            x = block(x)
        return self.last_norm(x)

    def scores(self, states):
        return F.linear(states, self.item_embedding.weight[: self.items])


def betas(kind, steps):
    """The noise schedule, float32 [steps]."""
    if kind == "linear":
        return torch.linspace(1e-4, 0.02, steps)
    if kind == "exp":
        x = torch.linspace(1, 2 * steps + 1, steps)
        return 1 - torch.exp(-0.1 / steps - x * 0.5 * 9.9 / steps**2)
    at = torch.arange(steps + 1, dtype=torch.float64) / steps
    if kind == "cosine":
        kept = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - kept[1:] / kept[:-1]).clip(1e-4, 0.9999).float()
    if kind == "sqrt":
        kept = 1 - torch.sqrt(at + 1e-4)
        return (1 - kept[1:] / kept[:-1]).clip(max=0.999).float()
    raise ValueError(f"no schedule is called {kind!r}; known are linear, exp, cosine and sqrt")


class Schedule:
    """What training and sampling need of a noise schedule."""

    def __init__(self, kind, steps):
        self.kind, self.steps = kind, steps
        self.betas = betas(kind, steps)
        alphas = 1 - self.betas
        kept = alphas.cumprod(0)
        before = torch.cat([torch.ones(1), kept[:-1]])
        self.signal, self.noise = kept.sqrt(), (1 - kept).sqrt()
        self.mean_x0 = self.betas * before.sqrt() / (1 - kept)
        self.mean_x = (1 - before) * alphas.sqrt() / (1 - kept)
        self.deviation = (self.betas * (1 - before) / (1 - kept)).sqrt()

    def diffuse(self, x0, step, noise):
        """x0 [n, width] noised to the steps [n]."""
        return self.signal[step].unsqueeze(1) * x0 + self.noise[step].unsqueeze(1) * noise


class StepWaves(nn.Module):
    """Sines, then cosines, of the step at geometrically falling frequencies."""

    def __init__(self, width):
        super().__init__()
        self.half = width // 2

    def forward(self, step):
        angle = step.unsqueeze(-1) * torch.exp(torch.arange(self.half) * (-math.log(10000) / (self.half - 1)))
        return torch.cat([angle.sin(), angle.cos()], -1)


class DreamRec(SASRec):
    """SASRec's encoder guides a denoiser, which predicts the embedding of the next item from a noised one. `s_fc` and `emb_mlp`
    are in the authors' files and take no part."""

    name = "DreamRec"

    def __init__(self, items, width=WIDTH, positions=POSITIONS, diffuser="mlp1", dropout=0.0, spread=1.0):
        super().__init__(items, width, positions, dropout, spread)
        self.none_embedding = nn.Embedding(1, width)
        nn.init.normal_(self.none_embedding.weight, std=spread)
        self.step_mlp = nn.Sequential(StepWaves(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.emb_mlp = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        if diffuser == "mlp1":
            self.diffuser = nn.Sequential(nn.Linear(3 * width, width))
        elif diffuser == "mlp2":
            self.diffuser = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        else:
            raise ValueError(f"no diffuser is called {diffuser!r}; known are mlp1 and mlp2")
        self.diffuser_kind = diffuser

    def denoise(self, x, guidance, step):
        """The predicted x0 of noised x [n, width] at the steps [n]."""
        return self.diffuser(torch.cat([x, guidance, self.step_mlp(step)], 1))

    def loss(self, histories, lengths, targets, schedule, drop):
        """The authors' loss: squared error of the predicted embedding of the next item, whose gradient reaches the target and
        its noised form as well; with probability `drop` the guidance is replaced by the one that stands for none."""
        guidance = self(histories, lengths)
        dropped = torch.rand(len(guidance), 1) < drop
        guidance = torch.where(dropped, self.none_embedding.weight, guidance)
        x0 = self.item_embeddings(targets)
        step = torch.randint(schedule.steps, (len(x0),))
        return F.mse_loss(self.denoise(schedule.diffuse(x0, step, torch.randn_like(x0)), guidance, step), x0)

    def sample_plain(self, guidance, schedule, weight, draw=torch.randn_like):
        """The authors' sampler as it is written down: at each step two passes of the denoiser over the joined inputs."""
        none = self.none_embedding.weight.expand_as(guidance)
        x = draw(guidance)
        for t in reversed(range(schedule.steps)):
            step = torch.full((len(x),), t)
            x0 = (1 + weight) * self.denoise(x, guidance, step) - weight * self.denoise(x, none, step)
            x = schedule.mean_x0[t] * x0 + schedule.mean_x[t] * x
            if t:
                x = x + schedule.deviation[t] * draw(x)
        return x

    def sample(self, guidance, schedule, weight, draw=torch.randn_like):
        """The same with what does not change taken out of the loop: the first layer is linear in its three inputs, so the parts
        of guidance and step are computed once, and the part of x once a step for both passes."""
        first = self.diffuser[0]
        of_x, of_guidance, of_step = first.weight.split(self.width, 1)
        steps = F.linear(self.step_mlp(torch.arange(schedule.steps)), of_step, first.bias)
        with_guidance = F.linear(guidance, of_guidance)
        without = F.linear(self.none_embedding.weight, of_guidance)
        linear = len(self.diffuser) == 1
        if linear:
            mixed = (1 + weight) * with_guidance - weight * without
        x = draw(guidance)
        for t in reversed(range(schedule.steps)):
            shared = F.linear(x, of_x, steps[t])
            if linear:
                x0 = shared + mixed
            else:
                # The last layer is linear too, so the mixture can be taken before it: the weights add up to 1.
                inner = (1 + weight) * F.gelu(shared + with_guidance) - weight * F.gelu(shared + without)
                x0 = self.diffuser[2](inner)
            x = schedule.mean_x0[t] * x0 + schedule.mean_x[t] * x
            if t:
                x = x + schedule.deviation[t] * draw(x)
        return x

    def scores(self, states):
        return F.linear(states, self.item_embeddings.weight[: self.items])


MODELS = {"gru4rec": GRU4Rec, "caser": Caser, "sasrec": SASRec, "bert4rec": BERT4Rec, "hstu": HSTU, "dreamrec": DreamRec}


def load(path, dropout=0.0):
    """A model with the weights of a safetensors file, and the file's metadata."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    stored = load_file(path)
    masked, pointwise = "output_bias" in stored, "blocks.0.uvqk.weight" in stored
    items, width = stored["item_embedding.weight" if masked or pointwise else "item_embeddings.weight"].shape
    sizes = {"items": items - 1, "width": width, "dropout": dropout}
    if masked:
        blocks = 1 + max(int(name.split(".")[2]) for name in stored if name.startswith("trm_encoder"))
        model = BERT4Rec(**{**sizes, "items": items - 2}, positions=len(stored["position_embedding.weight"]) - 1, blocks=blocks,
                         heads=int(metadata.get("num_heads", 2)), inner=len(stored["trm_encoder.layer.0.feed_forward.dense_1.bias"]))
    elif pointwise:
        model = HSTU(positions=len(stored["position_embedding.weight"]), heads=int(metadata.get("num_heads", 2)),
                     blocks=sum(name.endswith("uvqk.weight") for name in stored), **sizes)
    elif "gru.weight_ih_l0" in stored:
        model = GRU4Rec(positions=int(metadata.get("state_size", POSITIONS)), **sizes)
    elif "vertical_cnn.weight" in stored:
        horizontal = [value for name, value in sorted(stored.items()) if name.startswith("horizontal_cnn") and value.dim() == 4]
        sizes.update(filters=len(horizontal[0]), heights=[value.shape[2] for value in horizontal])
        model = Caser(positions=stored["vertical_cnn.weight"].shape[2], **sizes)
    else:
        rotary = "positional_embeddings.weight" not in stored
        sizes.update(positions=int(metadata["state_size"]) if rotary else len(stored["positional_embeddings.weight"]))
        if "none_embedding.weight" in stored:
            model = DreamRec(diffuser="mlp2" if "diffuser.2.weight" in stored else "mlp1", **sizes)
        else:
            model = SASRec(rotary=rotary, norm_first="feed_forward.layer_norm.weight" not in stored, **sizes)
    # RecInt stores the convolutions of width 1 as matrices.
    own = model.state_dict()
    found = model.load_state_dict({name: value.view_as(own[name]) if name in own else value for name, value in stored.items()},
                                  strict=False)
    missing = [name for name in found.missing_keys if not (isinstance(model, DreamRec) and name.startswith(("s_fc", "emb_mlp")))]
    if missing or found.unexpected_keys:
        raise SystemExit(f"{path}: missing {missing}, unexpected {found.unexpected_keys}")
    return model.eval(), metadata


def save(model, path, **metadata):
    """Writes weights that `load` and RecInt read."""
    told = {"model": model.name, "item_num": model.items, "hidden_size": (getattr(model, "item_embedding", None) or model.item_embeddings).weight.shape[1],
            "state_size": model.positions, **metadata}
    if isinstance(model, Caser):
        told.update(filter_sizes=list(model.heights), num_filters=model.filters)
    if isinstance(model, DreamRec):
        told.update(diffuser=model.diffuser_kind)
    elif isinstance(model, SASRec):
        told.update({option: "true" for option in ("norm_first", "rotary") if getattr(model, option)})
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path,
              {name: str(value) for name, value in told.items()})


def pad(histories, items, positions):
    """Lists of ids as int64 [n, positions], padded at the end, and their lengths [n]."""
    table = torch.full((len(histories), positions), items)
    for row, history in zip(table, histories):
        row[: len(history)] = torch.tensor(history[-positions:])
    return table, torch.tensor([min(len(history), positions) for history in histories])
