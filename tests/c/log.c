/* The log function is called by the library's own thread only, with what was asked for, until silenced. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_t main_thread;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int called = 0, started = 0;

static void on_log(int level, const char *target, const char *message, void *user) {
  char name[32] = "";
  pthread_mutex_lock(&lock);
  called++;
  SO(!pthread_equal(pthread_self(), main_thread));
  SO(!pthread_getname_np(pthread_self(), name, sizeof name) && !strcmp(name, "mgw-log"));
  SO(user == (void *)&called);
  SO(level >= MGW_LOG_ERROR && level <= MGW_LOG_INFO);
  SO(!strcmp(target, "mgw") || !strncmp(target, "mgw::", 5));
  SO(message[0] && !strstr(message, "canary"));
  if (strstr(message, mgw_version())) started++;
  pthread_mutex_unlock(&lock);
}

static int count(int *what) {
  int n;
  pthread_mutex_lock(&lock);
  n = *what;
  pthread_mutex_unlock(&lock);
  return n;
}

/* A gateway with a call in it, whose providers cannot be reached. */
static void call(mgw_config config) {
  mgw_gateway gateway;
  mgw_session a, b;
  int16_t frame[320] = {0};
  GIVES(mgw_gateway_new(config, &gateway, WHY), MGW_OK);
  if (failures) exit(finish());
  GIVES(mgw_session_new(gateway, "7777", "room", 0, &a, WHY), MGW_OK);
  GIVES(mgw_session_new(gateway, "8888", "room", 0, &b, WHY), MGW_OK);
  GIVES(mgw_push_frame(a, frame, 320), MGW_OK);
  GIVES(mgw_session_close(a, MGW_NOW), MGW_OK);
  GIVES(mgw_session_close(b, MGW_NOW), MGW_OK);
  GIVES(mgw_gateway_shutdown(gateway, 5000), MGW_OK);
  GIVES(mgw_gateway_free(gateway), MGW_OK);
}

int main(void) {
  mgw_config config;
  int before;
  main_thread = pthread_self();
  GIVES(mgw_config_new(&config), MGW_OK);
  GIVES(mgw_config_load_json(config, SETTINGS, WHY), MGW_OK);
  call(config); /* before anybody asked: nothing is printed (the test looks) */
  GIVES(mgw_set_log(MGW_LOG_INFO, on_log, &called), MGW_OK);
  call(config);
  UNTIL(count(&started) == 1);
  GIVES(mgw_set_log(MGW_LOG_INFO, NULL, NULL), MGW_OK);
  before = count(&called);
  call(config);
  SO(count(&called) == before);
  /* And on again. */
  GIVES(mgw_set_log(MGW_LOG_INFO, on_log, &called), MGW_OK);
  call(config);
  UNTIL(count(&started) == 2);
  GIVES(mgw_set_log(MGW_LOG_OFF, on_log, &called), MGW_OK);
  before = count(&called);
  call(config);
  SO(count(&called) == before);
  GIVES(mgw_config_free(config), MGW_OK);
  return finish();
}
