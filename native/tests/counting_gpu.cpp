// The made-up GPU as a module for a whole program: it computes nothing and counts the commands to a
// GPU.
//
//     GGML_BACKEND_PATH=build/native/lib/libcounting_gpu.so recint --backend made-up align ...
//
// When an engine ends it prints, on standard error, a line of means for an update of AdamW, the
// first two left out, and a line for everything else. Results are meaningless: all that is read is
// what was last written.
#include "support/made_up_gpu.h"

#include "ggml-backend-impl.h"
#include "ggml-impl.h"

#include <chrono>
#include <cstring>
#include <ctime>
#include <map>
#include <vector>

namespace {

struct Counts {
    double graphs = 0, replayed = 0; // replayed: as CUDA's graphs would be
    double operations = 0;           // that compute: views and the like do not
    double launches = 0;             // operations, or one of a graph that is replayed
    double uploads = 0, uploaded = 0, reads = 0, read = 0, cleared = 0;
    double between = 0;       // copies after an update's first graph and before its last
    double wall = 0, cpu = 0; // seconds since the update before

    void add(const Counts &o) {
        const double *from = &o.graphs;
        for (double *to = &graphs; to <= &cpu; ++to) *to += *from++;
    }
    void print(const char *what, double n) const {
        fprintf(stderr,
                "%s\t%.0f\tgraphs %.2f\treplayed %.2f\toperations %.1f\tlaunches %.1f\tuploads %.1f\tuploaded %.0f B\t"
                "reads %.1f\tread %.0f B\tcleared %.1f\tcopies in between %.1f\twall %.2f ms\tcpu %.2f ms\n",
                what, n, graphs / n, replayed / n, operations / n, launches / n, uploads / n, uploaded / n, reads / n,
                read / n, cleared / n, between / n, 1e3 * wall / n, 1e3 * cpu / n);
    }
};

class Counter : public DeviceWatcher {
  public:
    void ended() override {
        if (updates_ > skipped) sum_.print("updates", updates_ - skipped);
        rest_.add(now_);
        rest_.print("rest", 1);
    }
    void copied(Direction direction, size_t bytes) override {
        if (direction == to_device) now_.uploads += 1, now_.uploaded += double(bytes);
        if (direction == to_host) now_.reads += 1, now_.read += double(bytes);
        if (direction == on_device) now_.cleared += 1;
        copies_ += direction != on_device;
    }
    void run(ggml_cgraph *graph) override {
        bool updates = false;
        double operations = 0;
        std::vector<char> shape;
        for (int i = 0; i < graph->n_nodes; ++i) {
            const ggml_tensor *t = graph->nodes[i];
            const auto *bytes = reinterpret_cast<const char *>(t);
            shape.insert(shape.end(), bytes, bytes + sizeof *t);
            updates |= t->op == GGML_OP_OPT_STEP_ADAMW;
            operations += !ggml_is_empty(t) && t->op != GGML_OP_RESHAPE && t->op != GGML_OP_TRANSPOSE &&
                          t->op != GGML_OP_VIEW && t->op != GGML_OP_PERMUTE && t->op != GGML_OP_NONE;
        }
        // ggml-cuda captures a graph that it sees a second time unchanged, by its first node, and
        // then replays it.
        Seen &seen = seen_[graph->nodes[0]];
        seen.times = seen.shape == shape ? seen.times + 1 : 1;
        seen.shape = std::move(shape);
        const bool replayed = seen.times > 2;
        now_.graphs += 1;
        now_.replayed += replayed;
        now_.operations += operations;
        now_.launches += replayed ? 1 : operations;
        if (any_graph_) now_.between += copies_;
        any_graph_ = true;
        copies_ = 0;
        if (!updates) return;
        timespec cpu{};
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
        const double cpu_now = double(cpu.tv_sec) + 1e-9 * double(cpu.tv_nsec);
        const auto wall_now = std::chrono::steady_clock::now();
        now_.cpu = cpu_now - cpu_;
        now_.wall = std::chrono::duration<double>(wall_now - wall_).count();
        (++updates_ > skipped ? sum_ : rest_).add(now_);
        cpu_ = cpu_now;
        wall_ = wall_now;
        now_ = {};
        any_graph_ = false;
    }

  private:
    static constexpr int skipped = 2;
    struct Seen {
        int times = 0;
        std::vector<char> shape;
    };
    std::map<const ggml_tensor *, Seen> seen_;
    Counts now_, sum_, rest_;
    int updates_ = 0;
    double copies_ = 0, cpu_ = 0;
    bool any_graph_ = false;
    std::chrono::steady_clock::time_point wall_ = std::chrono::steady_clock::now();
};

ggml_backend_reg_t counting_gpu() {
    static Counter counter;
    watcher = &counter;
    return made_up_gpu();
}

} // namespace

GGML_BACKEND_DL_IMPL(counting_gpu)
