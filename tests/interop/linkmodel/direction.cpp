// SPDX-License-Identifier: Apache-2.0
// Purpose: one direction of a path; see direction.h.

#include "direction.h"

#include <algorithm>

namespace path {

namespace {

constexpr std::uint64_t WIRE_OVERHEAD = 24;  // preamble, FCS and gap, bytes
constexpr Nanoseconds BURST_PAUSE = 100000000;
constexpr std::size_t ETHERNET = 14;
constexpr std::uint8_t SYN_OR_RST = 0x06, ECN_MASK = 3, ECN_CE = 3, PROTO_TCP = 6;

std::uint64_t splitmix64(std::uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

bool is_probability(double value) { return value >= 0.0 && value <= 1.0; }

bool is_ipv4(const std::uint8_t *data, std::size_t bytes)
{
    return bytes >= ETHERNET + 20 && data[12] == 0x08 && data[13] == 0x00 && data[ETHERNET] >> 4 == 4;
}

bool is_numbered(const std::uint8_t *data, std::size_t bytes)
{
    if (!is_ipv4(data, bytes) || data[ETHERNET + 9] != PROTO_TCP)
        return false;
    const std::size_t tcp = ETHERNET + (data[ETHERNET] & 15u) * 4u;
    return bytes >= tcp + 20 && (data[tcp + 13] & SYN_OR_RST) == 0;
}

// Sets CE on an ECN-capable IPv4 packet and mends its header checksum (RFC 1624).
bool mark(std::vector<std::uint8_t> &frame)
{
    if (!is_ipv4(frame.data(), frame.size()))
        return false;
    std::uint8_t *ip = frame.data() + ETHERNET;
    if ((ip[1] & ECN_MASK) == 0 || (ip[1] & ECN_MASK) == ECN_CE)
        return false;
    const std::uint32_t before = static_cast<std::uint32_t>(ip[0]) << 8 | ip[1];
    ip[1] |= ECN_CE;
    const std::uint32_t after = static_cast<std::uint32_t>(ip[0]) << 8 | ip[1];
    std::uint32_t sum = static_cast<std::uint16_t>(~(static_cast<std::uint32_t>(ip[10]) << 8 | ip[11]));
    sum += static_cast<std::uint16_t>(~before) + after;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    ip[10] = static_cast<std::uint8_t>(~sum >> 8);
    ip[11] = static_cast<std::uint8_t>(~sum);
    return true;
}

}  // namespace

bool Config::valid() const
{
    return rate_mbps >= 0 && rate_mbps <= 1e5 && is_probability(loss) && is_probability(burst) &&
           is_probability(reorder) && burst_frames >= 1 && burst_frames <= 1e6 && delay_us <= 10000000 &&
           reorder_us <= 10000000 && queue_bytes >= 2048;
}

void Direction::set(const Config &config)
{
    config_ = config;
    counters_ = Counters();
    in_burst_ = false;
    last_numbered_ = 0;
    free_at_ = 0;
}

bool Direction::chance(Draw which, double probability) const
{
    const std::uint64_t drawn =
        splitmix64(splitmix64(config_.seed ^ salt_) ^ splitmix64(counters_.numbered * DRAWS + which));
    // 53 bits: as many as a double holds exactly.
    return static_cast<double>(drawn >> 11) * 0x1p-53 < probability;
}

bool Direction::lost()
{
    in_burst_ = in_burst_ ? !chance(BURST, 1.0 / config_.burst_frames) : chance(BURST, config_.burst);
    counters_.burst_lost += in_burst_;
    if (in_burst_)
        return true;
    const bool gone = chance(LOSS, config_.loss);
    counters_.lost += gone;
    return gone;
}

void Direction::enter(const std::uint8_t *data, std::size_t bytes, Nanoseconds now)
{
    ++counters_.frames;
    counters_.bytes += bytes;
    const bool numbered = is_numbered(data, bytes);
    counters_.numbered += numbered;
    if (numbered) {
        in_burst_ = in_burst_ && now - last_numbered_ < BURST_PAUSE;
        last_numbered_ = now;
        if (lost())
            return;
    }

    const double ns_a_byte = config_.rate_mbps > 0 ? 8e3 / config_.rate_mbps : 0;
    const Nanoseconds start = std::max(now, free_at_);
    // What waits is what the bottleneck still has to send.
    const std::uint64_t queued =
        ns_a_byte > 0 ? static_cast<std::uint64_t>(static_cast<double>(start - now) / ns_a_byte) : 0;
    if (ns_a_byte > 0 && queued + bytes > config_.queue_bytes) {
        ++counters_.queue_drops;
        return;
    }
    counters_.queue_peak = std::max(counters_.queue_peak, queued + bytes);

    Frame frame{std::vector<std::uint8_t>(data, data + bytes), 0, ++order_};
    if (config_.mark_bytes && queued > config_.mark_bytes)
        counters_.marked += mark(frame.data);
    free_at_ = start + static_cast<Nanoseconds>(ns_a_byte * static_cast<double>(bytes + WIRE_OVERHEAD));
    frame.due = free_at_ + static_cast<Nanoseconds>(config_.delay_us) * 1000;
    if (numbered && chance(REORDER, config_.reorder)) {
        ++counters_.reordered;
        frame.due += static_cast<Nanoseconds>(config_.reorder_us) * 1000;
    }
    waiting_.push(std::move(frame));
}

bool Direction::leave(Nanoseconds now, std::vector<std::uint8_t> &data)
{
    if (waiting_.empty() || waiting_.top().due > now)
        return false;
    counters_.late_max = std::max(counters_.late_max, now - waiting_.top().due);
    ++counters_.delivered;
    data = waiting_.top().data;
    waiting_.pop();
    return true;
}

}  // namespace path
