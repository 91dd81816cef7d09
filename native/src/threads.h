// A team of threads that share pieces of work. A thread that has to wait spins briefly, since
// pieces are short, and then sleeps: beside other programs on the same CPUs the team gets its share
// of them, and wastes none of it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace ri {

class Threads {
  public:
    // The thread that calls run(), and n - 1 more. Throws std::system_error.
    explicit Threads(int n);
    ~Threads();
    Threads(const Threads &) = delete;
    Threads &operator=(const Threads &) = delete;

    int count() const { return int(parts_.size()); }

    // Calls body(i) once for each i of 0..count()-1 and returns after the last. One caller at a
    // time; the body must not throw.
    template <typename Body> void run(Body &&body) {
        call_ = [](void *b, int i) { (*static_cast<std::remove_reference_t<Body> *>(b))(i); };
        body_ = &body;
        run();
    }

  private:
    // Where threads wait until something is so.
    class Gate {
      public:
        template <typename Ready> void wait(const Ready &ready);
        // Wakes who waits, after what makes it so.
        void open();

      private:
        std::mutex mutex_;
        std::condition_variable changed_;
        std::atomic<int> asleep_{0};
    };
    struct alignas(64) Part {
        std::atomic<uint64_t> taken{0}; // the last job of which a thread has taken this part
        std::atomic<uint64_t> done{0};  // the last job of which this part is done
    };

    void run();
    void work(int own);
    void take_parts(uint64_t job, int own);
    void end();

    std::vector<Part> parts_;
    void (*call_)(void *body, int i) = nullptr; // of the job, read by those that have a part of it
    void *body_ = nullptr;
    alignas(64) std::atomic<uint64_t> job_{0};
    alignas(64) Gate begun_;
    Gate finished_;
    std::vector<std::thread> workers_;
};

} // namespace ri
