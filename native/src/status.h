// Errors inside the core, and the one place where they become a status at the C boundary.
#pragma once

#include "recint.h"

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace ri {

// What every function of the core throws; nothing else is thrown on purpose.
struct Error : std::runtime_error {
    ri_status code;
    Error(ri_status code, const std::string &message) : std::runtime_error(message), code(code) {}
};

// Throws an Error with a printf-style message that says what was wrong, where, and what to do.
[[noreturn]] __attribute__((format(printf, 2, 3))) inline void fail(ri_status code, const char *format, ...) {
    char message[sizeof(ri_error::message)];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    throw Error(code, message);
}

// The number behind an enum that a C caller passed. It may be any, and C++ leaves undefined what
// reading one outside the enum's range does.
template <typename Enum> int number_of(const Enum &value) {
    static_assert(sizeof(Enum) == sizeof(int), "an enum of the interface is an int");
    int number;
    memcpy(&number, &value, sizeof number);
    return number;
}

// Refuses a NULL argument by name.
inline void require(const void *pointer, const char *name) {
    if (!pointer) fail(RI_INVALID, "%s is NULL", name);
}

inline void require_precision(const ri_precision &precision) {
    if (number_of(precision) != RI_F32 && number_of(precision) != RI_BF16)
        fail(RI_INVALID, "there is no precision %d", number_of(precision));
}

inline ri_status report(ri_error *err, ri_status code, const char *message) noexcept {
    if (err) {
        err->code = code;
        snprintf(err->message, sizeof err->message, "%s", message);
    }
    return code;
}

// Runs `body` and turns whatever it throws into a status: the only way in which exported functions
// do their work.
template <typename Body> ri_status guard(ri_error *err, Body &&body) noexcept {
    try {
        body();
        return report(err, RI_OK, "");
    } catch (const Error &e) {
        return report(err, e.code, e.what());
    } catch (const std::bad_alloc &) {
        return report(err, RI_MEMORY, "out of memory");
    } catch (const std::length_error &) {
        return report(err, RI_MEMORY, "out of memory: a size is beyond what can be allocated");
    } catch (const std::exception &e) {
        return report(err, RI_INTERNAL, e.what());
    } catch (...) {
        return report(err, RI_INTERNAL, "unknown exception");
    }
}

// Objects alive, by kind. A handle derives from Counted<kind> and is thereby counted.
inline std::atomic<int64_t> live_objects[RI_LIVE_KINDS];

template <ri_live_kind kind> struct Counted {
    Counted() { ++live_objects[kind]; }
    Counted(const Counted &) = delete;
    Counted &operator=(const Counted &) = delete;
    ~Counted() { --live_objects[kind]; }
};

} // namespace ri
