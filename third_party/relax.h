/* Read before every file of ggml's CPU backend (CMakeLists.txt). Its threads wait for each other in loops of _mm_pause. Where a
 * processor is shared, the thread that is waited for may be the one that cannot run meanwhile, for milliseconds at each of a
 * step's hundred barriers; so now and then the loop lets others run. */
#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>
#include <sched.h>

static inline void recint_relax(void) {
    static __thread unsigned turns;
    _mm_pause();
    if (++turns % 128 == 0) sched_yield();
}
#define _mm_pause recint_relax
#endif
