// SPDX-License-Identifier: Apache-2.0
// Purpose: one direction of a path: loss, a bottleneck with its queue, marks, delay, reordering.
//
//   frame ─▶ lost? ─▶ queue (bytes; tail drop, CE above a threshold) ─▶ rate ─▶ delay (some are delayed more) ─▶ out
//
// Each decision is a function of seed and number of the frame, never of time, so that two TCPs that are compared meet
// the same losses. Only what carries data or acknowledges it is numbered: TCP without SYN or RST. All else (ARP, the
// handshake, whose loss costs a second and says nothing about goodput) passes the queue but is not lost or reordered.
// Time counts in one place only: a pause of 100 ms ends a burst. Else the retransmissions of a timeout, one by one and
// later and later, would be what sits it out.
#ifndef NK_INTEROP_DIRECTION_H
#define NK_INTEROP_DIRECTION_H

#include <cstddef>
#include <cstdint>
#include <queue>
#include <string>
#include <vector>

namespace path {

using Nanoseconds = std::int64_t;

struct Config {
    double rate_mbps = 0;                // 0: no limit; preamble, FCS and gap are counted
    std::uint64_t queue_bytes = 65536;   // of frames that wait for the bottleneck
    std::uint64_t mark_bytes = 0;        // ECN-capable packets that find more than this get CE; 0: no marks
    std::uint64_t delay_us = 0;
    double loss = 0;                     // probability of a frame
    double burst = 0;                    // Gilbert: probability that a frame begins a burst, in which all are lost
    double burst_frames = 4;             // mean length of bursts
    double reorder = 0;                  // probability that a frame is delayed by reorder_us more
    std::uint64_t reorder_us = 4000;
    std::uint64_t seed = 1;

    bool valid() const;
};

struct Counters {
    std::uint64_t frames = 0, bytes = 0, numbered = 0, lost = 0, burst_lost = 0, queue_drops = 0, marked = 0,
                  reordered = 0, delivered = 0, queue_peak = 0;
    Nanoseconds late_max = 0;            // how late a frame was delivered at worst: the model's own fault
};

struct Frame {
    std::vector<std::uint8_t> data;
    Nanoseconds due;
    std::uint64_t order;
};

class Direction {
public:
    explicit Direction(std::uint64_t salt) : salt_(salt) {}

    // Takes a new configuration; frames under way keep their times. Numbers start again at 1, counters at 0.
    void set(const Config &config);
    const Config &config() const { return config_; }
    const Counters &counters() const { return counters_; }

    // A frame enters at `now`; it is copied unless it is dropped.
    void enter(const std::uint8_t *data, std::size_t bytes, Nanoseconds now);

    // When the next frame is to leave; negative: none waits.
    Nanoseconds next() const { return waiting_.empty() ? -1 : waiting_.top().due; }

    // The next frame, if it is due.
    bool leave(Nanoseconds now, std::vector<std::uint8_t> &data);

private:
    enum Draw { LOSS, BURST, REORDER, DRAWS };
    struct Later {
        bool operator()(const Frame &a, const Frame &b) const
        {
            return a.due != b.due ? a.due > b.due : a.order > b.order;
        }
    };

    bool chance(Draw which, double probability) const;
    bool lost();

    std::uint64_t salt_;
    Config config_;
    Counters counters_;
    bool in_burst_ = false;
    Nanoseconds last_numbered_ = 0;      // when the last numbered frame entered
    std::uint64_t order_ = 0;
    Nanoseconds free_at_ = 0;            // when the bottleneck has sent all that it has
    std::priority_queue<Frame, std::vector<Frame>, Later> waiting_;
};

}  // namespace path

#endif
