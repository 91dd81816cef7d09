// What librecint-mpi, a module beside librecint, offers it. Only the module is built with mpi.h and
// linked to an MPI library, so one librecint serves machines with MPI and without. Each function
// returns NULL, or what went wrong in MPI's words, which hold until the next call. Only one thread
// calls at a time.
#pragma once

#include <cstddef>

namespace ri {

struct Mpi {
    // Waits for all processes that the launcher has started.
    const char *(*join)(int *rank, int *size);
    // Copies a message and sends it when the receiver is ready.
    const char *(*send)(int to, int tag, const void *data, size_t n);
    // The next message that has arrived whole; *from is -1 where there is none. Messages of one
    // sender and tag arrive in order. *data holds until the next call.
    const char *(*receive)(int *from, int *tag, const void **data, size_t *n);
    // Waits until all processes leave.
    const char *(*leave)();
};

} // namespace ri

// The module's one exported function.
extern "C" const ri::Mpi *recint_mpi(void);
using recint_mpi_function = decltype(&recint_mpi);
