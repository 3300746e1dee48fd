// SPDX-License-Identifier: Apache-2.0
// Purpose: one direction of a hostile link; see link.h.

#include "link.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <new>

namespace nk {

namespace {

constexpr std::uint64_t HOLD_US = 10000;         // a frame to be overtaken waits no longer than this
constexpr std::uint64_t OVERTAKERS_MAX = 8;
constexpr std::uint32_t WIRE_OVERHEAD = 24;      // preamble, FCS and gap, bytes
constexpr std::size_t ETHERNET_HEADER = 14;
constexpr std::size_t WAITING_MAX = 1536;        // frames; leaves room in the pool for the other direction

std::uint64_t splitmix64(std::uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

bool is_probability(double value) { return value >= 0.0 && value <= 1.0; }

}  // namespace

Link::Link(FramePool &pool, const nklink_config &config) : pool_(pool), config_(config) { set(config); }

void Link::defaults(nklink_config &config)
{
    std::memset(&config, 0, sizeof(config));
    config.burst_frames = 4;
    config.queue_bytes = 256 * 1024;
}

bool Link::valid(const nklink_config &c)
{
    return is_probability(c.loss) && is_probability(c.burst_loss) && is_probability(c.reorder) &&
           is_probability(c.duplicate) && is_probability(c.corrupt) && c.burst_frames >= 1 &&
           c.burst_frames <= 1e6 && c.rate_mbps >= 0 && c.rate_mbps <= 1e6 && c.delay_us <= 10000000 &&
           c.jitter_us <= 10000000 && (c.rate_mbps == 0 || c.queue_bytes >= FRAME_MAX);
}

void Link::set(const nklink_config &config)
{
    if (config.seed != config_.seed) {
        index_ = 0;
        in_burst_ = false;
    }
    config_ = config;
    quiet_ = config.loss == 0 && config.burst_loss == 0 && config.reorder == 0 && config.duplicate == 0 &&
             config.corrupt == 0 && config.rate_mbps == 0 && config.delay_us == 0 && config.jitter_us == 0;
    if (config.burst_loss == 0)
        in_burst_ = false;
    wire_free_us_ = 0;
}

std::uint64_t Link::draw(Draw which) const
{
    return splitmix64(splitmix64(config_.seed) ^ splitmix64(index_ * DRAWS + which));
}

bool Link::chance(Draw which, double probability) const
{
    // 53 bits: as many as a double holds exactly.
    return probability > 0 && static_cast<double>(draw(which) >> 11) * 0x1p-53 < probability;
}

bool Link::lost()
{
    if (in_burst_)
        in_burst_ = !chance(BURST, 1.0 / config_.burst_frames);
    else
        in_burst_ = chance(BURST, config_.burst_loss);
    if (in_burst_) {
        ++counters_.burst_lost;
        return true;
    }
    if (chance(LOSS, config_.loss)) {
        ++counters_.lost;
        return true;
    }
    return false;
}

// Flips a bit behind the Ethernet header of an IPv4 frame. There is no FCS here: damage that only the FCS could
// see (addresses, ARP) would be taken for truth, which no real wire does, so such a frame is lost instead.
bool Link::corrupt(Frame *frame)
{
    if (!chance(CORRUPT, config_.corrupt))
        return true;
    ++counters_.corrupted;
    std::size_t end = std::min<std::size_t>(frame->bytes, ETHERNET_HEADER);
    if (frame->bytes > ETHERNET_HEADER + 20 && frame->data[12] == 0x08 && frame->data[13] == 0x00) {
        std::size_t ip_bytes = static_cast<std::size_t>(frame->data[16]) << 8 | frame->data[17];
        end = std::min<std::size_t>(frame->bytes, ETHERNET_HEADER + ip_bytes);
    }
    if (end <= ETHERNET_HEADER)
        return false;
    std::uint64_t bit = draw(BIT) % ((end - ETHERNET_HEADER) * 8);
    frame->data[ETHERNET_HEADER + bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
    return true;
}

void Link::drop(Frame *frame, std::uint64_t &counter)
{
    ++counter;
    pool_.give(frame);
}

// Gives the frame its time: the rate limit's queue, then the delay. Frames stay in order.
void Link::enqueue(Frame *frame, std::uint64_t now_us)
{
    if (waiting() >= WAITING_MAX) {
        drop(frame, counters_.queue_dropped);
        return;
    }
    double now = static_cast<double>(now_us);
    if (config_.rate_mbps > 0) {
        double start = std::max(now, wire_free_us_);
        double backlog = (start - now) * config_.rate_mbps / 8;
        if (backlog + frame->bytes > config_.queue_bytes) {
            drop(frame, counters_.queue_dropped);
            return;
        }
        wire_free_us_ = start + (frame->bytes + WIRE_OVERHEAD) * 8 / config_.rate_mbps;
        now = wire_free_us_;
    }
    std::uint64_t due = static_cast<std::uint64_t>(std::ceil(now)) + config_.delay_us;
    if (config_.jitter_us)
        due += draw(JITTER) % (static_cast<std::uint64_t>(config_.jitter_us) + 1);
    // A frame delayed by jitter or an older, longer delay holds back those behind it.
    last_due_us_ = queue_.empty() ? due : std::max(due, last_due_us_);
    frame->due_us = last_due_us_;
    queue_.push_back(frame);
}

void Link::push(Frame *frame, std::uint64_t now_us)
{
    ++counters_.frames;
    counters_.bytes += frame->bytes;
    ++index_;
    if (quiet_) {
        frame->due_us = last_due_us_ = queue_.empty() ? now_us : std::max(now_us, last_due_us_);
        queue_.push_back(frame);
        return;
    }
    if (lost()) {
        pool_.give(frame);
        return;
    }
    Frame *copy = nullptr;
    if (chance(DUPLICATE, config_.duplicate) && (copy = pool_.take()) != nullptr) {
        ++counters_.duplicated;
        copy->bytes = frame->bytes;
        std::memcpy(copy->data, frame->data, frame->bytes);
    }
    if (!corrupt(frame)) {
        pool_.give(frame);
    } else if (chance(REORDER, config_.reorder) && waiting() < WAITING_MAX) {
        ++counters_.reordered;
        frame->overtakers = 1 + static_cast<std::uint32_t>(draw(OVERTAKERS) % OVERTAKERS_MAX);
        frame->due_us = now_us + config_.delay_us + HOLD_US;
        held_.push_back(frame);
    } else {
        enqueue(frame, now_us);
    }
    if (copy)
        enqueue(copy, now_us);
}

Frame *Link::pop(std::uint64_t now_us)
{
    for (std::size_t i = 0; i < held_.size(); ++i) {
        Frame *frame = held_[i];
        if (frame->overtakers == 0 || frame->due_us <= now_us) {
            held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
            ++counters_.delivered;
            return frame;
        }
    }
    if (queue_.empty() || queue_.front()->due_us > now_us)
        return nullptr;
    Frame *frame = queue_.front();
    queue_.pop_front();
    for (Frame *waiter : held_)
        --waiter->overtakers;
    ++counters_.delivered;
    return frame;
}

std::uint64_t Link::next_due() const
{
    std::uint64_t due = queue_.empty() ? NEVER : queue_.front()->due_us;
    for (const Frame *frame : held_)
        due = std::min(due, frame->overtakers == 0 ? 0 : frame->due_us);
    return due;
}

}  // namespace nk

struct nklink {
    explicit nklink(const nklink_config &config) : pool(4096), link(pool, config) {}
    nk::FramePool pool;
    nk::Link link;
};

void nklink_defaults(nklink_config *config) { nk::Link::defaults(*config); }

int nklink_check(const nklink_config *config) { return nk::Link::valid(*config) ? 0 : -EINVAL; }

nklink *nklink_create(const nklink_config *config) { return new (std::nothrow) nklink(*config); }

void nklink_destroy(nklink *link) { delete link; }

int nklink_set(nklink *link, const nklink_config *config)
{
    if (!nk::Link::valid(*config))
        return -EINVAL;
    link->link.set(*config);
    return 0;
}

int nklink_push(nklink *link, const uint8_t *data, uint32_t bytes, uint64_t now_us)
{
    nk::Frame *frame = bytes <= nk::FRAME_MAX ? link->pool.take() : nullptr;
    if (!frame)
        return bytes <= nk::FRAME_MAX ? -ENOMEM : -EMSGSIZE;
    frame->bytes = bytes;
    std::memcpy(frame->data, data, bytes);
    link->link.push(frame, now_us);
    return 0;
}

int nklink_pop(nklink *link, uint8_t *data, uint32_t room, uint64_t now_us)
{
    nk::Frame *frame = link->link.pop(now_us);
    if (!frame)
        return 0;
    uint32_t bytes = frame->bytes;
    if (bytes <= room)
        std::memcpy(data, frame->data, bytes);
    link->pool.give(frame);
    return bytes <= room ? static_cast<int>(bytes) : -EMSGSIZE;
}

void nklink_get_counters(nklink *link, nklink_counters *counters) { *counters = link->link.counters(); }
