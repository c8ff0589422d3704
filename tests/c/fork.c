/* A forked child gets MGW_ERR_FORKED from every call and does not hang; the parent's call goes on. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static mgw_config config;
static mgw_gateway gateway;
static mgw_session session;

static void ignore(int level, const char *target, const char *message, void *user) {
  (void)level, (void)target, (void)message, (void)user;
}

/* Keeps the library's locks in use, so that some forks happen while one is held. */
static volatile int stop = 0;
static void *noise(void *arg) {
  char buf[8192];
  size_t len;
  (void)arg;
  while (!stop) {
    mgw_config_set(config, "max_sessions", "3", NULL, 0);
    mgw_next_event(gateway, buf, sizeof buf, &len);
    mgw_session_stats(session, buf, sizeof buf, &len);
    mgw_metrics(gateway, buf, sizeof buf, &len);
  }
  return NULL;
}

static int child(void) {
  int16_t frame[320] = {99};
  char buf[64];
  size_t len = 77;
  int fd = -77;
  uint64_t made = 77;
  GIVES(mgw_set_log(MGW_LOG_INFO, ignore, NULL), MGW_ERR_FORKED);
  GIVES(mgw_config_new(&made), MGW_ERR_FORKED);
  SAYS(mgw_config_set(config, "max_sessions", "3", WHY), MGW_ERR_FORKED);
  SAYS(mgw_config_load_file(config, "/dev/null", WHY), MGW_ERR_FORKED);
  SAYS(mgw_config_load_json(config, "{}", WHY), MGW_ERR_FORKED);
  SAYS(mgw_gateway_new(config, &made, WHY), MGW_ERR_FORKED);
  SAYS(mgw_gateway_configure(gateway, config, WHY), MGW_ERR_FORKED);
  SAYS(mgw_session_new(gateway, "7777", "room", 0, &made, WHY), MGW_ERR_FORKED);
  GIVES(mgw_push_frame(session, frame, 320), MGW_ERR_FORKED);
  GIVES(mgw_push_gap(session, 320), MGW_ERR_FORKED);
  GIVES(mgw_pull_frame(session, frame, 320), MGW_ERR_FORKED);
  GIVES(mgw_session_set_rate(session, MGW_IN, 8000), MGW_ERR_FORKED);
  SAYS(mgw_session_set(session, "gain.original_db", "-6", WHY), MGW_ERR_FORKED);
  GIVES(mgw_session_say(session, "hello", NULL, 0), MGW_ERR_FORKED);
  GIVES(mgw_session_command(session, MGW_FLUSH), MGW_ERR_FORKED);
  GIVES(mgw_session_dtmf(session, '1'), MGW_ERR_FORKED);
  GIVES(mgw_session_stats(session, buf, sizeof buf, &len), MGW_ERR_FORKED);
  GIVES(mgw_last_error(session, buf, sizeof buf, &len), MGW_ERR_FORKED);
  GIVES(mgw_next_event(gateway, buf, sizeof buf, &len), MGW_ERR_FORKED);
  GIVES(mgw_event_fd(gateway, &fd), MGW_ERR_FORKED);
  GIVES(mgw_metrics(gateway, buf, sizeof buf, &len), MGW_ERR_FORKED);
  GIVES(mgw_session_close(session, MGW_NOW), MGW_ERR_FORKED);
  GIVES(mgw_gateway_shutdown(gateway, 1000), MGW_ERR_FORKED);
  GIVES(mgw_gateway_free(gateway), MGW_ERR_FORKED);
  GIVES(mgw_config_free(config), MGW_ERR_FORKED);
  SO(made == 77 && len == 77 && fd == -77 && frame[0] == 99);
  SO(mgw_abi_version() == MGW_ABI_VERSION && mgw_version()[0] && mgw_status_str(MGW_ERR_FORKED)[0]);
  fflush(stdout);
  return failures != 0;
}

int main(void) {
  int16_t frame[320] = {0};
  mgw_session other;
  pthread_t thread;
  int round, end;
  GIVES(mgw_set_log(MGW_LOG_INFO, ignore, NULL), MGW_OK);
  GIVES(mgw_config_new(&config), MGW_OK);
  GIVES(mgw_config_load_json(config, SETTINGS, WHY), MGW_OK);
  GIVES(mgw_gateway_new(config, &gateway, WHY), MGW_OK);
  GIVES(mgw_session_new(gateway, "7777", "room", 0, &session, WHY), MGW_OK);
  if (failures) return finish();
  SO(!pthread_create(&thread, NULL, noise, NULL));
  for (round = 0; round < 20; round++) {
    pid_t pid = fork();
    if (pid == 0) {
      alarm(20); /* ends a child that hangs */
      _exit(child());
    }
    SO(pid > 0 && waitpid(pid, &end, 0) == pid && WIFEXITED(end) && WEXITSTATUS(end) == 0);
    SO(mgw_push_frame(session, frame, 320) == MGW_OK);
    SO(mgw_pull_frame(session, frame, 320) >= 0);
  }
  stop = 1;
  pthread_join(thread, NULL);
  GIVES(mgw_session_new(gateway, "8888", "room", 0, &other, WHY), MGW_OK);
  GIVES(mgw_session_close(session, MGW_NOW), MGW_OK);
  GIVES(mgw_session_close(other, MGW_NOW), MGW_OK);
  GIVES(mgw_gateway_shutdown(gateway, 5000), MGW_OK);
  GIVES(mgw_gateway_free(gateway), MGW_OK);
  GIVES(mgw_config_free(config), MGW_OK);
  GIVES(mgw_set_log(MGW_LOG_OFF, NULL, NULL), MGW_OK);
  return finish();
}
