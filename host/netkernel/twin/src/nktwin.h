// SPDX-License-Identifier: Apache-2.0
// Purpose: C interface of libnktwin.so, the Verilated nk_core with its shim: what the Python process uses.
//
// Functions return 0 or a count, or -errno. All may be called from any thread while one thread sits in
// nktwin_run(), save nktwin_create() and nktwin_destroy(). What changes the machinery (map, wire, link, trace)
// waits until the simulation thread stands between two clocks: a fraction of a millisecond.
// `func`: 0 is the PF, n + 1 is VF n.

#ifndef NKTWIN_H
#define NKTWIN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* cdef-begin: from here to cdef-end the text is also read by cffi, so no preprocessor lines */

typedef struct nktwin nktwin;
typedef struct nklink nklink;

typedef struct {
    uint32_t width;        // bits of the data bus
    uint32_t vfs;
    uint32_t queue_sets;   // of a VF
    uint32_t flows;
    uint32_t build_id;
    uint32_t frame_max;    // longest frame that the wire carries, bytes
} nktwin_info;

typedef struct {
    uint64_t seed;          // of the link model
    uint32_t read_latency;  // clocks between a DMA read request and its first beat
    uint32_t spin_us;       // how long to poll after work before sleeping
    uint32_t poll_us;       // doorbell poll while asleep, a queue set being on
    uint32_t lazy_poll_us;  // the same after a second without work
    uint32_t guard_us;      // a longer gap between two looks at the clock is cut down to this
    uint64_t start_us;      // card time at the start; its low 32 bits are what the core sees
} nktwin_config;

typedef struct {
    double loss;             // probability that a frame is lost
    double burst_loss;       // probability that a frame starts a burst of losses (Gilbert model)
    double burst_frames;     // mean length of a burst, frames
    double reorder;          // probability that a frame is overtaken by one to eight later ones
    double duplicate;
    double corrupt;          // probability that one bit is flipped
    double rate_mbps;        // 0: no limit
    uint32_t delay_us;
    uint32_t jitter_us;      // up to so much more delay; does not reorder
    uint32_t queue_bytes;    // what may wait for the rate limit; more is dropped
    uint64_t seed;
} nklink_config;

typedef struct {
    uint64_t frames;         // offered
    uint64_t bytes;
    uint64_t delivered;
    uint64_t lost;
    uint64_t burst_lost;
    uint64_t corrupted;
    uint64_t duplicated;
    uint64_t reordered;
    uint64_t queue_dropped;  // rate limit's queue or frame memory full
} nklink_counters;

typedef struct {
    uint64_t clocks;
    uint64_t busy_ns;              // wall time spent clocking
    uint64_t uptime_ns;
    double clocks_per_second;      // while busy, since the start
    double recent_clocks_per_second;  // the same over the last half second of busy time
    uint64_t now_us;               // card time
    uint64_t time_skipped_us;      // wall time kept from the card (debugger, stopped machine)
    uint64_t sleeps;
    uint64_t frames_rx;            // into the core
    uint64_t frames_tx;            // out of the core
    uint64_t bytes_rx;
    uint64_t bytes_tx;
    uint64_t wire_rx_errors;       // frames that the wire could not give: too long, or the wire is broken
    uint64_t wire_tx_drops;        // frames that the wire would not take
    uint64_t mmio_reads;
    uint64_t mmio_writes;
    uint64_t mmio_timeouts;
    uint64_t doorbells;            // doorbell words that changed and were passed to the core
    uint64_t dma_reads;
    uint64_t dma_writes;
    uint64_t dma_read_bytes;
    uint64_t dma_write_bytes;
    uint64_t dma_errors;           // transfers that met unmapped memory, a missing permission or bus master off
    uint64_t dma_error_addr;       // of the last of them
    uint32_t dma_error_func;
    uint32_t dma_error_write;
    uint64_t irqs;                 // eventfds written
    uint64_t irqs_dropped;         // nobody listens, or an eventfd that would block
    uint64_t protocol_errors;      // the core broke a rule of its host or MAC interface
    uint64_t nqes;                 // traced
    uint32_t running;
    uint32_t asleep;
    uint32_t link_up;              // 0: no wire, or the wire is broken
    uint32_t pcap_on;
} nktwin_status;

typedef struct {
    uint64_t seq;       // counts the NQEs of this VF from 1
    uint64_t time_us;   // Unix time
    uint8_t vf;
    uint8_t queue_set;
    uint8_t queue;      // job, completion, send, receive
    uint8_t reserved[5];
    uint8_t nqe[32];
} nktwin_nqe;

void nktwin_get_info(nktwin_info *info);

// NULL with errno set when memory is short.
nktwin *nktwin_create(const nktwin_config *config);
// nktwin_run() must have returned.
void nktwin_destroy(nktwin *t);

// Simulates until nktwin_stop(): 0, or -EPROTO when the RTL called $finish, or -errno.
int nktwin_run(nktwin *t);
void nktwin_stop(nktwin *t);

// Call every 100 ms or so: frees the simulation thread when a client's eventfd blocks it.
void nktwin_watchdog(nktwin *t);

// Accesses are served in the order of the calls, of all functions together. -ESHUTDOWN: nktwin_run() is not active.
// -EAGAIN: the queue stays full. -ETIMEDOUT: the core did not take it in time; a write may still be served.
// timeout_ms 0: do not wait until the core has taken it.
int nktwin_mmio_write(nktwin *t, uint32_t func, uint32_t addr, uint32_t value, uint32_t timeout_ms);
// `count` registers from `addr` on.
int nktwin_mmio_read(nktwin *t, uint32_t func, uint32_t addr, uint32_t *values, uint32_t count, uint32_t timeout_ms);

// Doorbell memory of a VF: `pages` pages at `offset` of `fd`, one a queue set; fd -1 takes it away.
int nktwin_set_doorbells(nktwin *t, uint32_t func, int fd, uint64_t offset, uint32_t pages);
// A word of that memory, `offset` counted from its start.
int nktwin_doorbell_write(nktwin *t, uint32_t func, uint32_t offset, uint32_t value);
int nktwin_doorbell_read(nktwin *t, uint32_t func, uint32_t offset, uint32_t *value);

// prot: bit 0 the card may read, bit 1 it may write. fd -1: the range is known but cannot be reached.
// -EEXIST: overlaps. -EINVAL: not page aligned, outside the file, or not memory (memfd, tmpfs, hugetlbfs).
int nktwin_dma_map(nktwin *t, uint32_t func, uint64_t iova, uint64_t size, int fd, uint64_t offset, uint32_t prot);
// Whole mappings inside the range; the number of them. -EINVAL when it would cut one. On return the card has
// no access any more.
int nktwin_dma_unmap(nktwin *t, uint32_t func, uint64_t iova, uint64_t size);
int nktwin_dma_unmap_all(nktwin *t, uint32_t func);
int nktwin_set_bus_master(nktwin *t, uint32_t func, int on);

// The library keeps a duplicate of fd, which must be an eventfd; -1 takes it away.
int nktwin_set_irq(nktwin *t, uint32_t func, uint32_t vector, int fd);
int nktwin_mask_irq(nktwin *t, uint32_t func, uint32_t vector, int masked);
int nktwin_trigger_irq(nktwin *t, uint32_t func, uint32_t vector);

// TAP, or a datagram or seqpacket socket: one frame a read and write. The library keeps a duplicate. -1: no wire.
int nktwin_set_wire(nktwin *t, int fd);
// dir 0: towards the core, 1: from it. A new seed starts the sequence of decisions afresh.
int nktwin_link_set(nktwin *t, uint32_t dir, const nklink_config *config);
int nktwin_link_get(nktwin *t, uint32_t dir, nklink_config *config, nklink_counters *counters);
// Starts a pcap file on a duplicate of fd; -1 ends it.
int nktwin_set_pcap(nktwin *t, int fd);

// NQEs of a VF later than `after`, oldest first; the number of them. Old ones are overwritten.
int nktwin_trace_read(nktwin *t, uint32_t vf, uint64_t after, nktwin_nqe *out, uint32_t max);

int nktwin_get_status(nktwin *t, nktwin_status *status);

// The link model by itself, with time given by the caller.
void nklink_defaults(nklink_config *config);
int nklink_check(const nklink_config *config);  // -EINVAL: a field is out of its range
nklink *nklink_create(const nklink_config *config);
void nklink_destroy(nklink *link);
int nklink_set(nklink *link, const nklink_config *config);
int nklink_push(nklink *link, const uint8_t *data, uint32_t bytes, uint64_t now_us);
// Bytes of the next frame that is due, 0 when there is none.
int nklink_pop(nklink *link, uint8_t *data, uint32_t room, uint64_t now_us);
void nklink_get_counters(nklink *link, nklink_counters *counters);

/* cdef-end */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
