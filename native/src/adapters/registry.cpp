#include "adapters/registry.h"

#include <cstring>

namespace ri {

extern const AdapterKind linear_adapter, mlp_adapter, mixture_adapter, memory_adapter, retrieval_adapter, bias_adapter;

static const AdapterKind *const kinds[] = {
    &linear_adapter, &mlp_adapter, &mixture_adapter, &memory_adapter, &retrieval_adapter, &bias_adapter,
};

const AdapterKind &adapter_kind(const char *name) {
    std::string known;
    for (const AdapterKind *kind : kinds) {
        if (strcmp(kind->name, name) == 0) return *kind;
        known += std::string(known.empty() ? "" : ", ") + kind->name;
    }
    fail(RI_INVALID, "there is no adapter kind \"%.64s\"; known are %s", name, known.c_str());
}

} // namespace ri
