// SPDX-License-Identifier: Apache-2.0
// Purpose: a path between two network interfaces, as a process: what enters at one end leaves at the other.
//
//   nk-linkmodel END0 END1        an end is tap:NAME (made here, may then move to a namespace), packet:NAME (an
//                                 interface that is there), or fd:N (a socket that keeps frames apart)
//
// Commands are lines on the standard input; each is answered by a line of JSON. The end of the input ends the process.
//   set DIR KEY=VALUE...          DIR: 0 (END0 to END1), 1 (back) or both; keys as in direction.h
//   stats                         what both directions counted since the last `set`
//   pcap END FILE | pcap END -    captures at END what enters there and what leaves there, as a host there sees it
#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sstream>
#include <string>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "direction.h"

namespace {

using path::Config;
using path::Direction;
using path::Nanoseconds;

constexpr std::size_t FRAME_MAX = 2048;
constexpr int BATCH = 64;  // frames taken from an end before the other one gets its turn
constexpr Nanoseconds SECOND = 1000000000;

[[noreturn]] void die(const std::string &what)
{
    std::fprintf(stderr, "nk-linkmodel: %s: %s\n", what.c_str(), std::strerror(errno));
    std::exit(1);
}

Nanoseconds clock_ns(clockid_t id)
{
    timespec t;
    clock_gettime(id, &t);
    return static_cast<Nanoseconds>(t.tv_sec) * SECOND + t.tv_nsec;
}

ifreq request(const std::string &name)
{
    ifreq r;
    std::memset(&r, 0, sizeof(r));
    if (name.empty() || name.size() >= IFNAMSIZ) {
        errno = EINVAL;
        die("interface name " + name);
    }
    std::memcpy(r.ifr_name, name.c_str(), name.size());
    return r;
}

int open_tap(const std::string &name)
{
    ifreq r = request(name);
    r.ifr_flags = IFF_TAP | IFF_NO_PI;
    const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &r) < 0)
        die("tap " + name);
    return fd;
}

int open_packet(const std::string &name)
{
    const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    ifreq r = request(name);
    if (fd < 0 || ioctl(fd, SIOCGIFINDEX, &r) < 0)
        die("interface " + name);
    sockaddr_ll address;
    std::memset(&address, 0, sizeof(address));
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = r.ifr_ifindex;
    const int one = 1, room = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0 ||
        bind(fd, reinterpret_cast<sockaddr *>(&address), sizeof(address)) < 0)
        die("interface " + name);
    return fd;
}

int open_end(const std::string &text)
{
    const auto colon = text.find(':');
    const std::string kind = text.substr(0, colon), name = colon == std::string::npos ? "" : text.substr(colon + 1);
    int fd = -1;
    if (kind == "tap")
        fd = open_tap(name);
    else if (kind == "packet")
        fd = open_packet(name);
    else if (kind == "fd")
        fd = std::atoi(name.c_str());
    else {
        errno = EINVAL;
        die("end " + text);
    }
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        die("end " + text);
    return fd;
}

// A capture file of nanosecond resolution, time of day.
class Pcap {
public:
    bool start(const std::string &file)
    {
        stop();
        if (file == "-")
            return true;
        file_ = std::fopen(file.c_str(), "wb");
        if (!file_)
            return false;
        offset_ = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
        const std::uint32_t header[6] = {0xa1b23c4d, 2 | 4 << 16, 0, 0, FRAME_MAX, 1};
        std::fwrite(header, sizeof(header), 1, file_);
        return true;
    }
    void stop()
    {
        if (file_)
            std::fclose(file_);
        file_ = nullptr;
    }
    void put(const std::uint8_t *data, std::size_t bytes, Nanoseconds now)
    {
        if (!file_)
            return;
        const Nanoseconds at = now + offset_;
        const std::uint32_t length = static_cast<std::uint32_t>(bytes);
        const std::uint32_t header[4] = {static_cast<std::uint32_t>(at / SECOND),
                                         static_cast<std::uint32_t>(at % SECOND), length, length};
        std::fwrite(header, sizeof(header), 1, file_);
        std::fwrite(data, bytes, 1, file_);
    }

private:
    std::FILE *file_ = nullptr;
    Nanoseconds offset_ = 0;
};

class Path {
public:
    Path(int end0, int end1) : fd_{end0, end1} {}
    int run();

private:
    bool take(int from);
    void give(int direction);
    bool commands();
    void obey(const std::string &line);
    void stats() const;

    int fd_[2];
    // way_[n] leads from end n to the other. One seed stands for two different sequences.
    Direction way_[2] = {Direction(0), Direction(0x5bd1e9955bd1e995u)};
    Pcap pcap_[2];
    std::uint64_t refused_[2] = {0, 0};  // frames that an end did not take
    std::string input_;
};

void answer(const char *format, ...) __attribute__((format(printf, 1, 2)));
void answer(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    std::vprintf(format, arguments);
    va_end(arguments);
    std::putchar('\n');
    std::fflush(stdout);
}

template <typename T>
bool parse(const std::string &text, T &value)
{
    std::istringstream in(text);
    T parsed;
    if (!(in >> parsed) || !in.eof())
        return false;
    value = parsed;
    return true;
}

bool assign(Config &c, const std::string &key, const std::string &value)
{
    if (key == "rate_mbps") return parse(value, c.rate_mbps);
    if (key == "queue_bytes") return parse(value, c.queue_bytes);
    if (key == "mark_bytes") return parse(value, c.mark_bytes);
    if (key == "delay_us") return parse(value, c.delay_us);
    if (key == "loss") return parse(value, c.loss);
    if (key == "burst") return parse(value, c.burst);
    if (key == "burst_frames") return parse(value, c.burst_frames);
    if (key == "reorder") return parse(value, c.reorder);
    if (key == "reorder_us") return parse(value, c.reorder_us);
    if (key == "seed") return parse(value, c.seed);
    return false;
}

bool Path::take(int from)
{
    std::uint8_t data[FRAME_MAX + 1];
    for (int n = 0; n < BATCH; ++n) {
        const ssize_t got = read(fd_[from], data, sizeof(data));
        if (got == 0)
            return false;
        if (got < 0)
            return errno == EAGAIN || errno == EINTR || errno == EIO || errno == ENETDOWN;
        if (static_cast<std::size_t>(got) > FRAME_MAX)
            continue;
        const Nanoseconds now = clock_ns(CLOCK_MONOTONIC);
        pcap_[from].put(data, static_cast<std::size_t>(got), now);
        way_[from].enter(data, static_cast<std::size_t>(got), now);
    }
    return true;
}

void Path::give(int direction)
{
    const int to = 1 - direction;
    std::vector<std::uint8_t> data;
    Nanoseconds now = clock_ns(CLOCK_MONOTONIC);
    while (way_[direction].leave(now, data)) {
        pcap_[to].put(data.data(), data.size(), now);
        refused_[direction] += write(fd_[to], data.data(), data.size()) < 0;
        now = clock_ns(CLOCK_MONOTONIC);
    }
}

void Path::stats() const
{
    std::string text;
    for (int n = 0; n < 2; ++n) {
        const path::Counters &c = way_[n].counters();
        char part[512];
        std::snprintf(part, sizeof(part),
                      "\"%d\": {\"frames\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"numbered\": %" PRIu64
                      ", \"lost\": %" PRIu64 ", \"burst_lost\": %" PRIu64 ", \"queue_drops\": %" PRIu64
                      ", \"marked\": %" PRIu64 ", \"reordered\": %" PRIu64 ", \"delivered\": %" PRIu64
                      ", \"queue_peak\": %" PRIu64 ", \"late_max_us\": %" PRId64 ", \"refused\": %" PRIu64 "}",
                      n, c.frames, c.bytes, c.numbered, c.lost, c.burst_lost, c.queue_drops, c.marked, c.reordered,
                      c.delivered, c.queue_peak, c.late_max / 1000, refused_[n]);
        text += std::string(n ? ", " : "") + part;
    }
    answer("{\"ok\": true, %s}", text.c_str());
}

void Path::obey(const std::string &line)
{
    std::istringstream words(line);
    std::string command, which, word;
    words >> command;
    if (command == "stats")
        return stats();
    words >> which;
    if (command == "pcap") {
        std::string file;
        std::getline(words >> std::ws, file);
        if ((which == "0" || which == "1") && !file.empty() && pcap_[which == "1"].start(file))
            return answer("{\"ok\": true}");
    } else if (command == "set" && (which == "0" || which == "1" || which == "both")) {
        Config config[2] = {way_[0].config(), way_[1].config()};
        bool good = true;
        while (words >> word) {
            const auto equals = word.find('=');
            for (int n = 0; n < 2 && equals != std::string::npos; ++n)
                if (which != std::to_string(1 - n))
                    good = assign(config[n], word.substr(0, equals), word.substr(equals + 1)) && good;
            good = good && equals != std::string::npos;
        }
        if (good && config[0].valid() && config[1].valid()) {
            for (int n = 0; n < 2; ++n) {
                if (which == std::to_string(1 - n))
                    continue;
                refused_[n] = 0;
                way_[n].set(config[n]);
            }
            return answer("{\"ok\": true}");
        }
    }
    answer("{\"ok\": false}");
}

bool Path::commands()
{
    char text[4096];
    const ssize_t got = read(STDIN_FILENO, text, sizeof(text));
    if (got <= 0)
        return got < 0 && errno == EINTR;
    input_.append(text, static_cast<std::size_t>(got));
    for (std::size_t end; (end = input_.find('\n')) != std::string::npos; input_.erase(0, end + 1))
        obey(input_.substr(0, end));
    return true;
}

int Path::run()
{
    while (true) {
        pollfd polled[3] = {{fd_[0], POLLIN, 0}, {fd_[1], POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        Nanoseconds wait = SECOND;
        const Nanoseconds now = clock_ns(CLOCK_MONOTONIC);
        for (const Direction &way : way_)
            if (way.next() >= 0)
                wait = std::min(wait, std::max<Nanoseconds>(0, way.next() - now));
        const timespec limit = {static_cast<time_t>(wait / SECOND), static_cast<long>(wait % SECOND)};
        if (ppoll(polled, 3, &limit, nullptr) < 0 && errno != EINTR)
            die("poll");
        for (int n = 0; n < 2; ++n)
            if ((polled[n].revents & (POLLIN | POLLERR | POLLHUP)) && !take(n))
                return 0;
        for (int n = 0; n < 2; ++n)
            give(n);
        if (polled[2].revents && !commands())
            return 0;
    }
}

}  // namespace

int main(int argc, char **argv)
{
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s END0 END1\n", argv[0]);
        return 2;
    }
    // On time even on a busy machine: it needs little time itself. Without the right to it, it runs as others do.
    const sched_param priority = {1};
    sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority);
    prctl(PR_SET_TIMERSLACK, 1);
    Path path(open_end(argv[1]), open_end(argv[2]));
    answer("{\"ok\": true}");
    return path.run();
}
