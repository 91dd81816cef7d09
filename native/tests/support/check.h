// Checks for the native tests. A failed check is printed and counted; the test continues, and main
// returns 1.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

inline int &failed_checks() {
    static int n = 0;
    return n;
}

inline bool check_that(bool holds, const char *text, const char *file, int line) {
    if (!holds) {
        ++failed_checks();
        fprintf(stderr, "%s:%d: %s\n", file, line, text);
    }
    return holds;
}

inline bool check_near(double a, double b, double tolerance, const char *text, const char *file, int line) {
    const bool holds = std::abs(a - b) <= tolerance; // false for NaN
    if (!holds) {
        ++failed_checks();
        fprintf(stderr, "%s:%d: %s: %.9g and %.9g differ by %.3g, more than %.3g\n", file, line, text, a, b,
                std::abs(a - b), tolerance);
    }
    return holds;
}

#define CHECK(condition) check_that(bool(condition), #condition, __FILE__, __LINE__)
#define CHECK_NEAR(a, b, tolerance) check_near(a, b, tolerance, #a " ~ " #b, __FILE__, __LINE__)
// A call of the C interface that must succeed; its message is printed if not. Needs a variable
// `err`.
#define CHECK_OK(call) ((call) == RI_OK || check_that(false, err.message, __FILE__, __LINE__))
// A call that must fail with a code and a message that holds a text. Needs a variable `err`.
#define CHECK_FAILS(call, status, text)                                                                                \
    do {                                                                                                               \
        if (!check_that((call) == (status), #call " gives " #status, __FILE__, __LINE__) ||                            \
            !check_that(strstr(err.message, text) != nullptr, #call " says " #text, __FILE__, __LINE__))               \
            fprintf(stderr, "    it says (%d): %s\n", int(err.code), err.message);                                     \
    } while (0)

// Last line of main without cases: return finish();
inline int finish() {
    if (failed_checks()) fprintf(stderr, "%d checks failed\n", failed_checks());
    return failed_checks() ? 1 : 0;
}

// The cases of a test program. Arguments choose the cases whose names contain one of them; --list
// prints the names.
class Cases {
  public:
    Cases(int argc, char **argv) : parts_(argv + 1, argv + argc), list_(argc == 2 && strcmp(argv[1], "--list") == 0) {}

    template <typename Body> void run(const char *name, const Body &body) {
        bool wanted = parts_.empty() || list_;
        for (const char *part : parts_) wanted = wanted || strstr(name, part) != nullptr;
        n_ += wanted;
        if (list_) puts(name);
        if (list_ || !wanted) return;
        const int before = failed_checks();
        body();
        if (failed_checks() > before) fprintf(stderr, "in the case %s\n", name);
    }

    // Last line of main: return cases.finish();
    int finish() const {
        return n_ > 0 ? ::finish() : (fprintf(stderr, "no case has such a name; --list prints the names\n"), 1);
    }

  private:
    std::vector<const char *> parts_;
    bool list_;
    int n_ = 0;
};

// Runs a call as a case that has its text as its name. Needs a variable `cases`.
#define CASE(call) cases.run(#call, [&] { call; })
// The same of one of several things, whose name joins the text.
#define CASE_OF(thing, call) cases.run((std::string(#call) + " of " + (thing)).c_str(), [&] { call; })
