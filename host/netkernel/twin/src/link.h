// SPDX-License-Identifier: Apache-2.0
// Purpose: one direction of a hostile link: loss, bursts, corruption, duplicates, reordering, delay, rate.
//
// Every decision about frame number i is a function of (seed, i) alone, never of time, so that a run with the
// same frames meets the same fate whatever the load of the machine.

#ifndef NKTWIN_LINK_H
#define NKTWIN_LINK_H

#include <cstdint>
#include <deque>
#include <vector>

#include "frame.h"
#include "nktwin.h"

namespace nk {

class Link {
public:
    Link(FramePool &pool, const nklink_config &config);

    static void defaults(nklink_config &config);
    static bool valid(const nklink_config &config);

    void set(const nklink_config &config);
    const nklink_config &config() const { return config_; }
    const nklink_counters &counters() const { return counters_; }

    // Takes the frame; it comes back by pop(), or goes back to the pool.
    void push(Frame *frame, std::uint64_t now_us);
    // The next frame that is due, or nullptr. The caller owns it.
    Frame *pop(std::uint64_t now_us);
    // When the next frame is due; NEVER when none waits.
    std::uint64_t next_due() const;
    std::size_t waiting() const { return queue_.size() + held_.size(); }
    // Whether to read more from the wire. A quiet link leaves frames in the wire's own queue, a busy one must
    // see them to delay them.
    bool wants_more() const { return waiting() < (quiet_ ? QUIET_MAX : BUSY_MAX); }

    static constexpr std::uint64_t NEVER = ~std::uint64_t{0};

private:
    static constexpr std::size_t QUIET_MAX = 8, BUSY_MAX = 1024;
    enum Draw : std::uint64_t { LOSS, BURST, CORRUPT, BIT, DUPLICATE, REORDER, OVERTAKERS, JITTER, DRAWS };

    std::uint64_t draw(Draw which) const;
    bool chance(Draw which, double probability) const;
    bool lost();
    bool corrupt(Frame *frame);
    void enqueue(Frame *frame, std::uint64_t now_us);
    void drop(Frame *frame, std::uint64_t &counter);

    FramePool &pool_;
    nklink_config config_;
    nklink_counters counters_{};
    bool quiet_ = true;              // nothing to do to frames: they pass at once
    std::uint64_t index_ = 0;        // of the frame in hand, counted from the last new seed
    bool in_burst_ = false;
    double wire_free_us_ = 0;        // when the rate limit has sent all that was given to it
    std::uint64_t last_due_us_ = 0;
    std::deque<Frame *> queue_;      // by due time
    std::vector<Frame *> held_;      // to be overtaken
};

}  // namespace nk

#endif
