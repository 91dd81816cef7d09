// Ranks: processes that train together. The module librecint-mpi, which is loaded when ranks join,
// carries their messages.
#include "ranks/mpi.h"

#include "engine.h"

#include <dlfcn.h>

namespace {

const ri::Mpi &mpi() {
    const std::string path = ri::library_folder() + "/librecint-mpi.so";
    void *module = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL); // Open MPI's own modules look for its symbols
    if (!module)
        ri::fail(RI_UNSUPPORTED, "no MPI: %s; install Open MPI's headers (Debian: libopenmpi-dev) and run make again",
                 dlerror());
    auto functions = reinterpret_cast<recint_mpi_function>(dlsym(module, "recint_mpi"));
    if (!functions) ri::fail(RI_UNSUPPORTED, "%s is of another version; run make again", path.c_str());
    return *functions();
}

void check(const char *error) {
    if (error) ri::fail(RI_BACKEND, "MPI: %s", error);
}

} // namespace

struct ri_ranks {
    const ri::Mpi &mpi;
    const void *data = nullptr; // of the message that was told last
    size_t n = 0;
    bool told = false; // and nobody has received it
};

extern "C" {

ri_status ri_ranks_join(ri_ranks **out, int32_t *rank, int32_t *size, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(out, "out");
        ri::require(rank, "rank");
        ri::require(size, "size");
        std::unique_ptr<ri_ranks> ranks(new ri_ranks{mpi()});
        check(ranks->mpi.join(rank, size));
        *out = ranks.release();
    });
}

ri_status ri_ranks_send(ri_ranks *ranks, int32_t to, int32_t tag, const void *data, size_t n, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(ranks, "ranks");
        if (n) ri::require(data, "data");
        check(ranks->mpi.send(to, tag, data, n));
    });
}

ri_status ri_ranks_poll(ri_ranks *ranks, int32_t *from, int32_t *tag, size_t *n, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(ranks, "ranks");
        ri::require(from, "from");
        ri::require(tag, "tag");
        ri::require(n, "n");
        check(ranks->mpi.receive(from, tag, &ranks->data, &ranks->n));
        ranks->told = *from >= 0;
        *n = ranks->told ? ranks->n : 0;
    });
}

ri_status ri_ranks_receive(ri_ranks *ranks, void *dst, size_t n, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(ranks, "ranks");
        if (!ranks->told || n != ranks->n) ri::fail(RI_INVALID, "no message of %zu bytes was told by ri_ranks_poll", n);
        if (n) ri::require(dst, "dst");
        if (n) memcpy(dst, ranks->data, n);
        ranks->told = false;
    });
}

ri_status ri_ranks_leave(ri_ranks *ranks, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(ranks, "ranks");
        check(ranks->mpi.leave());
    });
}

void ri_ranks_free(ri_ranks *ranks) { delete ranks; }

} // extern "C"
