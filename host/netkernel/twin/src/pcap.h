// SPDX-License-Identifier: Apache-2.0
// Purpose: writes frames to a pcap file (classic format, microseconds, Ethernet).

#ifndef NKTWIN_PCAP_H
#define NKTWIN_PCAP_H

#include <cstdint>
#include <cstdio>

#include "frame.h"

namespace nk {

class Pcap {
public:
    ~Pcap() { stop(); }

    // Takes the file descriptor over. 0 or -errno.
    int start(int fd);
    void stop();
    bool on() const { return file_ != nullptr; }
    // time_us: Unix time. A full disk ends the file.
    void write(const Frame &frame, std::uint64_t time_us);
    void flush();

private:
    std::FILE *file_ = nullptr;
    bool dirty_ = false;
};

}  // namespace nk

#endif
