/* What a C program sees: the header alone, strict C11, the shared library. Nothing else is included, so main's status
 * is the line of the first check that failed. */
#include "recint.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) return __LINE__;                                                                             \
    } while (0)
/* With an error to fill, it must name the code and say something; without one, the status is the same. */
#define INVALID(call_with)                                                                                             \
    do {                                                                                                               \
        ri_error err = {RI_OK, {0}};                                                                                   \
        CHECK(call_with(&err) == RI_INVALID);                                                                          \
        CHECK(err.code == RI_INVALID && err.message[0] != '\0');                                                       \
        CHECK(call_with(NULL) == RI_INVALID);                                                                          \
    } while (0)

_Static_assert(sizeof(((ri_error *)0)->message) == 512, "the message's size is part of the interface");
_Static_assert(RI_OK == 0, "RI_OK is false");

static int engine(void) {
    ri_error err = {RI_INTERNAL, "left over"};
    ri_engine_params params = ri_engine_params_default();
    ri_engine *made = NULL;
    ri_engine_info info = {{0}, {0}, 0, 0, 0, {0}};
    CHECK(params.backend == NULL && params.n_threads == 0);
    params.backend = "cpu";
    params.n_threads = 1;
    CHECK(ri_engine_create(&params, &made, &err) == RI_OK && made != NULL);
    CHECK(err.code == RI_OK && err.message[0] == '\0');
    CHECK(ri_debug_live(RI_LIVE_ENGINE) == 1);
    CHECK(ri_engine_describe(made, &info, &err) == RI_OK);
    CHECK(info.backend[0] == 'c' && info.backend[1] == 'p' && info.backend[2] == 'u' && info.backend[3] == '\0');
    CHECK(info.n_threads == 1 && info.memory_total > 0);
    ri_engine_free(made);
    CHECK(ri_debug_live(RI_LIVE_ENGINE) == 0);

    made = NULL;
    CHECK(ri_engine_create(&params, &made, NULL) == RI_OK && made != NULL);
    CHECK(ri_engine_describe(made, &info, NULL) == RI_OK);
#define CREATE_NOWHERE(err) ri_engine_create(&params, NULL, err)
    INVALID(CREATE_NOWHERE);
#define DESCRIBE_NOWHERE(err) ri_engine_describe(made, NULL, err)
    INVALID(DESCRIBE_NOWHERE);
    ri_engine_free(made);

    /* On failure nothing is written. */
    made = NULL;
    params.backend = "abacus";
    CHECK(ri_engine_create(&params, &made, &err) == RI_BACKEND && err.code == RI_BACKEND && made == NULL);
    CHECK(ri_engine_create(&params, &made, NULL) == RI_BACKEND && made == NULL);
    params.backend = "cpu";
    params.n_threads = -1;
    CHECK(ri_engine_create(&params, &made, &err) == RI_INVALID && made == NULL);
    return 0;
}

/* Enums in C may hold any number. */
static int enums(void) {
    ri_error err = {RI_OK, {0}};
    ri_engine_params params = ri_engine_params_default();
    ri_adapter_params adapter = ri_adapter_params_default();
    adapter.kind = "linear";
    adapter.n_in = adapter.n_embd = 1;
    ri_engine *engine = NULL;
    ri_model *model = NULL;
    float number = 7;
    params.backend = "cpu";
    params.n_threads = 1;
    CHECK(ri_engine_create(&params, &engine, &err) == RI_OK);
    CHECK(ri_adapter_create(engine, &adapter, &model, &err) == RI_OK);
    CHECK(ri_model_read(model, 0, (ri_slot)4, &number, 1, &err) == RI_INVALID);
    CHECK(ri_model_write(model, 0, (ri_slot)-1, &number, 1, &err) == RI_INVALID);
    CHECK(number == 7);
    ri_model_free(model);
    ri_engine_free(engine);
    CHECK(ri_debug_live(RI_LIVE_KINDS) == 0 && ri_debug_live((ri_live_kind)-1) == 0);
    CHECK(ri_debug_live((ri_live_kind)1000000) == 0);
    return 0;
}

/* Each function that returns a status, with NULL for all that it points at. */
static int null_arguments(void) {
    size_t length = 0;
    char text[4] = "...";
#define ENGINE_CREATE(err) ri_engine_create(NULL, NULL, err)
#define ENGINE_DESCRIBE(err) ri_engine_describe(NULL, NULL, err)
#define PRODUCT_SPEED(err) ri_engine_product_speed(NULL, RI_F32, NULL, err)
#define PEAK(err) ri_engine_peak(NULL, RI_F32, NULL, err)
#define SYSTEM_DESCRIBE(err) ri_system_describe(NULL, 0, NULL, err)
#define GGUF_OPEN(err) ri_gguf_open(NULL, NULL, err)
#define GGUF_DESCRIBE(err) ri_gguf_describe(NULL, NULL, err)
#define GGUF_TOKENIZE(err) ri_gguf_tokenize(NULL, NULL, 0, 0, NULL, 0, NULL, err)
#define GGUF_DETOKENIZE(err) ri_gguf_detokenize(NULL, NULL, 0, 0, NULL, 0, NULL, err)
#define GGUF_CHAT(err) ri_gguf_chat(NULL, NULL, NULL, 0, NULL, err)
#define GGUF_EMBED(err) ri_gguf_embed(NULL, NULL, 0, NULL, err)
#define RECOMMENDER_CREATE(err) ri_recommender_create(NULL, NULL, NULL, NULL, 0, NULL, err)
#define ADAPTER_CREATE(err) ri_adapter_create(NULL, NULL, NULL, err)
#define MODEL_TENSOR(err) ri_model_tensor(NULL, 0, NULL, err)
#define MODEL_READ(err) ri_model_read(NULL, 0, RI_VALUE, NULL, 0, err)
#define MODEL_WRITE(err) ri_model_write(NULL, 0, RI_GRADIENT, NULL, 0, err)
#define MODEL_UPDATE(err) ri_model_update(NULL, NULL, NULL, err)
#define RECOMMENDER_STATES(err) ri_recommender_states(NULL, NULL, 0, NULL, err)
#define RECOMMENDER_SCORES(err) ri_recommender_scores(NULL, NULL, NULL, err)
#define RECOMMENDER_BACKWARD(err) ri_recommender_backward(NULL, NULL, NULL, err)
#define ADAPTER_FORWARD(err) ri_adapter_forward(NULL, NULL, 0, NULL, err)
#define ADAPTER_REGRESS(err) ri_adapter_regress(NULL, NULL, NULL, 0, NULL, err)
#define ADAPTER_CLASSIFY(err) ri_adapter_classify(NULL, NULL, NULL, 0, NULL, 0, NULL, err)
#define LLM_CREATE(err) ri_llm_create(NULL, NULL, RI_F32, NULL, err)
#define PREFIX_CREATE(err) ri_prefix_create(NULL, NULL, 0, NULL, err)
#define ALIGN_BACKWARD(err) ri_align_backward(NULL, NULL, NULL, NULL, NULL, err)
#define ALIGN_LOGPROBS(err) ri_align_logprobs(NULL, NULL, NULL, NULL, NULL, err)
#define ALIGN_LOGITS(err) ri_align_logits(NULL, NULL, NULL, NULL, NULL, err)
#define GENERATOR_CREATE(err) ri_generator_create(NULL, NULL, NULL, NULL, err)
#define GENERATOR_PREFIX(err) ri_generator_prefix(NULL, NULL, 0, err)
#define GENERATOR_RESET(err) ri_generator_reset(NULL, 0, err)
#define GENERATOR_DECODE(err) ri_generator_decode(NULL, NULL, NULL, err)
    INVALID(ENGINE_CREATE);
    INVALID(ENGINE_DESCRIBE);
    INVALID(PRODUCT_SPEED);
    INVALID(PEAK);
    INVALID(SYSTEM_DESCRIBE);
    INVALID(GGUF_OPEN);
    INVALID(GGUF_DESCRIBE);
    INVALID(GGUF_TOKENIZE);
    INVALID(GGUF_DETOKENIZE);
    INVALID(GGUF_CHAT);
    INVALID(GGUF_EMBED);
    INVALID(RECOMMENDER_CREATE);
    INVALID(ADAPTER_CREATE);
    INVALID(MODEL_TENSOR);
    INVALID(MODEL_READ);
    INVALID(MODEL_WRITE);
    INVALID(MODEL_UPDATE);
    INVALID(RECOMMENDER_STATES);
    INVALID(RECOMMENDER_SCORES);
    INVALID(RECOMMENDER_BACKWARD);
    INVALID(ADAPTER_FORWARD);
    INVALID(ADAPTER_REGRESS);
    INVALID(ADAPTER_CLASSIFY);
    INVALID(LLM_CREATE);
    INVALID(PREFIX_CREATE);
    INVALID(ALIGN_BACKWARD);
    INVALID(ALIGN_LOGPROBS);
    INVALID(ALIGN_LOGITS);
    INVALID(GENERATOR_CREATE);
    INVALID(GENERATOR_PREFIX);
    INVALID(GENERATOR_RESET);
    INVALID(GENERATOR_DECODE);
    CHECK(ri_model_n_tensors(NULL) == 0);
    CHECK(ri_gguf_is_end(NULL, 0) == 0);

    /* Only asking for the length; a text that is cut short ends with its NUL. */
    CHECK(ri_system_describe(NULL, 0, &length, NULL) == RI_OK && length > 100);
    CHECK(ri_system_describe(text, 3, &length, NULL) == RI_OK);
    CHECK(text[0] == '{' && text[1] == '"' && text[2] == '\0' && text[3] == '\0');
    return 0;
}

static int free_nothing(void) {
    ri_engine_free(NULL);
    ri_gguf_free(NULL);
    ri_model_free(NULL);
    ri_llm_free(NULL);
    ri_prefix_free(NULL);
    ri_generator_free(NULL);
    ri_ranks_free(NULL);
    for (int kind = 0; kind < RI_LIVE_KINDS; ++kind) CHECK(ri_debug_live((ri_live_kind)kind) == 0);
    return 0;
}

int main(void) {
    int line = 0;
    CHECK(ri_abi_version() == RI_ABI_VERSION);
    if ((line = engine()) != 0) return line;
    if ((line = enums()) != 0) return line;
    if ((line = null_arguments()) != 0) return line;
    return free_nothing();
}
