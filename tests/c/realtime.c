/* Push, pull, gaps and rates never allocate and never enter the kernel: the pushing thread counts what it
 * allocates, and may make no system call but its own exit (seccomp ends the program otherwise). */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread int counting = 0;
static volatile int allocations = 0, refused = 0, rounds = 0, silent = 0;

/* The library's allocator ends up here, since a program's own symbols come first. */
#define FORWARD(name, result, parameters, arguments)  \
  result name parameters {                            \
    static result(*real) parameters;                  \
    if (counting) allocations++;                      \
    if (!real) {                                      \
      void *found = dlsym(RTLD_NEXT, #name);          \
      memcpy(&real, &found, sizeof found);            \
    }                                                 \
    return real arguments;                            \
  }
FORWARD(malloc, void *, (size_t n), (n))
FORWARD(realloc, void *, (void *p, size_t n), (p, n))
FORWARD(posix_memalign, int, (void **p, size_t a, size_t n), (p, a, n))

static mgw_session session;

/* From here on this thread may only exit. */
static int no_more_system_calls(void) {
  struct sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  struct sock_fprog program;
  program.len = sizeof rules / sizeof *rules;
  program.filter = rules;
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void *real_time(void *arg) {
  int16_t frame[1920] = {0};
  int i;
  (void)arg;
  /* A sandbox may not have filters; what is allocated is counted all the same. */
  if (no_more_system_calls() && errno != EINVAL && errno != ENOSYS) refused++;
  counting = 1;
  for (i = 0; i < 20000; i++) {
    mgw_status s;
    frame[0] = (int16_t)i;
    /* Far faster than a call: the ring overflows, and marks do, on purpose. */
    if (mgw_push_frame(session, frame, 320) != MGW_OK) refused++;
    s = mgw_pull_frame(session, frame, 320);
    if (s < 0) refused++;
    if (s == MGW_SILENCE || s == MGW_ORIGINAL) silent++;
    s = mgw_push_gap(session, 320);
    if (s != MGW_OK && s != MGW_ERR_AGAIN) refused++;
    s = mgw_session_set_rate(session, MGW_OUT, i % 2 ? 8000 : 16000);
    if (s != MGW_OK) refused++;
    if (mgw_push_frame(session, NULL, 320) != MGW_ERR_NULL) refused++;
    if (mgw_push_frame(session + 1, frame, 320) != MGW_ERR_HANDLE) refused++;
    rounds++;
  }
  counting = 0;
  syscall(SYS_exit, 0);
  return NULL; /* not reached */
}

int main(void) {
  mgw_config config;
  mgw_gateway gateway;
  pthread_t thread;
  void *probe;
  GIVES(mgw_config_new(&config), MGW_OK);
  GIVES(mgw_config_load_json(config, SETTINGS, WHY), MGW_OK);
  GIVES(mgw_gateway_new(config, &gateway, WHY), MGW_OK);
  GIVES(mgw_session_new(gateway, "7777", "room", 0, &session, WHY), MGW_OK);
  if (failures) return finish();

  /* The counter counts what the library allocates. */
  counting = 1;
  GIVES(mgw_config_set(config, "max_sessions", "3", WHY), MGW_OK);
  counting = 0;
  SO(allocations > 0);
  allocations = 0;
  probe = realloc(NULL, 1);
  SO(probe != NULL);
  free(probe);

  SO(!pthread_create(&thread, NULL, real_time, NULL));
  SO(!pthread_join(thread, NULL));
  SO(rounds == 20000);
  SO(refused == 0);
  SO(allocations == 0);
  SO(silent == 20000); /* alone in its room */
  GIVES(mgw_session_close(session, MGW_NOW), MGW_OK);
  GIVES(mgw_gateway_shutdown(gateway, 5000), MGW_OK);
  GIVES(mgw_gateway_free(gateway), MGW_OK);
  GIVES(mgw_config_free(config), MGW_OK);
  return finish();
}
