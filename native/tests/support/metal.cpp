#include "support/gpu.h"

#include "ggml-impl.h"
#include "ggml-metal-common.h"
#include "ggml-metal-device.h"
#include "ggml-metal-fusion.h"
#include "ggml-metal-impl.h"
#include "ggml-metal-ops.h"

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

struct ggml_metal_device {
    ggml_metal_device_props props;
};

// ggml_metal_device_supports_op and what it calls, cut out of ggml-metal-device.m, which is
// Objective-C otherwise.
extern "C" {
#include "metal_supports_op.inc"
}

namespace {

ggml_metal_device make_chip() {
    ggml_metal_device chip{};
    chip.props.has_simdgroup_reduction = chip.props.has_simdgroup_mm = chip.props.has_bfloat = true;
    chip.props.has_unified_memory = chip.props.supports_gpu_family_apple7 = true;
    chip.props.max_theadgroup_memory_size = 32768;
    return chip;
}

ggml_metal_device chip = make_chip();
std::set<std::string> *seen = nullptr; // where names of kernels go

ggml_metal_pipeline_with_params some_pipeline() {
    ggml_metal_pipeline_with_params pipeline{};
    pipeline.pipeline = reinterpret_cast<ggml_metal_pipeline_t>(&chip); // only its being there is looked at
    return pipeline;
}

} // namespace

// ---- what is Objective-C in the pinned source

ggml_metal_device_t ggml_metal_device_init(int, int) { return &chip; }
void ggml_metal_device_free(ggml_metal_device_t) {}
ggml_metal_library_t ggml_metal_device_get_library(ggml_metal_device_t) { return nullptr; }
const ggml_metal_device_props *ggml_metal_device_get_props(ggml_metal_device_t device) { return &device->props; }
ggml_metal_device_t ggml_metal_library_get_device(ggml_metal_library_t) { return &chip; }

// No pipeline is there before it has been compiled, which is where its kernel's name is seen.
ggml_metal_pipeline_with_params ggml_metal_library_get_pipeline(ggml_metal_library_t, const char *) { return {}; }
ggml_metal_pipeline_with_params ggml_metal_library_compile_pipeline(ggml_metal_library_t, const char *kernel,
                                                                    const char *, ggml_metal_cv_t) {
    seen->insert(kernel);
    return some_pipeline();
}
void ggml_metal_pipeline_free(ggml_metal_pipeline_t) {}
int ggml_metal_pipeline_max_theads_per_threadgroup(ggml_metal_pipeline_with_params) { return 1024; }
ggml_metal_cv_t ggml_metal_cv_init() { return nullptr; }
void ggml_metal_cv_free(ggml_metal_cv_t) {}
void ggml_metal_cv_set_int16(ggml_metal_cv_t, int16_t, int32_t) {}
void ggml_metal_cv_set_int32(ggml_metal_cv_t, int32_t, int32_t) {}
void ggml_metal_cv_set_bool(ggml_metal_cv_t, bool, int32_t) {}

ggml_metal_encoder_t ggml_metal_encoder_init(ggml_metal_cmd_buf_t, bool) { return nullptr; }
void ggml_metal_encoder_free(ggml_metal_encoder_t) {}
void ggml_metal_encoder_debug_group_push(ggml_metal_encoder_t, const char *) {}
void ggml_metal_encoder_debug_group_pop(ggml_metal_encoder_t) {}
void ggml_metal_encoder_set_pipeline(ggml_metal_encoder_t, ggml_metal_pipeline_with_params) {}
void ggml_metal_encoder_set_bytes(ggml_metal_encoder_t, void *, size_t, int) {}
void ggml_metal_encoder_set_buffer(ggml_metal_encoder_t, ggml_metal_buffer_id, int) {}
void ggml_metal_encoder_set_threadgroup_memory_size(ggml_metal_encoder_t, size_t, int) {}
void ggml_metal_encoder_dispatch_threadgroups(ggml_metal_encoder_t, int, int, int, int, int, int) {}
void ggml_metal_encoder_memory_barrier(ggml_metal_encoder_t) {}
void ggml_metal_encoder_end_encoding(ggml_metal_encoder_t) {}
ggml_metal_buffer_id ggml_metal_buffer_get_id(ggml_metal_buffer_t, const ggml_tensor *) { return {}; }

// ---- the questions

namespace gpu {

bool supports(const ggml_tensor *operation) { return ggml_metal_device_supports_op(&chip, operation); }

std::set<std::string> kernels(ggml_cgraph *graph) {
    std::set<std::string> names;
    seen = &names;
    ggml_metal_fusion_info *fusion = ggml_metal_fusion_info_init(true, 0);
    for (auto id : {GGML_METAL_DEVICE_M1, GGML_METAL_DEVICE_M5}) {
        chip.props.device_id = id;
        chip.props.has_tensor = id == GGML_METAL_DEVICE_M5;
        ggml_metal_op_t encoding =
            ggml_metal_op_init(&chip, nullptr, graph, fusion, 0, ggml_graph_n_nodes(graph), true, false, 0);
        for (int i = 0; i < ggml_metal_op_n_nodes(encoding);) i += ggml_metal_op_encode(encoding, i);
        ggml_metal_op_free(encoding);
    }
    ggml_metal_fusion_info_free(fusion);
    seen = nullptr;
    return names;
}

std::set<std::string> defined_kernels() {
    std::set<std::string> names;
    const std::regex name("host_name\\(\"([^\"]+)\"\\)|kernel void (kernel_\\w+)\\(");
    for (const auto &entry : std::filesystem::directory_iterator(METAL_SOURCE "/kernels")) {
        std::stringstream text;
        text << std::ifstream(entry.path()).rdbuf();
        const std::string source = text.str();
        for (std::sregex_iterator i(source.begin(), source.end(), name), end; i != end; ++i)
            names.insert((*i)[1].matched ? (*i)[1] : (*i)[2]);
    }
    return names;
}

} // namespace gpu
