/*
 * mgw.conf: Asterisk's format, the library's keys.
 *
 * [general] has the module's own settings and what holds for all sessions; every other section is a profile. A key is
 * handed to mgw_config_set() as it is written, so this file knows none of them.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

#include "mgw_module.h"

#include "asterisk/config.h"
#include "asterisk/linkedlists.h"
#include "asterisk/paths.h"

#include <fcntl.h>
#include <sys/stat.h>

AST_MUTEX_DEFINE_STATIC(lock);
static struct mgw_settings in_force = AST_LIST_HEAD_NOLOCK_INIT_VALUE;
static unsigned int ami = MGW_AMI_ERROR | MGW_AMI_STATE;
static int log_level = MGW_LOG_INFO;

static const struct {
	const char *name;
	unsigned int bits;
} ami_names[] = {
	{ "transcript", MGW_AMI_TRANSCRIPT },
	{ "interim", MGW_AMI_TRANSCRIPT | MGW_AMI_INTERIM },
	{ "translation", MGW_AMI_TRANSLATION },
	{ "segment", MGW_AMI_SEGMENT },
	{ "error", MGW_AMI_ERROR },
	{ "state", MGW_AMI_STATE },
	{ "all", ~0u },
	{ "none", 0 },
};

static const char *const log_names[] = { "off", "error", "warning", "info", "debug", "trace" };

static void settings_free(struct mgw_settings *settings)
{
	struct mgw_setting *setting;

	while ((setting = AST_LIST_REMOVE_HEAD(settings, entry))) {
		ast_free(setting->key);
		ast_free(setting->value);
		ast_free(setting);
	}
}

static int is_secret(const char *key)
{
	size_t n = strlen(key);

	return n >= 7 && !strcmp(key + n - 7, "api_key");
}

static void remember(struct mgw_conf *conf, const char *key, const char *value, int line)
{
	struct mgw_setting *setting = ast_calloc(1, sizeof(*setting));

	if (!setting) {
		return;
	}
	setting->key = ast_strdup(key);
	setting->value = ast_strdup(is_secret(key) && !ast_strlen_zero(value) ? "(set)" : value);
	setting->line = line;
	AST_LIST_INSERT_TAIL(&conf->settings, setting, entry);
}

/* 0: taken; 1: not the module's own; -1: a mistake, told in `why`. */
static int own_setting(struct mgw_conf *conf, const struct ast_variable *v, char *why, size_t size)
{
	size_t i;

	if (!strcasecmp(v->name, "log")) {
		for (i = 0; i < ARRAY_LEN(log_names); i++) {
			if (!strcasecmp(v->value, log_names[i])) {
				conf->log_level = i;
				return 0;
			}
		}
		snprintf(why, size, "log is one of off, error, warning, info, debug, trace");
		return -1;
	}
	if (!strcasecmp(v->name, "events")) {
		char *rest = ast_strdupa(v->value), *word;

		conf->ami = 0;
		while ((word = ast_strip(strsep(&rest, ",")))) {
			for (i = 0; i < ARRAY_LEN(ami_names) && strcasecmp(word, ami_names[i].name); i++) {
			}
			if (i == ARRAY_LEN(ami_names)) {
				snprintf(why, size, "events has '%.32s'; there are transcript, interim, translation, segment, error, state, all, none", word);
				return -1;
			}
			conf->ami |= ami_names[i].bits;
			if (!rest) {
				break;
			}
		}
		return 0;
	}
	return 1;
}

/* One section; returns how many mistakes it has. */
static int section(struct mgw_conf *conf, struct ast_config *file, const char *name)
{
	int general = !strcasecmp(name, "general"), mistakes = 0;
	struct ast_variable *v;

	for (v = ast_variable_browse(file, name); v; v = v->next) {
		char key[256], why[512] = "";
		int own = general ? own_setting(conf, v, why, sizeof(why)) : 1;

		snprintf(key, sizeof(key), "%s%s%s%s", general ? "" : "profile.", general ? "" : name, general ? "" : ".", v->name);
		if (own == 1) {
			mgw_status status = mgw_config_set(conf->config, key, v->value, why, sizeof(why));

			own = status < 0 ? -1 : 0;
			if (status < 0 && !why[0]) {
				ast_copy_string(why, mgw_status_str(status), sizeof(why));
			}
		}
		if (own < 0) {
			ast_log(LOG_ERROR, "%s:%d: [%s] %s: %s\n", S_OR(v->file, MGW_CONF), v->lineno, name, v->name, why);
			mistakes++;
		} else {
			remember(conf, key, v->value, v->lineno);
		}
	}
	return mistakes;
}

/* Asterisk says the same of a file that is not there and of one that it may not read. Returns whether it is there; errno
 * has why it cannot be opened, 0 when it can. */
static int there(char *path, size_t size)
{
	struct stat found;
	int fd;

	snprintf(path, size, "%s/%s", ast_config_AST_CONFIG_DIR, MGW_CONF);
	if (lstat(path, &found) && errno == ENOENT) {
		return 0;
	}
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		errno = 0;
	}
	return 1;
}

int mgw_conf_read(struct mgw_conf *conf)
{
	struct ast_flags flags = { 0 };
	struct ast_config *file = ast_config_load(MGW_CONF, flags);
	const char *name = NULL;
	char path[PATH_MAX];
	int mistakes = 0;

	memset(conf, 0, sizeof(*conf));
	conf->ami = MGW_AMI_ERROR | MGW_AMI_STATE;
	conf->log_level = MGW_LOG_INFO;
	if (file == CONFIG_STATUS_FILEINVALID) {
		ast_log(LOG_ERROR, "%s cannot be read as a configuration file\n", MGW_CONF);
		return -1;
	}
	if (mgw_config_new(&conf->config) < 0) {
		ast_log(LOG_ERROR, "out of memory for the settings of %s\n", MGW_CONF);
		mistakes++;
	} else {
		/* Always there, so that TRANSLATE(en,es) needs no profile; each session says its language. */
		mistakes += mgw_config_set(conf->config, "profile." MGW_TRANSLATE_PROFILE ".language", "en", NULL, 0) < 0;
	}
	if (!file && there(path, sizeof(path))) {
		ast_log(LOG_ERROR, "%s is there, but cannot be read: %s\n", path, errno ? strerror(errno) : "it is no plain file");
		return -1;
	}
	if (!file) {
		ast_log(LOG_NOTICE, "there is no %s: defaults, and vendors' keys from the environment\n", MGW_CONF);
		return mistakes ? -1 : 0;
	}
	while (!mistakes && (name = ast_category_browse(file, name))) {
		mistakes += section(conf, file, name);
	}
	/* Further sections are looked at all the same: who mends one line wants to know of the next. */
	while (mistakes && name && (name = ast_category_browse(file, name))) {
		mistakes += section(conf, file, name);
	}
	ast_config_destroy(file);
	return mistakes ? -1 : 0;
}

void mgw_conf_destroy(struct mgw_conf *conf)
{
	if (conf->config) {
		mgw_config_free(conf->config);
		conf->config = 0;
	}
	settings_free(&conf->settings);
}

void mgw_conf_adopt(struct mgw_conf *conf)
{
	SCOPED_MUTEX(guard, &lock);

	settings_free(&in_force);
	in_force = conf->settings;
	memset(&conf->settings, 0, sizeof(conf->settings));
	ami = conf->ami;
	log_level = conf->log_level;
}

unsigned int mgw_conf_ami(void)
{
	SCOPED_MUTEX(guard, &lock);

	return ami;
}

int mgw_conf_log_level(void)
{
	SCOPED_MUTEX(guard, &lock);

	return log_level;
}

int mgw_conf_has_profile(const char *name)
{
	char head[80];
	struct mgw_setting *setting;
	SCOPED_MUTEX(guard, &lock);

	if (!strcmp(name, MGW_TRANSLATE_PROFILE)) {
		return 1;
	}
	snprintf(head, sizeof(head), "profile.%s.", name);
	AST_LIST_TRAVERSE(&in_force, setting, entry) {
		if (!strncmp(setting->key, head, strlen(head))) {
			return 1;
		}
	}
	return 0;
}

void mgw_conf_each(void (*fn)(const struct mgw_setting *setting, void *data), void *data)
{
	struct mgw_setting *setting;
	SCOPED_MUTEX(guard, &lock);

	AST_LIST_TRAVERSE(&in_force, setting, entry) {
		fn(setting, data);
	}
}

void mgw_conf_forget(void)
{
	SCOPED_MUTEX(guard, &lock);

	settings_free(&in_force);
}
