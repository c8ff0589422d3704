/*
 * Legs: the sessions of the library that this module has opened, and who meets whom.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

#include "mgw_module.h"

#include "asterisk/astobj2.h"
#include "asterisk/format.h"

/* The library gives a leaver's last words 20 s; what takes longer has ended without our hearing of it. */
#define CLOSING_US 25000000

static struct ao2_container *legs;
static int rooms;
/* How many legs have to do without the library. */
static int all_without;

static void leg_destroy(void *data)
{
	struct mgw_leg *leg = data;

	mgw_leg_with(leg);
	ast_free(leg->transcript);
	ast_free(leg->translation);
	ast_free(leg->error);
}

int mgw_legs_init(void)
{
	/* A list: hundreds at most, and frames never look here. */
	legs = ao2_container_alloc_list(AO2_ALLOC_OPT_LOCK_MUTEX, 0, NULL, NULL);
	return legs ? 0 : -1;
}

void mgw_legs_destroy(void)
{
	ao2_cleanup(legs);
	legs = NULL;
}

struct ao2_container *mgw_legs(void)
{
	return legs;
}

static mgw_status set(mgw_config options, const char *key, const char *value, char *why, size_t size)
{
	return ast_strlen_zero(value) ? MGW_OK : mgw_config_set(options, key, value, why, size);
}

static mgw_status open_session(const struct mgw_leg_options *o, mgw_session *session, char *why, size_t size)
{
	static const char *const roles[] = { "caller", "near", "far" };
	char rate[16];
	mgw_gateway gateway = mgw_mod_gateway();
	mgw_config options;
	mgw_status status;

	if (!gateway) {
		snprintf(why, size, "there is no usable %s: see the log of the module's loading", MGW_CONF);
		return MGW_ERR_CONFIG;
	}
	if ((status = mgw_config_new(&options)) < 0) {
		return status;
	}
	snprintf(rate, sizeof(rate), "%u", o->rate);
	if ((status = set(options, "id", o->channel, why, size)) < 0
		|| (status = set(options, "role", roles[o->role], why, size)) < 0
		|| (status = set(options, "label.uniqueid", o->uniqueid, why, size)) < 0
		|| (status = set(options, "label.linkedid", o->linkedid, why, size)) < 0
		|| (status = set(options, "language", o->language, why, size)) < 0
		|| (status = set(options, "rate.in", rate, why, size)) < 0
		|| (status = set(options, "rate.out", rate, why, size)) < 0) {
		mgw_config_free(options);
		return status;
	}
	status = mgw_session_new(gateway, o->profile, o->room, options, session, why, size);
	mgw_config_free(options);
	return status;
}

struct mgw_leg *mgw_leg_open(const struct mgw_leg_options *o, char *why, size_t size)
{
	struct mgw_leg *leg = ao2_alloc(sizeof(*leg), leg_destroy);
	mgw_status status;

	if (!leg) {
		snprintf(why, size, "out of memory");
		return NULL;
	}
	leg->role = o->role;
	leg->paired = o->paired;
	leg->ends_alone = o->ends_alone;
	leg->since = ast_tvnow();
	ast_copy_string(leg->profile, o->profile, sizeof(leg->profile));
	ast_copy_string(leg->room, o->room, sizeof(leg->room));
	ast_copy_string(leg->language, S_OR(o->language, ""), sizeof(leg->language));
	ast_copy_string(leg->channel, S_OR(o->channel, ""), sizeof(leg->channel));
	ast_copy_string(leg->uniqueid, S_OR(o->uniqueid, ""), sizeof(leg->uniqueid));
	/* The list is held from before the session exists until it is in it, so that its first events find it. */
	ao2_lock(legs);
	status = open_session(o, &leg->session, why, size);
	if (status < 0) {
		ao2_unlock(legs);
		if (ast_strlen_zero(why)) {
			ast_copy_string(why, mgw_status_str(status), size);
		}
		ao2_ref(leg, -1);
		return NULL;
	}
	if (!o->probe) {
		ao2_link_flags(legs, leg, OBJ_NOLOCK);
		leg->module_ref = 1;
		ast_module_ref(AST_MODULE_SELF);
	}
	ao2_unlock(legs);
	return leg;
}

void mgw_leg_close(struct mgw_leg *leg, int mode)
{
	int module_ref;

	ao2_lock(leg);
	leg->closing = 1;
	leg->closed_at = mgw_now_us();
	module_ref = leg->module_ref;
	leg->module_ref = 0;
	ao2_unlock(leg);
	if (mgw_session_close(leg->session, mode) < 0) {
		/* The gateway was shut down: nobody will tell us. */
		mgw_leg_gone(leg);
	}
	ao2_ref(leg, -1);
	if (module_ref) {
		ast_module_unref(AST_MODULE_SELF);
	}
}

struct mgw_leg *mgw_leg_find(mgw_session session)
{
	struct ao2_iterator i = ao2_iterator_init(legs, 0);
	struct mgw_leg *leg;

	while ((leg = ao2_iterator_next(&i)) && leg->session != session) {
		ao2_ref(leg, -1);
	}
	ao2_iterator_destroy(&i);
	return leg;
}

struct mgw_leg *mgw_leg_of_channel(const char *channel, enum mgw_role role)
{
	struct ao2_iterator i = ao2_iterator_init(legs, 0);
	struct mgw_leg *leg;

	while ((leg = ao2_iterator_next(&i))) {
		if (leg->role == role && !leg->closing && (!strcmp(leg->channel, channel) || !strcmp(leg->uniqueid, channel))) {
			break;
		}
		ao2_ref(leg, -1);
	}
	ao2_iterator_destroy(&i);
	return leg;
}

void mgw_leg_gone(struct mgw_leg *leg)
{
	struct ao2_iterator i;
	struct mgw_leg *other, *last = NULL;
	int left = 0, gone;

	ao2_lock(leg);
	gone = leg->gone;
	leg->gone = 1;
	ao2_unlock(leg);
	if (gone) {
		return;
	}
	ao2_unlink(legs, leg);
	i = ao2_iterator_init(legs, 0);
	while ((other = ao2_iterator_next(&i))) {
		if (!strcmp(other->room, leg->room)) {
			left++;
			ao2_cleanup(last);
			last = ao2_bump(other);
		}
		ao2_ref(other, -1);
	}
	ao2_iterator_destroy(&i);
	if (left == 1 && (last->paired || last->ends_alone)) {
		__atomic_store_n(&last->ended, 1, __ATOMIC_RELEASE);
	}
	ao2_cleanup(last);
}

void mgw_legs_sweep(void)
{
	struct ao2_iterator i = ao2_iterator_init(legs, 0);
	struct mgw_leg *leg;
	int64_t now = mgw_now_us();
	int over;

	while ((leg = ao2_iterator_next(&i))) {
		ao2_lock(leg);
		over = leg->closing && now - leg->closed_at > CLOSING_US;
		ao2_unlock(leg);
		if (over) {
			mgw_leg_gone(leg);
		}
		ao2_ref(leg, -1);
	}
	ao2_iterator_destroy(&i);
}

int mgw_legs_live(void)
{
	struct ao2_iterator i;
	struct mgw_leg *leg;
	int live = 0;

	if (!legs) {
		return 0;
	}
	i = ao2_iterator_init(legs, 0);
	while ((leg = ao2_iterator_next(&i))) {
		ao2_lock(leg);
		live += !leg->closing;
		ao2_unlock(leg);
		ao2_ref(leg, -1);
	}
	ao2_iterator_destroy(&i);
	return live;
}

/* Whether a leg waits for a partner: alone in a room that was made for a pair. */
static int waits(const struct mgw_leg *leg)
{
	struct ao2_iterator i;
	struct mgw_leg *other;
	int members = 0;

	if (!leg->paired || leg->closing || __atomic_load_n(&leg->ended, __ATOMIC_ACQUIRE)) {
		return 0;
	}
	i = ao2_iterator_init(legs, 0);
	while ((other = ao2_iterator_next(&i))) {
		members += !strcmp(other->room, leg->room);
		ao2_ref(other, -1);
	}
	ao2_iterator_destroy(&i);
	return members == 1;
}

void mgw_leg_pair_room(const char *profile, char *room, size_t size)
{
	struct ao2_iterator i = ao2_iterator_init(legs, 0);
	struct mgw_leg *leg;

	room[0] = '\0';
	/* In order of arrival: the list keeps it. */
	while (!room[0] && (leg = ao2_iterator_next(&i))) {
		if (strcmp(leg->profile, profile) && waits(leg)) {
			ast_copy_string(room, leg->room, size);
		}
		ao2_ref(leg, -1);
	}
	ao2_iterator_destroy(&i);
	if (!room[0]) {
		snprintf(room, size, "pair-%d", ast_atomic_fetchadd_int(&rooms, 1) + 1);
	}
}

unsigned int mgw_channel_rate(struct ast_channel *chan)
{
	struct ast_format *format;
	unsigned int rate;

	ast_channel_lock(chan);
	format = ast_channel_rawwriteformat(chan);
	rate = format ? ast_format_get_sample_rate(format) : 0;
	ast_channel_unlock(chan);
	switch (rate) {
	case 8000: case 12000: case 16000: case 24000: case 32000: case 44100: case 48000: case 96000: case 192000:
		return rate;
	default:
		return 16000;
	}
}

void mgw_leg_voice(struct mgw_leg *leg, struct ast_frame *f)
{
	struct ao2_iterator i;
	struct mgw_leg *other;

	if (!__atomic_load_n(&all_without, __ATOMIC_RELAXED)) {
		return;
	}
	i = ao2_iterator_init(legs, 0);
	while ((other = ao2_iterator_next(&i))) {
		if (other != leg && !strcmp(other->room, leg->room)) {
			ao2_lock(other);
			/* More than half a second is of somebody who does not listen. */
			if (other->without && ast_slinfactory_available(&other->voices) < ast_format_get_sample_rate(f->subclass.format) / 2) {
				ast_slinfactory_feed(&other->voices, f);
			}
			ao2_unlock(other);
		}
		ao2_ref(other, -1);
	}
	ao2_iterator_destroy(&i);
}

void mgw_leg_without(struct mgw_leg *leg, struct ast_format *format, int16_t *samples, unsigned int count)
{
	int begins;

	ao2_lock(leg);
	begins = !leg->without;
	if (begins) {
		leg->without = 1;
		ast_slinfactory_init_with_format(&leg->voices, format);
		ast_atomic_fetchadd_int(&all_without, 1);
	}
	if (ast_slinfactory_available(&leg->voices) >= count) {
		ast_slinfactory_read(&leg->voices, samples, count);
	}
	ao2_unlock(leg);
	if (begins) {
		ast_log(LOG_WARNING, "%s: the library shows no life: original voices pass\n", leg->channel);
	}
}

void mgw_leg_with(struct mgw_leg *leg)
{
	int ends;

	ao2_lock(leg);
	ends = leg->without;
	if (ends) {
		leg->without = 0;
		ast_slinfactory_destroy(&leg->voices);
		ast_atomic_fetchadd_int(&all_without, -1);
	}
	ao2_unlock(leg);
	if (ends) {
		ast_log(LOG_NOTICE, "%s: the library is back\n", leg->channel);
	}
}
