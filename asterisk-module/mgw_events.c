/*
 * The library's events and its log, as Asterisk knows such things.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

#include "mgw_module.h"

#include "asterisk/json.h"
#include "asterisk/logger.h"
#include "asterisk/manager.h"
#include "asterisk/strings.h"

#include <poll.h>
#include <sys/eventfd.h>

static pthread_t thread = AST_PTHREADT_NULL;
static int wake = -1;
static int stop;
static int debugging;

/* ---- The log ---- */

static void on_log(int level, const char *target, const char *message, void *user)
{
	(void)user;
	switch (level) {
	case MGW_LOG_ERROR:
		ast_log(LOG_ERROR, "%s: %s\n", target, message);
		break;
	case MGW_LOG_WARN:
		ast_log(LOG_WARNING, "%s: %s\n", target, message);
		break;
	case MGW_LOG_INFO:
		ast_log(LOG_NOTICE, "%s: %s\n", target, message);
		break;
	default:
		if (__atomic_load_n(&debugging, __ATOMIC_RELAXED)) {
			ast_verbose("%s: %s\n", target, message);
		} else {
			ast_log(LOG_DEBUG, "%s: %s\n", target, message);
		}
	}
}

void mgw_log_start(void)
{
	int level = mgw_conf_log_level();

	if (mgw_log_debugging() && level < MGW_LOG_DEBUG) {
		level = MGW_LOG_DEBUG;
	}
	mgw_set_log(level, level == MGW_LOG_OFF ? NULL : on_log, NULL);
}

void mgw_log_debug(int on)
{
	__atomic_store_n(&debugging, on, __ATOMIC_RELAXED);
	mgw_log_start();
}

int mgw_log_debugging(void)
{
	return __atomic_load_n(&debugging, __ATOMIC_RELAXED);
}

/* ---- Manager events ---- */

/* A header of the manager interface has one line. */
static void header(struct ast_str **out, const char *name, const char *value)
{
	const char *p;

	ast_str_append(out, 0, "%s: ", name);
	for (p = value; *p; p++) {
		ast_str_append(out, 0, "%c", *p == '\r' || *p == '\n' ? ' ' : *p);
	}
	ast_str_append(out, 0, "\r\n");
}

/* `source_text` becomes `SourceText`. */
static void camel(const char *key, char *name, size_t size)
{
	size_t n = 0;
	int upper = 1;

	for (; *key && n + 1 < size; key++) {
		if (*key == '_') {
			upper = 1;
		} else {
			name[n++] = upper ? toupper(*key) : *key;
			upper = 0;
		}
	}
	name[n] = '\0';
}

/* The plain fields of an event; objects inside it are for those who read the library's own events. */
static void headers(struct ast_str **out, struct ast_json *event)
{
	struct ast_json_iter *i;

	for (i = ast_json_object_iter(event); i; i = ast_json_object_iter_next(event, i)) {
		const char *key = ast_json_object_iter_key(i);
		struct ast_json *value = ast_json_object_iter_value(i);
		char name[64], number[64];

		if (!strcmp(key, "type") || !strcmp(key, "seq")) {
			continue;
		}
		camel(key, name, sizeof(name));
		switch (ast_json_typeof(value)) {
		case AST_JSON_STRING:
			header(out, name, ast_json_string_get(value));
			break;
		case AST_JSON_INTEGER:
			snprintf(number, sizeof(number), "%jd", ast_json_integer_get(value));
			header(out, name, number);
			break;
		case AST_JSON_REAL:
			snprintf(number, sizeof(number), "%.0f", ast_json_real_get(value));
			header(out, name, number);
			break;
		case AST_JSON_TRUE:
			header(out, name, "yes");
			break;
		case AST_JSON_FALSE:
			header(out, name, "no");
			break;
		default:
			break;
		}
	}
}

static const struct {
	const char *type;
	const char *name;
	unsigned int bit;
} told[] = {
	{ "transcript", "MGWTranscript", MGW_AMI_TRANSCRIPT },
	{ "translation", "MGWTranslation", MGW_AMI_TRANSLATION },
	{ "segment_done", "MGWSegmentDone", MGW_AMI_SEGMENT },
	{ "segment_lost", "MGWSegmentLost", MGW_AMI_SEGMENT | MGW_AMI_ERROR },
	{ "provider", "MGWProvider", MGW_AMI_ERROR },
	{ "fail_open", "MGWFailOpen", MGW_AMI_ERROR },
	{ "error", "MGWError", MGW_AMI_ERROR },
	{ "events_lost", "MGWEventsLost", MGW_AMI_ERROR },
	{ "joined", "MGWJoined", MGW_AMI_STATE },
	{ "closed", "MGWClosed", MGW_AMI_STATE },
};

static void tell_manager(const char *type, struct ast_json *event, struct mgw_leg *leg)
{
	unsigned int ami = mgw_conf_ami();
	struct ast_str *text;
	size_t i;

	for (i = 0; i < ARRAY_LEN(told); i++) {
		if (!strcmp(type, told[i].type)) {
			break;
		}
	}
	if (i == ARRAY_LEN(told) || !(told[i].bit & ami)) {
		return;
	}
	if (!strcmp(type, "transcript") && !(ami & MGW_AMI_INTERIM) && !ast_json_is_true(ast_json_object_get(event, "final"))) {
		return;
	}
	if (!(text = ast_str_create(512))) {
		return;
	}
	if (leg) {
		header(&text, "Channel", leg->channel);
		header(&text, "Uniqueid", leg->uniqueid);
	}
	headers(&text, event);
	manager_event(EVENT_FLAG_CALL, told[i].name, "%s", ast_str_buffer(text));
	ast_free(text);
}

void mgw_events_state(const struct mgw_hook *hook, const char *what, const char *reason)
{
	struct ast_str *text;

	ast_verb(3, "%s: translation %s-%s: %s%s%s\n", hook->channel, hook->from, hook->to, what,
		ast_strlen_zero(reason) ? "" : ": ", S_OR(reason, ""));
	if (!(mgw_conf_ami() & MGW_AMI_STATE) || !(text = ast_str_create(512))) {
		return;
	}
	/* Names and reasons come from elsewhere: none may bring a line of its own. */
	header(&text, "Channel", hook->channel);
	header(&text, "Uniqueid", hook->uniqueid);
	header(&text, "Room", hook->room);
	header(&text, "From", hook->from);
	header(&text, "To", hook->to);
	header(&text, "Peer", hook->peer_name);
	header(&text, "State", what);
	header(&text, "Reason", S_OR(reason, ""));
	manager_event(EVENT_FLAG_CALL, "MGWTranslate", "%s", ast_str_buffer(text));
	ast_free(text);
}

/* ---- Events ---- */

static const char *text_of(struct ast_json *event, const char *key)
{
	return S_OR(ast_json_string_get(ast_json_object_get(event, key)), "");
}

static void keep(char **where, const char *text)
{
	char *copy = ast_strdup(text);

	ast_free(*where);
	*where = copy;
}

/* What MGW() and the console show of a leg. */
static void note(struct mgw_leg *leg, const char *type, struct ast_json *event)
{
	ao2_lock(leg);
	if (!strcmp(type, "joined") && !leg->language[0]) {
		ast_copy_string(leg->language, text_of(event, "language"), sizeof(leg->language));
	} else if (!strcmp(type, "transcript") && ast_json_is_true(ast_json_object_get(event, "final"))) {
		leg->said++;
		keep(&leg->transcript, text_of(event, "text"));
	} else if (!strcmp(type, "translation")) {
		keep(&leg->translation, text_of(event, "text"));
	} else if (!strcmp(type, "segment_done")) {
		struct ast_json *lag = ast_json_object_get(event, "lag_ms");

		leg->heard++;
		if (lag) {
			leg->lag_ms = ast_json_typeof(lag) == AST_JSON_INTEGER ? ast_json_integer_get(lag) : ast_json_real_get(lag);
		}
	} else if (!strcmp(type, "segment_lost")) {
		leg->lost++;
	} else if (!strcmp(type, "error")) {
		keep(&leg->error, text_of(event, "message"));
	} else if (!strcmp(type, "provider") && !strcmp(text_of(event, "state"), "down")) {
		keep(&leg->error, text_of(event, "message"));
	}
	ao2_unlock(leg);
}

static void on_event(const char *json)
{
	struct ast_json *event = ast_json_load_string(json, NULL);
	const char *type = event ? text_of(event, "type") : "";
	mgw_session session = event ? (mgw_session)ast_json_integer_get(ast_json_object_get(event, "session")) : 0;
	struct mgw_leg *leg = session ? mgw_leg_find(session) : NULL;

	/* A session that only tried whether it could be made has no leg, and nobody hears of it. */
	if (leg || !session) {
		if (leg) {
			note(leg, type, event);
		}
		tell_manager(type, event, leg);
		if (leg && !strcmp(type, "closed")) {
			mgw_leg_gone(leg);
		}
	}
	ao2_cleanup(leg);
	ast_json_unref(event);
}

static void fetch(mgw_gateway gateway, char **buf, size_t *cap)
{
	for (;;) {
		size_t len = 0;
		mgw_status status = mgw_next_event(gateway, *buf, *cap, &len);

		if (status == MGW_ERR_BUFFER_TOO_SHORT) {
			char *more = ast_realloc(*buf, len);

			if (!more) {
				return;
			}
			*buf = more;
			*cap = len;
		} else if (status != MGW_OK) {
			return;
		} else {
			on_event(*buf);
		}
	}
}

static void *events_main(void *data)
{
	mgw_gateway gateway = (mgw_gateway)(uintptr_t)data;
	int fd = -1, last = 0;
	size_t cap = 4096;
	char *buf = ast_malloc(cap);

	if (!buf || mgw_event_fd(gateway, &fd) < 0) {
		ast_log(LOG_ERROR, "app_mgw: events cannot be read\n");
	}
	while (!last && buf) {
		struct pollfd fds[] = { { .fd = fd, .events = POLLIN }, { .fd = wake, .events = POLLIN } };

		poll(fds, ARRAY_LEN(fds), -1);
		last = __atomic_load_n(&stop, __ATOMIC_ACQUIRE);
		fetch(gateway, &buf, &cap);
	}
	ast_free(buf);
	return NULL;
}

int mgw_events_start(mgw_gateway gateway)
{
	stop = 0;
	wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake < 0 || ast_pthread_create_background(&thread, NULL, events_main, (void *)(uintptr_t)gateway)) {
		ast_log(LOG_ERROR, "app_mgw: no thread for events: %s\n", strerror(errno));
		if (wake >= 0) {
			close(wake);
			wake = -1;
		}
		thread = AST_PTHREADT_NULL;
		return -1;
	}
	return 0;
}

void mgw_events_stop(void)
{
	uint64_t one = 1;

	if (thread == AST_PTHREADT_NULL) {
		return;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	if (write(wake, &one, sizeof(one)) != sizeof(one)) {
		ast_log(LOG_WARNING, "app_mgw: the thread of events cannot be woken\n");
	}
	pthread_join(thread, NULL);
	thread = AST_PTHREADT_NULL;
	close(wake);
	wake = -1;
}
