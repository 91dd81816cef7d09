#include "kernel_set.h"

#include "../status.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define RI_DECLARE(set)                                                                                                \
    namespace set {                                                                                                    \
    extern const KernelSet table;                                                                                      \
    }

namespace ri::kernels {

RI_DECLARE(generic)
#if defined(__x86_64__)
RI_DECLARE(avx2)
RI_DECLARE(avx512)
RI_DECLARE(avx512bf16)
#elif defined(__aarch64__)
RI_DECLARE(neon)
#endif

namespace {

#if defined(__x86_64__)

struct Feature {
    const char *name;
    bool present;
};

// The names of the missing ones.
std::string missing(const std::vector<Feature> &features) {
    std::string names;
    for (const Feature &f : features)
        if (!f.present) names += (names.empty() ? "" : ", ") + std::string(f.name);
    return names;
}

std::vector<Candidate> find() {
#define RI_HAS(feature) {#feature, __builtin_cpu_supports(#feature) != 0}
    __builtin_cpu_init();
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C); // Clang 14 has no name for it
    const std::vector<Feature> avx2{RI_HAS(avx2), RI_HAS(fma), {"f16c", f16c}};
    std::vector<Feature> avx512 = avx2;
    avx512.insert(avx512.end(), {RI_HAS(avx512f), RI_HAS(avx512bw), RI_HAS(avx512vl), RI_HAS(avx512dq)});
    std::vector<Feature> bf16 = avx512;
    bf16.push_back(RI_HAS(avx512bf16));
    return {{&avx512bf16::table, missing(bf16)},
            {&avx512::table, missing(avx512)},
            {&avx2::table, missing(avx2)},
            {&generic::table, ""}};
#undef RI_HAS
}

#elif defined(__aarch64__)
std::vector<Candidate> find() { return {{&neon::table, ""}, {&generic::table, ""}}; }
#else
std::vector<Candidate> find() { return {{&generic::table, ""}}; }
#endif

} // namespace

float *scratch(size_t n) {
    struct Free {
        void operator()(float *p) const { std::free(p); }
    };
    static thread_local std::unique_ptr<float, Free> memory;
    static thread_local size_t capacity = 0;
    if (n > capacity) {
        const size_t wanted = (n + 1023) / 1024 * 1024;
        memory.reset(static_cast<float *>(std::aligned_alloc(64, wanted * sizeof(float))));
        capacity = memory ? wanted : 0;
        if (!memory) throw std::bad_alloc();
    }
    return memory.get();
}

const std::vector<Candidate> &candidates() {
    static const std::vector<Candidate> all = find();
    return all;
}

const KernelSet &select(const char *name) {
    std::string supported;
    for (const Candidate &c : candidates()) {
        if (c.supported()) {
            if (!name || !*name) return *c.set;
            supported += (supported.empty() ? "" : ", ") + std::string(c.set->name);
        }
    }
    for (const Candidate &c : candidates()) {
        if (strcmp(name, c.set->name) != 0) continue;
        if (c.supported()) return *c.set;
        fail(RI_UNSUPPORTED, "RECINT_KERNELS is %s, but this processor lacks %s; choose %s, or unset it", name,
             c.missing.c_str(), supported.c_str());
    }
    fail(RI_INVALID, "RECINT_KERNELS is %s, which is no kernel set; choose %s, or unset it", name, supported.c_str());
}

} // namespace ri::kernels
