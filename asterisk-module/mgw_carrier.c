/*
 * Legs that send nothing: no frames means no callbacks, so playout to their partner would stop. Frames of silence are
 * queued in their place, as the phone itself would have sent them; the hook replaces them like any other.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

#include "mgw_module.h"

#include "asterisk/astobj2.h"
#include "asterisk/bridge_channel.h"
#include "asterisk/format_cache.h"
#include "asterisk/frame.h"
#include "asterisk/translate.h"

/* A leg that has sent nothing for so long is silent. Less is the network's unevenness: what was late comes at once then,
 * and must not find its time taken by carriers. */
#define SILENT_MS 200
/* Carriers that may be under way; more only pile up. */
#define CARRIERS 3
#define TICK_US (MGW_TICK_MS * INT64_C(1000))

/* One frame of silence as the phone itself would have sent it, so that no translation path has to change for it. */
static struct ast_frame *carrier_frame(struct mgw_carrier *c, struct ast_format *format, struct ast_frame *silence)
{
	static const int16_t zeros[192000 * MGW_TICK_MS / 1000];
	struct ast_format *slin = ast_format_cache_get_slin_by_rate(ast_format_get_sample_rate(format));

	if (c->format != format) {
		if (c->path) {
			ast_translator_free_path(c->path);
			c->path = NULL;
		}
		ao2_replace(c->format, format);
		if (ast_format_cmp(format, slin) != AST_FORMAT_CMP_EQUAL) {
			c->path = ast_translator_build_path(format, slin);
		}
	}
	memset(silence, 0, sizeof(*silence));
	silence->frametype = AST_FRAME_VOICE;
	silence->subclass.format = slin;
	silence->data.ptr = (void *)zeros;
	silence->samples = ast_format_get_sample_rate(slin) * MGW_TICK_MS / 1000;
	silence->datalen = silence->samples * 2;
	silence->src = "mgw";
	if (ast_format_cmp(format, slin) == AST_FORMAT_CMP_EQUAL) {
		return silence;
	}
	return c->path ? ast_translate(c->path, silence, 0) : NULL;
}

/* Returns -1 when the call is busy just now. */
static int carry(struct mgw_hook *hook, struct ast_channel *chan, int i)
{
	struct mgw_carrier *c = &hook->carrier[i];
	struct ast_bridge_channel *member = NULL;
	struct ast_format *format;
	struct ast_frame silence, *f;

	if (ast_channel_trylock(chan)) {
		return -1;
	}
	format = ao2_bump(i ? ast_channel_rawwriteformat(chan) : ast_channel_rawreadformat(chan));
	if (i) {
		member = ast_channel_get_bridge_channel(chan);
		/* Its lock comes before the channel's, so the channel's is not held while it is taken. */
		ast_channel_unlock(chan);
		if (!member || ast_bridge_channel_trylock(member)) {
			ao2_cleanup(member);
			ao2_cleanup(format);
			return -1;
		}
	}
	f = format ? carrier_frame(c, format, &silence) : NULL;
	if (f) {
		ast_audiohook_lock(&hook->audiohook);
		hook->flow[i].carriers++;
		ast_audiohook_unlock(&hook->audiohook);
		c->queued++;
		if (i) {
			/* Not of a stream of the other side, so that the bridge does not look for where that would go. */
			f->stream_num = -1;
			ast_bridge_channel_queue_frame(member, f);
		} else {
			ast_queue_frame(chan, f);
		}
		if (f != &silence) {
			ast_frfree(f);
		}
	}
	if (i) {
		ast_bridge_channel_unlock(member);
		ao2_ref(member, -1);
	} else {
		ast_channel_unlock(chan);
	}
	ao2_cleanup(format);
	return 0;
}

/* Plays on where the partner sends nothing. Frames that come by beyond the carriers are the phone's own. */
void mgw_drive(struct mgw_hook *hook, struct ast_channel *chan, int i)
{
	struct mgw_carrier *c = &hook->carrier[i];
	int64_t now = mgw_now_us();
	int carriers;
	long beyond;

	ast_audiohook_lock(&hook->audiohook);
	beyond = (long)hook->flow[i].frames - (long)c->queued;
	carriers = hook->flow[i].carriers;
	ast_audiohook_unlock(&hook->audiohook);
	if (beyond > c->beyond) {
		c->beyond = beyond;
		c->real = c->next = now;
		return;
	}
	if (now - c->real < SILENT_MS * 1000) {
		c->next = now;
		return;
	}
	if (carriers >= CARRIERS) {
		/* Nobody takes them (a digit is being sent, for example). What was lost on the way is not waited for. */
		if (now - c->next > 10 * TICK_US) {
			ast_audiohook_lock(&hook->audiohook);
			hook->flow[i].carriers = 0;
			ast_audiohook_unlock(&hook->audiohook);
			/* They were queued and never came by: from here on one frame more than now is one of the phone's own. */
			c->beyond = beyond;
			c->real = c->next = now;
		}
		return;
	}
	for (; carriers < CARRIERS && now >= c->next; carriers++) {
		if (carry(hook, chan, i)) {
			/* It is still due at the next tick. */
			return;
		}
		c->next += TICK_US;
	}
	if (now - c->next >= TICK_US) {
		c->next = now;
	}
}
