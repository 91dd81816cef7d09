#include "support/gpu.h"

#include "ggml-backend-impl.h"
#include "ggml-impl.h"

#include <cstring>
#include <fstream>
#include <regex>
#include <sstream>

#define GGML_COMMON_DECL_CPP // sizes of quantised blocks
#include "ggml-common.h"
#define GGML_CUDA_USE_CUB // as with every CUDA since 11.7

namespace {

struct ggml_backend_cuda_device_context {
    int device;
};
struct ggml_backend_cuda_buffer_type_context {
    int device;
};

// What the core's graphs do not use is refused.
bool ggml_backend_buft_is_cuda(ggml_backend_buffer_type_t) { return false; }
bool ggml_cuda_op_mul_mat_use_fwht(const ggml_tensor *) { return false; }
bool ggml_cuda_flash_attn_ext_supported(int, const ggml_tensor *) { return false; }
bool ggml_cuda_lightning_indexer_supported(int, const ggml_tensor *) { return false; }

// ggml_backend_cuda_device_supports_op, cut out of ggml-cuda.cu, which is CUDA otherwise.
#include "cuda_supports_op.inc"

} // namespace

namespace gpu {

bool supports(const ggml_tensor *operation) {
    ggml_backend_cuda_device_context context{};
    ggml_backend_device device{};
    device.context = &context;
    return ggml_backend_cuda_device_supports_op(&device, operation);
}

std::set<std::string> kernels(ggml_cgraph *graph) {
    std::set<std::string> names;
    for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) names.insert(ggml_op_desc(ggml_graph_node(graph, i)));
    return names;
}

std::set<std::string> defined_kernels() {
    std::stringstream text;
    text << std::ifstream(CUDA_SOURCE "/ggml-cuda.cu").rdbuf();
    const std::string source = text.str();
    const size_t first = source.find("static bool ggml_cuda_compute_forward(");
    if (first == std::string::npos) return {};
    const std::string dispatcher = source.substr(first, source.find("\n}\n", first) - first);
    std::set<std::string> names;
    const std::regex name("case GGML_(?:UNARY_|GLU_)?OP_(\\w+):");
    for (std::sregex_iterator i(dispatcher.begin(), dispatcher.end(), name), end; i != end; ++i) names.insert((*i)[1]);
    return names;
}

} // namespace gpu
