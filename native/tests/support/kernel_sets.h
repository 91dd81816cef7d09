// Tests of kernels run once for each kernel set that this processor supports.
#pragma once

#include "kernels/kernel_set.h"
#include "support/check.h"

inline const ri::kernels::KernelSet *set = nullptr; // the one under test

// Runs a test for every set, prints which, and returns what main should.
template <typename Test> int for_each_set(Test test) {
    for (const ri::kernels::Candidate &candidate : ri::kernels::candidates()) {
        if (!candidate.supported()) {
            printf("%s: not run, this processor lacks %s\n", candidate.set->name, candidate.missing.c_str());
            continue;
        }
        set = candidate.set;
        const int before = failed_checks();
        test();
        printf("%s: %d failed\n", set->name, failed_checks() - before);
    }
    return finish();
}
