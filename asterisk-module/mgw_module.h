/*
 * What the files of app_mgw.so share.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE: this is loaded into Asterisk.
 *
 * Threads and locks
 *   - Hooks and applications run on Asterisk's threads. A hook is called with its channel and its audiohook locked; in
 *     there only wait-free functions of mgw are called.
 *   - mgw_watch.c has one thread that looks at the calls with TRANSLATE every 20 ms and plays on where a phone is silent
 *     (mgw_carrier.c).
 *   - mgw_events.c has one thread that fetches mgw's events.
 *   Order of locks: channel, audiohook, hook->ref_lock; a leg's lock is taken last and alone. The watcher only tries
 *   the locks of channels and bridges: a call whose lock is stuck does without it for this tick, all others go on.
 */
#ifndef MGW_MODULE_H
#define MGW_MODULE_H

#include "asterisk.h"

#include "asterisk/audiohook.h"
#include "asterisk/channel.h"
#include "asterisk/linkedlists.h"
#include "asterisk/lock.h"
#include "asterisk/module.h"
#include "asterisk/slinfactory.h"
#include "asterisk/utils.h"

#include <time.h>

#include <mgw.h>

/* Microseconds of a clock that nobody sets. */
static inline int64_t mgw_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* ---- The gateway (app_mgw.c) ---- */

/* The library at work; 0 while there is no usable configuration. */
mgw_gateway mgw_mod_gateway(void);

/* ---- Configuration (mgw_conf.c) ---- */

#define MGW_CONF "mgw.conf"
/* Profile from which TRANSLATE's sessions start where a language, not a profile, was named. */
#define MGW_TRANSLATE_PROFILE "translate"

/* Which events of the library become events of the manager interface. */
enum mgw_ami {
	MGW_AMI_TRANSCRIPT = 1 << 0,
	MGW_AMI_INTERIM = 1 << 1,
	MGW_AMI_TRANSLATION = 1 << 2,
	MGW_AMI_SEGMENT = 1 << 3,
	MGW_AMI_ERROR = 1 << 4,
	MGW_AMI_STATE = 1 << 5,
};

/* A setting as it was read; secrets are kept as "(set)". */
struct mgw_setting {
	char *key;
	char *value;
	int line;
	AST_LIST_ENTRY(mgw_setting) entry;
};
AST_LIST_HEAD_NOLOCK(mgw_settings, mgw_setting);

struct mgw_conf {
	/* For the library; 0: not made. */
	mgw_config config;
	/* enum mgw_ami. */
	unsigned int ami;
	int log_level;
	struct mgw_settings settings;
};

/* Reads mgw.conf. Returns 0, or -1 after it has logged every mistake with its line. */
int mgw_conf_read(struct mgw_conf *conf);
void mgw_conf_destroy(struct mgw_conf *conf);
/* Puts what was read in force for the module's own part; conf is emptied. */
void mgw_conf_adopt(struct mgw_conf *conf);
/* Frees what is in force: the module goes. */
void mgw_conf_forget(void);
/* enum mgw_ami, as configured. */
unsigned int mgw_conf_ami(void);
/* The level of the library's log, as configured. */
int mgw_conf_log_level(void);
/* Whether mgw.conf has a profile of that name. */
int mgw_conf_has_profile(const char *name);
/* Calls back for each setting in force, in order. */
void mgw_conf_each(void (*fn)(const struct mgw_setting *setting, void *data), void *data);

/* ---- Legs: one session of the library each (mgw_leg.c) ---- */

enum mgw_role {
	MGW_ROLE_APP,
	/* The channel that has the hook, and whoever it talks to. */
	MGW_ROLE_NEAR,
	MGW_ROLE_FAR,
};

/* An ao2 object. What changes is guarded by its lock, as far as no other lock is named. */
struct mgw_leg {
	mgw_session session;
	enum mgw_role role;
	char profile[65];
	char room[128];
	char language[16];
	/* Of the channel that it belongs to; a far leg's is the peer's. */
	char channel[AST_CHANNEL_NAME];
	char uniqueid[AST_MAX_UNIQUEID];
	struct timeval since;
	/* Its room was made for a pair, so it ends with the partner. */
	unsigned int paired:1;
	/* It wants to leave when it is the last one in its room. */
	unsigned int ends_alone:1;
	unsigned int module_ref:1;
	unsigned int closing:1;
	unsigned int gone:1;
	/* When it was closed (mgw_now_us). */
	int64_t closed_at;
	/* The room has ended for it: atomic. */
	int ended;
	/* What the events told. */
	unsigned int said;
	unsigned int heard;
	unsigned int lost;
	double lag_ms;
	char *transcript;
	char *translation;
	char *error;
	/* The library shows no life: it hears the others' own voices from here. */
	int without;
	struct ast_slinfactory voices;
};

struct mgw_leg_options {
	enum mgw_role role;
	const char *profile;
	const char *room;
	/* NULL: the profile's own. */
	const char *language;
	unsigned int rate;
	const char *channel;
	const char *uniqueid;
	const char *linkedid;
	unsigned int paired:1;
	unsigned int ends_alone:1;
	/* Only to see whether it could be made: in no list, and nobody hears of it. */
	unsigned int probe:1;
};

int mgw_legs_init(void);
void mgw_legs_destroy(void);

/* Opens a session. Returns a reference, or NULL with a sentence in `why`. */
struct mgw_leg *mgw_leg_open(const struct mgw_leg_options *options, char *why, size_t size);

/* Closes a session with MGW_DRAIN or MGW_NOW and drops the caller's reference. It stays listed until it has drained. */
void mgw_leg_close(struct mgw_leg *leg, int mode);

/* A reference to the leg of a session, or NULL. */
struct mgw_leg *mgw_leg_find(mgw_session session);
/* A reference to the leg of a channel (its name or unique id) in one of these roles, or NULL. */
struct mgw_leg *mgw_leg_of_channel(const char *channel, enum mgw_role role);
/* All legs. */
struct ao2_container *mgw_legs(void);
/* The library has closed it: out of the list, and partners are told. More than once is no harm. */
void mgw_leg_gone(struct mgw_leg *leg);
/* Removes legs of whose end the library should have told by now: its events are dropped when too many wait. */
void mgw_legs_sweep(void);
/* How many legs are not closing. */
int mgw_legs_live(void);
/* The rate at which a channel's codec works, as far as the library carries it. The channel must not be locked. */
unsigned int mgw_channel_rate(struct ast_channel *chan);
/* While the library shows no life, callers of a room hear each other's own voices all the same: what one says goes to the
 * others that are without it, and what such a one hears is taken (silence, where there is nothing). */
void mgw_leg_voice(struct mgw_leg *leg, struct ast_frame *f);
void mgw_leg_without(struct mgw_leg *leg, struct ast_format *format, int16_t *samples, unsigned int count);
/* The library is back, or the leg ends. */
void mgw_leg_with(struct mgw_leg *leg);
/* The room where a caller of this profile meets its partner: of one that waits, or a new one. */
void mgw_leg_pair_room(const char *profile, char *room, size_t size);

/* ---- The application, the functions ---- */

int mgw_app_register(void);
int mgw_app_unregister(void);
int mgw_translate_register(void);
int mgw_translate_unregister(void);
int mgw_function_register(void);
int mgw_function_unregister(void);

/* ---- TRANSLATE's hook (func_translate.c, mgw_hook.c) and who watches over it (mgw_watch.c) ---- */

enum mgw_hook_state {
	/* Not in a bridge with somebody who has answered. */
	MGW_HOOK_WAITING,
	MGW_HOOK_ACTIVE,
	/* One of the two holds. */
	MGW_HOOK_HELD,
	/* Three or more. */
	MGW_HOOK_SUSPENDED,
	/* The peer's own TRANSLATE does the work. */
	MGW_HOOK_PEER,
	/* No session for the peer could be opened. */
	MGW_HOOK_FAILED,
};

const char *mgw_hook_state_name(enum mgw_hook_state state);

/* Of one direction: what is read from the channel, or written to it. Guarded by the audiohook's lock. */
struct mgw_flow {
	/* The session that speaks here, and the rate of its frames. */
	mgw_session speaker;
	unsigned int rate_in;
	/* The session that hears what is put in place of it. */
	mgw_session listener;
	unsigned int rate_out;
	/* Carriers that were queued and have not come by. */
	int carriers;
	/* How much may be pulled now, in microseconds of audio, and since when (mgw_now_us). */
	int64_t allowance;
	int64_t filled;
	/* The last pull found no life in the library. */
	int dead;
	/* Frames that came by since it is active, carriers included; those left as they were. */
	unsigned long frames;
	unsigned long originals;
};

/* A setting that was changed in mid-call. */
struct mgw_live {
	enum mgw_role role;
	char *key;
	char *value;
	AST_LIST_ENTRY(mgw_live) entry;
};

/* 120 ms at 192 kHz: the longest frame that the library takes at once. */
#define MGW_SCRATCH 23040

/* An ao2 object; the channel's datastore holds one reference, the watcher another. */
struct mgw_hook {
	/* First: Asterisk hands us this. */
	struct ast_audiohook audiohook;
	/* Guards `chan` and `live`. */
	ast_mutex_t ref_lock;
	/* For the sessions that come after those of now. */
	AST_LIST_HEAD_NOLOCK(, mgw_live) live;
	/* Referenced; NULL once the hook is off the channel. */
	struct ast_channel *chan;
	/* Off by Set(TRANSLATE()=off): nothing is moved to the peer. */
	int removed;
	/* Guarded by the audiohook's lock. */
	int active;
	/* Only compared, never followed. */
	const void *bridge;
	/* [0]: read from the channel; [1]: written to it. */
	struct mgw_flow flow[2];
	int16_t scratch[MGW_SCRATCH];
	/* Written by the watcher alone. */
	enum mgw_hook_state state;
	struct mgw_leg *near;
	struct mgw_leg *far;
	/* Frames that had been left as they were when it was looked at last, and since when the library shows no life. */
	unsigned long originals;
	int64_t without;
	char peer[AST_MAX_UNIQUEID];
	char peer_name[AST_CHANNEL_NAME];
	/* Who talks through the peer: somebody behind its Local channels, or itself. */
	char party[AST_MAX_UNIQUEID];
	/* When that peer was last seen alone with the channel, since when nobody is there, and when a session for the peer
	 * is to be tried again. */
	int64_t together;
	int64_t waiting;
	int64_t retry;
	struct mgw_carrier {
		struct ast_trans_pvt *path;
		struct ast_format *format;
		/* When frames of the phone itself came last, and when the next carrier is due. */
		int64_t real;
		int64_t next;
		/* Carriers queued since it is active, and the most frames that came by beyond them. */
		unsigned long queued;
		long beyond;
	} carrier[2];
	/* Fixed. The number is higher than that of every hook before it. */
	int number;
	char from[65];
	char to[65];
	char room[128];
	char channel[AST_CHANNEL_NAME];
	char uniqueid[AST_MAX_UNIQUEID];
	char linkedid[AST_MAX_UNIQUEID];
};

/* Attaches a hook: the channel speaks `from`, its peer `to`. The channel must not be locked. */
int mgw_hook_attach(struct ast_channel *chan, const char *from, const char *to, char *why, size_t size);
/* Whether a channel (locked) has a hook. */
int mgw_hook_on(struct ast_channel *chan);
/* A reference to a channel's (locked) hook, or NULL. */
struct mgw_hook *mgw_hook_of(struct ast_channel *chan);
/* A reference to the hook's channel, or NULL when it is off. */
struct ast_channel *mgw_hook_channel(struct mgw_hook *hook);
/* Keeps a live setting for the sessions to come. */
void mgw_hook_remember(struct mgw_hook *hook, enum mgw_role role, const char *key, const char *value);
/* Opens a leg of the hook, near or far, with the live settings that it had. */
struct mgw_leg *mgw_hook_leg(struct mgw_hook *hook, enum mgw_role role, int probe, char *why, size_t size);

/* Asterisk calls this for every frame, with the channel and the audiohook locked (mgw_hook.c). */
int mgw_hook_callback(struct ast_audiohook *audiohook, struct ast_channel *chan, struct ast_frame *frame,
	enum ast_audiohook_direction direction);
/* The hook is off for good: its channel is let go of. */
void mgw_hook_detached(struct mgw_hook *hook);

/* CPU time of the callbacks, while it is measured (mgw_cost.c). */
void mgw_hook_measure(int on);
int mgw_cost_measured(void);
/* CPU time of this thread, in nanoseconds; the difference of two is what a callback has cost. */
int64_t mgw_cost_now(void);
void mgw_cost_note(int64_t ns);
struct mgw_hook_cost {
	unsigned long count;
	double p50_us, p99_us, max_us;
};
void mgw_hook_cost(struct mgw_hook_cost *cost);

/* The watcher's period. */
#define MGW_TICK_MS 20
/* Plays on in direction i (as in hook->flow) where the partner sends nothing (mgw_carrier.c). The watcher's alone. */
void mgw_drive(struct mgw_hook *hook, struct ast_channel *chan, int i);

/* What there is to see (mgw_look.c); the bridge is referenced. */
struct mgw_view {
	enum mgw_hook_state state;
	struct ast_bridge *bridge;
	char peer[AST_MAX_UNIQUEID];
	char peer_name[AST_CHANNEL_NAME];
	char party[AST_MAX_UNIQUEID];
};

/* What there is to know about a bridge. */
struct mgw_company {
	unsigned int count;
	/* No parking lot and the like; of two, no conference either. */
	int conversation;
	int two;
	/* Somebody is taken out of it for a while. */
	int suspended;
	/* One who is not the channel that asks: referenced, or NULL. */
	struct ast_channel *peer;
};

/* Who is in a bridge besides `chan`; -1 when it is busy just now. */
int mgw_members(struct ast_bridge *bridge, const struct ast_channel *chan, struct mgw_company *company);
/* Returns -1 when something is locked just now: the next tick is soon enough. */
int mgw_look(struct mgw_hook *hook, struct ast_channel *chan, struct mgw_view *view);

int mgw_watch_start(void);
void mgw_watch_stop(void);
/* How many hooks are watched. */
int mgw_watch_count(void);
int mgw_watch_add(struct mgw_hook *hook);
/* Calls back for each hook that is watched. */
void mgw_watch_each(void (*fn)(struct mgw_hook *hook, void *data), void *data);

/* ---- Events, log (mgw_events.c), console (mgw_cli.c) ---- */

int mgw_events_start(mgw_gateway gateway);
void mgw_events_stop(void);
/* The module's own event: `what` is a word such as "active". */
void mgw_events_state(const struct mgw_hook *hook, const char *what, const char *reason);
void mgw_log_start(void);
void mgw_log_debug(int on);
int mgw_log_debugging(void);

int mgw_cli_register(void);
/* Returns -1 when a command is at work and so still there; mgw_cli_register() brings back the others. */
int mgw_cli_unregister(void);

#endif
