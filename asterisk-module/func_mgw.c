/*
 * MGW(): live values of a translated call, and settings that change in mid-call.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

/*** DOCUMENTATION
	<function name="MGW" language="en_US" module="app_mgw">
		<synopsis>
			Live values of a translated call; written, settings of it.
		</synopsis>
		<syntax>
			<parameter name="field" required="true">
				<para>Read:</para>
				<enumlist>
					<enum name="status"><para><literal>none</literal>, <literal>room</literal> (MediaGateway) or the state
					of TRANSLATE.</para></enum>
					<enum name="room" />
					<enum name="profile" />
					<enum name="language" />
					<enum name="session"><para>The library's number of the session.</para></enum>
					<enum name="said"><para>How many final transcripts there were.</para></enum>
					<enum name="heard"><para>How many segments were heard to their end.</para></enum>
					<enum name="lost"><para>How many segments were lost.</para></enum>
					<enum name="lag_ms"><para>From the last word of the newest segment to the end of its
					translation.</para></enum>
					<enum name="transcript"><para>What was recognised last.</para></enum>
					<enum name="translation"><para>Its translation.</para></enum>
					<enum name="error"><para>The latest trouble.</para></enum>
				</enumlist>
				<para>Written: a key of the library that may change in mid-call, such as <literal>original</literal>,
				<literal>gain.original_db</literal>, <literal>gain.translation_db</literal>; or
				<literal>say</literal>, a text that is spoken to the listener.</para>
			</parameter>
			<parameter name="side">
				<para>With TRANSLATE: <literal>near</literal>, the channel itself (the default), or
				<literal>far</literal>, the other party.</para>
			</parameter>
		</syntax>
		<description>
			<para>Values of a channel without translation are empty.</para>
			<example title="The original voice under the translation">
			same => n,Set(TRANSLATE(en,es)=on)
			same => n,Set(MGW(original)=full)
			same => n,Set(MGW(gain.original_db)=-12)
			</example>
		</description>
		<see-also>
			<ref type="application">MediaGateway</ref>
			<ref type="function">TRANSLATE</ref>
		</see-also>
	</function>
 ***/

#include "mgw_module.h"

#include "asterisk/app.h"
#include "asterisk/astobj2.h"
#include "asterisk/pbx.h"

/* The leg that is meant: a reference, or NULL. */
static struct mgw_leg *leg_of(struct ast_channel *chan, const char *side)
{
	struct mgw_leg *leg;
	struct mgw_hook *hook;
	int far = side && !strcasecmp(side, "far");

	leg = far ? NULL : mgw_leg_of_channel(ast_channel_name(chan), MGW_ROLE_APP);
	if (leg) {
		return leg;
	}
	ast_channel_lock(chan);
	hook = mgw_hook_of(chan);
	ast_channel_unlock(chan);
	if (hook) {
		leg = mgw_leg_of_channel(far ? hook->peer : hook->uniqueid, far ? MGW_ROLE_FAR : MGW_ROLE_NEAR);
		ao2_ref(hook, -1);
	}
	return leg;
}

static void status_of(struct ast_channel *chan, const struct mgw_leg *leg, char *buf, size_t len)
{
	struct mgw_hook *hook;

	if (leg && leg->role == MGW_ROLE_APP) {
		ast_copy_string(buf, "room", len);
		return;
	}
	ast_channel_lock(chan);
	hook = mgw_hook_of(chan);
	ast_channel_unlock(chan);
	ast_copy_string(buf, hook ? mgw_hook_state_name(hook->state) : "none", len);
	ao2_cleanup(hook);
}

static int mgw_read(struct ast_channel *chan, const char *cmd, char *data, char *buf, size_t len)
{
	AST_DECLARE_APP_ARGS(args,
		AST_APP_ARG(field);
		AST_APP_ARG(side);
	);
	struct mgw_leg *leg;
	const char *field;
	int known = 1;

	buf[0] = '\0';
	if (!chan) {
		ast_log(LOG_WARNING, "%s needs a channel\n", cmd);
		return -1;
	}
	AST_STANDARD_APP_ARGS(args, data);
	field = S_OR(args.field, "");
	leg = leg_of(chan, args.side);
	if (!strcasecmp(field, "status")) {
		status_of(chan, leg, buf, len);
		ao2_cleanup(leg);
		return 0;
	}
	if (!leg) {
		return 0;
	}
	ao2_lock(leg);
	if (!strcasecmp(field, "room")) {
		ast_copy_string(buf, leg->room, len);
	} else if (!strcasecmp(field, "profile")) {
		ast_copy_string(buf, leg->profile, len);
	} else if (!strcasecmp(field, "language")) {
		ast_copy_string(buf, leg->language, len);
	} else if (!strcasecmp(field, "session")) {
		snprintf(buf, len, "%llu", (unsigned long long)leg->session);
	} else if (!strcasecmp(field, "said")) {
		snprintf(buf, len, "%u", leg->said);
	} else if (!strcasecmp(field, "heard")) {
		snprintf(buf, len, "%u", leg->heard);
	} else if (!strcasecmp(field, "lost")) {
		snprintf(buf, len, "%u", leg->lost);
	} else if (!strcasecmp(field, "lag_ms")) {
		snprintf(buf, len, "%.0f", leg->lag_ms);
	} else if (!strcasecmp(field, "transcript")) {
		ast_copy_string(buf, S_OR(leg->transcript, ""), len);
	} else if (!strcasecmp(field, "translation")) {
		ast_copy_string(buf, S_OR(leg->translation, ""), len);
	} else if (!strcasecmp(field, "error")) {
		ast_copy_string(buf, S_OR(leg->error, ""), len);
	} else {
		known = 0;
	}
	ao2_unlock(leg);
	ao2_ref(leg, -1);
	if (!known) {
		ast_log(LOG_WARNING, "%s: no field '%s'\n", cmd, field);
		return -1;
	}
	return 0;
}

static int mgw_write(struct ast_channel *chan, const char *cmd, char *data, const char *value)
{
	AST_DECLARE_APP_ARGS(args,
		AST_APP_ARG(field);
		AST_APP_ARG(side);
	);
	char why[512] = "";
	struct mgw_leg *leg;
	struct mgw_hook *hook;
	mgw_status status;

	if (!chan) {
		ast_log(LOG_WARNING, "%s needs a channel\n", cmd);
		return -1;
	}
	AST_STANDARD_APP_ARGS(args, data);
	if (!(leg = leg_of(chan, args.side))) {
		ast_log(LOG_WARNING, "%s: %s: there is no session to set '%s' of\n", ast_channel_name(chan), cmd, S_OR(args.field, ""));
		return 0;
	}
	if (!strcasecmp(S_OR(args.field, ""), "say")) {
		status = mgw_session_say(leg->session, value, NULL, 0);
	} else {
		status = mgw_session_set(leg->session, S_OR(args.field, ""), value, why, sizeof(why));
		if (status >= 0 && leg->role != MGW_ROLE_APP) {
			ast_channel_lock(chan);
			hook = mgw_hook_of(chan);
			ast_channel_unlock(chan);
			if (hook) {
				mgw_hook_remember(hook, leg->role, args.field, value);
				ao2_ref(hook, -1);
			}
		}
	}
	ao2_ref(leg, -1);
	if (status < 0) {
		ast_log(LOG_WARNING, "%s: %s: %s\n", ast_channel_name(chan), cmd, why[0] ? why : mgw_status_str(status));
	}
	return 0;
}

static struct ast_custom_function mgw_function = {
	.name = "MGW",
	.read = mgw_read,
	.write = mgw_write,
};

int mgw_function_register(void)
{
	return ast_custom_function_register(&mgw_function);
}

int mgw_function_unregister(void)
{
	return ast_custom_function_unregister(&mgw_function);
}
