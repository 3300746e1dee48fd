// SPDX-License-Identifier: Apache-2.0
// Purpose: frames and the fixed pool that they come from, so that no frame costs a heap allocation.

#ifndef NKTWIN_FRAME_H
#define NKTWIN_FRAME_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace nk {

// Longer than any frame that the design takes (MTU 1500), so that over-long ones can be offered to it, too.
constexpr std::size_t FRAME_MAX = 2048;

struct Frame {
    std::uint64_t due_us = 0;      // when the link delivers it
    std::uint32_t bytes = 0;
    std::uint32_t overtakers = 0;  // frames that are still to pass it (reordering)
    alignas(64) std::uint8_t data[FRAME_MAX + 64];  // a beat may be read beyond the end
};

class FramePool {
public:
    explicit FramePool(std::size_t frames)
        : store_(new Frame[frames])
    {
        free_.reserve(frames);
        for (std::size_t i = frames; i-- > 0;)
            free_.push_back(&store_[i]);
    }

    // nullptr when all frames are in use. Last in, first out: the warm ones are used first.
    Frame *take()
    {
        if (free_.empty())
            return nullptr;
        Frame *frame = free_.back();
        free_.pop_back();
        return frame;
    }
    void give(Frame *frame) { free_.push_back(frame); }
    std::size_t available() const { return free_.size(); }

private:
    std::unique_ptr<Frame[]> store_;
    std::vector<Frame *> free_;
};

// First in, first out, of a fixed power-of-two size.
template <typename T, std::size_t N> class Ring {
    static_assert((N & (N - 1)) == 0, "size must be a power of two");

public:
    bool empty() const { return head_ == tail_; }
    bool full() const { return size() == N; }
    std::size_t size() const { return tail_ - head_; }
    std::size_t room() const { return N - size(); }
    T &front() { return items_[head_ & (N - 1)]; }
    void push(const T &item) { items_[tail_++ & (N - 1)] = item; }
    // The slot that the next push would fill, to be filled in place and then added by commit().
    T &slot() { return items_[tail_ & (N - 1)]; }
    void commit() { ++tail_; }
    void pop() { ++head_; }
    void clear() { head_ = tail_ = 0; }

private:
    std::size_t head_ = 0, tail_ = 0;
    T items_[N];
};

}  // namespace nk

#endif
