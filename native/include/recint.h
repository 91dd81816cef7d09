/*
 * recint.h: the one header between Go and the native core of RecInt.
 *
 * The core reads LLMs from GGUF files, runs and trains small sequential recommenders, trains an adapter through
 * a frozen LLM, and generates text with soft tokens in the prompt. It knows nothing of data sets,
 * prompts or file formats other than GGUF: callers pass numbers in, and get numbers back.
 *
 * Conventions
 *   Shapes     row-major, slowest index first, as in PyTorch: [B, T, D] has D contiguous.
 *   Letters    B samples, T history length, D recommender width, V items, S prompt positions after the prefix,
 *              K soft tokens per state, N states per sample, E width of the LLM's embeddings.
 *   Results    each function that can fail returns a status and, unless `err` is NULL, leaves a message in *err.
 *              On failure no output is written and the objects passed in are unchanged, unless said otherwise.
 *   Ownership  buffers belong to the caller; the core copies what it keeps and no pointer outlives a call.
 *              Handles are made by *_create / *_open and released by *_free, which accepts NULL, may run on any
 *              thread and in any order: objects keep what they stand on alive.
 *   Threads    two engines may work at the same time. Calls on objects of one engine are serialised inside.
 *   No call aborts, exits or throws, whatever the input.
 */
#ifndef RECINT_H
#define RECINT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RI_API __attribute__((visibility("default")))
#define RI_ABI_VERSION 10

/* ---- 1. Errors ------------------------------------------------------------------------------------------ */

typedef enum {
    RI_OK = 0,
    RI_INVALID = 1,     /* an argument is NULL, out of range or of the wrong shape */
    RI_FILE = 2,        /* a file cannot be read, is cut short or is malformed */
    RI_UNSUPPORTED = 3, /* well formed, but not something this core can run */
    RI_MEMORY = 4,      /* an allocation failed */
    RI_BACKEND = 5,     /* a compute backend is missing or failed */
    RI_NUMERIC = 6,     /* NaN or infinity in an input or a result */
    RI_INTERNAL = 7     /* a defect of the core itself */
} ri_status;

typedef struct {
    ri_status code;
    char message[512];
} ri_error;

/* The RI_ABI_VERSION the library was built with; differs from the header's when the two do not belong together. */
RI_API int32_t ri_abi_version(void);

/* Objects alive, by kind; for leak tests. */
typedef enum {
    RI_LIVE_ENGINE,
    RI_LIVE_GGUF,
    RI_LIVE_MODEL,
    RI_LIVE_LLM,
    RI_LIVE_PREFIX,
    RI_LIVE_GENERATOR,
    RI_LIVE_KINDS
} ri_live_kind;
RI_API int64_t ri_debug_live(ri_live_kind kind);

/* ---- 2. Engine: backends and threads -------------------------------------------------------------------- */

typedef struct ri_engine ri_engine;

typedef struct {
    const char *backend; /* "cpu", "cuda", "metal"; NULL or "auto": a GPU if one is found, else the CPU; "portable": the
                            CPU with nothing but the ggml operations that GPUs run, for tests of what these compute */
    int32_t n_threads;   /* CPU threads; 0: one for each CPU that the process may use */
    int32_t strict;      /* 1: nothing is left to another device: "auto" without a GPU is RI_BACKEND, and an answer of
                            which llama.cpp would compute a part on the CPU beside the GPU is RI_UNSUPPORTED. All else
                            runs on the engine's device, or is refused, in any case. */
} ri_engine_params;

typedef struct {
    char backend[32];     /* "cpu", "cuda", "metal", "portable" */
    char device[128];     /* as the driver names it */
    int64_t memory_total; /* bytes of the device's memory */
    int64_t memory_free;  /* bytes */
    int32_t n_threads;    /* CPU threads in use by the engine */
    char kernels[16];     /* the kernel set that graphs run on (RECINT_KERNELS); empty: ggml's operations alone */
} ri_engine_info;

/* Of training. RI_F32 is the exact mode; RI_BF16 keeps the LLM's weights in bfloat16. GPUs and the
 * kernel set avx512bf16 round the other operand of each large product, too. */
typedef enum { RI_F32 = 0, RI_BF16 = 1 } ri_precision;

RI_API ri_engine_params ri_engine_params_default(void);
RI_API ri_status ri_engine_create(const ri_engine_params *params, ri_engine **out, ri_error *err);
RI_API ri_status ri_engine_describe(const ri_engine *engine, ri_engine_info *out, ri_error *err);
RI_API void ri_engine_free(ri_engine *engine);
/* How fast this engine multiplies by a frozen matrix of an LLM's size, measured in a fraction of a second: FLOP/s. */
RI_API ri_status ri_engine_product_speed(ri_engine *engine, ri_precision precision, double *flop_per_s, ri_error *err);
/* The most that the engine's threads can multiply and add, measured with a loop over registers in a fraction of a
 * second: FLOP/s. The loop multiplies as the selected kernel set does at this precision. On a GPU, the speed of a
 * product of 4096 x 4096 by 8192 numbers. */
RI_API ri_status ri_engine_peak(ri_engine *engine, ri_precision precision, double *flop_per_s, ri_error *err);
/* Bytes a second that a GPU reads and writes when it copies in its own memory; 0 on the CPU. */
RI_API ri_status ri_engine_memory_speed(ri_engine *engine, double *bytes_per_s, ri_error *err);
/* Rows that go through an LLM in one pass of n_samples of up to n_positions each, n_used in all, where their number is
 * rounded up: on GPUs, so that few shapes do for all batches. 0 where it is not. */
RI_API int64_t ri_engine_pass_rows(const ri_engine *engine, size_t n_samples, size_t n_positions, size_t n_used);

/* Facts about the build and this machine as one JSON object: compiler, flags, llama.cpp commit, ggml version,
 * CPU features, backends and devices found. Writes at most `capacity` bytes with a final NUL; *length is what the
 * whole text needs without it. A NULL dst with capacity 0 only asks for the length. */
RI_API ri_status ri_system_describe(char *dst, size_t capacity, size_t *length, ri_error *err);

/* ---- 3. GGUF: description, vocabulary, token embeddings -------------------------------------------------- */

typedef struct ri_gguf ri_gguf;

typedef struct {
    char architecture[64]; /* general.architecture */
    char name[128];        /* general.name, may be empty */
    char file_type[32];    /* type of the majority of weights, e.g. "Q4_1" */
    int64_t n_parameters;
    int64_t n_bytes; /* of the file, or of all parts of a split one */
    int32_t n_layer, n_embd, n_head, n_head_kv, n_ff, n_vocab, n_context, head_dim;
    int32_t n_context_named;   /* the file's context length; n_context is less where longer ones have other formulas */
    int32_t tied_head;         /* 1: the output matrix is the embedding table */
    int32_t has_tokenizer;     /* 0: text cannot be tokenised with this file */
    int32_t has_chat_template; /* one that llama.cpp can apply */
    int32_t has_unknown_template; /* there is one, but llama.cpp cannot apply it */
    int32_t bos;                  /* token id, -1 where the file names none or sets add_bos_token to false */
    int32_t eos;                  /* token id, -1 where the file names none */
    int32_t eot;                  /* closes an answer: as in the chat template, else as llama.cpp names it; -1: none */
    float rope_base;
    float rms_eps;
    float embd_rms; /* root mean square of the token-embedding table: the scale of a soft token */
} ri_gguf_info;

/* Any GGUF opens that is whole and well formed (every tensor's bytes lie inside the file); the description works for
 * any architecture. Of a split file `path` is any part; the others lie beside it, and RI_FILE names one that is
 * missing. */
RI_API ri_status ri_gguf_open(const char *path, ri_gguf **out, ri_error *err);
RI_API ri_status ri_gguf_describe(const ri_gguf *gguf, ri_gguf_info *out, ri_error *err);
/* RI_UNSUPPORTED or RI_FILE, with the reason, when adapters cannot be trained through the file: what ri_llm_create
 * would say, before any weight is read. Generation runs what llama.cpp runs. */
RI_API ri_status ri_gguf_check(const ri_gguf *gguf, ri_error *err);
RI_API void ri_gguf_free(ri_gguf *gguf);

/* Types of metadata and of tensors, with the format's own numbers. */
typedef enum {
    RI_GGUF_U16 = 2,
    RI_GGUF_U32 = 4,
    RI_GGUF_I32 = 5,
    RI_GGUF_F32 = 6,
    RI_GGUF_BOOL = 7,
    RI_GGUF_TEXT = 8
} ri_gguf_type;
typedef enum { RI_GGUF_TENSOR_F32 = 0, RI_GGUF_TENSOR_F16 = 1, RI_GGUF_TENSOR_BF16 = 30 } ri_gguf_tensor_type;

/* An entry of a file's metadata: one value, or a list of them. */
typedef struct {
    const char *name;
    int32_t type; /* ri_gguf_type */
    int32_t list;
    size_t n_values;    /* 1 without a list */
    const void *values; /* texts end with a NUL each and lie one after the other */
} ri_gguf_key;

typedef struct {
    const char *name;
    int32_t type;   /* ri_gguf_tensor_type */
    int32_t n_dims; /* 1 to 4 */
    int64_t ne[4];  /* in ggml's order: ne[0] is contiguous */
} ri_gguf_tensor;

/* Entry `index` of a file's metadata, as long as the file is open; its texts are ri_gguf_text_at's, its values NULL
 * then. 0 when there are no more. Its type may be one that ri_gguf_type does not name. */
RI_API int32_t ri_gguf_key_at(const ri_gguf *gguf, size_t index, ri_gguf_key *out);
RI_API const char *ri_gguf_text_at(const ri_gguf *gguf, size_t index, size_t text);
/* The beginning of a GGUF: everything before the data of its tensors, which follow one after the other, each filled up
 * with zeros to a multiple of 32 bytes. Writes it where it fits `capacity`; *n_bytes is what it takes. */
RI_API ri_status ri_gguf_head(const ri_gguf_key *keys, size_t n_keys, const ri_gguf_tensor *tensors, size_t n_tensors,
                              char *dst, size_t capacity, size_t *n_bytes, ri_error *err);
/* Numbers as tensors of a type hold them, rounded to the nearest, ties to even: dst has n * 2 bytes, or n * 4. */
RI_API void ri_gguf_encode(int32_t type, const float *values, size_t n, void *dst);

/* Tokens of text[0..n_bytes). Special tokens written in the text are recognised when `parse_special` is 1. No BOS is
 * added. Writes at most `capacity` ids; *count is the number the whole text needs. */
RI_API ri_status ri_gguf_tokenize(const ri_gguf *gguf, const char *text, size_t n_bytes, int32_t parse_special,
                                  int32_t *dst, size_t capacity, size_t *count, ri_error *err);
/* Text of tokens; special tokens are written out when `special` is 1 and dropped otherwise. Not NUL-terminated. */
RI_API ri_status ri_gguf_detokenize(const ri_gguf *gguf, const int32_t *tokens, size_t n_tokens, int32_t special,
                                    char *dst, size_t capacity, size_t *n_bytes, ri_error *err);
/* 1 when the token ends a generation (EOS, EOT, ...), 0 when not or when out of range. */
RI_API int32_t ri_gguf_is_end(const ri_gguf *gguf, int32_t token);
/* The user message in the file's chat template, up to where the answer starts; where the template has a switch
 * enable_thinking, reasoning is off. RI_UNSUPPORTED without a template. A template is a program, and llama.cpp's Jinja
 * engine runs it without bounds: open files of people whom you trust. */
RI_API ri_status ri_gguf_chat(const ri_gguf *gguf, const char *user_message, char *dst, size_t capacity,
                              size_t *n_bytes, ri_error *err);
/* What the LLM reads for tokens: rows of the embedding table, dequantised, and scaled where the architecture scales
 * tokens alone: dst [n_tokens, E]. */
RI_API ri_status ri_gguf_embed(const ri_gguf *gguf, const int32_t *tokens, size_t n_tokens, float *dst, ri_error *err);

/* ---- 4. Models: named float32 tensors that can be trained ----------------------------------------------- */

typedef struct ri_model ri_model;

/* The kind and the sizes of an adapter. Which of n_hidden to n_lookups a kind takes, its formula and its tensors are in
 * its file in native/src/adapters; the others are 0. */
typedef struct {
    const char *kind;  /* a name of native/src/adapters/registry.cpp; borrowed during the call */
    int32_t n_in;      /* width of an input: a state, or with n_mixed the states of all positions side by side */
    int32_t n_hidden;  /* units of the hidden layer */
    int32_t n_mixed;   /* positions whose states are mixed; n_in is a multiple */
    int32_t n_entries; /* entries that are looked up, one for each item */
    int32_t n_lookups; /* entries whose soft tokens an input gets one after the other */
    int32_t n_tokens;  /* K soft tokens for each input; with n_lookups a multiple of it */
    int32_t n_embd;    /* E */
    double rms;        /* root mean square of the soft tokens that first values give; scales ri_tensor_info.initial */
} ri_adapter_params;

RI_API void ri_model_free(ri_model *model);

/* What a tensor is for. */
typedef enum {
    RI_ROLE_OTHER = 0,
    RI_ROLE_MATRIX = 1,      /* of a dense layer, [out, in] */
    RI_ROLE_POINTWISE = 2,   /* the same, which the layout's project stores as a convolution of width 1: [out, in, 1] */
    RI_ROLE_FILTER = 3,      /* of a convolution */
    RI_ROLE_BIAS = 4,        /* of one of these */
    RI_ROLE_NORM_SCALE = 5,  /* of a normalisation */
    RI_ROLE_NORM_OFFSET = 6, /* of a normalisation */
    RI_ROLE_ITEMS = 7,       /* embeddings of items */
    RI_ROLE_POSITIONS = 8,   /* embeddings of positions, the first one's first */
    RI_ROLE_EMBEDDING = 9    /* other embeddings */
} ri_role;

/* How a tensor's first values are drawn where it is to be trained. (A new tensor is zero; the caller draws.) */
typedef enum {
    RI_INITIAL_ZERO = 0,
    RI_INITIAL_ONE = 1,
    RI_INITIAL_NORMAL = 2,   /* of that standard deviation, but the row of padding is zero */
    RI_INITIAL_UNIFORM = 3,  /* from -scale to scale */
    RI_INITIAL_CONSTANT = 4, /* scale */
    RI_INITIAL_IDENTITY = 5  /* the identity matrix */
} ri_initial;

typedef struct {
    char name[64];
    int32_t n_dims;
    int64_t shape[4]; /* row-major; 1 beyond n_dims */
    int64_t n_elements;
    ri_role role;
    ri_initial initial;
    double initial_scale;
    int32_t item_rows; /* 1: a row for each item, item i in row i; of RI_ROLE_ITEMS padding follows in row V */
    int32_t trainable; /* 0: no gradient reaches it */
} ri_tensor_info;

/* What is kept for each tensor: its value, the accumulated gradient, AdamW's first and second moment. */
typedef enum { RI_VALUE = 0, RI_GRADIENT = 1, RI_MOMENT1 = 2, RI_MOMENT2 = 3 } ri_slot;

RI_API size_t ri_model_n_tensors(const ri_model *model);
RI_API ri_status ri_model_tensor(const ri_model *model, size_t index, ri_tensor_info *out, ri_error *err);
RI_API ri_status ri_model_read(ri_model *model, size_t index, ri_slot slot, float *dst, size_t n, ri_error *err);
/* RI_NUMERIC when src holds NaN or infinity. */
RI_API ri_status ri_model_write(ri_model *model, size_t index, ri_slot slot, const float *src, size_t n, ri_error *err);

typedef struct {
    float learning_rate, beta1, beta2, epsilon, weight_decay;
    float max_norm; /* the gradient is scaled down to this global L2 norm; 0: no clipping */
    int64_t step;   /* 1 for the first update: bias correction */
} ri_adamw;

/* The learning rate and the step are the caller's to set: beta1 0.9, beta2 0.999, epsilon 1e-8, no decay, no clipping.
 */
RI_API ri_adamw ri_adamw_default(void);

/* One AdamW step (Loshchilov and Hutter 2019, decoupled decay) on every tensor from its accumulated gradient, which is
 * zero afterwards. Tensors with one dimension (biases, norms) are not decayed. *grad_norm is the norm before clipping.
 * RI_NUMERIC when it is not finite: values and moments are then unchanged and the gradient is zero. */
RI_API ri_status ri_model_update(ri_model *model, const ri_adamw *params, float *grad_norm, ri_error *err);

/* ---- 5. Recommenders ------------------------------------------------------------------------------------ */

/* A setting of a recommender: one number, or a list of numbers. */
typedef struct {
    const char *name;
    size_t n_values;
    const double *values; /* [n_values] */
} ri_setting;

/* A recommender of zeros, by the name of its model: one of native/src/recommenders, where its formulas, tensors,
 * layouts and settings are. All models take the settings "items" (V; ids are 0..V-1, V is padding), "width" (D) and
 * "positions" (T). The layout says whose weights the model takes: tensors have that project's names and shapes, but
 * item tables have their rows in our order, padding last. NULL: the model's own. RI_INVALID names a model, layout or
 * setting that there is not, and a value out of range with what is allowed. */
RI_API ri_status ri_recommender_create(ri_engine *engine, const char *model, const char *layout,
                                       const ri_setting *settings, size_t n_settings, ri_model **out, ri_error *err);

typedef struct {
    int32_t n_items;     /* V */
    int32_t width;       /* D: of a vector that stands for an item */
    int32_t state_width; /* W: of a state */
    int32_t n_positions; /* T */
    int32_t
        generates; /* 1: it generates oracles (ri_diffusion_*), vectors [D] among those of items, and scores these */
} ri_recommender_info;

RI_API ri_status ri_recommender_describe(const ri_model *model, ri_recommender_info *out, ri_error *err);

typedef struct {
    size_t n_sequences;     /* B */
    const int32_t *items;   /* [B, T]: ids, right-padded with V; or -1-j for row j of vectors */
    const int32_t *lengths; /* [B]: 1..T */
    const float *vectors;   /* [n_vectors, D]: each stands for an item; not in training */
    size_t n_vectors;
    const int64_t *times; /* [B, T]: of the items, in any unit; NULL unless the recommender reads times */
} ri_histories;

/* The state after the last item, dst [B, W]; with all_positions = 1 the state after each item, dst [B, T, W], zero at
 * padding. Where the recommender generates oracles, states guide it. */
RI_API ri_status ri_recommender_states(ri_model *model, const ri_histories *histories, int32_t all_positions,
                                       float *dst, ri_error *err);
/* Scores of all items from the last state: dst [B, V]. RI_UNSUPPORTED if the recommender generates. */
RI_API ri_status ri_recommender_scores(ri_model *model, const ri_histories *histories, float *dst, ri_error *err);
/* Scores of all items from states [n, W], or from oracles [n, D]: dst [n, V]. */
RI_API ri_status ri_recommender_score_states(ri_model *model, const float *states, size_t n, float *dst, ri_error *err);
/* The rank of items[i] among all items by their scores from states[i]: 1 + the number of items that score higher + half
 * the number of others that score the same. The scores are computed block by block and never all at once. */
RI_API ri_status ri_recommender_rank(ri_model *model, const float *states, size_t n, const int32_t *items,
                                     double *ranks, ri_error *err);

typedef struct {
    ri_histories histories;
    const int32_t *targets; /* [B, T]: the item to predict at each position, or -1 */
    const int32_t
        *negatives; /* [B, T, n_negatives]: items that did not follow (read only at targets); NULL: the full softmax */
    size_t n_negatives;
    float dropout; /* probability, 0..1 */
    uint64_t seed; /* of this batch's dropout masks */
    /* A sampled softmax, in place of negatives: items that every target is compared with, and what is added to the
     * score of each, minus the logarithm of how often it is expected among n_shared draws. */
    const int32_t *shared;       /* [n_shared], or NULL */
    const float *shared_offsets; /* [n_shared] */
    size_t n_shared;
    float target_discount; /* with negatives: by how much less than a negative a target counts, 0..1 */
} ri_recommender_batch;

/* Mean over the targets of the batch of the full-softmax cross-entropy; or, with negatives, of -(1 - target_discount)
 * log sigmoid(score of the target) - sum of log(1 - sigmoid(score of a negative)) (Petrov and Macdonald 2023, arXiv
 * 2308.07192, whose beta is 1 - target_discount); or, with shared items, of the cross-entropy over the target and those
 * of them that are not the target. Its gradient is added to the model's. RI_UNSUPPORTED if the recommender
 * generates. */
RI_API ri_status ri_recommender_backward(ri_model *model, const ri_recommender_batch *batch, double *loss,
                                         ri_error *err);

typedef struct {
    ri_histories histories;
    const int32_t *targets;       /* [B]: the item whose embedding is to be recovered */
    const int32_t *steps;         /* [B]: 0..n_steps-1 */
    const float *noise;           /* [B, D]: standard normal */
    const int32_t *unconditional; /* [B]: 1 where the guidance is dropped */
    float dropout;
    uint64_t seed;
} ri_diffusion_batch;

/* Mean squared error between the denoiser's prediction and the target's embedding (mean over B * D numbers; Yang
 * et al. 2023, arXiv 2310.20453, eq. 9), whose gradient is added to the model's; the noised target is a function of the
 * embedding, too. With `rounding`, plus that times the mean cross-entropy of the target given the prediction (Li et al.
 * 2022, arXiv 2205.14217, eq. 2). */
RI_API ri_status ri_diffusion_backward(ri_model *model, const ri_diffusion_batch *batch, double *loss, ri_error *err);

/* The denoiser's prediction of x0: dst [n, D] from x [n, D] at steps [n], with guidance [n, D], or NULL for none. */
RI_API ri_status ri_diffusion_denoise(ri_model *model, const float *x, const int32_t *steps, const float *guidance,
                                      size_t n, float *dst, ri_error *err);

typedef struct {
    size_t n_oracles;      /* n */
    const float *guidance; /* [n, D] */
    float strength;        /* w of classifier-free guidance: (1 + w) conditional - w unconditional */
    size_t n_steps;        /* steps taken */
    const int32_t *steps;  /* [n_steps]: falling, from 0..T-1 */
    int32_t deterministic; /* 1: DDIM (Song et al. 2021, eta = 0); 0: DDPM (Ho et al. 2020), steps T-1, T-2, ..., 0 */
    const float *noise;    /* [1 + n_steps - 1, n, D]: the start, and what each step but the last adds (not read by DDIM
                              beyond the start); NULL: drawn from the seed */
    uint64_t seed;
    uint64_t first; /* number of the first oracle in the stream of the seed: the same whatever n */
} ri_diffusion_sampling;

/* Oracles, the denoised vectors: dst [n, D]. */
RI_API ri_status ri_diffusion_sample(ri_model *model, const ri_diffusion_sampling *sampling, float *dst, ri_error *err);

/* ---- 6. Adapter ----------------------------------------------------------------------------------------- */

/* One soft token of root mean square 1; the kind and the widths are the caller's to set. */
RI_API ri_adapter_params ri_adapter_params_default(void);
/* The tensors of such an adapter, in the order of ri_model_tensor, without making it. Writes at most `capacity` of
 * them; *count is how many there are. RI_INVALID when the sizes make no adapter. */
RI_API ri_status ri_adapter_layout(const ri_adapter_params *params, ri_tensor_info *dst, size_t capacity, size_t *count,
                                   ri_error *err);
/* An adapter whose tensors are zero. */
RI_API ri_status ri_adapter_create(ri_engine *engine, const ri_adapter_params *params, ri_model **out, ri_error *err);
/* Soft tokens of states [n, n_in]: dst [n, K, E]. RI_NUMERIC when a state holds NaN or infinity. */
RI_API ri_status ri_adapter_forward(ri_model *adapter, const float *states, size_t n, float *dst, ri_error *err);
/* Mean squared error between the soft tokens of states [n, n_in] and targets [n, K, E] (mean over all n*K*E numbers);
 * its gradient is added to the adapter's. */
RI_API ri_status ri_adapter_regress(ri_model *adapter, const float *states, const float *targets, size_t n,
                                    double *loss, ri_error *err);
/* Mean of -log softmax(products with all words)[target] over the soft tokens of states [n, n_in]: words [n_words, E],
 * targets [n, K], each 0 to n_words - 1; its gradient is added to the adapter's. */
RI_API ri_status ri_adapter_classify(ri_model *adapter, const float *states, const float *words, size_t n_words,
                                     const int32_t *targets, size_t n, double *loss, ri_error *err);

/* ---- 7. Probe: what can be read from vectors ------------------------------------------------------------- */

typedef struct {
    int32_t n_in;      /* numbers in an input, such as a state */
    int32_t n_hidden;  /* units of the hidden layer (GELU, exact form); 0: none, the probe is linear */
    int32_t n_classes; /* C */
} ri_probe_params;

/* A linear probe; the widths are the caller's to set. */
RI_API ri_probe_params ri_probe_params_default(void);

/* A classifier, zero until written. Tensors: linear: weight [C, n_in], bias [C]; else w1 [n_hidden, n_in],
 * b1 [n_hidden], w2 [C, n_hidden], b2 [C]. */
RI_API ri_status ri_probe_create(ri_engine *engine, const ri_probe_params *params, ri_model **out, ri_error *err);
/* Mean of the full-softmax cross-entropy of the targets [n, n_targets] of inputs [n, n_in], each 0..C-1, or -1 behind
 * an input's first: no further one; its gradient is added to the probe's. RI_NUMERIC when an input holds NaN or
 * infinity.
 */
RI_API ri_status ri_probe_backward(ri_model *probe, const float *inputs, const int32_t *targets, size_t n_targets,
                                   size_t n, double *loss, ri_error *err);
/* Scores of all classes before the softmax: dst [n, C]. RI_NUMERIC when an input holds NaN or infinity. */
RI_API ri_status ri_probe_scores(ri_model *probe, const float *inputs, size_t n, float *dst, ri_error *err);

/* ---- 8. LLM for training: frozen, differentiable with respect to its soft tokens ----------------------- */

typedef struct ri_llm ri_llm;
typedef struct ri_prefix ri_prefix;

typedef struct {
    const char *architecture; /* that is described in native/src/llm/arch; borrowed during the call */
    int32_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab;
    int32_t tied_head; /* 1: the output matrix is the embedding table */
} ri_llm_sizes;

/* The tensors of an LLM of such sizes, and how they are drawn before training. Writes at most `capacity` of them;
 * *count is how many there are. RI_UNSUPPORTED for an architecture without a description. */
RI_API ri_status ri_llm_layout(const ri_llm_sizes *sizes, ri_tensor_info *dst, size_t capacity, size_t *count,
                               ri_error *err);

RI_API ri_status ri_llm_create(ri_engine *engine, const ri_gguf *gguf, ri_precision precision, ri_llm **out,
                               ri_error *err);
RI_API void ri_llm_free(ri_llm *llm);

/* Keys and values of the tokens that every sample starts with, computed once. n may be 0. */
RI_API ri_status ri_prefix_create(ri_llm *llm, const int32_t *tokens, size_t n, ri_prefix **out, ri_error *err);
RI_API void ri_prefix_free(ri_prefix *prefix);

typedef struct {
    size_t n_samples;        /* B */
    size_t n_positions;      /* S: positions after the prefix, padded to the longest sample */
    const int32_t *n_states; /* [B]: states of each sample, N, at least 1 */
    const int32_t *tokens;   /* [B, S]: an id >= 0, or -1-j for soft token j of the sample, 0 <= j < N*K, each used
                                exactly once: soft token j is token j % K of state j / K. Padding, at the end: any id */
    const int32_t *targets;  /* [B, S]: the id to predict at this position (the token that follows), or -1 */
    const float *states;     /* [sum of N, n_in] of the adapter */
    double weight;           /* of each target in the loss: 1/targets of the effective batch gives their mean */
} ri_align_batch;

typedef struct {
    ri_precision precision;
    const ri_adapter_params *adapter; /* NULL: the LLM alone; pass_bytes and adapter_bytes are 0 then */
    int32_t n_prefix;                 /* tokens that every sample starts with */
    int32_t n_samples;                /* of the largest batch */
    int32_t n_positions;              /* of each sample after the prefix */
    int32_t n_states, n_targets;      /* of each sample; the targets are at its end */
} ri_llm_estimate_params;

typedef struct {
    /* Numbers in the matrices: those that every position is multiplied by, and those for positions with a target alone
     * (the head, and of the last layer what comes after its attention). */
    int64_t n_everywhere, n_at_targets;
    /* Memory of the engine's device: the weights, the prefix, the adapter with its gradient and moments, and the larger
     * of the passes for the prefix and for a batch with its gradient. */
    int64_t weights_bytes, prefix_bytes, adapter_bytes, pass_bytes;
} ri_llm_needs;

/* In BF16, one sample of one position. */
RI_API ri_llm_estimate_params ri_llm_estimate_params_default(void);
/* What training takes, measured on the passes of such a batch, which are built but not run. No weight is read. */
RI_API ri_status ri_llm_estimate(ri_engine *engine, const ri_gguf *gguf, const ri_llm_estimate_params *params,
                                 ri_llm_needs *out, ri_error *err);

/* loss = weight * sum of -log p(target); its gradient is added to the adapter's. The LLM is never written. */
RI_API ri_status ri_align_backward(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch,
                                   double *loss, ri_error *err);
/* ri_align_backward and, from all that was accumulated, ri_model_update in one: on a GPU the batch is uploaded,
 * computed and updated with at once, without waiting for the loss. */
RI_API ri_status ri_align_step(ri_llm *llama, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch,
                               const ri_adamw *params, double *loss, float *grad_norm, ri_error *err);
/* log p of each target in row-major order: dst [number of targets]. */
RI_API ri_status ri_align_logprobs(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch,
                                   float *dst, ri_error *err);
/* Logits at each position that has a target: dst [number of targets, n_vocab]. */
RI_API ri_status ri_align_logits(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch,
                                 float *dst, ri_error *err);

/* One sample whose answer goes on in several ways: its positions are the nodes of a tree. */
typedef struct {
    size_t n_positions;          /* S */
    const int32_t *tokens;       /* [S]: as in ri_align_batch */
    const int32_t *parents;      /* [S]: the position that comes before, a smaller number; -1: the prefix does */
    const int32_t *asked_counts; /* [S]: tokens asked about behind each position, >= 0 */
    const int32_t *asked;        /* [sum of asked_counts] */
    int32_t n_states;            /* N */
    const float *states;         /* [N, n_in] of the adapter */
} ri_branches;

/* log p, among all tokens, of each token asked about: dst [sum of asked_counts]. */
RI_API ri_status ri_align_branches(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_branches *branches,
                                   float *dst, ri_error *err);

/* ---- 9. Generation on llama.cpp ------------------------------------------------------------------------- */

typedef struct ri_generator ri_generator;

/* llama.cpp runs 255 beside each other; more are several groups, each of which is computed by itself. */
#define RI_MAX_SLOTS 1020

typedef struct {
    int32_t n_slots;   /* sequences decoded side by side, 1..RI_MAX_SLOTS */
    int32_t n_context; /* positions of each, the prefix included */
} ri_generator_params;

/* One slot; the context is the caller's to set. */
RI_API ri_generator_params ri_generator_params_default(void);

/* Any architecture will do that llama.cpp runs and that writes one token after the other. */
RI_API ri_status ri_generator_create(ri_engine *engine, const ri_gguf *gguf, const ri_generator_params *params,
                                     ri_generator **out, ri_error *err);
RI_API void ri_generator_free(ri_generator *generator);

/* Empties every slot and makes `tokens` the shared start of each, computed once. */
RI_API ri_status ri_generator_prefix(ri_generator *generator, const int32_t *tokens, size_t n, ri_error *err);
/* Empties a slot back to the prefix. */
RI_API ri_status ri_generator_reset(ri_generator *generator, int32_t slot, ri_error *err);
/* Makes slot `to` hold what slot `from` holds, so that a sequence can go on in two ways. */
RI_API ri_status ri_generator_copy(ri_generator *generator, int32_t from, int32_t to, ri_error *err);

typedef struct {
    size_t n_slots;              /* number of slots that move forward in this call */
    const int32_t *slots;        /* [n_slots], each once */
    const int32_t *counts;       /* [n_slots]: positions appended to each, >= 1 */
    const float *rows;           /* [sum of counts, E]: soft tokens and what ri_gguf_embed gives, or NULL */
    const int32_t *tokens;       /* [sum of counts]: ids, or NULL; exactly one of rows and tokens is given */
    const int32_t *asked_counts; /* [n_slots]: tokens asked about behind each slot, >= 0; NULL: none */
    const int32_t *asked;        /* [sum of asked_counts] */
} ri_decode_batch;

/* What follows the last position of each slot of a batch. What is NULL is not computed. */
typedef struct {
    int32_t *tokens; /* [n_slots]: the most likely token */
    float *logprobs; /* [n_slots]: its log-probability */
    float *asked;    /* [sum of asked_counts]: log-probabilities of the tokens asked about */
    float *logits;   /* [n_slots, n_vocab] */
} ri_decode_result;

/* Appends to the slots and writes to where `result` points. After a failure the slots of the call are empty back to the
 * prefix, and nothing is written. */
RI_API ri_status ri_generator_decode(ri_generator *generator, const ri_decode_batch *batch,
                                     const ri_decode_result *result, ri_error *err);

/* ---- 10. Ranks: processes that train together ----------------------------------------------------------- */

/* Messages between the processes that an MPI launcher has started. The library of MPI is loaded by ri_ranks_join.
 * Calls on it are made by one thread at a time. */
typedef struct ri_ranks ri_ranks;

/* Waits until all have joined. A process joins once. RI_UNSUPPORTED: this build, or this machine, has no MPI. */
RI_API ri_status ri_ranks_join(ri_ranks **out, int32_t *rank, int32_t *size, ri_error *err);
/* Sends a copy of n bytes, without waiting for the receiver. tag is any number from 0 on. */
RI_API ri_status ri_ranks_send(ri_ranks *ranks, int32_t to, int32_t tag, const void *data, size_t n, ri_error *err);
/* Tells the next message that has arrived, without waiting; *from is -1 where there is none. Those of one sender and
 * tag come in order. */
RI_API ri_status ri_ranks_poll(ri_ranks *ranks, int32_t *from, int32_t *tag, size_t *n, ri_error *err);
/* Copies the n bytes of the message that ri_ranks_poll has told, before the next call of that. */
RI_API ri_status ri_ranks_receive(ri_ranks *ranks, void *dst, size_t n, ri_error *err);
/* Waits until all leave; no message is sent afterwards. A process that ends without it makes launchers end the others.
 */
RI_API ri_status ri_ranks_leave(ri_ranks *ranks, ri_error *err);
RI_API void ri_ranks_free(ri_ranks *ranks);

#ifdef __cplusplus
}
#endif
#endif
