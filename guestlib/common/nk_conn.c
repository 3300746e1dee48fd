/* SPDX-License-Identifier: Apache-2.0 */
/* Socket state machine: see nk_conn.h. */
#include "nk_conn.h"

#include "nk_atomic.h"

void nk_conn_init(struct nk_conn *conn, uint32_t rx_size, uint32_t tx_size)
{
	nk_put(&conn->flags, 0);
	nk_put(&conn->err, 0);
	nk_put(&conn->mss, NK_LIM_MSS_DEFAULT);
	nk_put(&conn->rx_size, rx_size);
	nk_put(&conn->tx_size, tx_size);
	nk_put(&conn->rx_tail, 0);
	nk_put(&conn->rx_head, 0);
	nk_put(&conn->tx_tail, 0);
	nk_put(&conn->tx_head, 0);
	nk_put_rel(&conn->state, NK_CONN_NEW);
}

uint32_t nk_conn_rx_avail(const struct nk_conn *conn)
{
	uint32_t avail = nk_get_acq(&conn->rx_tail) - nk_get(&conn->rx_head);

	return avail > conn->rx_size ? 0 : avail;
}

uint32_t nk_conn_tx_room(const struct nk_conn *conn)
{
	uint32_t used = nk_get(&conn->tx_tail) - nk_get_acq(&conn->tx_head);

	return used > conn->tx_size ? 0 : conn->tx_size - used;
}

unsigned int nk_conn_kill(struct nk_conn *conn, int err)
{
	nk_put(&conn->err, (uint32_t)err);
	nk_put_rel(&conn->state, NK_CONN_DEAD);
	return NK_DO_WAKE_IN | NK_DO_WAKE_OUT;
}

/* A live connection loses to a broken card; one that is on its way out just stays there. */
static unsigned int violation(struct nk_conn *conn)
{
	if (nk_get(&conn->state) == NK_CONN_ESTABLISHED || nk_get(&conn->state) == NK_CONN_CONNECTING)
		return nk_conn_kill(conn, EPROTO) | NK_DO_VIOLATION | NK_DO_ABORT;
	return NK_DO_VIOLATION;
}

static unsigned int on_data(struct nk_conn *conn, uint32_t size)
{
	uint32_t held = nk_get(&conn->rx_tail) - nk_get_acq(&conn->rx_head);

	if (nk_get(&conn->state) == NK_CONN_CLOSING) {
		/* Data for nobody: RFC 2525 wants the sender to learn it by a reset. */
		return nk_get(&conn->flags) & NK_CF_ABORTED ? 0 : NK_DO_ABORT;
	}
	if (nk_get(&conn->state) != NK_CONN_ESTABLISHED || (nk_get(&conn->flags) & NK_CF_RX_EOF))
		return violation(conn);
	if (size == 0 || held > conn->rx_size || size > conn->rx_size - held)
		return violation(conn);
	nk_put_rel(&conn->rx_tail, nk_get(&conn->rx_tail) + size);
	return NK_DO_WAKE_IN;
}

static unsigned int on_sent(struct nk_conn *conn, uint32_t size)
{
	uint32_t state = nk_get(&conn->state);
	uint32_t held = nk_get_acq(&conn->tx_tail) - nk_get(&conn->tx_head);

	if (state != NK_CONN_ESTABLISHED && state != NK_CONN_CLOSING && state != NK_CONN_DEAD)
		return violation(conn);
	if (held > conn->tx_size || size > held)
		return violation(conn);
	nk_put_rel(&conn->tx_head, nk_get(&conn->tx_head) + size);
	return state == NK_CONN_ESTABLISHED ? NK_DO_WAKE_OUT : 0;
}

static unsigned int on_gone(struct nk_conn *conn, int err)
{
	switch (nk_get(&conn->state)) {
	case NK_CONN_CONNECTING:
	case NK_CONN_ESTABLISHED:
		return nk_conn_kill(conn, err ? err : ECONNRESET);
	case NK_CONN_CLOSING:
	case NK_CONN_DEAD:
		return 0;
	default:
		return violation(conn);
	}
}

static unsigned int on_closed(struct nk_conn *conn)
{
	if (!(nk_get(&conn->flags) & NK_CF_ON_CARD))
		return NK_DO_VIOLATION;
	switch (nk_get(&conn->state)) {
	case NK_CONN_CLOSING:
	case NK_CONN_CREDIT: /* its listener closed */
		nk_and(&conn->flags, ~(NK_CF_ON_CARD | NK_CF_DOUBT));
		return NK_DO_FREE;
	case NK_CONN_DEAD:
		nk_and(&conn->flags, ~(NK_CF_ON_CARD | NK_CF_DOUBT));
		return 0;
	default:
		/* A VF reset, or a lie. Rings that the card still holds must not get another owner: ask. */
		nk_or(&conn->flags, NK_CF_DOUBT);
		return nk_conn_kill(conn, ECONNABORTED) | NK_DO_ABORT;
	}
}

unsigned int nk_conn_event(struct nk_conn *conn, const struct nk_nqe *nqe)
{
	uint32_t state = nk_get(&conn->state);

	switch (nqe->op) {
	case NK_OP_CONNECTED:
		if (state == NK_CONN_CLOSING || state == NK_CONN_DEAD)
			return 0; /* crossed our CLOSE */
		if (state != NK_CONN_CONNECTING)
			return violation(conn);
		break;
	case NK_OP_ACCEPTED:
		if (state == NK_CONN_CLOSING)
			return 0;
		if (state != NK_CONN_CREDIT)
			return violation(conn);
		break;
	case NK_OP_DATA:
		return on_data(conn, nqe->size);
	case NK_OP_SENT:
		return on_sent(conn, nqe->size);
	case NK_OP_PEER_CLOSED:
		if (state == NK_CONN_CLOSING || state == NK_CONN_DEAD) {
			nk_or(&conn->flags, NK_CF_RX_EOF);
			return 0;
		}
		if (state != NK_CONN_ESTABLISHED)
			return violation(conn);
		nk_or(&conn->flags, NK_CF_RX_EOF);
		return NK_DO_WAKE_IN;
	case NK_OP_RESET:
		return on_gone(conn, nk_status_errno(nk_cookie_status(nqe->cookie)));
	case NK_OP_TIMEOUT:
		return on_gone(conn, ETIMEDOUT);
	case NK_OP_CLOSED:
		return on_closed(conn);
	default:
		return NK_DO_VIOLATION;
	}
	/* CONNECTED, ACCEPTED */
	if (nqe->op == NK_OP_CONNECTED && nqe->size > 0 && nqe->size <= NK_LIM_MTU_MAX)
		nk_put(&conn->mss, nqe->size);
	nk_or(&conn->flags, NK_CF_CONNECTED);
	nk_put_rel(&conn->state, NK_CONN_ESTABLISHED);
	return nqe->op == NK_OP_ACCEPTED ? NK_DO_ACCEPTED : NK_DO_WAKE_IN | NK_DO_WAKE_OUT;
}

unsigned int nk_conn_complete(struct nk_conn *conn, uint8_t op, uint8_t status)
{
	uint32_t state = nk_get(&conn->state);
	int err = nk_status_errno(status);

	if (op == NK_OP_LISTEN && status == NK_ST_OK) {
		if (state != NK_CONN_LISTEN_WAIT)
			return 0;
		nk_put_rel(&conn->state, NK_CONN_LISTENING);
		return NK_DO_LISTENING | NK_DO_WAKE_IN | NK_DO_WAKE_OUT;
	}
	if (status == NK_ST_OK)
		return 0;
	switch (op) {
	case NK_OP_SOCKET:
		/* The card never knew it, so no CLOSED will come. */
		nk_and(&conn->flags, ~NK_CF_ON_CARD);
		if (state == NK_CONN_CREDIT || state == NK_CONN_CLOSING)
			return NK_DO_FREE;
		return nk_conn_kill(conn, err);
	case NK_OP_LISTEN:
	case NK_OP_CONNECT:
		if (state != NK_CONN_LISTEN_WAIT && state != NK_CONN_CONNECTING)
			return 0;
		return nk_conn_kill(conn, err);
	case NK_OP_ACCEPT: /* its listener is gone */
		if (state != NK_CONN_CREDIT)
			return 0;
		nk_put_rel(&conn->state, NK_CONN_CLOSING);
		return NK_DO_CLOSE;
	case NK_OP_ABORT:
		/* Refused: the card holds the socket FREE, or has CLOSED on its way, or said it before. */
		if (!(nk_get(&conn->flags) & NK_CF_DOUBT))
			return 0;
		nk_and(&conn->flags, ~(NK_CF_ON_CARD | NK_CF_DOUBT));
		return state == NK_CONN_CLOSING ? NK_DO_FREE : 0;
	default:
		return 0;
	}
}

unsigned int nk_conn_send_refused(struct nk_conn *conn, uint8_t status)
{
	/* BAD_STATE crosses a reset: RESET or TIMEOUT tells the rest. Else our bookkeeping and the card's differ. */
	if (status == NK_ST_BAD_STATE || nk_get(&conn->state) != NK_CONN_ESTABLISHED)
		return 0;
	return nk_conn_kill(conn, EPROTO) | NK_DO_ABORT | NK_DO_VIOLATION;
}

unsigned int nk_conn_release(struct nk_conn *conn, int reset)
{
	uint32_t state = nk_get(&conn->state);
	int on_card = (nk_get(&conn->flags) & NK_CF_ON_CARD) != 0;

	nk_put_rel(&conn->state, NK_CONN_CLOSING);
	if (!on_card)
		return NK_DO_FREE;
	if (reset && state == NK_CONN_ESTABLISHED)
		return NK_DO_ABORT;
	return NK_DO_CLOSE;
}

int nk_conn_is_spent(const struct nk_conn *conn)
{
	return nk_get(&conn->state) == NK_CONN_CLOSING && (nk_get(&conn->flags) & NK_CF_RX_EOF) &&
	       nk_get(&conn->tx_head) == nk_get(&conn->tx_tail);
}
