/* Every mistake that a caller can make, with the status that it must get. argv[1]: a folder to write to. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <poll.h>
#include <stdlib.h>

static int16_t frame[1921];
static char buf[8192];
static size_t len;

/* Handles that are not (or no longer) valid, for every function that takes one. */
static void bad_config(mgw_config c) {
  SAYS(mgw_config_set(c, "max_sessions", "3", WHY), MGW_ERR_HANDLE);
  SAYS(mgw_config_load_file(c, "/dev/null", WHY), MGW_ERR_HANDLE);
  SAYS(mgw_config_load_json(c, "{}", WHY), MGW_ERR_HANDLE);
  GIVES(mgw_config_free(c), MGW_ERR_HANDLE);
}

static void bad_gateway(mgw_gateway g, mgw_config good) {
  mgw_session session = 77;
  int fd = -77;
  len = 77;
  SAYS(mgw_gateway_configure(g, good, WHY), MGW_ERR_HANDLE);
  SAYS(mgw_session_new(g, "7777", "room", 0, &session, WHY), MGW_ERR_HANDLE);
  GIVES(mgw_gateway_shutdown(g, 0), MGW_ERR_HANDLE);
  GIVES(mgw_next_event(g, buf, sizeof buf, &len), MGW_ERR_HANDLE);
  GIVES(mgw_event_fd(g, &fd), MGW_ERR_HANDLE);
  GIVES(mgw_metrics(g, buf, sizeof buf, &len), MGW_ERR_HANDLE);
  GIVES(mgw_gateway_free(g), MGW_ERR_HANDLE);
  SO(session == 77 && fd == -77 && len == 77);
}

static void bad_session(mgw_session s) {
  len = 77;
  frame[0] = 99;
  GIVES(mgw_push_frame(s, frame, 320), MGW_ERR_HANDLE);
  GIVES(mgw_push_gap(s, 320), MGW_ERR_HANDLE);
  GIVES(mgw_pull_frame(s, frame, 320), MGW_ERR_HANDLE);
  GIVES(mgw_session_set_rate(s, MGW_IN, 8000), MGW_ERR_HANDLE);
  SAYS(mgw_session_set(s, "gain.original_db", "-6", WHY), MGW_ERR_HANDLE);
  GIVES(mgw_session_say(s, "hello", "en", 0), MGW_ERR_HANDLE);
  GIVES(mgw_session_command(s, MGW_FLUSH), MGW_ERR_HANDLE);
  GIVES(mgw_session_dtmf(s, '5'), MGW_ERR_HANDLE);
  GIVES(mgw_session_stats(s, buf, sizeof buf, &len), MGW_ERR_HANDLE);
  GIVES(mgw_last_error(s, buf, sizeof buf, &len), MGW_ERR_HANDLE);
  GIVES(mgw_session_close(s, MGW_NOW), MGW_ERR_HANDLE);
  SO(len == 77 && frame[0] == 99);
}

static void configs(mgw_config c, const char *folder) {
  char path[4096];
  FILE *f;
  GIVES(mgw_config_new(NULL), MGW_ERR_NULL);
  SAYS(mgw_config_set(c, NULL, "3", WHY), MGW_ERR_NULL);
  SAYS(mgw_config_set(c, "max_sessions", NULL, WHY), MGW_ERR_NULL);
  SAYS(mgw_config_set(c, "max_sesions", "3", WHY), MGW_ERR_UNKNOWN_KEY);
  SO(strstr(why, "max_sessions"));
  SAYS(mgw_config_set(c, "max_sessions", "many", WHY), MGW_ERR_BAD_VALUE);
  SAYS(mgw_config_set(c, "profile.7777.max_sessions", "3", WHY), MGW_ERR_CONFIG); /* not here */
  SAYS(mgw_config_set(c, "max_sessions", "\xff", WHY), MGW_ERR_TEXT);
  SAYS(mgw_config_set(c, "\xc3", "3", WHY), MGW_ERR_TEXT);
  SAYS(mgw_config_load_json(c, NULL, WHY), MGW_ERR_NULL);
  SAYS(mgw_config_load_json(c, "{\"max_sessions\": 3", WHY), MGW_ERR_SYNTAX);
  SAYS(mgw_config_load_json(c, "{\"max_sessions\": 0}", WHY), MGW_ERR_BAD_VALUE);
  SAYS(mgw_config_load_json(c, "{\"nothing\": 0}", WHY), MGW_ERR_UNKNOWN_KEY);
  SAYS(mgw_config_load_file(c, NULL, WHY), MGW_ERR_NULL);
  SAYS(mgw_config_load_file(c, folder, WHY), MGW_ERR_FILE);
  SAYS(mgw_config_load_file(c, "/nowhere/mgw.toml", WHY), MGW_ERR_FILE);
  snprintf(path, sizeof path, "%s/bad.toml", folder);
  f = fopen(path, "w");
  SO(f && fputs("max_sessions = = 3\n", f) >= 0 && !fclose(f));
  SAYS(mgw_config_load_file(c, path, WHY), MGW_ERR_SYNTAX);
  SO(strstr(why, "bad.toml:1"));

  /* The text is cut to fit; without a buffer it is left out. */
  memset(why, '#', sizeof why);
  GIVES(mgw_config_set(c, "max_sesions", "3", why, 8), MGW_ERR_UNKNOWN_KEY);
  SO(strlen(why) == 7 && why[8] == '#');
  GIVES(mgw_config_set(c, "max_sesions", "3", why, 0), MGW_ERR_UNKNOWN_KEY);
  GIVES(mgw_config_set(c, "max_sesions", "3", NULL, 100), MGW_ERR_UNKNOWN_KEY);
  GIVES(mgw_config_set(c, "max_sesions", "3", NULL, 0), MGW_ERR_UNKNOWN_KEY);
  memset(why, '#', sizeof why);
  GIVES(mgw_config_load_json(c, SETTINGS, WHY), MGW_OK);
  SO(why[0] == '#');
}

static void gateways(mgw_gateway g, mgw_config c) {
  mgw_gateway none = 77;
  int fd = -1;
  SAYS(mgw_gateway_new(c, NULL, WHY), MGW_ERR_NULL);
  SAYS(mgw_gateway_new(0, &none, WHY), MGW_ERR_HANDLE);
  SAYS(mgw_gateway_new(g, &none, WHY), MGW_ERR_HANDLE);
  SO(none == 77);
  SAYS(mgw_gateway_configure(g, 0, WHY), MGW_ERR_HANDLE);
  SAYS(mgw_gateway_configure(g, g, WHY), MGW_ERR_HANDLE);
  GIVES(mgw_gateway_configure(g, c, WHY), MGW_OK);
  GIVES(mgw_event_fd(g, NULL), MGW_ERR_NULL);
  GIVES(mgw_event_fd(g, &fd), MGW_OK);
  SO(fd >= 0);
  GIVES(mgw_metrics(g, buf, sizeof buf, NULL), MGW_ERR_NULL);
  GIVES(mgw_metrics(g, NULL, 5, &len), MGW_ERR_NULL);
  GIVES(mgw_metrics(g, NULL, 0, &len), MGW_ERR_BUFFER_TOO_SHORT);
  SO(len > 1);
}

static void events(mgw_gateway g) {
  struct pollfd readable;
  size_t needed;
  memset(&readable, 0, sizeof readable);
  readable.events = POLLIN;
  GIVES(mgw_event_fd(g, &readable.fd), MGW_OK);
  SO(poll(&readable, 1, 20000) == 1); /* the event "joined" */
  GIVES(mgw_next_event(g, buf, sizeof buf, NULL), MGW_ERR_NULL);
  GIVES(mgw_next_event(g, NULL, sizeof buf, &len), MGW_ERR_NULL);
  GIVES(mgw_next_event(g, NULL, 0, &needed), MGW_ERR_BUFFER_TOO_SHORT);
  SO(needed > 10);
  memset(buf, '#', sizeof buf);
  GIVES(mgw_next_event(g, buf, needed - 1, &len), MGW_ERR_BUFFER_TOO_SHORT);
  SO(len == needed && buf[needed - 2] == '#');
  GIVES(mgw_next_event(g, buf, needed, &len), MGW_OK); /* still there */
  SO(len == needed - 1 && strlen(buf) == len && buf[0] == '{' && buf[len - 1] == '}' && buf[needed] == '#');
  while (mgw_next_event(g, buf, sizeof buf, &len) == MGW_OK) continue;
  len = 77;
  GIVES(mgw_next_event(g, buf, sizeof buf, &len), MGW_EMPTY);
  SO(len == 77);
}

static void openings(mgw_gateway g, mgw_config c) {
  mgw_session none = 77, more[3];
  mgw_config options;
  int i;
  GIVES(mgw_config_new(&options), MGW_OK);
  SAYS(mgw_session_new(g, NULL, "room", 0, &none, WHY), MGW_ERR_NULL);
  SAYS(mgw_session_new(g, "7777", NULL, 0, &none, WHY), MGW_ERR_NULL);
  SAYS(mgw_session_new(g, "7777", "room", 0, NULL, WHY), MGW_ERR_NULL);
  SAYS(mgw_session_new(g, "\xff", "room", 0, &none, WHY), MGW_ERR_TEXT);
  SAYS(mgw_session_new(g, "7777", "\xff", 0, &none, WHY), MGW_ERR_TEXT);
  SAYS(mgw_session_new(g, "777", "room", 0, &none, WHY), MGW_ERR_UNKNOWN_PROFILE);
  SO(strstr(why, "7777"));
  SAYS(mgw_session_new(g, "7777", "room", 12345, &none, WHY), MGW_ERR_HANDLE);
  SAYS(mgw_session_new(g, "7777", "room", g, &none, WHY), MGW_ERR_HANDLE);
  SAYS(mgw_session_new(c, "7777", "room", 0, &none, WHY), MGW_ERR_HANDLE);
  GIVES(mgw_config_set(options, "max_sessions", "5", WHY), MGW_OK);
  SAYS(mgw_session_new(g, "7777", "room", options, &none, WHY), MGW_ERR_CONFIG); /* not a session's key */
  SO(none == 77);
  GIVES(mgw_config_free(options), MGW_OK);
  /* One is open; max_sessions is 3. */
  for (i = 0; i < 2; i++) GIVES(mgw_session_new(g, "8888", "other", 0, &more[i], WHY), MGW_OK);
  SAYS(mgw_session_new(g, "8888", "other", 0, &more[2], WHY), MGW_ERR_LIMIT);
  for (i = 0; i < 2; i++) GIVES(mgw_session_close(more[i], MGW_NOW), MGW_OK);
  for (i = 0; i < 2; i++) bad_session(more[i]);
}

static void frames(mgw_session s) {
  const int16_t *odd = (const int16_t *)(const void *)((const char *)frame + 1);
  GIVES(mgw_push_frame(s, NULL, 320), MGW_ERR_NULL);
  GIVES(mgw_push_frame(s, frame, 0), MGW_ERR_EMPTY);
  GIVES(mgw_push_frame(s, frame, 1921), MGW_ERR_FRAME_TOO_LONG); /* 120 ms at 16 kHz are 1920 */
  GIVES(mgw_push_frame(s, frame, (size_t)-1), MGW_ERR_FRAME_TOO_LONG);
  GIVES(mgw_push_frame(s, odd, 320), MGW_ERR_ARGUMENT);
  GIVES(mgw_push_frame(s, frame, 1920), MGW_OK);
  GIVES(mgw_push_frame(s, frame, 1), MGW_OK);
  GIVES(mgw_push_gap(s, 0), MGW_ERR_EMPTY);
  GIVES(mgw_push_gap(s, UINT64_MAX), MGW_ERR_FRAME_TOO_LONG);
  GIVES(mgw_push_gap(s, 320), MGW_OK);
  frame[0] = 99;
  GIVES(mgw_pull_frame(s, NULL, 320), MGW_ERR_NULL);
  GIVES(mgw_pull_frame(s, frame, 0), MGW_ERR_EMPTY);
  GIVES(mgw_pull_frame(s, frame, 1921), MGW_ERR_FRAME_TOO_LONG);
  GIVES(mgw_pull_frame(s, frame, (size_t)-1), MGW_ERR_FRAME_TOO_LONG);
  SO(frame[0] == 99);
  GIVES(mgw_pull_frame(s, frame, 320), MGW_SILENCE); /* alone in its room */
  SO(frame[0] == 0);
  GIVES(mgw_session_set_rate(s, MGW_IN, 11025), MGW_ERR_RATE);
  GIVES(mgw_session_set_rate(s, MGW_OUT, 0), MGW_ERR_RATE);
  GIVES(mgw_session_set_rate(s, 0, 8000), MGW_ERR_ARGUMENT);
  GIVES(mgw_session_set_rate(s, 3, 8000), MGW_ERR_ARGUMENT);
  GIVES(mgw_session_set_rate(s, MGW_IN, 8000), MGW_OK);
  GIVES(mgw_push_frame(s, frame, 961), MGW_ERR_FRAME_TOO_LONG); /* 120 ms at 8 kHz are 960 */
}

static void sessions(mgw_session s) {
  SAYS(mgw_session_set(s, NULL, "x", WHY), MGW_ERR_NULL);
  SAYS(mgw_session_set(s, "gain.original_db", NULL, WHY), MGW_ERR_NULL);
  SAYS(mgw_session_set(s, "gain.orignal_db", "-6", WHY), MGW_ERR_UNKNOWN_KEY);
  SAYS(mgw_session_set(s, "gain.original_db", "loud", WHY), MGW_ERR_BAD_VALUE);
  SAYS(mgw_session_set(s, "rate.in", "8000", WHY), MGW_ERR_NOT_LIVE);
  SAYS(mgw_session_set(s, "gain.original_db", "\xff", WHY), MGW_ERR_TEXT);
  GIVES(mgw_session_set(s, "gain.original_db", "-6", WHY), MGW_OK);
  GIVES(mgw_session_say(s, NULL, "en", 0), MGW_ERR_NULL);
  GIVES(mgw_session_say(s, "\xff", "en", 0), MGW_ERR_TEXT);
  GIVES(mgw_session_say(s, "hello", "\xff", 0), MGW_ERR_TEXT);
  GIVES(mgw_session_say(s, "hello", "xx-nowhere", 0), MGW_ERR_BAD_VALUE);
  GIVES(mgw_session_say(s, "hello", "en", 1), MGW_ERR_ARGUMENT);
  GIVES(mgw_session_say(s, " ", "en", 0), MGW_ERR_EMPTY);
  GIVES(mgw_session_command(s, 0), MGW_ERR_ARGUMENT);
  GIVES(mgw_session_command(s, 6), MGW_ERR_ARGUMENT);
  GIVES(mgw_session_command(s, INT32_MIN), MGW_ERR_ARGUMENT);
  GIVES(mgw_session_command(s, MGW_FLUSH), MGW_OK);
  GIVES(mgw_session_dtmf(s, 'E'), MGW_ERR_ARGUMENT);
  GIVES(mgw_session_dtmf(s, 0), MGW_ERR_ARGUMENT);
  GIVES(mgw_session_dtmf(s, '\xff'), MGW_ERR_ARGUMENT);
  GIVES(mgw_session_dtmf(s, '#'), MGW_OK);
  GIVES(mgw_session_stats(s, buf, sizeof buf, NULL), MGW_ERR_NULL);
  GIVES(mgw_session_stats(s, NULL, 5, &len), MGW_ERR_NULL);
  GIVES(mgw_session_stats(s, buf, 1, &len), MGW_ERR_BUFFER_TOO_SHORT);
  SO(len > 1);
  GIVES(mgw_session_stats(s, buf, sizeof buf, &len), MGW_OK);
  SO(strlen(buf) == len && buf[0] == '{');
  GIVES(mgw_last_error(s, buf, sizeof buf, NULL), MGW_ERR_NULL);
  GIVES(mgw_last_error(s, NULL, 5, &len), MGW_ERR_NULL);
  GIVES(mgw_last_error(s, buf, sizeof buf, &len), MGW_OK); /* of the settings refused above */
  SO(len > 0 && strlen(buf) == len);
  GIVES(mgw_session_close(s, 0), MGW_ERR_ARGUMENT);
  GIVES(mgw_session_close(s, 3), MGW_ERR_ARGUMENT);
}

static void after_shutdown(mgw_gateway g, mgw_config c, mgw_session s) {
  mgw_session none = 77;
  SAYS(mgw_session_new(g, "7777", "room", 0, &none, WHY), MGW_ERR_SHUTDOWN);
  SAYS(mgw_gateway_configure(g, c, WHY), MGW_ERR_SHUTDOWN);
  GIVES(mgw_push_frame(s, frame, 160), MGW_ERR_SHUTDOWN);
  GIVES(mgw_push_gap(s, 160), MGW_ERR_SHUTDOWN);
  GIVES(mgw_pull_frame(s, frame, 160), MGW_ERR_SHUTDOWN);
  GIVES(mgw_session_set_rate(s, MGW_IN, 16000), MGW_ERR_SHUTDOWN);
  GIVES(mgw_gateway_shutdown(g, 0), MGW_OK); /* a second time: nothing to do */
  GIVES(mgw_metrics(g, buf, sizeof buf, &len), MGW_OK);
  SO(none == 77);
}

int main(int argc, char **argv) {
  mgw_config config, empty;
  mgw_gateway gateway;
  mgw_session session;
  const uint64_t made_up[] = {0, 1, 0xffff, (uint64_t)1 << 52, UINT64_MAX};
  size_t i;
  if (argc != 2) return 2;

  GIVES(mgw_set_log(-1, NULL, NULL), MGW_ERR_ARGUMENT);
  GIVES(mgw_set_log(6, NULL, NULL), MGW_ERR_ARGUMENT);
  GIVES(mgw_set_log(MGW_LOG_OFF, NULL, NULL), MGW_OK);

  GIVES(mgw_config_new(&config), MGW_OK);
  configs(config, argv[1]);
  GIVES(mgw_gateway_new(config, &gateway, WHY), MGW_OK);
  if (failures) return finish();
  for (i = 0; i < sizeof made_up / sizeof *made_up; i++) {
    bad_config(made_up[i]);
    bad_gateway(made_up[i], config);
    bad_session(made_up[i]);
  }
  /* Good handles of another kind. */
  bad_config(gateway);
  bad_gateway(config, config);
  bad_session(gateway);
  bad_session(config);
  gateways(gateway, config);

  GIVES(mgw_session_new(gateway, "7777", "room", 0, &session, WHY), MGW_OK);
  bad_gateway(session, config);
  GIVES(mgw_last_error(session, buf, sizeof buf, &len), MGW_EMPTY); /* alone: no provider is asked for anything */
  events(gateway);
  frames(session);
  sessions(session);
  openings(gateway, config);

  /* Closed, and closed again. */
  GIVES(mgw_session_close(session, MGW_DRAIN), MGW_OK);
  bad_session(session);
  /* Those that are still leaving count for max_sessions. */
  UNTIL(mgw_session_new(gateway, "7777", "room", 0, &session, WHY) == MGW_OK);
  GIVES(mgw_gateway_shutdown(gateway, 5000), MGW_OK);
  after_shutdown(gateway, config, session);
  GIVES(mgw_gateway_free(gateway), MGW_OK);
  bad_gateway(gateway, config);

  /* Freed without a shutdown, with a session in it. */
  GIVES(mgw_gateway_new(config, &gateway, WHY), MGW_OK);
  GIVES(mgw_session_new(gateway, "7777", "room", 0, &session, WHY), MGW_OK);
  GIVES(mgw_gateway_free(gateway), MGW_OK);
  GIVES(mgw_push_frame(session, frame, 320), MGW_ERR_SHUTDOWN);
  bad_gateway(gateway, config);

  GIVES(mgw_config_free(config), MGW_OK);
  bad_config(config);
  GIVES(mgw_config_new(&empty), MGW_OK); /* the same place, another handle */
  SO(empty != config);
  bad_config(config);
  GIVES(mgw_config_free(empty), MGW_OK);
  return finish();
}
