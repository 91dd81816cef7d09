# What build.sh sets before CMakeLists.txt where the CUDA backend is built.
set(GGML_CUDA_NCCL OFF CACHE BOOL "for several GPUs; it is found on one machine and not on the other")
