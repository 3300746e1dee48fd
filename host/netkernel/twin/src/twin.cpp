// SPDX-License-Identifier: Apache-2.0
// Purpose: the simulation thread: clocks nk_core, serves its host and MAC interface, sleeps when it is idle.

#include "twin.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "Vtop.h"
#include "nk_abi.h"
#include "verilated.h"

namespace nk {

namespace {

constexpr std::uint32_t RESET_CLOCKS = 16;
constexpr std::uint32_t BATCH = 16;          // clocks between two looks at the world
constexpr std::uint32_t QUIET_CLOCKS = 8;    // so many clocks without work before the clock stops
constexpr std::uint32_t FRAMES_A_LOOK = 8;
constexpr std::uint64_t READ_CLOCKS_MAX = 4096;  // nk_core answers within 64
constexpr std::uint64_t LAZY_AFTER_US = 1000000;
constexpr std::uint64_t SLEEP_MAX_US = 500000;
constexpr std::uint64_t FLUSH_US = 200000;       // pcap reaches its file this often
constexpr std::uint64_t RATE_WINDOW_NS = 500000000;

std::uint64_t clock_ns(clockid_t id)
{
    timespec ts;
    clock_gettime(id, &ts);
    return static_cast<std::uint64_t>(ts.tv_sec) * 1000000000u + static_cast<std::uint64_t>(ts.tv_nsec);
}

// A Verilated port of any width to and from bytes.
template <typename Port> void put_beat(Port &port, const std::uint8_t *from)
{
    static_assert(sizeof(Port) == BEAT, "port is not as wide as the bus");
    std::memcpy(static_cast<void *>(&port), from, BEAT);
}
template <typename Port> void get_beat(const Port &port, std::uint8_t *to)
{
    static_assert(sizeof(Port) == BEAT, "port is not as wide as the bus");
    std::memcpy(to, static_cast<const void *>(&port), BEAT);
}

constexpr std::uint32_t beats(std::uint32_t lane, std::uint32_t len) { return (lane + len + BEAT - 1) / BEAT; }

}  // namespace

// ------------------------------------------------------------------------------------------ the loop

void Twin::reset_core()
{
    top_->rst = 1;
    top_->now_us = static_cast<std::uint32_t>(now_us_);
    top_->rdreq_ready = 1;
    top_->wrreq_ready = 1;
    top_->tx_ready = 1;
    top_->irq_ready = 1;
    for (std::uint32_t i = 0; i < RESET_CLOCKS; ++i) {
        top_->clk = 0;
        top_->eval();
        top_->clk = 1;
        top_->eval();
    }
    top_->rst = 0;
    was_reset_ = true;
}

int Twin::run()
{
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (running_)
            return -EBUSY;
        running_ = true;
        sim_thread_ = pthread_self();
    }
    prctl(PR_SET_TIMERSLACK, 1000);
    mono_ns_ = clock_ns(CLOCK_MONOTONIC);
    if (!was_reset_)
        reset_core();
    bool clocking = false;
    while (!stop_.load(std::memory_order_relaxed) && !context_->gotFinish()) {
        if (pause_.load(std::memory_order_acquire))
            park();
        const std::uint64_t before_ns = mono_ns_;
        advance_time(config_.guard_us);
        if (clocking && mono_ns_ - before_ns < config_.guard_us * std::uint64_t{1000}) {
            status_.busy_ns += mono_ns_ - before_ns;
            rate_ns_ += mono_ns_ - before_ns;
            if (rate_ns_ >= RATE_WINDOW_NS) {
                status_.recent_clocks_per_second = static_cast<double>(rate_clocks_) * 1e9 / static_cast<double>(rate_ns_);
                rate_clocks_ = rate_ns_ = 0;
            }
        }
        service_wire();
        poll_doorbells();
        if (timer_due())
            quiet_clocks_ = 0;
        clocking = quiet_clocks_ < QUIET_CLOCKS || input_waits();
        status_.asleep = !clocking;
        if (clocking) {
            const std::uint64_t from = status_.clocks;
            for (std::uint32_t i = 0; i < BATCH && (quiet_clocks_ < QUIET_CLOCKS || input_waits()); ++i)
                clock();
            rate_clocks_ += status_.clocks - from;
            last_work_us_ = now_us_;
        } else {
            wait_for_input();
        }
    }
    std::lock_guard<std::mutex> lock(mutex_);
    running_ = false;
    fail_commands();
    pcap_.flush();
    changed_.notify_all();
    return context_->gotFinish() ? -EPROTO : 0;
}

// One clock. Inputs were driven after the last rising edge, so the design sees them settle while clk is low;
// both sides of each handshake are sampled then, and hold until the rising edge.
void Twin::clock()
{
    top_->clk = 0;
    top_->eval();
    sample_dma();
    sample_wire();
    sample_trace();
    sample_mmio();
    const bool busy = top_->busy;

    top_->clk = 1;
    top_->eval();
    ++status_.clocks;

    drive_mmio();
    drive_read_data();
    drive_rx();
    top_->rdreq_ready = !reads_.full();
    top_->wrreq_ready = !writes_.full();
    top_->wdat_ready = !writes_.empty();
    top_->irq_ready = !irqs_.full();

    const bool active = busy || mmio_ != Mmio::IDLE || !reads_.empty() || !writes_.empty() || rx_on_ || tx_open_;
    quiet_clocks_ = active ? 0 : quiet_clocks_ + 1;
}

bool Twin::input_waits() const
{
    return commands_waiting_.load(std::memory_order_relaxed) != 0 || !doorbells_.empty() || !rx_frames_.empty();
}

bool Twin::timer_due() const
{
    return top_->next_us_valid &&
           static_cast<std::int32_t>(static_cast<std::uint32_t>(now_us_) - top_->next_us) >= 0;
}

// Card time follows the wall clock, but not across a gap longer than `allowed_us`: a process that a debugger
// stopped, or that a loaded machine left without a processor, must not see all its timers run out at once.
void Twin::advance_time(std::uint64_t allowed_us)
{
    const std::uint64_t ns = clock_ns(CLOCK_MONOTONIC);
    std::uint64_t us = (ns - start_ns_) / 1000 - (mono_ns_ - start_ns_) / 1000;
    mono_ns_ = ns;
    if (us > allowed_us) {
        status_.time_skipped_us += us - allowed_us;
        us = allowed_us;
    }
    now_us_ += us;
    top_->now_us = static_cast<std::uint32_t>(now_us_);
}

void Twin::park()
{
    std::unique_lock<std::mutex> lock(mutex_);
    parked_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !pause_.load(std::memory_order_relaxed); });
    parked_ = false;
}

// ------------------------------------------------------------------------------------------- sleeping

bool Twin::doorbells_on() const
{
    for (const Function &f : functions_) {
        for (const DoorbellPage &page : f.pages) {
            if (page.on)
                return true;
        }
    }
    return false;
}

std::uint64_t Twin::sleep_us() const
{
    std::uint64_t us = SLEEP_MAX_US;
    if (doorbells_on())
        us = now_us_ - last_work_us_ < LAZY_AFTER_US ? config_.poll_us : config_.lazy_poll_us;
    const std::uint64_t due = std::min(link_rx_.next_due(), link_tx_.next_due());
    if (due != Link::NEVER)
        us = std::min(us, due > now_us_ ? due - now_us_ : 0);
    if (top_->next_us_valid) {
        const auto left = static_cast<std::int32_t>(top_->next_us - static_cast<std::uint32_t>(now_us_));
        us = std::min(us, static_cast<std::uint64_t>(std::max(left, 0)));
    }
    return us;
}

// Nothing to do for the core. Looks around for a short while, since work often follows work, then sleeps until
// the wire or another thread has something, a timer is due, or the doorbell pages are to be read again.
void Twin::wait_for_input()
{
    if (pcap_.on() && now_us_ - flush_us_ >= FLUSH_US) {
        pcap_.flush();
        flush_us_ = now_us_;
    }
    if (now_us_ - last_work_us_ < config_.spin_us)
        return;
    const std::uint64_t us = sleep_us();
    if (us == 0)
        return;
    const int wire_events = (link_rx_.wants_more() ? POLLIN : 0) | (wire_.backlog() ? POLLOUT : 0);
    pollfd fds[2] = {{kick_fd_, POLLIN, 0}, {wire_.fd(), static_cast<short>(wire_events), 0}};
    const timespec timeout = {static_cast<time_t>(us / 1000000), static_cast<long>(us % 1000000) * 1000};
    ++status_.sleeps;
    const int ready = ppoll(fds, 2, &timeout, nullptr);
    if (ready > 0 && (fds[0].revents & POLLIN)) {
        eventfd_t kicks;
        eventfd_read(kick_fd_, &kicks);
    }
    if (ready > 0 && (fds[1].revents & (POLLERR | POLLHUP | POLLNVAL)) && !(fds[1].revents & POLLIN))
        usleep(1000);  // nobody at the other end: no busy loop
    advance_time(us + config_.guard_us);
}

// ----------------------------------------------------------------------------------------------- MMIO

void Twin::sample_mmio()
{
    mmio_taken_ = mmio_ == Mmio::DRIVING && top_->mmio_ready;
    mmio_answered_ = top_->mmio_rvalid;
    mmio_data_ = top_->mmio_rdata;
}

// Doorbells and registers whose meaning the pages must follow: what switches a queue set on or off clears its
// indices in the core, so the memory that stands for them is cleared as well.
void Twin::snoop(const Command &c)
{
    if (c.func == 0) {
        const std::uint32_t entry = c.addr - NK_PF_VF_BASE;
        const std::uint32_t vf = entry / NK_PF_VF_STRIDE;
        if (c.addr >= NK_PF_VF_BASE && vf < NKTWIN_NVF && entry % NK_PF_VF_STRIDE == NK_VFE_CTRL_OFS && !(c.value & 1))
            clear_all_doorbells(vf + 1);
        return;
    }
    if (c.addr == NK_VF_CTRL_ADDR && (!(c.value >> NK_VF_CTRL_ENABLE_LSB & 1) || (c.value >> NK_VF_CTRL_RESET_LSB & 1)))
        clear_all_doorbells(c.func);
    const std::uint32_t set = c.addr - NK_VF_QS_BASE;
    if (c.addr >= NK_VF_QS_BASE && set / NK_VF_QS_STRIDE < NK_VF_QS_COUNT && set % NK_VF_QS_STRIDE == NK_QS_CTRL_OFS)
        clear_doorbells(c.func, set / NK_VF_QS_STRIDE, c.value & 1);
}

void Twin::clear_doorbells(std::uint32_t func, std::uint32_t page, bool on)
{
    Function &f = functions_[func];
    if (page >= f.pages.size())
        return;
    auto *words = reinterpret_cast<std::uint32_t *>(f.doorbells.data() + page * NK_VF_DB_STRIDE);
    for (std::uint32_t i = 0; i < DOORBELL_WORDS; ++i) {
        __atomic_store_n(&words[i], 0, __ATOMIC_RELEASE);
        f.pages[page].seen[i] = 0;
    }
    f.pages[page].on = on;
}

void Twin::clear_all_doorbells(std::uint32_t func)
{
    for (std::uint32_t page = 0; page < functions_[func].pages.size(); ++page)
        clear_doorbells(func, page, false);
}

// One queue set's page. The arm word is read before the heads and reaches the core after them, as software
// writes it after them: an armed interrupt then never misses what stood beyond an older head.
void Twin::poll_page(std::uint32_t func, std::uint32_t page)
{
    static_assert(NK_DB_IRQ_ARM_OFS == 4 * (DOORBELL_WORDS - 1), "the arm word is the last");
    Function &f = functions_[func];
    const auto *words = reinterpret_cast<const std::uint32_t *>(f.doorbells.data() + page * NK_VF_DB_STRIDE);
    DoorbellPage &p = f.pages[page];
    std::uint32_t now[DOORBELL_WORDS];
    now[DOORBELL_WORDS - 1] = __atomic_load_n(&words[DOORBELL_WORDS - 1], __ATOMIC_ACQUIRE);
    for (std::uint32_t i = 0; i < DOORBELL_WORDS - 1; ++i)
        now[i] = __atomic_load_n(&words[i], __ATOMIC_ACQUIRE);
    for (std::uint32_t i = 0; i < DOORBELL_WORDS; ++i) {
        if (now[i] == p.seen[i])
            continue;
        p.seen[i] = now[i];
        doorbells_.push({func, NK_VF_DB_BASE + page * NK_VF_DB_STRIDE + 4 * i, now[i]});
        ++status_.doorbells;
    }
}

bool Twin::poll_doorbells()
{
    for (std::uint32_t func = 1; func < FUNCTIONS; ++func) {
        for (std::uint32_t page = 0; page < functions_[func].pages.size(); ++page) {
            if (doorbells_.room() >= DOORBELL_WORDS)
                poll_page(func, page);
        }
    }
    return !doorbells_.empty();
}

void Twin::finish_command(int result)
{
    mmio_ = Mmio::IDLE;
    if (!current_.waiter)
        return;
    std::lock_guard<std::mutex> lock(mutex_);
    current_.waiter->result = result;
    current_.waiter->done.notify_all();
}

// The next doorbell or command. Doorbells written before a register access reach the core before it.
bool Twin::next_command()
{
    if (doorbells_.empty() && commands_waiting_.load(std::memory_order_acquire) != 0 && !poll_doorbells()) {
        std::lock_guard<std::mutex> lock(mutex_);
        current_ = std::move(commands_.front());
        commands_.pop_front();
        commands_waiting_.store(static_cast<std::uint32_t>(commands_.size()), std::memory_order_relaxed);
        changed_.notify_all();
        if (current_.waiter && current_.waiter->abandoned)
            return false;
    } else if (!doorbells_.empty()) {
        const Doorbell &bell = doorbells_.front();
        current_ = Command{};
        current_.func = bell.func;
        current_.addr = bell.addr;
        current_.value = bell.value;
        doorbells_.pop();
    } else {
        return false;
    }
    if (current_.reads == 0) {
        ++status_.mmio_writes;
        snoop(current_);
    }
    return true;
}

void Twin::drive_mmio()
{
    if (mmio_ == Mmio::IDLE && !mmio_answered_ && !input_waits())
        return;
    if (mmio_taken_) {
        top_->mmio_valid = 0;
        mmio_since_ = status_.clocks;
        if (current_.reads)
            mmio_ = Mmio::READING;
        else
            finish_command(0);
    }
    if (mmio_answered_ && mmio_ != Mmio::READING) {
        ++status_.protocol_errors;
    } else if (mmio_answered_) {
        current_.waiter->values.push_back(mmio_data_);
        current_.addr += 4;
        mmio_ = Mmio::DRIVING;
        if (--current_.reads == 0)
            finish_command(0);
    } else if (mmio_ == Mmio::READING && status_.clocks - mmio_since_ > READ_CLOCKS_MAX) {
        ++status_.mmio_timeouts;
        finish_command(-ETIMEDOUT);
    }
    if (mmio_ == Mmio::IDLE && next_command())
        mmio_ = Mmio::DRIVING;
    if (mmio_ == Mmio::DRIVING && !top_->mmio_valid) {
        status_.mmio_reads += current_.reads != 0;
        top_->mmio_valid = 1;
        top_->mmio_func = static_cast<std::uint8_t>(current_.func);
        top_->mmio_write = current_.reads == 0;
        top_->mmio_addr = current_.addr;
        top_->mmio_wdata = current_.value;
    }
}

// Called with mutex_ held when the simulation ends: nobody shall wait for an answer that cannot come.
void Twin::fail_commands()
{
    if (mmio_ != Mmio::IDLE)
        commands_.push_back(std::move(current_));
    for (Command &command : commands_) {
        if (command.waiter) {
            command.waiter->result = -ESHUTDOWN;
            command.waiter->done.notify_all();
        }
    }
    commands_.clear();
    commands_waiting_ = 0;
    mmio_ = Mmio::IDLE;
    top_->mmio_valid = 0;
}

// ------------------------------------------------------------------------------------------------ DMA

Twin::Transfer Twin::make_transfer(std::uint32_t func, std::uint64_t addr, std::uint32_t len, std::uint32_t lane,
                                   std::uint32_t wrap_len, std::uint64_t wrap_addr)
{
    if (len == 0 || len > 4096 || lane >= BEAT || func >= FUNCTIONS)
        ++status_.protocol_errors;
    return {addr, wrap_addr, status_.clocks + config_.read_latency, func, std::max(len, 1u), lane, wrap_len};
}

void Twin::note_dma_error(std::uint32_t func, std::uint64_t addr, bool write)
{
    ++status_.dma_errors;
    status_.dma_error_addr = addr;
    status_.dma_error_func = func;
    status_.dma_error_write = write;
}

// `data` is the first byte of the transfer. Both pieces of a wrapped one; one error at most is counted.
bool Twin::transfer(const Transfer &t, bool write, std::uint8_t *data)
{
    const std::uint32_t first = std::min(t.len, t.wrap_len == 0xffff ? t.len : t.wrap_len);
    if (t.func >= FUNCTIONS) {
        std::memset(data, 0, t.len);
        return false;
    }
    DmaSpace &dma = functions_[t.func].dma;
    bool ok = write ? dma.write(t.addr, data, first) : dma.read(t.addr, data, first);
    if (first < t.len) {
        const std::uint32_t rest = t.len - first;
        ok &= write ? dma.write(t.wrap_addr, data + first, rest) : dma.read(t.wrap_addr, data + first, rest);
    }
    // The memory vanished under the copy: its owner shortened the file.
    const std::uint64_t lost = SharedMemory::lost();
    ok &= lost == memory_lost_seen_;
    memory_lost_seen_ = lost;
    return ok;
}

void Twin::load_read()
{
    const Transfer &t = reads_.front();
    read_beats_ = beats(t.lane, t.len);
    read_beat_ = 0;
    if (!transfer(t, false, read_buffer_ + t.lane))
        note_dma_error(t.func, t.addr, false);
    ++status_.dma_reads;
    status_.dma_read_bytes += t.len;
    read_loaded_ = true;
}

void Twin::finish_write()
{
    const Transfer &t = writes_.front();
    if (!transfer(t, true, write_buffer_ + t.lane))
        note_dma_error(t.func, t.addr, true);
    ++status_.dma_writes;
    status_.dma_write_bytes += t.len;
    write_beat_ = 0;
    ++writes_done_;
    writes_.pop();
}

void Twin::sample_dma()
{
    rdat_taken_ = rdat_on_ && top_->rdat_ready;
    if (top_->wdat_valid && top_->wdat_ready) {
        const Transfer &t = writes_.front();
        get_beat(top_->wdat_data, write_buffer_ + write_beat_ * BEAT);
        const bool last = ++write_beat_ == beats(t.lane, t.len);
        if (last != static_cast<bool>(top_->wdat_last))
            ++status_.protocol_errors;
        if (last)
            finish_write();
    }
    if (top_->rdreq_valid && top_->rdreq_ready)
        reads_.push(make_transfer(top_->rdreq_func, top_->rdreq_addr, top_->rdreq_len, top_->rdreq_lane,
                                  top_->rdreq_wrap_len, top_->rdreq_wrap_addr));
    if (top_->wrreq_valid && top_->wrreq_ready) {
        writes_.push(make_transfer(top_->wrreq_func, top_->wrreq_addr, top_->wrreq_len, top_->wrreq_lane,
                                   top_->wrreq_wrap_len, top_->wrreq_wrap_addr));
        ++writes_accepted_;
    }
    if (top_->irq_valid && top_->irq_ready)
        irqs_.push({top_->irq_func, top_->irq_vector, writes_accepted_});
    if (!irqs_.empty())
        fire_irqs();
}

void Twin::drive_read_data()
{
    if (rdat_taken_) {
        rdat_taken_ = rdat_on_ = false;
        if (++read_beat_ == read_beats_) {
            reads_.pop();
            read_loaded_ = false;
        }
    }
    if (!rdat_on_ && !reads_.empty() && reads_.front().due <= status_.clocks) {
        if (!read_loaded_)
            load_read();
        put_beat(top_->rdat_data, read_buffer_ + read_beat_ * BEAT);
        top_->rdat_last = read_beat_ + 1 == read_beats_;
        rdat_on_ = true;
    }
    top_->rdat_valid = rdat_on_;
}

void Twin::fire_irqs()
{
    while (!irqs_.empty() && irqs_.front().after_writes <= writes_done_) {
        const Irq irq = irqs_.front();
        irqs_.pop();
        if (irq.func < FUNCTIONS && irq.vector < VECTORS)
            raise(irq.func, irq.vector);
        else
            ++status_.protocol_errors;
    }
}

void Twin::raise(std::uint32_t func, std::uint32_t vector)
{
    Vector &v = functions_[func].vectors[vector];
    if (v.masked) {
        v.pending = true;
        return;
    }
    const std::uint64_t one = 1;
    ssize_t done = -1;
    if (v.fd >= 0) {
        // A client may make its eventfd block (full counter, flags changed); watchdog() gets us out of that.
        irq_phase_.fetch_add(1, std::memory_order_relaxed);
        done = write(v.fd, &one, sizeof(one));
        const int error = errno;
        irq_phase_.fetch_add(1, std::memory_order_relaxed);
        if (done < 0 && error != EAGAIN) {
            close(v.fd);
            v.fd = -1;
        }
    }
    if (done < 0)
        ++status_.irqs_dropped;
    else
        ++status_.irqs;
}

// ------------------------------------------------------------------------------------------------ MAC

void Twin::service_wire()
{
    if (wire_.backlog())
        wire_.flush();
    for (std::uint32_t i = 0; i < FRAMES_A_LOOK && link_rx_.wants_more(); ++i) {
        Frame *frame = wire_.receive();
        if (!frame)
            break;
        link_rx_.push(frame, now_us_);
    }
    while (!rx_frames_.full()) {
        Frame *frame = link_rx_.pop(now_us_);
        if (!frame)
            break;
        rx_frames_.push(frame);
    }
    while (Frame *frame = link_tx_.pop(now_us_))
        wire_.send(frame);
}

void Twin::drive_rx()
{
    if (rx_taken_) {
        Frame *frame = rx_frames_.front();
        rx_offset_ += BEAT;
        if (rx_offset_ >= frame->bytes) {
            rx_on_ = false;
            rx_frames_.pop();
            pool_.give(frame);
        }
    }
    const bool start = !rx_on_ && !rx_frames_.empty();
    if (start) {
        const Frame &frame = *rx_frames_.front();
        rx_on_ = true;
        rx_offset_ = 0;
        ++status_.frames_rx;
        status_.bytes_rx += frame.bytes;
        if (pcap_.on())
            pcap_.write(frame, now_us_ + pcap_epoch_us_);
    }
    if (rx_on_ && (start || rx_taken_)) {
        const Frame &frame = *rx_frames_.front();
        put_beat(top_->rx_data, frame.data + rx_offset_);
        const std::uint32_t left = frame.bytes - rx_offset_;
        top_->rx_bytes = static_cast<std::uint8_t>(std::min(left, BEAT));
        top_->rx_last = left <= BEAT;
    }
    top_->rx_valid = rx_on_;
    rx_taken_ = false;
}

void Twin::sample_wire()
{
    rx_taken_ = rx_on_ && top_->rx_ready;
    if (!top_->tx_valid)
        return;
    if (!tx_open_) {
        tx_open_ = true;
        tx_bytes_ = 0;
        tx_frame_ = pool_.take();
    }
    const std::uint32_t bytes = top_->tx_bytes;
    if (bytes == 0 || bytes > BEAT || (bytes < BEAT && !top_->tx_last) || tx_bytes_ + bytes > FRAME_MAX)
        ++status_.protocol_errors;
    if (tx_frame_ && tx_bytes_ + BEAT <= sizeof(tx_frame_->data))
        get_beat(top_->tx_data, tx_frame_->data + tx_bytes_);
    tx_bytes_ += bytes;
    if (top_->tx_last) {
        tx_open_ = false;
        send_frame();
    }
}

void Twin::send_frame()
{
    ++status_.frames_tx;
    status_.bytes_tx += tx_bytes_;
    Frame *frame = tx_frame_;
    tx_frame_ = nullptr;
    if (!frame)
        return;
    frame->bytes = std::min<std::uint32_t>(tx_bytes_, FRAME_MAX);
    if (pcap_.on())
        pcap_.write(*frame, now_us_ + pcap_epoch_us_);
    link_tx_.push(frame, now_us_);
    while (Frame *due = link_tx_.pop(now_us_))
        wire_.send(due);
}

void Twin::sample_trace()
{
    if (!top_->tr_valid)
        return;
    const std::uint32_t vf = top_->tr_vf;
    if (vf >= NKTWIN_NVF) {
        ++status_.protocol_errors;
        return;
    }
    Trace &trace = traces_[vf];
    nktwin_nqe &entry = trace.ring[trace.next_seq % trace.ring.size()];
    entry.seq = trace.next_seq++;
    entry.time_us = now_us_ + epoch_us_;
    entry.vf = static_cast<std::uint8_t>(vf);
    entry.queue_set = static_cast<std::uint8_t>(top_->tr_qs);
    entry.queue = static_cast<std::uint8_t>(top_->tr_queue);
    static_assert(sizeof(top_->tr_nqe) == sizeof(entry.nqe), "an NQE has 32 bytes");
    std::memcpy(entry.nqe, static_cast<const void *>(&top_->tr_nqe), sizeof(entry.nqe));
    ++status_.nqes;
}

}  // namespace nk
