// A simulated GPU, for tests of devices: ggml's CPU backend behind memory that nobody else can
// reach. Access other than through ggml's functions is a segmentation fault.
#pragma once

#include "ggml-backend.h"

// Makes the backend "made-up" known to ggml. It is a GPU with every operation of the CPU backend
// but `lacking`, which may be changed later.
void register_made_up_gpu();
inline ggml_op lacking = GGML_OP_COUNT; // none
inline int times_refused = 0;           // how often it was asked for what it lacks

ggml_backend_reg_t made_up_gpu();

// Sees what the device is told. While there is one that lets it idle the device computes nothing,
// so that the time is the host's, and its memory is open.
struct DeviceWatcher {
    enum Direction { to_device, to_host, on_device };
    bool idles = true;
    virtual ~DeviceWatcher() = default;
    virtual void copied(Direction direction, size_t bytes) = 0;
    virtual void run(ggml_cgraph *graph) = 0;
    virtual void ended() = 0; // an engine
};
inline DeviceWatcher *watcher = nullptr;
inline bool device_idles() { return watcher && watcher->idles; }
