/*
 * Who watches over the calls with TRANSLATE: one thread, every 20 ms.
 *
 * It decides whether a call is to be translated, opens and closes the sessions of peers, has mgw_carrier.c play to legs
 * whose partner sends nothing, and moves translation to the party that stays when the channel with the
 * hook leaves. It takes locks one at a time and waits for nobody, so a call is never kept waiting for it.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

#include "mgw_module.h"

#include "asterisk/astobj2.h"
#include "asterisk/bridge.h"
#include "asterisk/bridge_channel.h"
#include "asterisk/bridge_technology.h"
#include "asterisk/linkedlists.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

/* After the channel with the hook was hung up, the peer mostly is, too. One that lives so much longer has stayed. */
#define STAYS_MS 1000

static struct ao2_container *hooks;
static pthread_t thread = AST_PTHREADT_NULL;
static int wake = -1;
static int stop;

/* Somebody who may stay in a call after the channel with the hook has left. The thread's own. */
struct heir {
	struct timeval since;
	/* Keeps its names, for events. */
	struct mgw_hook *hook;
	AST_LIST_ENTRY(heir) entry;
};
static AST_LIST_HEAD_NOLOCK(, heir) heirs = AST_LIST_HEAD_NOLOCK_INIT_VALUE;

int mgw_watch_add(struct mgw_hook *hook)
{
	return ao2_link(hooks, hook) ? 0 : -1;
}

void mgw_watch_each(void (*fn)(struct mgw_hook *hook, void *data), void *data)
{
	struct ao2_iterator i = ao2_iterator_init(hooks, 0);
	struct mgw_hook *hook;

	while ((hook = ao2_iterator_next(&i))) {
		fn(hook, data);
		ao2_ref(hook, -1);
	}
	ao2_iterator_destroy(&i);
}

/* ---- What is to be done now ---- */

struct view {
	enum mgw_hook_state state;
	struct ast_bridge *bridge;
	char peer[AST_MAX_UNIQUEID];
	char peer_name[AST_CHANNEL_NAME];
};

/* Whether a locked channel holds the other, or is held and hears music. */
static int holds(struct ast_channel *chan)
{
	return ast_channel_hold_state(chan) == AST_CONTROL_HOLD || ast_test_flag(ast_channel_flags(chan), AST_FLAG_MOH);
}

/* The members of a bridge: how many, and one that is not `chan`, referenced. */
static struct ast_channel *members(struct ast_bridge *bridge, const struct ast_channel *chan, unsigned int *count, int *conversation)
{
	struct ast_bridge_channel *member;
	struct ast_channel *peer = NULL;

	ast_bridge_lock(bridge);
	*count = bridge->num_channels;
	*conversation = !bridge->dissolved && bridge->technology
		&& !(bridge->technology->capabilities & AST_BRIDGE_CAPABILITY_HOLDING);
	AST_LIST_TRAVERSE(&bridge->channels, member, entry) {
		if (member->chan != chan) {
			peer = ast_channel_ref(member->chan);
			break;
		}
	}
	ast_bridge_unlock(bridge);
	return peer;
}

static void look(struct mgw_hook *hook, struct ast_channel *chan, struct view *view)
{
	struct ast_channel *peer;
	unsigned int count;
	int conversation, held, up, busy;

	memset(view, 0, sizeof(*view));
	ast_channel_lock(chan);
	up = ast_channel_state(chan) == AST_STATE_UP;
	held = holds(chan);
	view->bridge = ast_channel_get_bridge(chan);
	ast_channel_unlock(chan);
	if (!view->bridge) {
		return;
	}
	peer = members(view->bridge, chan, &count, &conversation);
	if (!peer || !conversation) {
		ao2_cleanup(peer);
		return;
	}
	ast_channel_lock(peer);
	up = up && ast_channel_state(peer) == AST_STATE_UP;
	held = held || holds(peer);
	/* With two hooks in a call the one that came first works. */
	busy = mgw_hook_on(peer) && strcmp(ast_channel_uniqueid(peer), hook->uniqueid) < 0;
	ast_copy_string(view->peer, ast_channel_uniqueid(peer), sizeof(view->peer));
	ast_copy_string(view->peer_name, ast_channel_name(peer), sizeof(view->peer_name));
	ast_channel_unlock(peer);
	ast_channel_unref(peer);
	view->state = count > 2 ? MGW_HOOK_SUSPENDED
		: !up || count < 2 ? MGW_HOOK_WAITING
		: busy ? MGW_HOOK_PEER
		: held ? MGW_HOOK_HELD : MGW_HOOK_ACTIVE;
}

/* ---- Doing it ---- */

/* The callback works from now on. */
static void activate(struct mgw_hook *hook, const void *bridge)
{
	struct timeval now = ast_tvnow();
	struct mgw_flow *read = &hook->flow[0], *write = &hook->flow[1];
	int i;

	ast_audiohook_lock(&hook->audiohook);
	read->speaker = write->listener = hook->near->session;
	write->speaker = read->listener = hook->far->session;
	for (i = 0; i < 2; i++) {
		hook->flow[i].carriers = 0;
		hook->flow[i].frames = 0;
		/* The first frames come as they come; the clock counts from here. */
		hook->flow[i].filled = now;
		hook->flow[i].allowance = 200000;
		hook->carrier[i].real = now;
		hook->carrier[i].next = now;
		hook->carrier[i].queued = 0;
		hook->carrier[i].beyond = 0;
	}
	hook->bridge = bridge;
	hook->active = 1;
	ast_audiohook_unlock(&hook->audiohook);
}

static void passivate(struct mgw_hook *hook)
{
	ast_audiohook_lock(&hook->audiohook);
	hook->active = 0;
	ast_audiohook_unlock(&hook->audiohook);
}

/* The session of the peer that is there now. Returns 0 when there is one. */
static int far_leg(struct mgw_hook *hook, const struct view *view, char *why, size_t size)
{
	if (strcmp(hook->peer, view->peer)) {
		if (hook->far) {
			/* Somebody else speaks from now on: what the last one said is finished, and recognition begins anew. */
			mgw_leg_close(hook->far, MGW_DRAIN);
			hook->far = NULL;
		}
		ast_copy_string(hook->peer, view->peer, sizeof(hook->peer));
		ast_copy_string(hook->peer_name, view->peer_name, sizeof(hook->peer_name));
	} else if (!hook->far && hook->state == MGW_HOOK_FAILED) {
		return -1;
	}
	if (hook->far) {
		return 0;
	}
	hook->far = mgw_hook_leg(hook, MGW_ROLE_FAR, 0, why, size);
	if (!hook->far) {
		return -1;
	}
	ast_audiohook_lock(&hook->audiohook);
	/* The next frames say at which rate. */
	hook->flow[1].rate_in = hook->flow[0].rate_out = 0;
	ast_audiohook_unlock(&hook->audiohook);
	return 0;
}

static void become(struct mgw_hook *hook, struct view *view)
{
	char why[512] = "";
	enum mgw_hook_state state = view->state;
	int other = state == MGW_HOOK_ACTIVE && strcmp(hook->peer, view->peer);

	if (state == hook->state && !other && (state != MGW_HOOK_ACTIVE || hook->bridge == view->bridge)) {
		return;
	}
	passivate(hook);
	if (state == MGW_HOOK_ACTIVE) {
		if (far_leg(hook, view, why, sizeof(why))) {
			state = MGW_HOOK_FAILED;
		} else {
			activate(hook, view->bridge);
		}
	}
	if (state != hook->state || other) {
		hook->state = state;
		if (why[0]) {
			ast_log(LOG_ERROR, "%s: TRANSLATE(%s,%s): %s\n", hook->channel, hook->from, hook->to, why);
		}
		mgw_events_state(hook, mgw_hook_state_name(state), state == MGW_HOOK_SUSPENDED ? "three or more in the bridge" : why);
	}
}

/* ---- Signs of life ---- */

/* Tells when the library shows no life and frames are left as they are, and when it is back. */
static void tell_life(struct mgw_hook *hook)
{
	struct timeval now = ast_tvnow();
	unsigned long originals;

	ast_audiohook_lock(&hook->audiohook);
	originals = hook->flow[0].originals + hook->flow[1].originals;
	ast_audiohook_unlock(&hook->audiohook);
	if (originals != hook->originals) {
		if (ast_tvzero(hook->without)) {
			ast_log(LOG_WARNING, "%s: the library shows no life: original voices pass\n", hook->channel);
			mgw_events_state(hook, "original", "the library shows no life");
		}
		hook->originals = originals;
		hook->without = now;
	} else if (!ast_tvzero(hook->without) && ast_tvdiff_ms(now, hook->without) > STAYS_MS) {
		hook->without = ast_tv(0, 0);
		ast_log(LOG_NOTICE, "%s: the library is back\n", hook->channel);
		mgw_events_state(hook, mgw_hook_state_name(hook->state), "");
	}
}

/* ---- The end of a hook ---- */

static void finish(struct mgw_hook *hook)
{
	struct heir *heir;

	passivate(hook);
	/* Nobody hears through it any more. */
	if (hook->near) {
		mgw_leg_close(hook->near, MGW_NOW);
		hook->near = NULL;
	}
	if (hook->far) {
		mgw_leg_close(hook->far, MGW_NOW);
		hook->far = NULL;
	}
	mgw_events_state(hook, "off", "");
	if (!__atomic_load_n(&hook->removed, __ATOMIC_ACQUIRE) && hook->peer[0] && (heir = ast_calloc(1, sizeof(*heir)))) {
		heir->since = ast_tvnow();
		heir->hook = ao2_bump(hook);
		AST_LIST_INSERT_TAIL(&heirs, heir, entry);
	}
	ao2_unlink(hooks, hook);
}

/* Whether a channel is in a bridge with somebody. */
static int in_company(struct ast_channel *chan)
{
	struct ast_bridge *bridge;
	struct ast_channel *peer = NULL;
	unsigned int count = 0;
	int conversation;

	ast_channel_lock(chan);
	bridge = ast_channel_get_bridge(chan);
	ast_channel_unlock(chan);
	if (bridge) {
		peer = members(bridge, chan, &count, &conversation);
		ao2_ref(bridge, -1);
	}
	ao2_cleanup(peer);
	return peer != NULL;
}

/* Moves translation to the party that stays, with the languages exchanged. Returns 1 when there is nothing left to do. */
static int inherit(struct heir *heir)
{
	struct mgw_hook *hook = heir->hook;
	struct ast_channel *chan = ast_channel_get_by_name(hook->peer);
	char why[512] = "";
	int has, failed;

	if (!chan) {
		return 1;
	}
	ast_channel_lock(chan);
	has = mgw_hook_on(chan);
	failed = ast_check_hangup(chan) || ast_test_flag(ast_channel_flags(chan), AST_FLAG_DEAD | AST_FLAG_ZOMBIE);
	ast_channel_unlock(chan);
	if (failed) {
		ast_channel_unref(chan);
		return 1;
	}
	if (ast_tvdiff_ms(ast_tvnow(), heir->since) < STAYS_MS && !in_company(chan)) {
		ast_channel_unref(chan);
		return 0;
	}
	if (has) {
		mgw_events_state(hook, "lost", "the party that stays has a TRANSLATE of its own");
	} else if (mgw_hook_attach(chan, hook->to, hook->from, why, sizeof(why))) {
		ast_log(LOG_WARNING, "%s: translation cannot move to %s: %s\n", hook->channel, hook->peer_name, why);
		mgw_events_state(hook, "lost", why);
	} else {
		mgw_events_state(hook, "moved", hook->peer_name);
	}
	ast_channel_unref(chan);
	return 1;
}

static void drop(struct heir *heir)
{
	ao2_ref(heir->hook, -1);
	ast_free(heir);
}

/* ---- The thread ---- */

static void watch(struct mgw_hook *hook)
{
	struct ast_channel *chan = mgw_hook_channel(hook);
	struct view view;

	if (!chan) {
		finish(hook);
		return;
	}
	look(hook, chan, &view);
	become(hook, &view);
	if (hook->state == MGW_HOOK_ACTIVE) {
		mgw_drive(hook, chan, 0);
		mgw_drive(hook, chan, 1);
		tell_life(hook);
	}
	ao2_cleanup(view.bridge);
	ast_channel_unref(chan);
}

static void round_of(unsigned int n)
{
	struct ao2_iterator i = ao2_iterator_init(hooks, 0);
	struct mgw_hook *hook;
	struct heir *heir;

	while ((hook = ao2_iterator_next(&i))) {
		watch(hook);
		ao2_ref(hook, -1);
	}
	ao2_iterator_destroy(&i);
	if (n % 5) {
		return;
	}
	AST_LIST_TRAVERSE_SAFE_BEGIN(&heirs, heir, entry) {
		if (inherit(heir)) {
			AST_LIST_REMOVE_CURRENT(entry);
			drop(heir);
		}
	}
	AST_LIST_TRAVERSE_SAFE_END;
}

static void *watch_main(void *data)
{
	struct itimerspec every = { { 0, MGW_TICK_MS * 1000000 }, { 0, MGW_TICK_MS * 1000000 } };
	int clock = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	struct heir *heir;
	unsigned int n = 0;

	(void)data;
	if (clock < 0 || timerfd_settime(clock, 0, &every, NULL)) {
		ast_log(LOG_ERROR, "app_mgw: no timer: %s\n", strerror(errno));
	}
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		struct pollfd fds[] = { { .fd = clock, .events = POLLIN }, { .fd = wake, .events = POLLIN } };
		uint64_t ticks;

		/* Nothing to watch: no reason to wake up fifty times a second. */
		if (!ao2_container_count(hooks) && AST_LIST_EMPTY(&heirs)) {
			poll(fds + 1, 1, 100);
		} else if (poll(fds, ARRAY_LEN(fds), 1000) > 0 && read(clock, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN) {
			break;
		}
		round_of(n++);
	}
	while ((heir = AST_LIST_REMOVE_HEAD(&heirs, entry))) {
		drop(heir);
	}
	if (clock >= 0) {
		close(clock);
	}
	return NULL;
}

int mgw_watch_start(void)
{
	stop = 0;
	hooks = ao2_container_alloc_list(AO2_ALLOC_OPT_LOCK_MUTEX, 0, NULL, NULL);
	wake = hooks ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	if (wake >= 0 && !ast_pthread_create_background(&thread, NULL, watch_main, NULL)) {
		return 0;
	}
	thread = AST_PTHREADT_NULL;
	mgw_watch_stop();
	return -1;
}

void mgw_watch_stop(void)
{
	uint64_t one = 1;

	if (thread != AST_PTHREADT_NULL) {
		__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
		if (write(wake, &one, sizeof(one)) != sizeof(one)) {
			ast_log(LOG_WARNING, "app_mgw: the watcher cannot be woken\n");
		}
		pthread_join(thread, NULL);
		thread = AST_PTHREADT_NULL;
	}
	if (wake >= 0) {
		close(wake);
		wake = -1;
	}
	ao2_cleanup(hooks);
	hooks = NULL;
}
