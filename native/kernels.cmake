if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
    message(FATAL_ERROR "GCC ${CMAKE_CXX_COMPILER_VERSION} lacks __builtin_shufflevector: use GCC 12 or later, or Clang")
endif()

# The kernel sets: the same files, compiled once for the instructions of each (src/kernels/set.h). A library of objects
# kernels_SET for each of ${kernel_sets}, all of them in ${kernel_libraries}.
set(kernel_sets generic)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND kernel_sets avx2 avx512 avx512bf16)
    # From the oldest processor on, whatever CXXFLAGS say: a set may need no more than it names.
    set(flags_generic -march=x86-64)
    set(flags_avx2 ${flags_generic} -mavx2 -mfma -mf16c)
    set(flags_avx512 ${flags_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq)
    set(flags_avx512bf16 ${flags_avx512} -mavx512bf16)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    list(APPEND kernel_sets neon)
endif()
foreach(name ${kernel_sets})
    add_library(kernels_${name} OBJECT
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/adamw.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/attention.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/cached_attention.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/convolutions.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/diffusion.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/encoders.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/gemm.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/llm.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/peak.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/products.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/random.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/set.cpp
        ${CMAKE_CURRENT_LIST_DIR}/src/kernels/sums.cpp)
    target_compile_definitions(kernels_${name} PRIVATE RI_SET=${name})
    # A product may be fused with a sum, and neither errno nor traps are needed. No fast-math: results must not depend on
    # what the compiler makes of them.
    target_compile_options(kernels_${name} PRIVATE ${flags_${name}} -O3 -ffp-contract=fast -fopenmp-simd -fno-math-errno
        -fno-trapping-math)
    list(APPEND kernel_libraries kernels_${name})
endforeach()
