"""Writes small cases of other projects' weight files, with what these models compute, for the tests of `recint`'s import.

For each case FOLDER gets NAME.safetensors, a state dict with that project's names and shapes and random numbers, and
NAME.expected.safetensors: `seq` int32 [n, T] in our convention (ids from 0, padded at the end with the number of items V),
`len` int32 [n], `hidden` float32 [n, D] and `scores` float32 [n, V] of the real items in our order. Their id of an item is ours
plus 1 in all cases; their id 0 is padding. Everything is computed in float64 from the formulas below, and with --recbole (an
unzipped wheel), --pmixer and --pmixer-original (model.py of that project) compared with the projects' own classes.
A real checkpoint holds no sizes beside the shapes: what shapes do not tell is marked (*) and stands in the metadata.

recbole_sasrec   RecBole 1.2.1 SASRec. Padding at the end. x = LayerNorm(item_embedding[id] + position_embedding[0..T-1]); no scale.
                 Blocks after the norm of BERT: a = softmax(QK'/sqrt(D/heads) + mask) V over n_heads (*) heads, causal, padded keys
                 at -10000; x = multi_head_attention.LayerNorm(dense(a) + x); x = feed_forward.LayerNorm(dense_2(act(dense_1(x)))
                 + x); act = hidden_act (*), by default GELU in its exact (erf) form. All norms: eps 1e-12 (*). No final norm.
                 Heads are slices of D / heads neighbouring dimensions. hidden = x at the last item; scores = hidden . item_embedding.
  item_embedding.weight [V+1, D]   position_embedding.weight [T, D]   LayerNorm.{weight,bias} [D]
  trm_encoder.layer.i.multi_head_attention.{query,key,value,dense}.{weight [D, D],bias [D]}, .LayerNorm.{weight,bias} [D]
  trm_encoder.layer.i.feed_forward.dense_1.{weight [I, D],bias [I]}, .dense_2.{weight [D, I],bias [D]}, .LayerNorm.{weight,bias} [D]

recbole_bert4rec RecBole 1.2.1 BERT4Rec. As recbole_sasrec, but attention is to all items on both sides, of the history and the mask
                 after it, which is the last row of item_embedding; positions has a row more than there are items. RecBole leaves the
                 first item of a history out. hidden = output_ln(GELU(output_ffn(x at the mask))); scores = hidden . item_embedding + output_bias.
  the same, item_embedding.weight [V+2, D]   position_embedding.weight [T+1, D]   output_ffn.{weight [D, D],bias [D]}
  output_ln.{weight,bias} [D]   output_bias [V+1]

recbole_gru4rec  RecBole 1.2.1 GRU4Rec. GRU without biases, gates stacked reset, update, new (PyTorch's), H wide, over the embeddings,
                 E wide; hidden = dense(output at the last item), E wide; scores = hidden . item_embedding. More layers have suffix _l1, …
  item_embedding.weight [V+1, E]   gru_layers.weight_ih_l0 [3H, E]   gru_layers.weight_hh_l0 [3H, H]   dense.{weight [E, H],bias [E]}

recbole_caser    RecBole 1.2.1 Caser. Always T = max_seq_length positions, padded at the end with row 0 of item_embedding AS IT IS: the
                 model's initialisation fills row 0 with random numbers, it is not masked, and it counts in every convolution.
                 v = conv_v (nv filters over all T positions, no activation), flattened filter by filter to nv E; h = for heights
                 1..T max over time of ReLU(conv_h), nh each; z = ReLU(fc1([v, h])); hidden = ReLU(fc2([z, user])), E wide;
                 scores = hidden . item_embedding. `user` here is the mean of rows 1.. of user_embedding (row 0 is padding).
  user_embedding.weight [U, E]   item_embedding.weight [V+1, E]   conv_v.{weight [nv, 1, T, 1],bias [nv]}
  conv_h.i.{weight [nh, 1, i+1, E],bias [nh]}, i = 0..T-1   fc1.{weight [E, nv E + nh T],bias [E]}   fc2.{weight [E, 2E],bias [E]}

pmixer_sasrec, pmixer_sasrec_norm_first   pmixer/SASRec.pytorch since it has --norm_first (commit 3e5bb0f). PADDING AT THE FRONT: the
                 last item is at the last of T = maxlen places. x = sqrt(D) item_emb[id] + pos_emb[p], p = 1..T from the left edge at
                 items and 0 at padding; rows 0 are zero after its main.py. Attention is causal and PADDING IS NOT MASKED: a history
                 shorter than T attends to the padded places before it, and they go through all blocks. Packed projections: rows
                 0..D-1 of in_proj are queries, then keys, then values; heads (*) are slices; scaled by 1/sqrt(D/heads).
                 Default (norm after): x = attention_layernorms(x + mha(x, x, x)); x = forward_layernorms(x + ff(x)).
                 norm_first (*): y = attention_layernorms(x); x = x + mha(y, y, y); x = x + ff(forward_layernorms(x)).
                 ff(x) = conv2(ReLU(conv1(x))). Last of all last_layernorm. All norms: eps 1e-8.
                 hidden = the last place; scores = hidden . item_emb (not scaled).
pmixer_sasrec_original   the same project before (commit 30c43cf): pos_emb has T rows, p = 0..T-1, also at padding; x is set to 0 at
                 padding there and after each block; q = attention_layernorms(x); x = q + mha(q, x, x) (keys and values not
                 normalised, residual normalised); x = forward_layernorms(x); x = x + ff(x). Padding is not masked as a key. (Its
                 first commits have no ReLU in ff; the names are the same.)
  item_emb.weight [V+1, D]   pos_emb.weight [T+1, D], original [T, D]   last_layernorm.{weight,bias} [D]
  attention_layernorms.i.{weight,bias} [D]   attention_layers.i.{in_proj_weight [3D, D],in_proj_bias [3D]}
  attention_layers.i.out_proj.{weight [D, D],bias [D]}   forward_layernorms.i.{weight,bias} [D]
  forward_layers.i.{conv1,conv2}.{weight [D, D, 1],bias [D]}
"""

import argparse
import importlib.util
import math
import os
import sys
import types

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

ITEMS, WIDTH, USERS = 20, 8, 7


class Weights(dict):
    """A state dict that makes up its tensors, in float64 with values that float32 holds."""

    def __init__(self, seed):
        super().__init__()
        self.random = torch.Generator().manual_seed(seed)

    def make(self, name, *shape, about=0.0, spread=0.5):
        self[name] = (about + spread * torch.randn(shape, generator=self.random)).float().double()

    def linear(self, name, out, into, *kernel):
        self.make(name + ".weight", out, into, *kernel, spread=1 / math.sqrt(into * math.prod(kernel)))
        self.make(name + ".bias", out, spread=0.2)

    def norm(self, name, width):
        self.make(name + ".weight", width, about=1.0, spread=0.2)
        self.make(name + ".bias", width, spread=0.2)

    def apply(self, name, x):
        weight = self[name + ".weight"]
        return F.linear(x, weight.flatten(1), self[name + ".bias"])

    def normalise(self, name, x, epsilon):
        return F.layer_norm(x, x.shape[-1:], self[name + ".weight"], self[name + ".bias"], epsilon)


def attention(q, k, v, heads, allowed):
    """Multi-head attention before its output projection: q, k, v [n, T, D], allowed [n or 1, T, T]."""
    cut = lambda t: t.unflatten(-1, (heads, -1)).transpose(1, 2)
    q, k, v = cut(q), cut(k), cut(v)
    weights = q @ k.mT / math.sqrt(q.shape[-1])
    weights = weights.masked_fill(~allowed.unsqueeze(1), -math.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def causal(count):
    return torch.ones(1, count, count, dtype=torch.bool).tril()


def at_last(x, lengths):
    return x[torch.arange(len(x)), lengths - 1]


class RecBoleSASRec:
    name, epsilon = "recbole_sasrec", 1e-12
    settings = {"source": "RecBole", "version": "1.2.1", "model": "SASRec", "n_layers": 2, "n_heads": 2, "hidden_size": WIDTH,
                "inner_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_seq_length": 6, "padding": "end"}

    def weights(self):
        w = Weights(1)
        w.make("item_embedding.weight", ITEMS + 1, WIDTH)
        w.make("position_embedding.weight", 6, WIDTH)
        w.norm("LayerNorm", WIDTH)
        for i in range(2):
            at = f"trm_encoder.layer.{i}."
            for part in ("query", "key", "value", "dense"):
                w.linear(at + "multi_head_attention." + part, WIDTH, WIDTH)
            w.norm(at + "multi_head_attention.LayerNorm", WIDTH)
            w.linear(at + "feed_forward.dense_1", 16, WIDTH)
            w.linear(at + "feed_forward.dense_2", WIDTH, 16)
            w.norm(at + "feed_forward.LayerNorm", WIDTH)
        return w

    def hidden(self, w, ids, lengths):
        return at_last(self.encode(w, ids, causal(ids.shape[1]) & (ids != 0).unsqueeze(1)), lengths)

    def encode(self, w, ids, allowed):
        x = w.normalise("LayerNorm", w["item_embedding.weight"][ids] + w["position_embedding.weight"], self.epsilon)
        for i in range(2):
            at = f"trm_encoder.layer.{i}.multi_head_attention."
            q, k, v = (w.apply(at + part, x) for part in ("query", "key", "value"))
            x = w.normalise(at + "LayerNorm", w.apply(at + "dense", attention(q, k, v, 2, allowed)) + x, self.epsilon)
            at = f"trm_encoder.layer.{i}.feed_forward."
            x = w.normalise(at + "LayerNorm", w.apply(at + "dense_2", F.gelu(w.apply(at + "dense_1", x))) + x, self.epsilon)
        return x


class RecBoleBERT4Rec(RecBoleSASRec):
    """History `ids` of up to 6 items with the mask after the last one."""

    name, positions = "recbole_bert4rec", 6
    settings = {**RecBoleSASRec.settings, "model": "BERT4Rec", "max_seq_length": 7, "mask_ratio": 0.2}

    def weights(self):
        w = super().weights()
        w.random.manual_seed(6)
        w.make("item_embedding.weight", ITEMS + 2, WIDTH)
        w.make("position_embedding.weight", 7, WIDTH)
        w.linear("output_ffn", WIDTH, WIDTH)
        w.norm("output_ln", WIDTH)
        w.make("output_bias", ITEMS + 1)
        w["output_bias"][0] = 0  # padding's, which recint does not keep
        return w

    def hidden(self, w, ids, lengths):
        slots = F.pad(ids, (0, 1))
        slots[torch.arange(len(ids)), lengths] = ITEMS + 1
        x = self.encode(w, slots, (slots != 0).unsqueeze(1).expand(-1, 7, -1))
        x = w.normalise("output_ln", F.gelu(w.apply("output_ffn", x)), self.epsilon)
        return at_last(x, lengths + 1)


class RecBoleGRU4Rec:
    name = "recbole_gru4rec"
    settings = {"source": "RecBole", "version": "1.2.1", "model": "GRU4Rec", "num_layers": 1, "hidden_size": 12,
                "embedding_size": WIDTH, "max_seq_length": 6, "padding": "end"}

    def weights(self):
        w = Weights(2)
        w.make("item_embedding.weight", ITEMS + 1, WIDTH)
        w.make("gru_layers.weight_ih_l0", 36, WIDTH)
        w.make("gru_layers.weight_hh_l0", 36, 12)
        w.linear("dense", WIDTH, 12)
        return w

    def hidden(self, w, ids, lengths):
        h, outputs = torch.zeros(len(ids), 12, dtype=torch.float64), []
        for x in w["item_embedding.weight"][ids].unbind(1):
            reset, update, new = F.linear(x, w["gru_layers.weight_ih_l0"]).chunk(3, 1)
            reset_h, update_h, new_h = F.linear(h, w["gru_layers.weight_hh_l0"]).chunk(3, 1)
            keep = torch.sigmoid(update + update_h)
            h = keep * h + (1 - keep) * torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
            outputs.append(h)
        return w.apply("dense", at_last(torch.stack(outputs, 1), lengths))


class RecBoleCaser:
    name = "recbole_caser"
    settings = {"source": "RecBole", "version": "1.2.1", "model": "Caser", "embedding_size": WIDTH, "nv": 3, "nh": 2,
                "max_seq_length": 5, "padding": "end, row 0 of item_embedding as it is",
                "user": "the mean of rows 1.. of user_embedding"}

    def weights(self):
        w = Weights(3)
        w.make("user_embedding.weight", USERS, WIDTH)
        w.make("item_embedding.weight", ITEMS + 1, WIDTH)
        w.linear("conv_v", 3, 1, 5, 1)
        for i in range(5):
            w.linear(f"conv_h.{i}", 2, 1, i + 1, WIDTH)
        w.linear("fc1", WIDTH, 3 * WIDTH + 2 * 5)
        w.linear("fc2", WIDTH, 2 * WIDTH)
        return w

    def hidden(self, w, ids, lengths):
        x = w["item_embedding.weight"][ids]
        vertical = torch.einsum("ntd,ft->nfd", x, w["conv_v.weight"].view(3, 5)) + w["conv_v.bias"].view(1, 3, 1)
        parts = [vertical.flatten(1)]
        for i in range(5):
            windows = torch.stack([x[:, at : at + i + 1].flatten(1) for at in range(5 - i)], 1)
            parts.append(F.relu(w.apply(f"conv_h.{i}", windows)).amax(1))
        z = F.relu(w.apply("fc1", torch.cat(parts, 1)))
        user = w["user_embedding.weight"][1:].mean(0).expand(len(z), -1)
        return F.relu(w.apply("fc2", torch.cat([z, user], 1)))


class Pmixer:
    """All three forms: "after" (the default), "before" (--norm_first) and "original"."""

    def __init__(self, name, form, version):
        self.name, self.form = name, form
        self.settings = {"source": "pmixer/SASRec.pytorch", "version": version, "model": "SASRec", "num_blocks": 2, "num_heads": 2,
                         "hidden_units": WIDTH, "maxlen": 6, "layer_norm_eps": 1e-8, "norm": form, "padding": "front"}

    def weights(self):
        w = Weights(4)
        w.make("item_emb.weight", ITEMS + 1, WIDTH, spread=0.3)
        w.make("pos_emb.weight", 6 if self.form == "original" else 7, WIDTH)
        w["item_emb.weight"][0] = 0
        if self.form != "original":
            w["pos_emb.weight"][0] = 0
        for i in range(2):
            w.norm(f"attention_layernorms.{i}", WIDTH)
            w.make(f"attention_layers.{i}.in_proj_weight", 3 * WIDTH, WIDTH)
            w.make(f"attention_layers.{i}.in_proj_bias", 3 * WIDTH)
            w.linear(f"attention_layers.{i}.out_proj", WIDTH, WIDTH)
            w.norm(f"forward_layernorms.{i}", WIDTH)
            w.linear(f"forward_layers.{i}.conv1", WIDTH, WIDTH, 1)
            w.linear(f"forward_layers.{i}.conv2", WIDTH, WIDTH, 1)
        w.norm("last_layernorm", WIDTH)
        return w

    def hidden(self, w, ids, lengths):
        count = ids.shape[1]
        # Ours are padded at the end: shift each row to the right.
        ids = torch.stack([row.roll(count - int(length)) for row, length in zip(ids, lengths)])
        real = (ids != 0).unsqueeze(-1)
        original = self.form == "original"
        places = torch.arange(count) if original else torch.arange(1, count + 1) * (ids != 0)
        x = math.sqrt(WIDTH) * w["item_emb.weight"][ids] + w["pos_emb.weight"][places]
        norm = lambda name, x: w.normalise(name, x, 1e-8)

        def attend(i, queries, keys):
            at = f"attention_layers.{i}."
            of_q, of_k, of_v = zip(w[at + "in_proj_weight"].chunk(3), w[at + "in_proj_bias"].chunk(3))
            q, k, v = F.linear(queries, *of_q), F.linear(keys, *of_k), F.linear(keys, *of_v)
            return w.apply(at + "out_proj", attention(q, k, v, 2, causal(count)))

        forward = lambda i, x: w.apply(f"forward_layers.{i}.conv2", F.relu(w.apply(f"forward_layers.{i}.conv1", x)))
        if original:
            x = x * real
        for i in range(2):
            first, second = f"attention_layernorms.{i}", f"forward_layernorms.{i}"
            if self.form == "after":
                x = norm(first, x + attend(i, x, x))
                x = norm(second, x + forward(i, x))
            elif self.form == "before":
                y = norm(first, x)
                x = x + attend(i, y, y)
                x = x + forward(i, norm(second, x))
            else:
                q = norm(first, x)
                x = norm(second, q + attend(i, q, x))
                x = (x + forward(i, x)) * real
        return norm("last_layernorm", x)[:, -1]


CASES = (
    RecBoleSASRec(), RecBoleBERT4Rec(), RecBoleGRU4Rec(), RecBoleCaser(),
    Pmixer("pmixer_sasrec", "after", "3e5bb0f"), Pmixer("pmixer_sasrec_norm_first", "before", "3e5bb0f"),
    Pmixer("pmixer_sasrec_original", "original", "30c43cf"),
)


def inputs(positions):
    """Histories of all lengths, in their ids, padded at the end with 0, and lengths."""
    random = torch.Generator().manual_seed(5)
    lengths = torch.arange(2 * positions) % positions + 1
    ids = torch.randint(1, ITEMS + 1, (len(lengths), positions), generator=random)
    return torch.where(torch.arange(positions) < lengths.unsqueeze(1), ids, 0), lengths


def table_of(w):
    return w["item_embedding.weight"] if "item_embedding.weight" in w else w["item_emb.weight"]


def module_of(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def recbole_class(folder, name):
    """RecBole's own model class; of the package it needs no more than layers, losses and a few enumerations."""
    if "recbole.utils" not in sys.modules:
        sys.path.insert(0, folder)
        utils = module_of(os.path.join(folder, "recbole", "utils", "enum_type.py"), "recbole.utils")
        utils.set_color = lambda text, *_: text
    # Its file alone: the folder's __init__ would import all models and what they need.
    file = os.path.join(folder, "recbole", "model", "sequential_recommender", name.lower() + ".py")
    return getattr(module_of(file, "recbole_" + name.lower()), name)


def theirs_of(case, w, ids, lengths, args):
    """Hidden states and scores of the project's own class with these weights, or None."""
    load = {name: value.float() for name, value in w.items()}
    positions = ids.shape[1]
    if case.name.startswith("recbole"):
        if not args.recbole:
            return None
        config = {"USER_ID_FIELD": "u", "ITEM_ID_FIELD": "i", "LIST_SUFFIX": "_list", "ITEM_LIST_LENGTH_FIELD": "n",
                  "NEG_PREFIX": "neg_", "MAX_ITEM_LIST_LENGTH": case.settings["max_seq_length"],
                  "MASK_ITEM_SEQ": "m", "POS_ITEMS": "p", "NEG_ITEMS": "q", "MASK_INDEX": "x", "device": "cpu", "loss_type": "CE", "reg_weight": 0,
                  "dropout_prob": 0, "hidden_dropout_prob": 0, "attn_dropout_prob": 0, "initializer_range": 0.02, **case.settings}
        dataset = types.SimpleNamespace(num=lambda _: ITEMS + 1, user_num=USERS)
        model = recbole_class(args.recbole, case.settings["model"])(config, dataset).eval()
        model.load_state_dict(load)
        if case.settings["model"] == "Caser":
            model.user_embedding.weight[0] = load["user_embedding.weight"][1:].mean(0)
            user = torch.zeros(len(ids), 1, dtype=torch.long)
            return model(user, ids), model.full_sort_predict({"u": user, "i_list": ids})[:, 1:]
        if case.settings["model"] == "BERT4Rec": # which leaves the first item out
            longer = F.pad(ids, (1, 0), value=1)
            states = model(model.reconstruct_test_data(longer, lengths + 1))
            return at_last(states, lengths + 1), model.full_sort_predict({"i_list": longer, "n": lengths + 1})[:, 1:]
        return model(ids, lengths), model.full_sort_predict({"i_list": ids, "n": lengths})[:, 1:]
    path = args.pmixer_original if case.form == "original" else args.pmixer
    if not path:
        return None
    settings = types.SimpleNamespace(device="cpu", norm_first=case.form == "before", dropout_rate=0.0, **case.settings)
    model = module_of(path, "pmixer_" + case.form).SASRec(USERS, ITEMS, settings).eval()
    model.load_state_dict(load)
    front = torch.stack([row.roll(positions - int(length)) for row, length in zip(ids, lengths)]).numpy()
    items = [list(range(1, ITEMS + 1))]
    scores = torch.cat([model.predict(None, row[None], items)[0].view(1, -1) for row in front])
    return model.log2feats(front)[:, -1], scores


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="where the files go")
    parser.add_argument("--recbole", metavar="FOLDER", help="unzipped wheel of RecBole 1.2.1")
    parser.add_argument("--pmixer", metavar="FILE", help="model.py of pmixer/SASRec.pytorch")
    parser.add_argument("--pmixer-original", metavar="FILE", help="the same before --norm_first")
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    for case in CASES:
        w = case.weights()
        ids, lengths = inputs(getattr(case, "positions", None) or case.settings.get("max_seq_length") or case.settings["maxlen"])
        hidden = case.hidden(w, ids, lengths)
        scores = hidden @ table_of(w)[1 : ITEMS + 1].T
        if "output_bias" in w:
            scores = scores + w["output_bias"][1:]
        theirs = theirs_of(case, w, ids, lengths, args)
        if theirs:
            apart = max((ours - its).abs().max().item() for ours, its in zip((hidden, scores), theirs))
            print(f"{case.name}: {apart:.1e} from the project's own class (largest score {scores.abs().max():.1f})")
            if not apart < 1e-4:
                raise SystemExit(f"{case.name}: the formulas are not those of the project")
        metadata = {name: str(value) for name, value in {**case.settings, "item_num": ITEMS}.items()}
        save_file({name: value.float().contiguous() for name, value in w.items()},
                  os.path.join(args.folder, case.name + ".safetensors"), metadata)
        ours = torch.where(ids == 0, ITEMS, ids - 1)
        save_file({"seq": ours.int(), "len": lengths.int(), "hidden": hidden.float(), "scores": scores.float()},
                  os.path.join(args.folder, case.name + ".expected.safetensors"), metadata)


if __name__ == "__main__":
    main()
