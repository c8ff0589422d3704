/*
 * TRANSLATE()'s hook on a frame, in the middle of the call's media: nothing here waits, allocates or logs, but at the hook's end.
 *
 * What is read from the channel goes to its own session (near) and is replaced by what the peer shall hear; what is
 * written to it goes to the peer's session (far) and is replaced by what the channel shall hear.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

#include "mgw_module.h"

#include "asterisk/bridge_channel.h"
#include "asterisk/format.h"
#include "asterisk/frame.h"
#include "asterisk/musiconhold.h"

/* How much of a listener's time may be played ahead of the clock: a burst of the network, not a second stream. */
#define ALLOWANCE_US 200000
/* What a codec makes of silence stays below this. */
#define QUIET 16

static int quiet(const int16_t *samples, size_t n)
{
	while (n--) {
		if (samples[n] > QUIET || samples[n] < -QUIET) {
			return 0;
		}
	}
	return 1;
}

/* Something else than the peer's speech is being played to the channel, or the channel holds, or it is taken out of its
 * bridge for a while (a feature's application, a file played to it, a warning of Dial's L()). */
static int not_speech(struct ast_channel *chan, enum ast_audiohook_direction direction)
{
	const struct ast_bridge_channel *member = ast_channel_internal_bridge_channel(chan);

	if (!member || member->suspended) {
		return 1;
	}
	if (ast_channel_hold_state(chan) == AST_CONTROL_HOLD || ast_test_flag(ast_channel_flags(chan), AST_FLAG_MOH)) {
		return 1;
	}
	return direction == AST_AUDIOHOOK_DIRECTION_WRITE && (ast_channel_stream(chan) || ast_channel_generator(chan));
}

static void push(struct mgw_flow *flow, unsigned int rate, const int16_t *samples, size_t left)
{
	if (rate != flow->rate_in) {
		if (mgw_session_set_rate(flow->speaker, MGW_IN, rate) < 0) {
			return;
		}
		flow->rate_in = rate;
	}
	while (left) {
		size_t n = MIN(left, rate * 120 / 1000);

		mgw_push_frame(flow->speaker, samples, n);
		samples += n;
		left -= n;
	}
}

/* Whether the clock allows that so much is played to the listener now. */
static int may_play(struct mgw_flow *flow, int64_t us)
{
	int64_t now = mgw_now_us();
	int64_t passed = MAX(0, MIN(now - flow->filled, ALLOWANCE_US));

	flow->filled = now;
	/* A little faster than the clock, because phones' clocks are, and nobody shall be cut for that. */
	flow->allowance = MIN(flow->allowance + passed + passed / 100, ALLOWANCE_US);
	if (flow->allowance < 0) {
		return 0;
	}
	flow->allowance -= us;
	return 1;
}

/* Puts what the listener shall hear in place of the frame; -1 leaves the frame as it is. */
static int replace(struct mgw_hook *hook, struct mgw_flow *flow, unsigned int rate, int16_t *samples, size_t count)
{
	size_t done = 0;

	if (rate != flow->rate_out) {
		if (mgw_session_set_rate(flow->listener, MGW_OUT, rate) < 0) {
			return -1;
		}
		flow->rate_out = rate;
	}
	if (!may_play(flow, (int64_t)count * 1000000 / rate)) {
		if (flow->dead) {
			return -1;
		}
		memset(samples, 0, count * sizeof(*samples));
		return 0;
	}
	/* Into a buffer of our own: whatever happens half-way, the frame is the one or the other. */
	while (done < count && done < MGW_SCRATCH) {
		size_t n = MIN(MIN(count, MGW_SCRATCH) - done, rate * 120 / 1000);
		mgw_status status = mgw_pull_frame(flow->listener, hook->scratch + done, n);

		if (status < 0 || status == MGW_ORIGINAL) {
			flow->originals++;
			flow->dead = 1;
			return -1;
		}
		done += n;
	}
	flow->dead = 0;
	memcpy(samples, hook->scratch, done * sizeof(*samples));
	memset(samples + done, 0, (count - done) * sizeof(*samples));
	return 0;
}

void mgw_hook_detached(struct mgw_hook *hook)
{
	struct ast_channel *chan;

	ast_mutex_lock(&hook->ref_lock);
	chan = hook->chan;
	hook->chan = NULL;
	ast_mutex_unlock(&hook->ref_lock);
	if (chan) {
		ast_channel_unref(chan);
	}
}

static int translate_frame(struct mgw_hook *hook, struct ast_channel *chan, struct ast_frame *frame,
	enum ast_audiohook_direction direction)
{
	struct mgw_flow *flow = &hook->flow[direction == AST_AUDIOHOOK_DIRECTION_WRITE];
	unsigned int rate = ast_format_get_sample_rate(frame->subclass.format);
	size_t count = frame->datalen / 2;

	if (!hook->active || ast_channel_internal_bridge(chan) != hook->bridge || not_speech(chan, direction)) {
		return -1;
	}
	flow->frames++;
	if (flow->carriers > 0) {
		/* Whatever its level: what a codec makes of silence may be louder than we think, and a carrier that is waited
		 * for in vain swallows a frame of speech later. */
		flow->carriers--;
		if (!quiet(frame->data.ptr, count)) {
			push(flow, rate, frame->data.ptr, count);
		}
	} else {
		push(flow, rate, frame->data.ptr, count);
	}
	return replace(hook, flow, rate, frame->data.ptr, count);
}

/* Runs with the channel and the audiohook locked, in the middle of the call's media: nothing here waits, but at the hook's end. */
int mgw_hook_callback(struct ast_audiohook *audiohook, struct ast_channel *chan, struct ast_frame *frame,
	enum ast_audiohook_direction direction)
{
	/* It is the first member. */
	struct mgw_hook *hook = (struct mgw_hook *)audiohook;
	int64_t begin;
	int unchanged;

	if (audiohook->status == AST_AUDIOHOOK_STATUS_DONE) {
		mgw_hook_detached(hook);
		return -1;
	}
	if (!chan || !frame || frame->frametype != AST_FRAME_VOICE || !frame->data.ptr || frame->datalen < 2) {
		return -1;
	}
	if (!mgw_cost_measured()) {
		return translate_frame(hook, chan, frame, direction);
	}
	begin = mgw_cost_now();
	unchanged = translate_frame(hook, chan, frame, direction);
	mgw_cost_note(mgw_cost_now() - begin);
	return unchanged;
}
