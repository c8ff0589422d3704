/*
 * TRANSLATE(): translation on an ordinary call, by one audiohook that serves both directions. Here is the function, and
 * the hook's life from attaching to its end; what it does with a frame is in mgw_hook.c, and whether it is to do so is
 * decided by mgw_watch.c.
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
#include "asterisk/datastore.h"
#include "asterisk/format.h"
#include "asterisk/pbx.h"
#include "asterisk/translate.h"

static void store_destroy(void *data)
{
	struct mgw_hook *hook = data;

	mgw_hook_detached(hook);
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
		mgw_hook_detached(hook);
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
	hook->audiohook.manipulate_callback = mgw_hook_callback;
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
		mgw_hook_detached(hook);
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
		mgw_hook_detached(hook);
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
