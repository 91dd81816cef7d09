// The engine's threads: each part of each job runs once, whether threads spin or sleep when it
// begins.
#include "support/check.h"
#include "threads.h"

#include <chrono>

namespace {

// Each job writes numbers that are not atomic and the next one reads them, as kernels do.
void test_jobs(int n_threads, int n_jobs, std::chrono::microseconds pause) {
    ri::Threads threads(n_threads);
    CHECK(threads.count() == n_threads);
    std::vector<int> runs(static_cast<size_t>(n_threads)), neighbours(runs);
    for (int job = 0; job < n_jobs; ++job) {
        threads.run([&](int i) { ++runs[size_t(i)]; });
        threads.run([&](int i) { neighbours[size_t(i)] += runs[size_t((i + 1) % n_threads)]; });
        std::this_thread::sleep_for(pause);
    }
    for (int i = 0; i < n_threads; ++i) {
        CHECK(runs[size_t(i)] == n_jobs);
        CHECK(neighbours[size_t(i)] == n_jobs * (n_jobs + 1) / 2);
    }
}

// A part may take far longer than a thread spins: all others sleep meanwhile.
void test_uneven_parts() {
    ri::Threads threads(4);
    for (int slow = 0; slow < 4; ++slow) {
        std::atomic<int> done{0};
        threads.run([&](int i) {
            if (i == slow) std::this_thread::sleep_for(std::chrono::milliseconds(5));
            ++done;
        });
        CHECK(done == 4);
    }
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    cases.run("jobs that follow each other", [] {
        for (int n : {1, 2, 3, 8}) test_jobs(n, 2000, {});
    });
    cases.run("jobs for sleeping threads", [] { test_jobs(3, 50, std::chrono::milliseconds(1)); });
    cases.run("uneven parts", test_uneven_parts);
    return cases.finish();
}
