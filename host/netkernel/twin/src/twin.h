// SPDX-License-Identifier: Apache-2.0
// Purpose: nk_core, Verilated, with memory, interrupts, doorbell pages and a wire around it, in real time.
//
// One thread sits in run() and owns the model and everything marked "simulation thread". Others give it MMIO
// commands through a queue, and change the rest by at_safe_point(), which runs a function while the simulation
// thread stands between two clocks.

#ifndef NKTWIN_TWIN_H
#define NKTWIN_TWIN_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <pthread.h>

#include "dma.h"
#include "frame.h"
#include "link.h"
#include "nktwin.h"
#include "pcap.h"
#include "wire.h"

class Vtop;
class VerilatedContext;

namespace nk {

constexpr std::uint32_t BEAT = NKTWIN_W / 8;  // bytes a beat
constexpr std::uint32_t FUNCTIONS = NKTWIN_NVF + 1;
constexpr std::uint32_t VECTORS = 32;  // interrupts of a function

class Twin {
public:
    explicit Twin(const nktwin_config &config);
    ~Twin();
    Twin(const Twin &) = delete;
    Twin &operator=(const Twin &) = delete;

    int run();
    void stop();
    void watchdog();

    int mmio_write(std::uint32_t func, std::uint32_t addr, std::uint32_t value, std::uint32_t timeout_ms);
    int mmio_read(std::uint32_t func, std::uint32_t addr, std::uint32_t *values, std::uint32_t count,
                  std::uint32_t timeout_ms);

    int set_doorbells(std::uint32_t func, int fd, std::uint64_t offset, std::uint32_t pages);
    int doorbell_write(std::uint32_t func, std::uint32_t offset, std::uint32_t value);
    int doorbell_read(std::uint32_t func, std::uint32_t offset, std::uint32_t *value);

    int dma_map(std::uint32_t func, std::uint64_t iova, std::uint64_t size, int fd, std::uint64_t offset,
                std::uint32_t prot);
    int dma_unmap(std::uint32_t func, std::uint64_t iova, std::uint64_t size);
    int dma_unmap_all(std::uint32_t func);
    int set_bus_master(std::uint32_t func, bool on);

    int set_irq(std::uint32_t func, std::uint32_t vector, int fd);
    int mask_irq(std::uint32_t func, std::uint32_t vector, bool masked);
    int trigger_irq(std::uint32_t func, std::uint32_t vector);

    int set_wire(int fd);
    int link_set(std::uint32_t dir, const nklink_config &config);
    int link_get(std::uint32_t dir, nklink_config &config, nklink_counters &counters);
    int set_pcap(int fd);
    int trace_read(std::uint32_t vf, std::uint64_t after, nktwin_nqe *out, std::uint32_t max);
    int get_status(nktwin_status &status);

private:
    struct Waiter {
        std::vector<std::uint32_t> values;  // read so far
        int result = 1;                     // 1: not finished
        bool abandoned = false;
        std::condition_variable done;
    };
    struct Command {
        std::uint32_t func = 0, addr = 0, value = 0;
        std::uint32_t reads = 0;         // registers to read; 0: a write
        std::shared_ptr<Waiter> waiter;  // empty: nobody waits
    };
    struct Doorbell {
        std::uint32_t func, addr, value;
    };
    struct Transfer {  // a DMA command of the core
        std::uint64_t addr, wrap_addr, due;
        std::uint32_t func, len, lane, wrap_len;
    };
    struct Irq {
        std::uint32_t func, vector;
        std::uint64_t after_writes;
    };
    struct Vector {
        int fd = -1;
        bool masked = false, pending = false;
    };
    static constexpr std::uint32_t DOORBELL_WORDS = 5;
    struct DoorbellPage {
        std::uint32_t seen[DOORBELL_WORDS] = {};
        bool on = false;  // software switched the queue set on
    };
    struct Function {
        DmaSpace dma;
        SharedMemory doorbells;
        std::vector<DoorbellPage> pages;
        Vector vectors[VECTORS];
    };
    struct Trace {
        std::vector<nktwin_nqe> ring;
        std::uint64_t next_seq = 1;
    };

    // ---- other threads
    template <typename Body> void at_safe_point(Body body);
    void kick();
    int submit(Command command, std::uint32_t timeout_ms);
    int check(std::uint32_t func) const { return func < FUNCTIONS ? 0 : -EINVAL; }
    std::uint32_t *doorbell_word(std::uint32_t func, std::uint32_t offset);

    // ---- simulation thread
    void reset_core();
    void clock();
    void park();
    bool input_waits() const;
    bool timer_due() const;
    void advance_time(std::uint64_t allowed_us);
    void service_wire();
    bool poll_doorbells();
    void poll_page(std::uint32_t func, std::uint32_t page);
    void clear_doorbells(std::uint32_t func, std::uint32_t page, bool on);
    void clear_all_doorbells(std::uint32_t func);
    void wait_for_input();
    std::uint64_t sleep_us() const;
    bool doorbells_on() const;

    void sample_dma();
    void sample_wire();
    void sample_trace();
    void sample_mmio();
    void drive_rx();
    void drive_read_data();
    void drive_mmio();
    bool next_command();
    void load_read();
    void finish_write();
    void fire_irqs();
    void raise(std::uint32_t func, std::uint32_t vector);
    void send_frame();
    void snoop(const Command &command);
    void finish_command(int result);
    void fail_commands();
    void note_dma_error(std::uint32_t func, std::uint64_t addr, bool write);
    bool transfer(const Transfer &t, bool write, std::uint8_t *data);
    Transfer make_transfer(std::uint32_t func, std::uint64_t addr, std::uint32_t len, std::uint32_t lane,
                           std::uint32_t wrap_len, std::uint64_t wrap_addr);

    const nktwin_config config_;
    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vtop> top_;
    FramePool pool_;

    // ---- meeting point of the threads
    std::mutex control_;             // one caller of at_safe_point at a time
    std::mutex mutex_;               // guards what follows, and the command queue
    std::condition_variable changed_;
    bool running_ = false, parked_ = false;
    std::atomic<bool> pause_{false}, stop_{false};
    int kick_fd_ = -1;
    std::deque<Command> commands_;
    std::atomic<std::uint32_t> commands_waiting_{0};
    std::atomic<std::uint64_t> irq_phase_{0};  // odd: inside write() of an eventfd
    std::uint64_t irq_phase_seen_ = 0;
    pthread_t sim_thread_{};

    // ---- simulation thread, or at a safe point
    nktwin_status status_{};
    Function functions_[FUNCTIONS];
    Trace traces_[NKTWIN_NVF];
    Wire wire_;
    Link link_rx_, link_tx_;
    Pcap pcap_;
    std::uint64_t pcap_epoch_us_ = 0, epoch_us_ = 0;  // Unix time less card time

    std::uint64_t now_us_ = config_.start_us, mono_ns_ = 0, start_ns_ = 0, last_work_us_ = 0, flush_us_ = 0;
    std::uint64_t rate_clocks_ = 0, rate_ns_ = 0;  // of the recent-rate window
    std::uint32_t quiet_clocks_ = 0;
    bool was_reset_ = false;

    // MMIO
    enum class Mmio { IDLE, DRIVING, READING } mmio_ = Mmio::IDLE;
    Command current_;
    std::uint64_t mmio_since_ = 0;
    bool mmio_taken_ = false, mmio_answered_ = false;
    std::uint32_t mmio_data_ = 0;
    Ring<Doorbell, 256> doorbells_;

    // DMA
    Ring<Transfer, 32> reads_, writes_;
    bool read_loaded_ = false, rdat_on_ = false, rdat_taken_ = false;
    std::uint32_t read_beats_ = 0, read_beat_ = 0;
    std::uint32_t write_beat_ = 0;
    std::uint64_t writes_accepted_ = 0, writes_done_ = 0;
    std::uint64_t memory_lost_seen_ = 0;
    Ring<Irq, 64> irqs_;
    alignas(64) std::uint8_t read_buffer_[65536 + 2 * BEAT];
    alignas(64) std::uint8_t write_buffer_[65536 + 2 * BEAT];

    // MAC
    Ring<Frame *, 8> rx_frames_;
    bool rx_on_ = false, rx_taken_ = false;
    std::uint32_t rx_offset_ = 0;
    Frame *tx_frame_ = nullptr;
    std::uint32_t tx_bytes_ = 0;
    bool tx_open_ = false;
};

}  // namespace nk

#endif
