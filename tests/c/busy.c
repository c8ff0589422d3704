/* Two threads push at once, then two pull: both sides must turn one away some time, and neither waits. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>

typedef mgw_status (*work)(mgw_session);

static mgw_session session;
static volatile int seen = 0; /* written under a lock, read without: a late look costs one round */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static mgw_status push(mgw_session s) {
  static int16_t silence[192 * 120];
  return mgw_push_frame(s, silence, sizeof silence / sizeof *silence);
}

static mgw_status pull(mgw_session s) {
  int16_t heard[192 * 120];
  return mgw_pull_frame(s, heard, sizeof heard / sizeof *heard);
}

static void *hammer(void *arg) {
  work call = *(work *)arg;
  long deadline = now_ms() + 30000;
  while (!seen && now_ms() < deadline) {
    mgw_status s = call(session);
    pthread_mutex_lock(&lock);
    if (s == MGW_ERR_BUSY) seen = 1;
    else if (s < 0) GIVES(s, MGW_OK);
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static void both(work call) {
  pthread_t one, two;
  seen = 0;
  SO(!pthread_create(&one, NULL, hammer, &call));
  SO(!pthread_create(&two, NULL, hammer, &call));
  pthread_join(one, NULL);
  pthread_join(two, NULL);
  SO(seen);
  SO(call(session) >= 0); /* one alone is served again */
}

int main(void) {
  mgw_config config, options;
  mgw_gateway gateway;
  GIVES(mgw_config_new(&config), MGW_OK);
  GIVES(mgw_config_load_json(config, SETTINGS, WHY), MGW_OK);
  GIVES(mgw_gateway_new(config, &gateway, WHY), MGW_OK);
  GIVES(mgw_config_new(&options), MGW_OK);
  /* The longest frames there are: more time inside. */
  GIVES(mgw_config_set(options, "rate.in", "192000", WHY), MGW_OK);
  GIVES(mgw_config_set(options, "rate.out", "192000", WHY), MGW_OK);
  GIVES(mgw_session_new(gateway, "7777", "room", options, &session, WHY), MGW_OK);
  if (failures) return finish();
  both(push);
  both(pull);
  GIVES(mgw_session_close(session, MGW_NOW), MGW_OK);
  GIVES(mgw_gateway_shutdown(gateway, 5000), MGW_OK);
  GIVES(mgw_gateway_free(gateway), MGW_OK);
  GIVES(mgw_config_free(options), MGW_OK);
  GIVES(mgw_config_free(config), MGW_OK);
  return finish();
}
