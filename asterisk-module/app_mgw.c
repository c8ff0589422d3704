/*
 * app_mgw.so: translation as a line of dialplan. Loads, configures and ends the library.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

/*** MODULEINFO
	<support_level>extended</support_level>
 ***/

#include "mgw_module.h"

/* One load, reload or unload at a time: the loader sees to it. Others read it atomically. */
static mgw_gateway the_gateway;

mgw_gateway mgw_mod_gateway(void)
{
	return __atomic_load_n(&the_gateway, __ATOMIC_ACQUIRE);
}

/* A configuration that was read goes to the library; it makes the gateway when there is none. */
static int put_in_force(struct mgw_conf *conf)
{
	char why[512] = "";
	mgw_gateway gateway = the_gateway;
	mgw_status status;

	if (gateway) {
		status = mgw_gateway_configure(gateway, conf->config, why, sizeof(why));
	} else {
		status = mgw_gateway_new(conf->config, &gateway, why, sizeof(why));
	}
	if (status < 0) {
		ast_log(LOG_ERROR, "%s: %s\n", MGW_CONF, why[0] ? why : mgw_status_str(status));
		return -1;
	}
	mgw_conf_adopt(conf);
	mgw_log_start();
	if (!the_gateway) {
		if (mgw_events_start(gateway)) {
			mgw_gateway_free(gateway);
			return -1;
		}
		__atomic_store_n(&the_gateway, gateway, __ATOMIC_RELEASE);
	}
	return 0;
}

static int configure(void)
{
	struct mgw_conf conf;
	int failed = mgw_conf_read(&conf) || put_in_force(&conf);

	mgw_conf_destroy(&conf);
	return failed ? -1 : 0;
}

static int enlist(void)
{
	return mgw_app_register() || mgw_translate_register() || mgw_function_register() || mgw_cli_register();
}

static int unload_module(void)
{
	int busy, failed = 0;
	mgw_gateway gateway = the_gateway;

	/* With calls in it the loader does not come here: every leg and every hook holds the module. One that began since
	 * the loader looked is seen when none can begin any more. */
	failed |= mgw_app_unregister();
	failed |= mgw_translate_unregister();
	failed |= mgw_function_unregister();
	busy = mgw_cli_unregister();
	if ((busy || mgw_watch_count() || mgw_legs_live()) && !ast_shutting_down()) {
		ast_log(LOG_WARNING, "app_mgw: not unloaded: %s\n", busy ? "a command of the console is at work" : "a call uses it");
		if (enlist()) {
			ast_log(LOG_ERROR, "app_mgw: cannot be registered again\n");
		}
		return -1;
	}
	mgw_watch_stop();
	__atomic_store_n(&the_gateway, 0, __ATOMIC_RELEASE);
	if (gateway) {
		/* Whoever could hear has gone. */
		mgw_gateway_shutdown(gateway, 0);
		mgw_events_stop();
		mgw_gateway_free(gateway);
	}
	mgw_legs_destroy();
	/* Nothing of the library calls us any more once this has returned. */
	mgw_set_log(MGW_LOG_OFF, NULL, NULL);
	mgw_conf_forget();
	if (failed) {
		ast_log(LOG_WARNING, "app_mgw: something was not registered any more\n");
	}
	return 0;
}

static int load_module(void)
{
	if (mgw_abi_version() != MGW_ABI_VERSION || strcmp(mgw_version(), MGW_VERSION_STRING)) {
		ast_log(LOG_ERROR, "app_mgw was built for libmgw %s (ABI %d), but libmgw %s (ABI %u) is installed: build it anew\n",
			MGW_VERSION_STRING, MGW_ABI_VERSION, mgw_version(), mgw_abi_version());
		return AST_MODULE_LOAD_DECLINE;
	}
	if (mgw_legs_init()) {
		return AST_MODULE_LOAD_DECLINE;
	}
	mgw_log_start();
	/* Without a good configuration the module stays: dialplans go on, are told so, and a reload can heal it. */
	if (configure()) {
		ast_log(LOG_ERROR, "app_mgw: no translation until %s is right: mend it, then 'module reload app_mgw.so'\n", MGW_CONF);
	}
	if (mgw_watch_start() || enlist()) {
		ast_log(LOG_ERROR, "app_mgw: cannot be registered\n");
		unload_module();
		return AST_MODULE_LOAD_DECLINE;
	}
	return AST_MODULE_LOAD_SUCCESS;
}

static int reload_module(void)
{
	if (configure()) {
		ast_log(LOG_ERROR, "app_mgw: %s was not taken%s\n", MGW_CONF, the_gateway ? "; what was in force stays" : "");
		return AST_MODULE_LOAD_DECLINE;
	}
	return AST_MODULE_LOAD_SUCCESS;
}

AST_MODULE_INFO(ASTERISK_GPL_KEY, AST_MODFLAG_LOAD_ORDER, "Live translation of calls (mgw)",
	.support_level = AST_MODULE_SUPPORT_EXTENDED,
	.load = load_module,
	.unload = unload_module,
	.reload = reload_module,
	.load_pri = AST_MODPRI_DEFAULT,
);
