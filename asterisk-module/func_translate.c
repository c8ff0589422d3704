/*
 * TRANSLATE(): translation on an ordinary call, by one audiohook that serves both directions.
 *
 * What is read from the channel goes to its own session (near) and is replaced by what the peer shall hear; what is
 * written to it goes to the peer's session (far) and is replaced by what the channel shall hear. Whether that is to
 * happen is decided by mgw_watch.c.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

/*** DOCUMENTATION
	<function name="TRANSLATE" language="en_US" module="app_mgw">
		<synopsis>
			Translates an ordinary call: the channel and whoever it talks to hear each other in their own languages.
		</synopsis>
		<syntax>
			<parameter name="from">
				<para>Language that the channel speaks and hears, such as <literal>en</literal>, or a profile of
				<filename>mgw.conf</filename>. Left out when it is switched off or read.</para>
			</parameter>
			<parameter name="to">
				<para>The same of the other party.</para>
			</parameter>
		</syntax>
		<description>
			<para>Set to <literal>on</literal> before <literal>Dial()</literal> or in mid-call, <literal>off</literal> at
			any time. It translates while the channel is in a bridge with exactly one other party, both have answered and
			neither holds. Everything else passes untouched: ringing, early media, music on hold, announcements,
			parking, queues. With three or more in the bridge it is suspended.</para>
			<para>When the other party changes, translation goes on with the new one. When the channel itself passes the
			other party on (a blind or attended transfer), it moves there with the languages exchanged.</para>
			<para>Languages are taken from profile <literal>translate</literal> of <filename>mgw.conf</filename>, which
			need not be there; voices and the like may be set in it.</para>
			<para>Read, it is <literal>off</literal> or the state: <literal>waiting</literal>,
			<literal>active</literal>, <literal>held</literal>, <literal>suspended</literal> (three or more),
			<literal>peer</literal> (the other party's TRANSLATE does the work) or <literal>failed</literal>.</para>
			<para>It sets <variable>MGW_STATUS</variable> to <literal>ON</literal>, <literal>OFF</literal> or
			<literal>FAILED</literal> (the log says why; the call goes on), and <variable>MGW_ROOM</variable>.</para>
			<example title="English here, Spanish there">
			exten => 1002,1,Set(TRANSLATE(en,es)=on)
			 same => n,Dial(PJSIP/1002)
			</example>
			<example title="Without translation from here on">
			same => n,Set(TRANSLATE()=off)
			</example>
		</description>
		<see-also>
			<ref type="application">MediaGateway</ref>
			<ref type="function">MGW</ref>
		</see-also>
	</function>
 ***/

#include "mgw_module.h"

#include "asterisk/app.h"
#include "asterisk/astobj2.h"
#include "asterisk/bridge_channel.h"
#include "asterisk/datastore.h"
#include "asterisk/format.h"
#include "asterisk/frame.h"
#include "asterisk/musiconhold.h"
#include "asterisk/pbx.h"
#include "asterisk/translate.h"

/* How much of a listener's time may be played ahead of the clock: a burst of the network, not a second stream. */
#define ALLOWANCE_US 200000
/* What a codec makes of silence stays below this. */
#define QUIET 16

/* ---- The callback ---- */

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

/* The hook is off for good: the channel was hung up. */
static void detached(struct mgw_hook *hook)
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

/* Runs with the channel and the audiohook locked, in the middle of the call's media: nothing here waits. */
static int hook_callback(struct ast_audiohook *audiohook, struct ast_channel *chan, struct ast_frame *frame,
	enum ast_audiohook_direction direction)
{
	/* It is the first member. */
	struct mgw_hook *hook = (struct mgw_hook *)audiohook;
	int64_t begin;
	int unchanged;

	if (audiohook->status == AST_AUDIOHOOK_STATUS_DONE) {
		detached(hook);
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

/* ---- On and off ---- */

static void store_destroy(void *data)
{
	struct mgw_hook *hook = data;

	detached(hook);
	ao2_ref(hook, -1);
}

static void store_fixup(void *data, struct ast_channel *old_chan, struct ast_channel *new_chan);

static const struct ast_datastore_info store_info = {
	.type = "mgw-translate",
	.destroy = store_destroy,
	.chan_fixup = store_fixup,
};

/* A masquerade puts the datastore on another channel; the audiohook goes with it. Both channels are locked. */
static void store_fixup(void *data, struct ast_channel *old_chan, struct ast_channel *new_chan)
{
	struct mgw_hook *hook = data, *other = mgw_hook_of(new_chan);
	struct ast_datastore *store;

	if (other && other != hook) {
		/* The other channel had one of its own: that one stays. Masquerades allow for stores that go at this point. */
		ast_audiohook_remove(old_chan, &hook->audiohook);
		detached(hook);
		store = ast_channel_datastore_find(old_chan, &store_info, NULL);
		if (store && store->data == hook) {
			ast_channel_datastore_remove(old_chan, store);
			ast_datastore_free(store);
		}
	} else {
		ast_audiohook_move_by_source(old_chan, new_chan, "mgw");
		ast_mutex_lock(&hook->ref_lock);
		if (hook->chan) {
			ast_channel_unref(hook->chan);
			hook->chan = ast_channel_ref(new_chan);
		}
		ast_mutex_unlock(&hook->ref_lock);
	}
	ao2_cleanup(other);
}

static void live_free(struct mgw_live *live)
{
	ast_free(live->key);
	ast_free(live->value);
	ast_free(live);
}

static void hook_destroy(void *data)
{
	struct mgw_hook *hook = data;
	struct mgw_live *live;
	int i;

	while ((live = AST_LIST_REMOVE_HEAD(&hook->live, entry))) {
		live_free(live);
	}
	for (i = 0; i < 2; i++) {
		if (hook->carrier[i].path) {
			ast_translator_free_path(hook->carrier[i].path);
		}
		ao2_cleanup(hook->carrier[i].format);
	}
	ast_audiohook_destroy(&hook->audiohook);
	ast_mutex_destroy(&hook->ref_lock);
	/* The last line of ours that runs for this call. */
	ast_module_unref(AST_MODULE_SELF);
}

void mgw_hook_remember(struct mgw_hook *hook, enum mgw_role role, const char *key, const char *value)
{
	struct mgw_live *live = ast_calloc(1, sizeof(*live)), *old;

	if (!live) {
		return;
	}
	live->role = role;
	live->key = ast_strdup(key);
	live->value = ast_strdup(value);
	if (!live->key || !live->value) {
		live_free(live);
		return;
	}
	ast_mutex_lock(&hook->ref_lock);
	AST_LIST_TRAVERSE_SAFE_BEGIN(&hook->live, old, entry) {
		if (old->role == role && !strcmp(old->key, key)) {
			AST_LIST_REMOVE_CURRENT(entry);
			live_free(old);
		}
	}
	AST_LIST_TRAVERSE_SAFE_END;
	AST_LIST_INSERT_TAIL(&hook->live, live, entry);
	ast_mutex_unlock(&hook->ref_lock);
}

static struct mgw_hook *hook_new(struct ast_channel *chan, const char *from, const char *to)
{
	static int numbers;
	struct mgw_hook *hook = ao2_alloc(sizeof(*hook), hook_destroy);

	if (!hook) {
		return NULL;
	}
	ast_module_ref(AST_MODULE_SELF);
	ast_mutex_init(&hook->ref_lock);
	ast_audiohook_init(&hook->audiohook, AST_AUDIOHOOK_TYPE_MANIPULATE, "mgw", AST_AUDIOHOOK_MANIPULATE_ALL_RATES);
	hook->audiohook.manipulate_callback = hook_callback;
	ast_copy_string(hook->from, from, sizeof(hook->from));
	ast_copy_string(hook->to, to, sizeof(hook->to));
	ast_channel_lock(chan);
	ast_copy_string(hook->channel, ast_channel_name(chan), sizeof(hook->channel));
	ast_copy_string(hook->uniqueid, ast_channel_uniqueid(chan), sizeof(hook->uniqueid));
	ast_copy_string(hook->linkedid, ast_channel_linkedid(chan), sizeof(hook->linkedid));
	ast_channel_unlock(chan);
	hook->number = ast_atomic_fetchadd_int(&numbers, 1) + 1;
	/* One room for each time it is switched on: what was on its way in the last one does not come back. */
	snprintf(hook->room, sizeof(hook->room), "%.100s-%d", hook->uniqueid, hook->number);
	return hook;
}

struct mgw_leg *mgw_hook_leg(struct mgw_hook *hook, enum mgw_role role, int probe, char *why, size_t size)
{
	const char *who = role == MGW_ROLE_NEAR ? hook->from : hook->to;
	int profile = mgw_conf_has_profile(who);
	struct ast_channel *chan = mgw_hook_channel(hook);
	/* A guess is good enough where the channel is busy: the first frames tell. */
	unsigned int rate = 16000;
	char alone[32];
	struct mgw_live *live;
	struct mgw_leg *leg;
	struct mgw_leg_options options = {
		.role = role,
		.profile = profile ? who : MGW_TRANSLATE_PROFILE,
		.language = profile ? NULL : who,
		/* A session alone in its room costs nothing; two would connect to the vendors. */
		.room = probe ? alone : hook->room,
		.channel = role == MGW_ROLE_NEAR ? hook->channel : S_OR(hook->peer_name, "peer"),
		.uniqueid = role == MGW_ROLE_NEAR ? hook->uniqueid : hook->peer,
		.linkedid = hook->linkedid,
		.probe = probe,
	};

	snprintf(alone, sizeof(alone), "probe-%d", hook->number);
	if (chan && !ast_channel_trylock(chan)) {
		rate = mgw_channel_rate(chan);
		ast_channel_unlock(chan);
	}
	ao2_cleanup(chan);
	options.rate = rate;
	leg = mgw_leg_open(&options, why, size);
	if (leg && !probe) {
		ast_mutex_lock(&hook->ref_lock);
		AST_LIST_TRAVERSE(&hook->live, live, entry) {
			if (live->role == role) {
				mgw_session_set(leg->session, live->key, live->value, NULL, 0);
			}
		}
		ast_mutex_unlock(&hook->ref_lock);
	}
	return leg;
}

struct mgw_hook *mgw_hook_of(struct ast_channel *chan)
{
	struct ast_datastore *store = ast_channel_datastore_find(chan, &store_info, NULL);

	return store ? ao2_bump((struct mgw_hook *)store->data) : NULL;
}

int mgw_hook_on(struct ast_channel *chan)
{
	return ast_channel_datastore_find(chan, &store_info, NULL) != NULL;
}

struct ast_channel *mgw_hook_channel(struct mgw_hook *hook)
{
	struct ast_channel *chan;

	ast_mutex_lock(&hook->ref_lock);
	chan = hook->chan ? ast_channel_ref(hook->chan) : NULL;
	ast_mutex_unlock(&hook->ref_lock);
	return chan;
}

/* Takes every hook off a channel. */
static void hook_detach(struct ast_channel *chan)
{
	struct ast_datastore *store;
	struct mgw_hook *hook;

	ast_channel_lock(chan);
	while ((store = ast_channel_datastore_find(chan, &store_info, NULL))) {
		hook = store->data;
		__atomic_store_n(&hook->removed, 1, __ATOMIC_RELEASE);
		ast_audiohook_remove(chan, &hook->audiohook);
		ast_channel_datastore_remove(chan, store);
		ast_datastore_free(store);
	}
	ast_channel_unlock(chan);
}

int mgw_hook_attach(struct ast_channel *chan, const char *from, const char *to, char *why, size_t size)
{
	struct mgw_hook *hook = hook_new(chan, from, to);
	struct ast_datastore *store = hook ? ast_datastore_alloc(&store_info, NULL) : NULL;
	struct mgw_leg *far;

	if (!store) {
		ao2_cleanup(hook);
		snprintf(why, size, "out of memory");
		return -1;
	}
	hook->chan = ast_channel_ref(chan);
	/* The peer's session is opened when there is a peer; whether it can be is told now. */
	far = mgw_hook_leg(hook, MGW_ROLE_FAR, 1, why, size);
	if (far) {
		mgw_leg_close(far, MGW_NOW);
		hook->near = mgw_hook_leg(hook, MGW_ROLE_NEAR, 0, why, size);
	}
	if (!hook->near) {
		detached(hook);
		ast_datastore_free(store);
		ao2_ref(hook, -1);
		return -1;
	}
	ao2_bump(hook);
	store->data = hook;
	ast_channel_lock(chan);
	ast_channel_datastore_add(chan, store);
	if (ast_test_flag(ast_channel_flags(chan), AST_FLAG_DEAD) || ast_audiohook_attach(chan, &hook->audiohook)) {
		/* Too late: the channel is going. The watcher clears up. */
		detached(hook);
	}
	ast_channel_unlock(chan);
	if (mgw_watch_add(hook)) {
		hook_detach(chan);
		mgw_leg_close(hook->near, MGW_NOW);
		hook->near = NULL;
		ao2_ref(hook, -1);
		snprintf(why, size, "out of memory");
		return -1;
	}
	ao2_ref(hook, -1);
	return 0;
}

/* ---- The function ---- */

const char *mgw_hook_state_name(enum mgw_hook_state state)
{
	static const char *const names[] = { "waiting", "active", "held", "suspended", "peer", "failed" };

	return names[state];
}

static int translate_read(struct ast_channel *chan, const char *cmd, char *data, char *buf, size_t len)
{
	struct mgw_hook *hook;

	(void)data;
	if (!chan) {
		ast_log(LOG_WARNING, "%s needs a channel\n", cmd);
		return -1;
	}
	ast_channel_lock(chan);
	hook = mgw_hook_of(chan);
	ast_channel_unlock(chan);
	ast_copy_string(buf, hook ? mgw_hook_state_name(hook->state) : "off", len);
	ao2_cleanup(hook);
	return 0;
}

static int translate_write(struct ast_channel *chan, const char *cmd, char *data, const char *value)
{
	AST_DECLARE_APP_ARGS(args,
		AST_APP_ARG(from);
		AST_APP_ARG(to);
	);
	char why[512] = "";
	struct mgw_hook *hook;

	if (!chan) {
		ast_log(LOG_WARNING, "%s needs a channel\n", cmd);
		return -1;
	}
	if (ast_false(value)) {
		hook_detach(chan);
		pbx_builtin_setvar_helper(chan, "MGW_STATUS", "OFF");
		return 0;
	}
	AST_STANDARD_APP_ARGS(args, data);
	if (!ast_true(value)) {
		snprintf(why, sizeof(why), "set to '%.32s': it is set to on or off", value);
	} else if (ast_strlen_zero(args.from) || ast_strlen_zero(args.to)) {
		snprintf(why, sizeof(why), "which languages? Set(TRANSLATE(en,es)=on)");
	} else {
		hook_detach(chan);
		mgw_hook_attach(chan, args.from, args.to, why, sizeof(why));
	}
	if (why[0]) {
		ast_log(LOG_ERROR, "%s: %s: %s\n", ast_channel_name(chan), cmd, why);
		pbx_builtin_setvar_helper(chan, "MGW_STATUS", "FAILED");
		/* The call goes on in the original voices. */
		return 0;
	}
	pbx_builtin_setvar_helper(chan, "MGW_STATUS", "ON");
	ast_channel_lock(chan);
	hook = mgw_hook_of(chan);
	ast_channel_unlock(chan);
	pbx_builtin_setvar_helper(chan, "MGW_ROOM", hook ? hook->room : "");
	ao2_cleanup(hook);
	return 0;
}

static struct ast_custom_function translate_function = {
	.name = "TRANSLATE",
	.read = translate_read,
	.write = translate_write,
};

int mgw_translate_register(void)
{
	return ast_custom_function_register(&translate_function);
}

int mgw_translate_unregister(void)
{
	return ast_custom_function_unregister(&translate_function);
}
