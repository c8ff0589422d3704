/*
 * MediaGateway(): a caller who meets others in a room.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

/*** DOCUMENTATION
	<application name="MediaGateway" language="en_US" module="app_mgw">
		<synopsis>
			Puts the caller into a room in which everybody hears everybody in the own language.
		</synopsis>
		<syntax>
			<parameter name="profile" required="true">
				<para>Section of <filename>mgw.conf</filename>: which language the caller speaks and hears, in which voice
				the others hear it, and everything else.</para>
			</parameter>
			<parameter name="room">
				<para>Whoever names the same room meets there. Without a room, callers meet in pairs in order of arrival:
				the one who has waited longest under another profile.</para>
			</parameter>
			<parameter name="options">
				<optionlist>
					<option name="k">
						<argument name="keys" required="true" />
						<para>The caller leaves with one of these keys, such as <literal>k(*#)</literal>.</para>
					</option>
					<option name="e">
						<para>The caller leaves when nobody else is left in the room. For pairs without a named room it is
						always so; what the other said last is heard before.</para>
					</option>
					<option name="l">
						<argument name="language" required="true" />
						<para>Language instead of the profile's.</para>
					</option>
					<option name="n">
						<para>Does not answer the channel.</para>
					</option>
				</optionlist>
			</parameter>
		</syntax>
		<description>
			<para>Answers, joins the room, and translates until the caller hangs up or leaves. The dialplan goes on behind it
			when the caller has left or could not join.</para>
			<para>It sets:</para>
			<variablelist>
				<variable name="MGW_STATUS">
					<para>How it ended.</para>
					<value name="HANGUP">The caller hung up.</value>
					<value name="KEY">The caller left by a key.</value>
					<value name="ROOMEND">Nobody was left in the room.</value>
					<value name="FAILED">The caller could not join, or the library has ended; the log says why.</value>
				</variable>
				<variable name="MGW_ROOM">
					<para>The room, set when the caller joins.</para>
				</variable>
			</variablelist>
			<example title="English here, Spanish there">
			exten => 7777,1,MediaGateway(7777)
			exten => 8888,1,MediaGateway(8888)
			</example>
			<example title="A room of its own, left with #">
			exten => 7742,1,MediaGateway(7777,room-42,k(#))
			</example>
		</description>
		<see-also>
			<ref type="function">TRANSLATE</ref>
			<ref type="function">MGW</ref>
		</see-also>
	</application>
 ***/

#include "mgw_module.h"

#include "asterisk/app.h"
#include "asterisk/format_cache.h"
#include "asterisk/frame.h"
#include "asterisk/pbx.h"

#include <sys/timerfd.h>

static const char app[] = "MediaGateway";

/* Playout's own clock: a caller that sends nothing hears all the same. */
#define TICK_MS 20
/* More than that is not made up for; the caller was away. */
#define TICKS_AT_ONCE 10

enum { OPT_KEYS = 1 << 0, OPT_ENDS = 1 << 1, OPT_LANGUAGE = 1 << 2, OPT_NO_ANSWER = 1 << 3 };
enum { ARG_KEYS, ARG_LANGUAGE, ARG_COUNT };

AST_APP_OPTIONS(app_options, {
	AST_APP_OPTION_ARG('k', OPT_KEYS, ARG_KEYS),
	AST_APP_OPTION('e', OPT_ENDS),
	AST_APP_OPTION_ARG('l', OPT_LANGUAGE, ARG_LANGUAGE),
	AST_APP_OPTION('n', OPT_NO_ANSWER),
});

struct call {
	struct ast_channel *chan;
	struct mgw_leg *leg;
	const char *keys;
	unsigned int rate_in, rate_out;
	struct ast_format *out;
};

/* What the caller said. */
static void push(struct call *call, struct ast_frame *f)
{
	unsigned int rate = ast_format_get_sample_rate(f->subclass.format);
	const int16_t *samples = f->data.ptr;
	size_t left = f->datalen / 2;

	if (!samples || (rate != call->rate_in && mgw_session_set_rate(call->leg->session, MGW_IN, rate) < 0)) {
		return;
	}
	call->rate_in = rate;
	mgw_leg_voice(call->leg, f);
	while (left) {
		size_t n = MIN(left, rate * 120 / 1000);

		mgw_push_frame(call->leg->session, samples, n);
		samples += n;
		left -= n;
	}
}

/* One frame for the caller. Returns -1 when the session is no more. */
static int play(struct call *call)
{
	int16_t samples[192000 * TICK_MS / 1000 + AST_FRIENDLY_OFFSET / 2];
	unsigned int n = call->rate_out * TICK_MS / 1000;
	struct ast_frame f = {
		.frametype = AST_FRAME_VOICE,
		.subclass.format = call->out,
		.data.ptr = samples + AST_FRIENDLY_OFFSET / 2,
		.datalen = n * 2,
		.samples = n,
		.offset = AST_FRIENDLY_OFFSET,
		.src = app,
	};
	mgw_status status = mgw_pull_frame(call->leg->session, f.data.ptr, n);

	if (status < 0 && status != MGW_ERR_BUSY) {
		return -1;
	}
	if (status == MGW_ORIGINAL) {
		mgw_leg_without(call->leg, call->out, f.data.ptr, n);
	} else if (__atomic_load_n(&call->leg->without, __ATOMIC_RELAXED)) {
		mgw_leg_with(call->leg);
	}
	return status < 0 ? 0 : ast_write(call->chan, &f);
}

/* A change of codec in mid-call may change the rate that the caller hears. */
static void follow_rate(struct call *call)
{
	unsigned int rate = mgw_channel_rate(call->chan);
	struct ast_format *format;

	if (rate == call->rate_out) {
		return;
	}
	format = ast_format_cache_get_slin_by_rate(rate);
	if (mgw_session_set_rate(call->leg->session, MGW_OUT, rate) < 0) {
		return;
	}
	call->rate_out = rate;
	call->out = format;
	ast_set_write_format(call->chan, format);
	ast_set_read_format(call->chan, format);
}

/* Until somebody ends it; the value of MGW_STATUS. */
static const char *run(struct call *call)
{
	struct itimerspec every = { { 0, TICK_MS * 1000000 }, { 0, TICK_MS * 1000000 } };
	int clock = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	const char *status = NULL;

	if (clock < 0 || timerfd_settime(clock, 0, &every, NULL)) {
		ast_log(LOG_ERROR, "%s: no timer: %s\n", ast_channel_name(call->chan), strerror(errno));
		status = "FAILED";
	}
	while (!status) {
		int ready = -1, ms = 1000;
		struct ast_channel *who = ast_waitfor_nandfds(&call->chan, 1, &clock, 1, NULL, &ready, &ms);

		if (who) {
			struct ast_frame *f = ast_read(who);

			if (!f) {
				status = "HANGUP";
				break;
			}
			if (f->frametype == AST_FRAME_VOICE) {
				push(call, f);
			} else if (f->frametype == AST_FRAME_DTMF) {
				mgw_session_dtmf(call->leg->session, f->subclass.integer);
				if (call->keys && strchr(call->keys, f->subclass.integer)) {
					status = "KEY";
				}
			}
			ast_frfree(f);
		} else if (ready == clock) {
			uint64_t ticks = 0;

			if (read(clock, &ticks, sizeof(ticks)) != sizeof(ticks)) {
				continue;
			}
			follow_rate(call);
			for (ticks = MIN(ticks, TICKS_AT_ONCE); ticks && !status; ticks--) {
				if (play(call)) {
					status = ast_check_hangup(call->chan) ? "HANGUP" : "FAILED";
				}
			}
			if (!status && __atomic_load_n(&call->leg->ended, __ATOMIC_ACQUIRE)) {
				status = "ROOMEND";
			}
		} else if (ast_check_hangup(call->chan)) {
			status = "HANGUP";
		}
	}
	if (clock >= 0) {
		close(clock);
	}
	return status;
}

static int failed(struct ast_channel *chan, const char *why)
{
	ast_log(LOG_ERROR, "%s: %s: %s\n", ast_channel_name(chan), app, why);
	pbx_builtin_setvar_helper(chan, "MGW_STATUS", "FAILED");
	return 0;
}

static int media_gateway_exec(struct ast_channel *chan, const char *data)
{
	AST_DECLARE_APP_ARGS(args,
		AST_APP_ARG(profile);
		AST_APP_ARG(room);
		AST_APP_ARG(options);
	);
	char *parse = ast_strdupa(S_OR(data, "")), *opts[ARG_COUNT] = { NULL, }, room[128], why[512] = "";
	struct ast_flags flags = { 0 };
	struct ast_format *old_read, *old_write;
	struct call call = { .chan = chan };
	struct mgw_leg_options leg = { .role = MGW_ROLE_APP };
	const char *status;

	pbx_builtin_setvar_helper(chan, "MGW_STATUS", NULL);
	pbx_builtin_setvar_helper(chan, "MGW_ROOM", NULL);
	AST_STANDARD_APP_ARGS(args, parse);
	if (ast_strlen_zero(args.profile)) {
		return failed(chan, "which profile? MediaGateway(profile[,room[,options]])");
	}
	if (!ast_strlen_zero(args.options) && ast_app_parse_options(app_options, &flags, opts, args.options)) {
		return failed(chan, "unknown options");
	}
	if (!ast_test_flag(&flags, OPT_NO_ANSWER) && ast_channel_state(chan) != AST_STATE_UP && ast_answer(chan)) {
		pbx_builtin_setvar_helper(chan, "MGW_STATUS", "HANGUP");
		return -1;
	}

	call.keys = ast_test_flag(&flags, OPT_KEYS) ? opts[ARG_KEYS] : NULL;
	call.rate_in = call.rate_out = mgw_channel_rate(chan);
	call.out = ast_format_cache_get_slin_by_rate(call.rate_out);
	ast_channel_lock(chan);
	old_read = ao2_bump(ast_channel_readformat(chan));
	old_write = ao2_bump(ast_channel_writeformat(chan));
	ast_channel_unlock(chan);
	if (ast_set_read_format(chan, call.out) || ast_set_write_format(chan, call.out)) {
		ao2_cleanup(old_read);
		ao2_cleanup(old_write);
		return failed(chan, "the channel's codec cannot be made linear: is its codec module loaded?");
	}

	leg.profile = args.profile;
	leg.paired = ast_strlen_zero(args.room);
	leg.ends_alone = ast_test_flag(&flags, OPT_ENDS) ? 1 : 0;
	leg.language = ast_test_flag(&flags, OPT_LANGUAGE) ? opts[ARG_LANGUAGE] : NULL;
	leg.rate = call.rate_out;
	leg.channel = ast_channel_name(chan);
	leg.uniqueid = ast_channel_uniqueid(chan);
	leg.linkedid = ast_channel_linkedid(chan);
	/* Nobody else looks for a partner between our look and our entry. */
	ao2_lock(mgw_legs());
	if (leg.paired) {
		mgw_leg_pair_room(args.profile, room, sizeof(room));
	} else {
		ast_copy_string(room, args.room, sizeof(room));
	}
	leg.room = room;
	call.leg = mgw_leg_open(&leg, why, sizeof(why));
	ao2_unlock(mgw_legs());
	if (call.leg) {
		pbx_builtin_setvar_helper(chan, "MGW_ROOM", room);
		status = run(&call);
		/* What was said last still reaches the others. */
		mgw_leg_close(call.leg, MGW_DRAIN);
		pbx_builtin_setvar_helper(chan, "MGW_STATUS", status);
	} else {
		failed(chan, why);
		status = "FAILED";
	}
	if (!ast_check_hangup(chan)) {
		if (old_read) {
			ast_set_read_format(chan, old_read);
		}
		if (old_write) {
			ast_set_write_format(chan, old_write);
		}
	}
	ao2_cleanup(old_read);
	ao2_cleanup(old_write);
	return !strcmp(status, "HANGUP") ? -1 : 0;
}

int mgw_app_register(void)
{
	return ast_register_application_xml(app, media_gateway_exec);
}

int mgw_app_unregister(void)
{
	return ast_unregister_application(app);
}
