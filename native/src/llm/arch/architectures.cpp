// The registry of architectures.
#include "architecture.h"

#include <cstring>

namespace ri {

extern const Architecture llama, mistral3, qwen2, qwen3, smollm3, granite, gemma3, phi3;

const Architecture *const architectures[] = {&llama,   &mistral3, &qwen2, &qwen3, &smollm3,
                                             &granite, &gemma3,   &phi3,  nullptr};

const Architecture *find_architecture(const char *name) {
    for (const Architecture *const *a = architectures; *a; ++a)
        if (strcmp((*a)->name, name) == 0) return *a;
    return nullptr;
}

std::string architecture_names() {
    std::string names;
    for (const Architecture *const *a = architectures; *a; ++a)
        names += std::string(names.empty() ? "" : a[1] ? ", " : " and ") + (*a)->name;
    return names;
}

} // namespace ri
