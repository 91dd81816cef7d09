// The table of one set.
#include "kernel_set.h"
#include "set.h"

#define RI_TEXT(x) #x
#define RI_NAME(x) RI_TEXT(x)

namespace ri::kernels::RI_SET {

#if defined(__AVX512BF16__)
constexpr bool rounds_input = true;
#else
constexpr bool rounds_input = false;
#endif

// A constant: nothing of this set runs before it is known that the processor can.
extern const KernelSet table;
constexpr KernelSet table = {
    RI_NAME(RI_SET),
    panel,
    rounds_input,
#define RI_KERNEL(result, kernel, ...) kernel,
#include "kernels.def"
#undef RI_KERNEL
};

} // namespace ri::kernels::RI_SET
