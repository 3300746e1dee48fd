/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A software NSM: the card's side of the ABI in shared memory, with kernel TCP sockets on 127.0.0.x as
 * its network. Lets GuestLib be tested without RTL. The tenant's 10.99.0.N is the kernel's A.B.C.N, where
 * A.B.C (--net, told to the program as NK_TEST_NET) is this run's own part of 127.0.0.0/8; the VF is
 * 10.99.0.2, and two more addresses misbehave on purpose.
 */
#ifndef SOFTNSM_H
#define SOFTNSM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "nk_abi.h"
#include "nk_ring.h"

#define VF_IP 0x0a630002u
#define IP_BLACKHOLE 0x0a6300fau   /* 10.99.0.250: SYNs vanish, TIMEOUT after --syn-timeout-ms */
#define IP_UNREACHABLE 0x0a6300fbu /* 10.99.0.251: no ARP answer, RESET UNREACHABLE */
#define MSS 1460u
#define NONE 0xffffffffu
#define OPTIONS 9 /* NK_OPT_ values, and 0 */
#define SETOPT_LOG 256

struct options {
	uint32_t sockets, rx_log2, tx_log2, queue_log2, heap_sockets;
	uint32_t time_wait_ms, syn_timeout_ms, chunk;
	const char *evil, *stats, *guestd, *guestd_stats;
	uint32_t die_after_ms;
	bool verbose;
	uint32_t seed, net; /* net: the kernel's side, 127.x.y.0 */
};

struct flow {
	uint8_t state; /* NK_FS_ */
	int fd;
	uint32_t epoll; /* events that the kernel fd is registered for */
	uint64_t rx_ring, tx_ring;
	uint32_t rx_size, tx_size;
	uint32_t rx_tail, window; /* window: bytes that may be placed */
	uint32_t tx_head, tx_tail;
	bool fin_wanted, fin_sent, peer_fin, closing;
	uint32_t credit_head, credit_tail, next; /* accept credits of a listener */
	uint32_t listener;
	uint64_t deadline; /* microseconds, 0: none */
	uint16_t port;
	uint32_t option[OPTIONS]; /* by NK_OPT_ */
	bool had_credit;
};

struct nsm {
	struct options opt;
	uint8_t *region, *bar;
	uint64_t region_bytes, heap_offset, heap_bytes;
	struct nk_ring job, completion, send, receive;
	struct nk_status_block *status;
	uint32_t job_head, send_head, completion_tail, receive_tail, arm_seen;
	bool armed;
	int irq, ep, lease;
	struct flow *flows;
	struct nk_nqe *late; /* events and completions that wait for room in their ring */
	uint32_t late_head, late_count, late_size;
	bool activity;
	struct {
		uint32_t socket, option, value;
	} setopt_log[SETOPT_LOG]; /* the first ones */
	uint32_t setopts;
	uint64_t evil_left;
	struct {
		uint64_t jobs, sends, events, completions, irqs, statuses[16], opened, closed, aborted;
		uint64_t rx_bytes, tx_bytes, credit_overflow, doorbell_errors, data_after_close;
		uint64_t bare_listeners; /* listeners that stood without a credit at the end of a batch of jobs */
	} count;
};

uint64_t now_us(void);
/* card.c: rings */
void card_fetch(struct nsm *nsm);
void card_flush(struct nsm *nsm);
void card_event(struct nsm *nsm, uint8_t op, uint32_t socket, uint64_t op_data, uint32_t size, uint8_t status);
void card_irq(struct nsm *nsm);
bool card_room(const struct nsm *nsm); /* the receive ring takes more events */
/* One entry as it is, if its ring has room. */
bool card_raw(struct nsm *nsm, const struct nk_nqe *nqe, bool completion);
/* flows.c: operations and the network */
uint8_t flow_job(struct nsm *nsm, const struct nk_nqe *nqe, struct nk_nqe *answer);
uint8_t flow_send(struct nsm *nsm, const struct nk_nqe *nqe);
void flow_network(struct nsm *nsm, int timeout_us);
/* evil.c: a card that lies */
void evil_event(struct nsm *nsm, uint32_t socket);

#endif
