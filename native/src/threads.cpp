#include "threads.h"

#include <chrono>

namespace ri {

namespace {

// Longer than the usual pause between two jobs of a graph, and far shorter than the time that a
// scheduler gives to another program at once.
constexpr std::chrono::microseconds patience{100};
constexpr uint64_t no_more = UINT64_MAX; // as a job: the workers end

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

} // namespace

template <typename Ready> void Threads::Gate::wait(const Ready &ready) {
    using Clock = std::chrono::steady_clock;
    constexpr int tries = 32; // between looks at the clock
    Clock::time_point begin{};
    do {
        for (int i = 0; i < tries; ++i) {
            if (ready()) return;
            relax();
        }
        if (begin == Clock::time_point{}) begin = Clock::now();
    } while (Clock::now() - begin < patience);
    std::unique_lock<std::mutex> hold(mutex_);
    ++asleep_; // before it looks: open() looks here after the change
    changed_.wait(hold, ready);
    --asleep_;
}

void Threads::Gate::open() {
    if (asleep_ == 0) return;
    { std::lock_guard<std::mutex> hold(mutex_); } // who has looked in vain is asleep now
    changed_.notify_all();
}

Threads::Threads(int n) : parts_(size_t(n)) {
    try {
        for (int i = 1; i < n; ++i) workers_.emplace_back([this, i] { work(i); });
    } catch (...) {
        end();
        throw;
    }
}

Threads::~Threads() { end(); }

void Threads::end() {
    job_ = no_more;
    begun_.open();
    for (std::thread &worker : workers_) worker.join();
}

void Threads::run() {
    const uint64_t job = ++job_;
    begun_.open();
    take_parts(job, 0);
    int i = 0; // all parts before it are done
    finished_.wait([&] {
        while (i < count() && parts_[size_t(i)].done == job) ++i;
        return i == count();
    });
}

void Threads::work(int own) {
    for (uint64_t job = 0;;) {
        begun_.wait([&] { return job_ != job; });
        job = job_;
        if (job == no_more) return;
        take_parts(job, own);
    }
}

// Takes the thread's own part, whose data may be in its cache, and then parts that no thread has
// begun, so that a late thread delays no other.
void Threads::take_parts(uint64_t job, int own) {
    for (int i = 0; i < count(); ++i) {
        const int number = (own + i) % count();
        Part &part = parts_[size_t(number)];
        uint64_t before = job - 1;
        if (part.taken != before || !part.taken.compare_exchange_strong(before, job)) continue;
        call_(body_, number);
        part.done = job;
        finished_.open();
    }
}

} // namespace ri
