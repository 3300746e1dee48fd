// SPDX-License-Identifier: Apache-2.0
// Purpose: the cable: a TAP device or a datagram socket, one Ethernet frame a read and write, never blocking.

#ifndef NKTWIN_WIRE_H
#define NKTWIN_WIRE_H

#include <cstdint>

#include "frame.h"

namespace nk {

class Wire {
public:
    explicit Wire(FramePool &pool) : pool_(pool) {}
    ~Wire() { set(-1); }
    Wire(const Wire &) = delete;
    Wire &operator=(const Wire &) = delete;

    // Takes the file descriptor over; -1: no wire.
    void set(int fd);
    int fd() const { return fd_; }
    bool up() const { return fd_ >= 0; }

    // A frame of the pool, or nullptr when none has come.
    Frame *receive();
    // Takes the frame. What the wire does not take at once waits, up to a bound.
    void send(Frame *frame);
    // Tries again to send what waits.
    void flush();
    bool backlog() const { return !out_.empty(); }

    std::uint64_t rx_errors() const { return rx_errors_; }
    std::uint64_t tx_drops() const { return tx_drops_; }

private:
    enum class Sent { YES, LATER, LOST };
    Sent try_send(const Frame &frame);
    void broken();

    FramePool &pool_;
    Ring<Frame *, 256> out_;
    int fd_ = -1;
    std::uint64_t rx_errors_ = 0, tx_drops_ = 0;
};

}  // namespace nk

#endif
