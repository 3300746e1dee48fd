// SPDX-License-Identifier: Apache-2.0
// Purpose: the part of the twin that other threads call: commands, maps, interrupts, wire, traces, status.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "Vtop.h"
#include "nk_abi.h"
#include "twin.h"
#include "verilated.h"

namespace nk {

namespace {

constexpr std::size_t POOL_FRAMES = 4096;
constexpr std::size_t TRACE_NQES = 8192;      // kept for each VF
constexpr std::size_t COMMANDS_MAX = 4096;
const int RESCUE_SIGNAL = SIGRTMIN + 5;

void on_rescue(int) {}

std::uint64_t wall_us(clockid_t id)
{
    timespec ts;
    clock_gettime(id, &ts);
    return static_cast<std::uint64_t>(ts.tv_sec) * 1000000u + static_cast<std::uint64_t>(ts.tv_nsec) / 1000u;
}

nklink_config link_defaults(std::uint64_t seed)
{
    nklink_config config;
    Link::defaults(config);
    config.seed = seed;
    return config;
}

bool is_eventfd(int fd)
{
    char path[64], target[64];
    std::snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    return std::strcmp(target, "anon_inode:[eventfd]") == 0;
}

}  // namespace

Twin::Twin(const nktwin_config &config)
    : config_(config), context_(new VerilatedContext), top_(new Vtop(context_.get(), "nk_core")),
      pool_(POOL_FRAMES), wire_(pool_), link_rx_(pool_, link_defaults(config.seed)),
      link_tx_(pool_, link_defaults(~config.seed))
{
    memory_lost_seen_ = SharedMemory::lost();
    kick_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    mono_ns_ = start_ns_ = wall_us(CLOCK_MONOTONIC) * 1000;
    epoch_us_ = wall_us(CLOCK_REALTIME) - now_us_;
    for (Trace &trace : traces_)
        trace.ring.resize(TRACE_NQES);
    struct sigaction action {};
    action.sa_handler = on_rescue;  // without SA_RESTART: a blocked write() returns EINTR
    sigemptyset(&action.sa_mask);
    sigaction(RESCUE_SIGNAL, &action, nullptr);
}

Twin::~Twin()
{
    for (Function &f : functions_) {
        for (Vector &v : f.vectors) {
            if (v.fd >= 0)
                close(v.fd);
        }
    }
    if (kick_fd_ >= 0)
        close(kick_fd_);
    top_->final();
}

template <typename Body> void Twin::at_safe_point(Body body)
{
    std::lock_guard<std::mutex> one(control_);
    std::unique_lock<std::mutex> lock(mutex_);
    // A simulation thread that has not yet left park() since the last call stays there.
    pause_.store(true, std::memory_order_release);
    kick();
    changed_.wait(lock, [this] { return parked_ || !running_; });
    body();
    pause_.store(false, std::memory_order_release);
    changed_.notify_all();
}

void Twin::kick() { eventfd_write(kick_fd_, 1); }

void Twin::stop()
{
    stop_ = true;
    kick();
}

// The simulation thread is inside the same write() of an interrupt as at the last call: a client blocks it.
void Twin::watchdog()
{
    std::lock_guard<std::mutex> lock(mutex_);
    const std::uint64_t phase = irq_phase_.load(std::memory_order_relaxed);
    if (running_ && (phase & 1) && phase == irq_phase_seen_)
        pthread_kill(sim_thread_, RESCUE_SIGNAL);
    irq_phase_seen_ = phase;
}

// ----------------------------------------------------------------------------------------------- MMIO

// Queues a command, and waits for it if somebody wants to.
int Twin::submit(Command command, std::uint32_t timeout_ms)
{
    if (command.func >= FUNCTIONS || command.addr >= NK_LIM_BAR0_SIZE || command.addr % 4 ||
        command.reads > (NK_LIM_BAR0_SIZE - command.addr) / 4)
        return -EINVAL;
    const std::shared_ptr<Waiter> waiter = command.waiter;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms ? timeout_ms : 1000);
    std::unique_lock<std::mutex> lock(mutex_);
    if (!changed_.wait_until(lock, deadline, [this] { return commands_.size() < COMMANDS_MAX || !running_; }))
        return -EAGAIN;
    if (!running_)
        return -ESHUTDOWN;
    commands_.push_back(std::move(command));
    commands_waiting_.store(static_cast<std::uint32_t>(commands_.size()), std::memory_order_release);
    kick();
    if (!waiter)
        return 0;
    if (!waiter->done.wait_until(lock, deadline, [&] { return waiter->result <= 0; })) {
        waiter->abandoned = true;
        return -ETIMEDOUT;
    }
    return waiter->result;
}

int Twin::mmio_write(std::uint32_t func, std::uint32_t addr, std::uint32_t value, std::uint32_t timeout_ms)
{
    Command command;
    command.func = func;
    command.addr = addr;
    command.value = value;
    if (timeout_ms)
        command.waiter = std::make_shared<Waiter>();
    return submit(std::move(command), timeout_ms);
}

int Twin::mmio_read(std::uint32_t func, std::uint32_t addr, std::uint32_t *values, std::uint32_t count,
                    std::uint32_t timeout_ms)
{
    if (count == 0 || count > NK_LIM_BAR0_SIZE / 4)
        return -EINVAL;
    const auto waiter = std::make_shared<Waiter>();
    waiter->values.reserve(count);
    Command command;
    command.func = func;
    command.addr = addr;
    command.reads = count;
    command.waiter = waiter;
    const int result = submit(std::move(command), timeout_ms);
    if (result == 0)
        std::memcpy(values, waiter->values.data(), count * sizeof(*values));
    return result;
}

// ------------------------------------------------------------------------------------------ doorbells

int Twin::set_doorbells(std::uint32_t func, int fd, std::uint64_t offset, std::uint32_t pages)
{
    if (func == 0 || func >= FUNCTIONS || (fd >= 0 && (pages == 0 || pages > NK_VF_DB_COUNT)))
        return -EINVAL;
    SharedMemory memory;
    if (fd >= 0) {
        const int error = memory.map(fd, offset, pages * NK_VF_DB_STRIDE, PROT_READ | PROT_WRITE);
        if (error)
            return error;
    }
    at_safe_point([&] {
        functions_[func].doorbells = std::move(memory);
        functions_[func].pages.assign(fd >= 0 ? pages : 0, DoorbellPage{});
    });
    return 0;
}

std::uint32_t *Twin::doorbell_word(std::uint32_t func, std::uint32_t offset)
{
    if (func >= FUNCTIONS || offset % 4 || offset >= functions_[func].doorbells.size())
        return nullptr;
    return reinterpret_cast<std::uint32_t *>(functions_[func].doorbells.data() + offset);
}

int Twin::doorbell_write(std::uint32_t func, std::uint32_t offset, std::uint32_t value)
{
    std::lock_guard<std::mutex> one(control_);
    std::uint32_t *word = doorbell_word(func, offset);
    if (!word)
        return -EINVAL;
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    kick();
    return 0;
}

int Twin::doorbell_read(std::uint32_t func, std::uint32_t offset, std::uint32_t *value)
{
    std::lock_guard<std::mutex> one(control_);
    const std::uint32_t *word = doorbell_word(func, offset);
    if (!word)
        return -EINVAL;
    *value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    return 0;
}

// ------------------------------------------------------------------------------------------------ DMA

int Twin::dma_map(std::uint32_t func, std::uint64_t iova, std::uint64_t size, int fd, std::uint64_t offset,
                  std::uint32_t prot)
{
    int result = check(func);
    if (result == 0)
        at_safe_point([&] { result = functions_[func].dma.map(iova, size, fd, offset, prot); });
    return result;
}

int Twin::dma_unmap(std::uint32_t func, std::uint64_t iova, std::uint64_t size)
{
    int result = check(func);
    if (result == 0)
        at_safe_point([&] { result = functions_[func].dma.unmap(iova, size); });
    return result;
}

int Twin::dma_unmap_all(std::uint32_t func)
{
    int result = check(func);
    if (result == 0)
        at_safe_point([&] { result = functions_[func].dma.clear(); });
    return result;
}

int Twin::set_bus_master(std::uint32_t func, bool on)
{
    const int result = check(func);
    if (result == 0)
        at_safe_point([&] { functions_[func].dma.set_bus_master(on); });
    return result;
}

// ----------------------------------------------------------------------------------------- interrupts

int Twin::set_irq(std::uint32_t func, std::uint32_t vector, int fd)
{
    if (func >= FUNCTIONS || vector >= VECTORS || (fd >= 0 && !is_eventfd(fd)))
        return -EINVAL;
    int copy = -1;
    if (fd >= 0) {
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            return -errno;
        fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK);
    }
    at_safe_point([&] { std::swap(functions_[func].vectors[vector].fd, copy); });
    if (copy >= 0)
        close(copy);
    return 0;
}

int Twin::mask_irq(std::uint32_t func, std::uint32_t vector, bool masked)
{
    if (func >= FUNCTIONS || vector >= VECTORS)
        return -EINVAL;
    at_safe_point([&] {
        Vector &v = functions_[func].vectors[vector];
        v.masked = masked;
        if (!masked && v.pending) {
            v.pending = false;
            raise(func, vector);
        }
    });
    return 0;
}

int Twin::trigger_irq(std::uint32_t func, std::uint32_t vector)
{
    if (func >= FUNCTIONS || vector >= VECTORS)
        return -EINVAL;
    at_safe_point([&] { raise(func, vector); });
    return 0;
}

// ------------------------------------------------------------------------------- wire, link and traces

int Twin::set_wire(int fd)
{
    int copy = -1;
    if (fd >= 0 && (copy = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
        return -errno;
    at_safe_point([&] { wire_.set(copy); });
    return 0;
}

int Twin::link_set(std::uint32_t dir, const nklink_config &config)
{
    if (dir > 1 || !Link::valid(config))
        return -EINVAL;
    at_safe_point([&] { (dir ? link_tx_ : link_rx_).set(config); });
    return 0;
}

int Twin::link_get(std::uint32_t dir, nklink_config &config, nklink_counters &counters)
{
    if (dir > 1)
        return -EINVAL;
    at_safe_point([&] {
        const Link &link = dir ? link_tx_ : link_rx_;
        config = link.config();
        counters = link.counters();
    });
    return 0;
}

int Twin::set_pcap(int fd)
{
    int copy = -1, result = 0;
    if (fd >= 0 && (copy = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
        return -errno;
    at_safe_point([&] {
        pcap_.stop();
        if (copy >= 0)
            result = pcap_.start(copy);
        pcap_epoch_us_ = wall_us(CLOCK_REALTIME) - now_us_;
    });
    return result;
}

int Twin::trace_read(std::uint32_t vf, std::uint64_t after, nktwin_nqe *out, std::uint32_t max)
{
    if (vf >= NKTWIN_NVF)
        return -EINVAL;
    std::uint32_t count = 0;
    at_safe_point([&] {
        const Trace &trace = traces_[vf];
        const std::uint64_t size = trace.ring.size();
        const std::uint64_t oldest = trace.next_seq > size ? trace.next_seq - size : 1;
        for (std::uint64_t seq = std::max(after + 1, oldest); seq < trace.next_seq && count < max; ++seq)
            out[count++] = trace.ring[seq % size];
    });
    return static_cast<int>(count);
}

int Twin::get_status(nktwin_status &status)
{
    at_safe_point([&] {
        status = status_;
        status.running = running_;
        status.link_up = wire_.up();
        status.pcap_on = pcap_.on();
        status.wire_rx_errors = wire_.rx_errors();
        status.wire_tx_drops = wire_.tx_drops();
        status.now_us = now_us_;
        status.uptime_ns = wall_us(CLOCK_MONOTONIC) * 1000 - start_ns_;
        if (status.busy_ns)
            status.clocks_per_second = static_cast<double>(status.clocks) * 1e9 / static_cast<double>(status.busy_ns);
    });
    return 0;
}

}  // namespace nk

// ---------------------------------------------------------------------------------------------- C API

struct nktwin : nk::Twin {
    using nk::Twin::Twin;
};

void nktwin_get_info(nktwin_info *info)
{
    *info = {NKTWIN_W, NKTWIN_NVF, NKTWIN_NQS, NKTWIN_FLOWS, NKTWIN_BUILD_ID, nk::FRAME_MAX};
}

nktwin *nktwin_create(const nktwin_config *config)
{
    try {
        return new nktwin(*config);
    } catch (...) {
        errno = ENOMEM;
        return nullptr;
    }
}

void nktwin_destroy(nktwin *t) { delete t; }
int nktwin_run(nktwin *t) { return t->run(); }
void nktwin_stop(nktwin *t) { t->stop(); }
void nktwin_watchdog(nktwin *t) { t->watchdog(); }

int nktwin_mmio_write(nktwin *t, uint32_t func, uint32_t addr, uint32_t value, uint32_t timeout_ms)
{
    return t->mmio_write(func, addr, value, timeout_ms);
}

int nktwin_mmio_read(nktwin *t, uint32_t func, uint32_t addr, uint32_t *values, uint32_t count, uint32_t timeout_ms)
{
    return t->mmio_read(func, addr, values, count, timeout_ms);
}

int nktwin_set_doorbells(nktwin *t, uint32_t func, int fd, uint64_t offset, uint32_t pages)
{
    return t->set_doorbells(func, fd, offset, pages);
}

int nktwin_doorbell_write(nktwin *t, uint32_t func, uint32_t offset, uint32_t value)
{
    return t->doorbell_write(func, offset, value);
}

int nktwin_doorbell_read(nktwin *t, uint32_t func, uint32_t offset, uint32_t *value)
{
    return t->doorbell_read(func, offset, value);
}

int nktwin_dma_map(nktwin *t, uint32_t func, uint64_t iova, uint64_t size, int fd, uint64_t offset, uint32_t prot)
{
    return t->dma_map(func, iova, size, fd, offset, prot);
}

int nktwin_dma_unmap(nktwin *t, uint32_t func, uint64_t iova, uint64_t size)
{
    return t->dma_unmap(func, iova, size);
}

int nktwin_dma_unmap_all(nktwin *t, uint32_t func) { return t->dma_unmap_all(func); }
int nktwin_set_bus_master(nktwin *t, uint32_t func, int on) { return t->set_bus_master(func, on != 0); }
int nktwin_set_irq(nktwin *t, uint32_t func, uint32_t vector, int fd) { return t->set_irq(func, vector, fd); }

int nktwin_mask_irq(nktwin *t, uint32_t func, uint32_t vector, int masked)
{
    return t->mask_irq(func, vector, masked != 0);
}

int nktwin_trigger_irq(nktwin *t, uint32_t func, uint32_t vector) { return t->trigger_irq(func, vector); }
int nktwin_set_wire(nktwin *t, int fd) { return t->set_wire(fd); }
int nktwin_link_set(nktwin *t, uint32_t dir, const nklink_config *config) { return t->link_set(dir, *config); }

int nktwin_link_get(nktwin *t, uint32_t dir, nklink_config *config, nklink_counters *counters)
{
    return t->link_get(dir, *config, *counters);
}

int nktwin_set_pcap(nktwin *t, int fd) { return t->set_pcap(fd); }

int nktwin_trace_read(nktwin *t, uint32_t vf, uint64_t after, nktwin_nqe *out, uint32_t max)
{
    return t->trace_read(vf, after, out, max);
}

int nktwin_get_status(nktwin *t, nktwin_status *status) { return t->get_status(*status); }
