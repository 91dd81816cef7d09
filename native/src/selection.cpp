#include "selection.h"

#include "ggml-cpp.h"

#include <algorithm>
#include <utility>

namespace ri {

Selection::Selection(llama_context *context, int32_t n, int64_t n_vocab, int32_t most_asked)
    : context_(context), n_vocab_(n_vocab), most_asked_(most_asked), sequences_(size_t(n)) {
    static llama_sampler_i interface = [] {
        llama_sampler_i i{};
        i.name = [](const llama_sampler *) { return "recint"; };
        i.apply = [](llama_sampler *, llama_token_data_array *) {};
        i.free = [](llama_sampler *) {}; // its sequence is the selection's
        i.backend_init = [](llama_sampler *, ggml_backend_buffer_type_t, uint32_t) { return true; };
        i.backend_apply = apply;
        i.backend_set_input = set_input;
        i.backend_reset = [](llama_sampler *sampler) { static_cast<Sequence *>(sampler->ctx)->of->table_ = nullptr; };
        return i;
    }();
    for (size_t i = 0; i < sequences_.size(); ++i) {
        Sequence &sequence = sequences_[i];
        sequence.of = this;
        sequence.sampler = llama_sampler_chain_init(llama_sampler_chain_default_params());
        llama_sampler_chain_add(sequence.sampler, llama_sampler_init(&interface, &sequence));
        llama_set_sampler(context_, llama_seq_id(i + 1), sequence.sampler);
    }
}

Selection::~Selection() {
    for (size_t i = 0; i < sequences_.size(); ++i) {
        llama_set_sampler(context_, llama_seq_id(i + 1), nullptr);
        llama_sampler_free(sequences_[i].sampler);
    }
}

bool Selection::supported(ggml_backend_dev_t device) {
    ggml_context_ptr ctx(ggml_init({32 * ggml_tensor_overhead(), nullptr, true}));
    if (!ctx) throw std::bad_alloc();
    ggml_tensor *logits = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, 64, 3);
    table(ctx.get(), logits, ggml_new_tensor_2d(ctx.get(), GGML_TYPE_I32, 8, 3));
    for (ggml_tensor *t = ggml_get_first_tensor(ctx.get()); t; t = ggml_get_next_tensor(ctx.get(), t))
        if (t->op != GGML_OP_NONE && !ggml_backend_dev_supports_op(device, t)) return false;
    return true;
}

void Selection::ask(llama_seq_id sequence, const int32_t *tokens, size_t n) {
    sequences_[size_t(sequence - 1)].asked.assign(tokens, tokens + n);
}

ggml_tensor *Selection::table(ggml_context *ctx, ggml_tensor *logits, ggml_tensor *ids) {
    const int64_t n_vocab = logits->ne[0], rows = ggml_nrows(logits);
    auto at = [&](ggml_tensor *of, ggml_tensor *which) { // of each row
        ggml_tensor *found = ggml_get_rows(ctx, ggml_reshape_3d(ctx, of, 1, n_vocab, rows), which);
        return ggml_reshape_2d(ctx, found, which->ne[0], rows);
    };
    logits = ggml_reshape_2d(ctx, logits, n_vocab, rows);
    ggml_tensor *chosen = ggml_reshape_2d(ctx, ggml_argmax(ctx, logits), 1, rows);
    ggml_tensor *all = ggml_concat(ctx, ggml_cast(ctx, chosen, GGML_TYPE_F32), at(logits, chosen), 0);
    all = ggml_concat(ctx, all, at(ggml_soft_max(ctx, logits), chosen), 0);
    return ids ? ggml_concat(ctx, all, at(logits, ids), 0) : all;
}

void Selection::apply(llama_sampler *sampler, ggml_context *ctx, ggml_cgraph *, llama_sampler_data *data) {
    auto &sequence = *static_cast<Sequence *>(sampler->ctx);
    Selection &self = *sequence.of;
    ggml_tensor *row = data->logits, *logits = row->view_src ? row->view_src : row; // of all rows
    sequence.row = int64_t(row->view_offs) / int64_t(ggml_row_size(GGML_TYPE_F32, row->ne[0]));
    if (!self.table_) {
        self.ids_ = nullptr;
        if (self.most_asked_ > 0) {
            self.ids_ = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, self.most_asked_, ggml_nrows(logits));
            ggml_set_input(self.ids_);
        }
        self.table_ = table(ctx, logits, self.ids_);
        ggml_set_output(self.table_);
    }
    data->probs = ggml_view_1d(ctx, self.table_, self.table_->ne[0], size_t(sequence.row) * self.table_->nb[1]);
    data->logits = nullptr; // are not asked for
}

// llama.cpp calls this for each sequence of the graph that is about to be computed; the last one
// uploads what is asked.
void Selection::set_input(llama_sampler *sampler) {
    auto &sequence = *static_cast<Sequence *>(sampler->ctx);
    Selection &self = *sequence.of;
    sequence.active = true;
    ggml_tensor *ids = self.ids_;
    if (!ids || ++self.n_active_ + 1 < ids->ne[1]) return; // llama.cpp's table has a row of its own at the end
    std::vector<int32_t> all(size_t(ggml_nelements(ids)));
    for (Sequence &s : self.sequences_)
        if (std::exchange(s.active, false))
            std::copy(s.asked.begin(), s.asked.end(), all.begin() + ptrdiff_t(s.row * ids->ne[0]));
    ggml_backend_tensor_set(ids, all.data(), 0, ggml_nbytes(ids));
    self.n_active_ = 0;
}

} // namespace ri
