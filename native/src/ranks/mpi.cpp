// librecint-mpi: messages between ranks over MPI. Nothing here waits except join and leave, so that
// callers can tell ranks that are slow from ranks that have died.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include "ranks/mpi.h"

#include <mpi.h>

#include <climits>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Message {
    MPI_Request request = MPI_REQUEST_NULL;
    int peer = 0, tag = 0;
    std::vector<char> data;
};

// MPI has one state for each process, and this is what belongs to it.
struct State {
    MPI_Comm world = MPI_COMM_NULL;
    std::list<Message> leaving, arriving;
    std::vector<char> received;
    std::string error;
};

State &state() {
    static State s;
    return s;
}

const char *failed(int code) {
    if (code == MPI_SUCCESS) return nullptr;
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    MPI_Error_string(code, text, &n);
    state().error.assign(text, size_t(n));
    return state().error.c_str();
}

const char *join(int *rank, int *size) {
    int provided = 0;
    if (const char *error = failed(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided))) return error;
    if (provided < MPI_THREAD_SERIALIZED) return "this MPI library serves one thread only; install one with threads";
    State &s = state();
    if (const char *error = failed(MPI_Comm_dup(MPI_COMM_WORLD, &s.world))) return error;
    MPI_Comm_set_errhandler(s.world, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(s.world, rank);
    MPI_Comm_size(s.world, size);
    return nullptr;
}

const char *forget_what_was_sent() {
    std::list<Message> &leaving = state().leaving;
    for (auto m = leaving.begin(); m != leaving.end();) {
        int done = 0;
        if (const char *error = failed(MPI_Test(&m->request, &done, MPI_STATUS_IGNORE))) return error;
        m = done ? leaving.erase(m) : std::next(m);
    }
    return nullptr;
}

const char *send(int to, int tag, const void *data, size_t n) {
    if (n > INT_MAX) return "a message of more than 2 GiB";
    State &s = state();
    const char *bytes = static_cast<const char *>(data);
    Message &m = s.leaving.emplace_back();
    m.data.assign(bytes, bytes + n);
    if (const char *error = failed(MPI_Isend(m.data.data(), int(n), MPI_BYTE, to, tag, s.world, &m.request)))
        return error;
    return forget_what_was_sent();
}

const char *receive(int *from, int *tag, const void **data, size_t *n) {
    State &s = state();
    *from = -1;
    if (const char *error = forget_what_was_sent()) return error;
    for (;;) { // begins to receive whatever has been announced
        int there = 0, count = 0;
        MPI_Message handle;
        MPI_Status status;
        if (const char *error = failed(MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, s.world, &there, &handle, &status)))
            return error;
        if (!there) break;
        MPI_Get_count(&status, MPI_BYTE, &count);
        Message &m = s.arriving.emplace_back();
        m.peer = status.MPI_SOURCE;
        m.tag = status.MPI_TAG;
        m.data.resize(size_t(count));
        if (const char *error = failed(MPI_Imrecv(m.data.data(), count, MPI_BYTE, &handle, &m.request))) return error;
    }
    std::set<std::pair<int, int>> waiting; // for an earlier message of this peer and tag
    for (auto m = s.arriving.begin(); m != s.arriving.end(); ++m) {
        int done = 0;
        if (const char *error = failed(MPI_Test(&m->request, &done, MPI_STATUS_IGNORE))) return error;
        if (!done || waiting.count({m->peer, m->tag})) {
            waiting.insert({m->peer, m->tag});
            continue;
        }
        *from = m->peer;
        *tag = m->tag;
        s.received = std::move(m->data);
        *data = s.received.data();
        *n = s.received.size();
        s.arriving.erase(m);
        break;
    }
    return nullptr;
}

const char *leave() {
    State &s = state();
    for (Message &m : s.leaving)
        if (const char *error = failed(MPI_Wait(&m.request, MPI_STATUS_IGNORE))) return error;
    s.leaving.clear();
    MPI_Comm_free(&s.world);
    return failed(MPI_Finalize());
}

} // namespace

__attribute__((visibility("default"))) const ri::Mpi *recint_mpi(void) {
    static const ri::Mpi functions = {join, send, receive, leave};
    return &functions;
}
