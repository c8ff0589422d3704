/*
 * The console: mgw show sessions|session|rooms|calls|settings, mgw debug, mgw measure.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

#include "mgw_module.h"

#include "asterisk/astobj2.h"
#include "asterisk/cli.h"
#include "asterisk/json.h"
#include "asterisk/strings.h"

#include <dlfcn.h>

static char *show_sessions(struct ast_cli_entry *e, int cmd, struct ast_cli_args *a)
{
	static const char *const roles[] = { "room", "near", "far" };
	struct ao2_iterator i;
	struct mgw_leg *leg;
	struct ast_str *text;
	int count = 0;

	switch (cmd) {
	case CLI_INIT:
		e->command = "mgw show sessions";
		e->usage = "Usage: mgw show sessions\n       Lists the sessions of translated calls.\n";
		return NULL;
	case CLI_GENERATE:
		return NULL;
	}
	if (a->argc != e->args) {
		return CLI_SHOWUSAGE;
	}
	/* Printed when no lock is held: who reads may be slow. */
	if (!(text = ast_str_create(1024))) {
		return CLI_FAILURE;
	}
	ast_cli(a->fd, "%-12s %-5s %-32s %-16s %-8s %-28s %5s %5s %5s %7s\n", "Session", "Role", "Channel", "Profile", "Language",
		"Room", "Said", "Heard", "Lost", "Lag ms");
	i = ao2_iterator_init(mgw_legs(), 0);
	while ((leg = ao2_iterator_next(&i))) {
		ao2_lock(leg);
		ast_str_append(&text, 0, "%-12llu %-5s %-32.32s %-16.16s %-8s %-28.28s %5u %5u %5u %7.0f%s\n", (unsigned long long)leg->session,
			roles[leg->role], leg->channel, leg->profile, leg->language, leg->room, leg->said, leg->heard, leg->lost,
			leg->lag_ms, leg->closing ? " (leaving)" : "");
		ao2_unlock(leg);
		ao2_ref(leg, -1);
		count++;
	}
	ao2_iterator_destroy(&i);
	ast_cli(a->fd, "%s%d session%s\n", ast_str_buffer(text), count, ESS(count));
	ast_free(text);
	return CLI_SUCCESS;
}

/* The library's counters of a session, one to a line. */
static void print_stats(int fd, mgw_session session)
{
	size_t cap = 8192, len = 0;
	char *buf = ast_malloc(cap), *pretty;
	struct ast_json *stats;
	mgw_status status = buf ? mgw_session_stats(session, buf, cap, &len) : MGW_ERR_RESOURCES;

	if (status < 0) {
		ast_cli(fd, "%s\n", mgw_status_str(status));
		ast_free(buf);
		return;
	}
	stats = ast_json_load_string(buf, NULL);
	pretty = stats ? ast_json_dump_string_format(stats, AST_JSON_PRETTY) : NULL;
	ast_cli(fd, "%s\n", S_OR(pretty, buf));
	ast_json_free(pretty);
	ast_json_unref(stats);
	if (mgw_last_error(session, buf, cap, &len) == MGW_OK) {
		ast_cli(fd, "latest trouble: %s\n", buf);
	}
	ast_free(buf);
}

static char *show_session(struct ast_cli_entry *e, int cmd, struct ast_cli_args *a)
{
	struct mgw_leg *leg;

	switch (cmd) {
	case CLI_INIT:
		e->command = "mgw show session";
		e->usage = "Usage: mgw show session <id>\n       Shows everything about one session; 'mgw show sessions' lists their numbers.\n";
		return NULL;
	case CLI_GENERATE:
		return NULL;
	}
	if (a->argc != e->args + 1) {
		return CLI_SHOWUSAGE;
	}
	if (!(leg = mgw_leg_find(strtoull(a->argv[e->args], NULL, 10)))) {
		ast_cli(a->fd, "There is no session %s\n", a->argv[e->args]);
		return CLI_FAILURE;
	}
	print_stats(a->fd, leg->session);
	ao2_ref(leg, -1);
	return CLI_SUCCESS;
}

static char *show_rooms(struct ast_cli_entry *e, int cmd, struct ast_cli_args *a)
{
	struct ao2_iterator i;
	struct mgw_leg *leg;

	switch (cmd) {
	case CLI_INIT:
		e->command = "mgw show rooms";
		e->usage = "Usage: mgw show rooms\n       Lists rooms and who is in them.\n";
		return NULL;
	case CLI_GENERATE:
		return NULL;
	}
	if (a->argc != e->args) {
		return CLI_SHOWUSAGE;
	}
	ast_cli(a->fd, "%-40s %s\n", "Room", "Members");
	i = ao2_iterator_init(mgw_legs(), 0);
	while ((leg = ao2_iterator_next(&i))) {
		struct ao2_iterator j = ao2_iterator_init(mgw_legs(), 0);
		struct mgw_leg *other;
		int first = 1, is_first = 0;

		/* Printed at its first member. */
		while ((other = ao2_iterator_next(&j))) {
			if (!strcmp(other->room, leg->room)) {
				if (first) {
					is_first = other == leg;
					if (is_first) {
						ast_cli(a->fd, "%-40s", leg->room);
					}
				}
				if (is_first) {
					ast_cli(a->fd, "%s %s (%s)", first ? "" : ",", other->channel, other->language);
				}
				first = 0;
			}
			ao2_ref(other, -1);
		}
		ao2_iterator_destroy(&j);
		if (is_first) {
			ast_cli(a->fd, "\n");
		}
		ao2_ref(leg, -1);
	}
	ao2_iterator_destroy(&i);
	return CLI_SUCCESS;
}

static void print_call(struct mgw_hook *hook, void *data)
{
	ast_cli(*(int *)data, "%-32.32s %-8.8s %-8.8s %-10s %-32.32s %10lu %10lu\n", hook->channel, hook->from, hook->to,
		mgw_hook_state_name(hook->state), S_OR(hook->peer_name, "-"), hook->flow[0].frames, hook->flow[1].frames);
}

static char *show_calls(struct ast_cli_entry *e, int cmd, struct ast_cli_args *a)
{
	struct mgw_hook_cost cost;
	int fd = a ? a->fd : -1;

	switch (cmd) {
	case CLI_INIT:
		e->command = "mgw show calls";
		e->usage = "Usage: mgw show calls\n       Lists the calls that TRANSLATE is on for, and after 'mgw measure on' what its callback costs.\n";
		return NULL;
	case CLI_GENERATE:
		return NULL;
	}
	if (a->argc != e->args) {
		return CLI_SHOWUSAGE;
	}
	ast_cli(a->fd, "%-32s %-8s %-8s %-10s %-32s %10s %10s\n", "Channel", "From", "To", "State", "Peer", "Read", "Written");
	mgw_watch_each(print_call, &fd);
	mgw_hook_cost(&cost);
	if (cost.count) {
		ast_cli(a->fd, "CPU time of %lu callbacks: p50 %.2f us, p99 %.2f us, longest %.2f us\n", cost.count, cost.p50_us,
			cost.p99_us, cost.max_us);
	}
	return CLI_SUCCESS;
}

static void print_setting(const struct mgw_setting *setting, void *data)
{
	ast_str_append(data, 0, "%6d  %-44s %s\n", setting->line, setting->key, setting->value);
}

static char *show_settings(struct ast_cli_entry *e, int cmd, struct ast_cli_args *a)
{
	struct ast_str *text;

	switch (cmd) {
	case CLI_INIT:
		e->command = "mgw show settings";
		e->usage = "Usage: mgw show settings\n       Shows what mgw.conf has set and in which line; keys of vendors are not shown.\n";
		return NULL;
	case CLI_GENERATE:
		return NULL;
	}
	if (a->argc != e->args) {
		return CLI_SHOWUSAGE;
	}
	ast_cli(a->fd, "libmgw %s, %s\n", mgw_version(), mgw_mod_gateway() ? "running" : "not running: " MGW_CONF " is not right");
	ast_cli(a->fd, "%6s  %-44s %s\n", "Line", "Key", "Value");
	if (!(text = ast_str_create(1024))) {
		return CLI_FAILURE;
	}
	mgw_conf_each(print_setting, &text);
	ast_cli(a->fd, "%s", ast_str_buffer(text));
	ast_free(text);
	return CLI_SUCCESS;
}

static char *debug(struct ast_cli_entry *e, int cmd, struct ast_cli_args *a)
{
	switch (cmd) {
	case CLI_INIT:
		e->command = "mgw debug {on|off}";
		e->usage = "Usage: mgw debug {on|off}\n       On: the library's log with everything a developer wants to know.\n";
		return NULL;
	case CLI_GENERATE:
		return NULL;
	}
	if (a->argc != e->args) {
		return CLI_SHOWUSAGE;
	}
	mgw_log_debug(!strcasecmp(a->argv[e->args - 1], "on"));
	ast_cli(a->fd, "mgw debug is %s\n", mgw_log_debugging() ? "on" : "off");
	return CLI_SUCCESS;
}

static char *measure(struct ast_cli_entry *e, int cmd, struct ast_cli_args *a)
{
	int on;

	switch (cmd) {
	case CLI_INIT:
		e->command = "mgw measure {on|off}";
		e->usage = "Usage: mgw measure {on|off}\n       On: the CPU time of TRANSLATE's callbacks is measured, which itself costs some; mgw show calls\n"
			"       has the result.\n";
		return NULL;
	case CLI_GENERATE:
		return NULL;
	}
	if (a->argc != e->args) {
		return CLI_SHOWUSAGE;
	}
	on = !strcasecmp(a->argv[e->args - 1], "on");
	mgw_hook_measure(on);
	ast_cli(a->fd, "measuring is %s\n", on ? "on" : "off");
	return CLI_SUCCESS;
}

/* The two below are for tests: they exist where the library was built to fail on purpose, and nowhere else. */

static char *inject_panic(struct ast_cli_entry *e, int cmd, struct ast_cli_args *a)
{
	mgw_status (*inject)(mgw_session) = (mgw_status (*)(mgw_session))dlsym(RTLD_DEFAULT, "mgw_inject_panic");

	switch (cmd) {
	case CLI_INIT:
		e->command = "mgw inject panic";
		e->usage = "Usage: mgw inject panic <session>\n       Makes the room of a session panic. For the library's own tests.\n";
		return NULL;
	case CLI_GENERATE:
		return NULL;
	}
	if (a->argc != e->args + 1 || !inject) {
		return CLI_SHOWUSAGE;
	}
	ast_cli(a->fd, "%s\n", mgw_status_str(inject(strtoull(a->argv[e->args], NULL, 10))));
	return CLI_SUCCESS;
}

static char *inject_hang(struct ast_cli_entry *e, int cmd, struct ast_cli_args *a)
{
	mgw_status (*inject)(mgw_gateway, uint32_t) = (mgw_status (*)(mgw_gateway, uint32_t))dlsym(RTLD_DEFAULT, "mgw_inject_hang");

	switch (cmd) {
	case CLI_INIT:
		e->command = "mgw inject hang";
		e->usage = "Usage: mgw inject hang <ms>\n       Makes the library's media threads do nothing for so long. For the library's own tests.\n";
		return NULL;
	case CLI_GENERATE:
		return NULL;
	}
	if (a->argc != e->args + 1 || !inject) {
		return CLI_SHOWUSAGE;
	}
	ast_cli(a->fd, "%s\n", mgw_status_str(inject(mgw_mod_gateway(), atoi(a->argv[e->args]))));
	return CLI_SUCCESS;
}

static struct ast_cli_entry commands[] = {
	AST_CLI_DEFINE(show_sessions, "Lists the sessions of translated calls"),
	AST_CLI_DEFINE(show_session, "Shows one session"),
	AST_CLI_DEFINE(show_rooms, "Lists rooms and their members"),
	AST_CLI_DEFINE(show_calls, "Lists the calls that TRANSLATE is on for"),
	AST_CLI_DEFINE(show_settings, "Shows what mgw.conf has set"),
	AST_CLI_DEFINE(debug, "Switches debugging on and off"),
	AST_CLI_DEFINE(measure, "Measures what translated calls cost"),
};

static struct ast_cli_entry test_commands[] = {
	AST_CLI_DEFINE(inject_panic, "Makes a room panic"),
	AST_CLI_DEFINE(inject_hang, "Makes the media threads hang"),
};

/* One that is registered has its words; unregistering takes them away, unless it is at work. */
static int bring(struct ast_cli_entry *list, size_t n)
{
	int failed = 0;

	for (; n--; list++) {
		failed |= !list->command && ast_cli_register(list);
	}
	return failed;
}

static int take(struct ast_cli_entry *list, size_t n)
{
	int busy = 0;

	for (; n--; list++) {
		if (list->command) {
			ast_cli_unregister(list);
			/* Asterisk looks at the count before it takes the lock. */
			busy |= list->command || __atomic_load_n(&list->inuse, __ATOMIC_ACQUIRE);
		}
	}
	return busy;
}

int mgw_cli_register(void)
{
	if (bring(commands, ARRAY_LEN(commands))) {
		return -1;
	}
	return dlsym(RTLD_DEFAULT, "mgw_inject_hang") && bring(test_commands, ARRAY_LEN(test_commands)) ? -1 : 0;
}

int mgw_cli_unregister(void)
{
	int busy = take(test_commands, ARRAY_LEN(test_commands));

	return take(commands, ARRAY_LEN(commands)) || busy ? -1 : 0;
}
