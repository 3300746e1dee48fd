// SPDX-License-Identifier: Apache-2.0
// Purpose: the cable; see wire.h.

#include "wire.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace nk {

void Wire::set(int fd)
{
    while (!out_.empty()) {
        pool_.give(out_.front());
        out_.pop();
    }
    if (fd_ >= 0)
        close(fd_);
    fd_ = fd;
    if (fd_ >= 0)
        fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
}

// The device was deleted or the peer has gone: never to be polled again.
void Wire::broken()
{
    ++rx_errors_;
    set(-1);
}

Frame *Wire::receive()
{
    Frame *frame = fd_ >= 0 ? pool_.take() : nullptr;
    if (!frame)
        return nullptr;
    // One byte more than the longest frame, to tell a longer one from a cut one.
    const ssize_t got = read(fd_, frame->data, FRAME_MAX + 1);
    if (got > 0 && got <= static_cast<ssize_t>(FRAME_MAX)) {
        frame->bytes = static_cast<std::uint32_t>(got);
        return frame;
    }
    const int error = errno;
    pool_.give(frame);
    if (got > 0)
        ++rx_errors_;
    else if (got == 0)
        broken();
    else if (error == EIO)
        ;  // TAP is down: nothing comes
    else if (error != EAGAIN && error != EINTR && error != ECONNREFUSED)
        broken();
    return nullptr;
}

Wire::Sent Wire::try_send(const Frame &frame)
{
    if (fd_ < 0 || write(fd_, frame.data, frame.bytes) >= 0)
        return fd_ < 0 ? Sent::LOST : Sent::YES;
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? Sent::LATER : Sent::LOST;
}

void Wire::send(Frame *frame)
{
    const Sent sent = out_.empty() ? try_send(*frame) : Sent::LATER;
    if (sent == Sent::LATER && !out_.full()) {
        out_.push(frame);
        return;
    }
    if (sent != Sent::YES)
        ++tx_drops_;
    pool_.give(frame);
}

void Wire::flush()
{
    while (!out_.empty()) {
        const Sent sent = try_send(*out_.front());
        if (sent == Sent::LATER)
            return;
        if (sent == Sent::LOST)
            ++tx_drops_;
        pool_.give(out_.front());
        out_.pop();
    }
}

}  // namespace nk
