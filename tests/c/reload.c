/* Loads the library, has a short call, unloads it: twenty times in one process. Threads and descriptors
 * must be back at their number each time. argv[1]: the library. */
#define _POSIX_C_SOURCE 200809L
/* The header gives types and constants; functions come by dlsym. */
#include "check.h"

#include <dirent.h>
#include <dlfcn.h>

/* Keeps check.h's use of this name from needing the library at link time. */
const char *mgw_status_str(mgw_status status) {
  (void)status;
  return "";
}

static void *library;

/* A function of the library as a pointer of its declared type. */
static void find(const char *name, void *pointer) {
  void *found = dlsym(library, name);
  SO(found != NULL);
  memcpy(pointer, &found, sizeof found);
}

#define FIND(result, name, args) \
  result(*name) args;            \
  find("mgw_" #name, &name)

static int entries(const char *folder) {
  int n = 0;
  DIR *d = opendir(folder);
  if (!d) return -1;
  while (readdir(d)) n++;
  closedir(d);
  return n;
}

static void on_log(int level, const char *target, const char *message, void *user) {
  (void)level, (void)target, (void)message, (void)user;
}

static void call(void) {
  FIND(mgw_status, set_log, (int32_t, mgw_log_fn, void *));
  FIND(mgw_status, config_new, (mgw_config *));
  FIND(mgw_status, config_load_json, (mgw_config, const char *, char *, size_t));
  FIND(mgw_status, config_free, (mgw_config));
  FIND(mgw_status, gateway_new, (mgw_config, mgw_gateway *, char *, size_t));
  FIND(mgw_status, gateway_shutdown, (mgw_gateway, uint32_t));
  FIND(mgw_status, gateway_free, (mgw_gateway));
  FIND(mgw_status, session_new,
       (mgw_gateway, const char *, const char *, mgw_config, mgw_session *, char *, size_t));
  FIND(mgw_status, session_close, (mgw_session, int32_t));
  FIND(mgw_status, push_frame, (mgw_session, const int16_t *, size_t));
  FIND(mgw_status, pull_frame, (mgw_session, int16_t *, size_t));
  int16_t frame[320] = {0};
  mgw_config config;
  mgw_gateway gateway;
  mgw_session a, b;
  int i;
  if (failures) return;
  GIVES(set_log(MGW_LOG_INFO, on_log, NULL), MGW_OK);
  GIVES(config_new(&config), MGW_OK);
  GIVES(config_load_json(config, SETTINGS, WHY), MGW_OK);
  GIVES(gateway_new(config, &gateway, WHY), MGW_OK);
  if (failures) return;
  GIVES(session_new(gateway, "7777", "room", 0, &a, WHY), MGW_OK);
  GIVES(session_new(gateway, "8888", "room", 0, &b, WHY), MGW_OK);
  for (i = 0; i < 10; i++) {
    GIVES(push_frame(a, frame, 320), MGW_OK);
    SO(pull_frame(b, frame, 320) >= 0);
  }
  GIVES(session_close(a, MGW_NOW), MGW_OK); /* b is left to the shutdown */
  {
    mgw_status s = gateway_shutdown(gateway, 2000);
    SO(s == MGW_OK || s == MGW_ERR_TIMEOUT);
  }
  GIVES(gateway_free(gateway), MGW_OK);
  GIVES(config_free(config), MGW_OK);
  GIVES(set_log(MGW_LOG_OFF, NULL, NULL), MGW_OK);
}

int main(int argc, char **argv) {
  int threads = entries("/proc/self/task"), descriptors = entries("/proc/self/fd"), round;
  if (argc != 2) return 2;
  for (round = 0; round < 20 && !failures; round++) {
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) return printf("%s\n", dlerror()), 1;
    call();
    SO(!dlclose(library));
    /* A joined thread is still listed for a moment. */
    UNTIL(entries("/proc/self/task") == threads);
    UNTIL(entries("/proc/self/fd") == descriptors);
  }
  return finish();
}
