/*
 * What a call with TRANSLATE is just now: who is in its bridge, whether they talk, who is behind a Local channel.
 *
 * Locks are tried, never waited for: see mgw_watch.c.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

#include "mgw_module.h"

#include "asterisk/astobj2.h"
#include "asterisk/bridge.h"
#include "asterisk/bridge_channel.h"
#include "asterisk/bridge_technology.h"
#include "asterisk/core_local.h"
#include "asterisk/linkedlists.h"

/* Local channels one behind the other that are followed. */
#define LOCAL_HOPS 8

/* Whether a locked channel holds the other, or is held and hears music. */
static int holds(struct ast_channel *chan)
{
	return ast_channel_hold_state(chan) == AST_CONTROL_HOLD || ast_test_flag(ast_channel_flags(chan), AST_FLAG_MOH);
}

/* Who is in a bridge besides `chan`; -1 when it is busy just now. */
int mgw_members(struct ast_bridge *bridge, const struct ast_channel *chan, struct mgw_company *company)
{
	struct ast_bridge_channel *member;
	unsigned int can;

	memset(company, 0, sizeof(*company));
	if (ast_bridge_trylock(bridge)) {
		return -1;
	}
	company->count = bridge->num_channels;
	can = bridge->technology ? bridge->technology->capabilities : AST_BRIDGE_CAPABILITY_HOLDING;
	company->conversation = !bridge->dissolved && !(can & AST_BRIDGE_CAPABILITY_HOLDING);
	company->two = company->conversation && company->count == 2
		&& (can & (AST_BRIDGE_CAPABILITY_1TO1MIX | AST_BRIDGE_CAPABILITY_NATIVE));
	AST_LIST_TRAVERSE(&bridge->channels, member, entry) {
		company->suspended |= member->suspended;
		if (!company->peer && member->chan != chan) {
			company->peer = ast_channel_ref(member->chan);
		}
	}
	ast_bridge_unlock(bridge);
	return 0;
}

/* What a call through Local channels is at their other end, which is what is heard through them: active, or why not;
 * and who is there. Returns -1 when something is locked just now. */
static int behind(struct ast_channel *first, enum mgw_hook_state *state, char *party, size_t size)
{
	struct ast_channel *chan = ast_channel_ref(first), *other;
	struct ast_bridge *bridge;
	struct mgw_company company;
	int hop, up, held, local, res = 0;

	*state = MGW_HOOK_ACTIVE;
	for (hop = 0; chan && hop < LOCAL_HOPS; hop++) {
		if (ast_channel_trylock(chan)) {
			res = -1;
			break;
		}
		ast_copy_string(party, ast_channel_uniqueid(chan), size);
		up = ast_channel_state(chan) == AST_STATE_UP;
		held = holds(chan);
		local = !strcmp(ast_channel_tech(chan)->type, "Local");
		other = local ? ast_local_get_peer(chan) : NULL;
		ast_channel_unlock(chan);
		ast_channel_unref(chan);
		chan = NULL;
		if (!up || held || !local || !other) {
			*state = !up ? MGW_HOOK_WAITING : held ? MGW_HOOK_HELD : local ? MGW_HOOK_WAITING : MGW_HOOK_ACTIVE;
			ao2_cleanup(other);
			break;
		}
		if (ast_channel_trylock(other)) {
			ast_channel_unref(other);
			res = -1;
			break;
		}
		held = holds(other) || ast_channel_stream(other) || ast_channel_generator(other);
		bridge = ast_channel_get_bridge(other);
		ast_channel_unlock(other);
		memset(&company, 0, sizeof(company));
		res = !held && bridge ? mgw_members(bridge, other, &company) : 0;
		ao2_cleanup(bridge);
		ast_channel_unref(other);
		if (held || company.count > 2 || company.suspended || company.count < 2 || !company.conversation) {
			*state = company.count > 2 ? MGW_HOOK_SUSPENDED
				: held || company.suspended ? MGW_HOOK_HELD : MGW_HOOK_WAITING;
			ao2_cleanup(company.peer);
			break;
		}
		chan = company.peer;
	}
	ao2_cleanup(chan);
	return res;
}

/* Whether a locked channel has a hook that comes before this one and works. */
static int outranked(const struct mgw_hook *hook, struct ast_channel *peer)
{
	struct mgw_hook *other = mgw_hook_of(peer);
	struct ast_channel *chan;
	int yes = 0;

	if (other && other->number < hook->number && other->state != MGW_HOOK_FAILED) {
		chan = mgw_hook_channel(other);
		yes = chan != NULL;
		ao2_cleanup(chan);
	}
	ao2_cleanup(other);
	return yes;
}

/* Returns -1 when something is locked just now: the next tick is soon enough. */
int mgw_look(struct mgw_hook *hook, struct ast_channel *chan, struct mgw_view *view)
{
	struct mgw_company company;
	struct ast_channel *peer;
	enum mgw_hook_state far;
	int held, up, busy;

	memset(view, 0, sizeof(*view));
	if (ast_channel_trylock(chan)) {
		return -1;
	}
	up = ast_channel_state(chan) == AST_STATE_UP;
	held = holds(chan);
	view->bridge = ast_channel_get_bridge(chan);
	ast_channel_unlock(chan);
	if (!view->bridge) {
		return 0;
	}
	if (mgw_members(view->bridge, chan, &company)) {
		return -1;
	}
	peer = company.peer;
	if (!peer || !company.conversation) {
		ao2_cleanup(peer);
		return 0;
	}
	if (ast_channel_trylock(peer)) {
		ast_channel_unref(peer);
		return -1;
	}
	up = up && ast_channel_state(peer) == AST_STATE_UP;
	held = held || holds(peer) || company.suspended;
	/* With two hooks in a call the one that came first works. */
	busy = outranked(hook, peer);
	ast_copy_string(view->peer, ast_channel_uniqueid(peer), sizeof(view->peer));
	ast_copy_string(view->peer_name, ast_channel_name(peer), sizeof(view->peer_name));
	ast_channel_unlock(peer);
	if (behind(peer, &far, view->party, sizeof(view->party))) {
		ast_channel_unref(peer);
		return -1;
	}
	ast_channel_unref(peer);
	view->state = company.count > 2 ? MGW_HOOK_SUSPENDED
		: !up || company.count < 2 ? MGW_HOOK_WAITING
		: busy ? MGW_HOOK_PEER
		: held ? MGW_HOOK_HELD : far;
	if (company.count == 2 && !strcmp(view->peer, hook->peer)) {
		hook->together = mgw_now_us();
	}
	return 0;
}
