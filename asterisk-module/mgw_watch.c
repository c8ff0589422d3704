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
#include "asterisk/linkedlists.h"
#include "asterisk/pbx.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

/* So long after the channel with the hook was hung up its peer may show that it was passed on to somebody else. Without
 * that it was an ordinary end, and whatever the peer does next is a call of its own. */
#define STAYS_US 1000000
/* A peer that was with the hooked channel within this time is the one that it may have passed on. */
#define TOGETHER_US 5000000
/* Nobody there for so long: the session of the last peer goes. */
#define GONE_US 2000000
/* A session that could not be opened is tried again so much later. */
#define RETRY_US 5000000

static struct ao2_container *hooks;
static pthread_t thread = AST_PTHREADT_NULL;
static int wake = -1;
static int stop;

/* Somebody who may stay in a call after the channel with the hook has left. The thread's own. */
struct heir {
	int64_t since;
	/* Keeps its names, for events. */
	struct mgw_hook *hook;
	AST_LIST_ENTRY(heir) entry;
};
static AST_LIST_HEAD_NOLOCK(, heir) heirs = AST_LIST_HEAD_NOLOCK_INIT_VALUE;

int mgw_watch_add(struct mgw_hook *hook)
{
	return ao2_link(hooks, hook) ? 0 : -1;
}

int mgw_watch_count(void)
{
	return hooks ? ao2_container_count(hooks) : 0;
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

/* ---- Doing it ---- */

/* The callback works from now on. */
static void activate(struct mgw_hook *hook, const void *bridge)
{
	int64_t now = mgw_now_us();
	struct mgw_flow *read = &hook->flow[0], *write = &hook->flow[1];
	int i;

	ast_audiohook_lock(&hook->audiohook);
	read->speaker = write->listener = hook->near->session;
	write->speaker = read->listener = hook->far->session;
	for (i = 0; i < 2; i++) {
		hook->flow[i].carriers = 0;
		hook->flow[i].frames = 0;
		hook->flow[i].dead = 0;
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

/* Whether somebody else is there than before. */
static int is_other(const struct mgw_hook *hook, const struct mgw_view *view)
{
	return strcmp(hook->peer, view->peer) || strcmp(hook->party, view->party);
}

/* The session of the peer that is there now. Returns 0 when there is one. */
static int far_leg(struct mgw_hook *hook, const struct mgw_view *view, char *why, size_t size)
{
	if (is_other(hook, view)) {
		if (hook->far) {
			/* Somebody else speaks from now on: what the last one said is finished, and recognition begins anew. What
			 * was said to the last one is not spoken to the next: the library queues it for who is there when it is
			 * recognised, and ends the recogniser of a session that is left alone. */
			mgw_leg_close(hook->far, MGW_DRAIN);
			hook->far = NULL;
		}
		ast_copy_string(hook->peer, view->peer, sizeof(hook->peer));
		ast_copy_string(hook->peer_name, view->peer_name, sizeof(hook->peer_name));
		ast_copy_string(hook->party, view->party, sizeof(hook->party));
		hook->together = mgw_now_us();
		hook->retry = 0;
	}
	if (hook->far) {
		return 0;
	}
	if (hook->retry > mgw_now_us()) {
		return -1;
	}
	hook->far = mgw_hook_leg(hook, MGW_ROLE_FAR, 0, why, size);
	if (!hook->far) {
		hook->retry = mgw_now_us() + RETRY_US;
		return -1;
	}
	ast_audiohook_lock(&hook->audiohook);
	/* The next frames say at which rate. */
	hook->flow[1].rate_in = hook->flow[0].rate_out = 0;
	ast_audiohook_unlock(&hook->audiohook);
	return 0;
}

static void become(struct mgw_hook *hook, struct mgw_view *view)
{
	char why[512] = "";
	enum mgw_hook_state state = view->state;
	int other = state == MGW_HOOK_ACTIVE && is_other(hook, view);

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

/* A session does not outlive its callee for long: it costs a connection to the vendors. */
static void forget_peer(struct mgw_hook *hook)
{
	if (hook->state != MGW_HOOK_WAITING) {
		hook->waiting = 0;
	} else if (!hook->waiting) {
		hook->waiting = mgw_now_us();
	} else if (hook->far && mgw_now_us() - hook->waiting > GONE_US) {
		mgw_leg_close(hook->far, MGW_DRAIN);
		hook->far = NULL;
	}
}

/* ---- Signs of life ---- */

/* No frame left as it was for so long: the library lives. */
#define BACK_US 1000000

/* Tells when the library shows no life and frames are left as they are, and when it is back. */
static void tell_life(struct mgw_hook *hook)
{
	int64_t now = mgw_now_us();
	unsigned long originals;

	ast_audiohook_lock(&hook->audiohook);
	originals = hook->flow[0].originals + hook->flow[1].originals;
	ast_audiohook_unlock(&hook->audiohook);
	if (originals != hook->originals) {
		if (!hook->without) {
			ast_log(LOG_WARNING, "%s: the library shows no life: original voices pass\n", hook->channel);
			mgw_events_state(hook, "original", "the library shows no life");
		}
		hook->originals = originals;
		hook->without = now;
	} else if (hook->without && now - hook->without > BACK_US) {
		hook->without = 0;
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
	if (!__atomic_load_n(&hook->removed, __ATOMIC_ACQUIRE) && hook->peer[0] && mgw_now_us() - hook->together < TOGETHER_US
		&& (heir = ast_calloc(1, sizeof(*heir)))) {
		heir->since = mgw_now_us();
		heir->hook = ao2_bump(hook);
		AST_LIST_INSERT_TAIL(&heirs, heir, entry);
	}
	ao2_unlink(hooks, hook);
}

/* The channel with a unique id: 0 and a reference or NULL; -1 when one that it may be is locked just now. */
static int find_channel(const char *uniqueid, struct ast_channel **found)
{
	struct ast_channel_iterator *i = ast_channel_iterator_all_new();
	struct ast_channel *chan;
	int unsure = 0;

	*found = NULL;
	while (i && !*found && (chan = ast_channel_iterator_next(i))) {
		if (ast_channel_trylock(chan)) {
			unsure = -1;
		} else {
			if (!strcmp(ast_channel_uniqueid(chan), uniqueid)) {
				*found = ast_channel_ref(chan);
			}
			ast_channel_unlock(chan);
		}
		ast_channel_unref(chan);
	}
	ast_channel_iterator_destroy(i);
	return *found ? 0 : unsure;
}

/* Whether a channel that was with the hooked one has been passed on: 1 and -1 for "cannot be said now". */
static int passed_on(const struct mgw_hook *hook, struct ast_channel *chan, struct ast_bridge *bridge, const char *transferer)
{
	struct mgw_company company;
	int yes;

	/* A blind transfer tells by whom. */
	if (!strcmp(transferer, hook->channel)) {
		return 1;
	}
	if (!bridge) {
		return 0;
	}
	if (mgw_members(bridge, chan, &company)) {
		return -1;
	}
	/* Somebody else, alone with it. A parking lot or a conference is no such company. */
	yes = company.two && company.peer && strcmp(ast_channel_uniqueid(company.peer), hook->uniqueid);
	ao2_cleanup(company.peer);
	return yes;
}

/* Moves translation to the party that stays, with the languages exchanged. Returns 1 when there is nothing left to do. */
static int inherit(struct heir *heir)
{
	struct mgw_hook *hook = heir->hook;
	int late = mgw_now_us() - heir->since > STAYS_US;
	struct ast_channel *chan;
	struct ast_bridge *bridge;
	char transferer[AST_CHANNEL_NAME], why[512] = "";
	int has, gone, passed;

	if (find_channel(hook->peer, &chan)) {
		return late;
	}
	if (!chan) {
		return 1;
	}
	if (ast_channel_trylock(chan)) {
		ast_channel_unref(chan);
		return late;
	}
	has = mgw_hook_on(chan);
	gone = ast_check_hangup(chan) || ast_test_flag(ast_channel_flags(chan), AST_FLAG_DEAD | AST_FLAG_ZOMBIE);
	bridge = ast_channel_get_bridge(chan);
	ast_copy_string(transferer, S_OR(pbx_builtin_getvar_helper(chan, "BLINDTRANSFER"), ""), sizeof(transferer));
	ast_channel_unlock(chan);
	passed = gone ? 0 : passed_on(hook, chan, bridge, transferer);
	ao2_cleanup(bridge);
	if (gone || passed <= 0) {
		ast_channel_unref(chan);
		return gone || late;
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
	struct mgw_view view;

	if (!chan) {
		finish(hook);
		return;
	}
	if (!mgw_look(hook, chan, &view)) {
		become(hook, &view);
		forget_peer(hook);
		if (hook->state == MGW_HOOK_ACTIVE) {
			mgw_drive(hook, chan, 0);
			mgw_drive(hook, chan, 1);
			tell_life(hook);
		}
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
	mgw_legs_sweep();
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
