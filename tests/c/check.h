/* check.h: what the C tests share. A check that fails is printed, and the program goes on. */
#ifndef CHECK_H
#define CHECK_H

#include <mgw.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

static int failures = 0;
static char why[512];
#define WHY why, sizeof why

static void check_status(const char *what, int line, mgw_status got, mgw_status want) {
  if (got == want) return;
  failures++;
  printf("line %d: %s\n  gave %d (%s), want %d (%s)\n", line, what, (int)got, mgw_status_str(got), (int)want,
         mgw_status_str(want));
}

static void check_true(const char *what, int line, int good) {
  if (good) return;
  failures++;
  printf("line %d: not so: %s\n", line, what);
}

/* The call gives this status. */
#define GIVES(call, want) check_status(#call, __LINE__, (call), (want))
/* The condition holds. */
#define SO(condition) check_true(#condition, __LINE__, (condition) ? 1 : 0)
/* The call (with WHY) gives this status and a text. */
#define SAYS(call, want)        \
  do {                          \
    memset(why, 0, sizeof why); \
    GIVES(call, want);          \
    SO(why[0] != 0);            \
  } while (0)

/* Nobody listens on port 1: what the library wants of its providers is refused at once. */
static const char *const SETTINGS =
    "{\"max_sessions\": 3,"
    " \"deepgram\": {\"api_key\": \"canary-stt\", \"base_url\": \"http://127.0.0.1:1\"},"
    " \"deepl\": {\"api_key\": \"canary-mt\", \"base_url\": \"http://127.0.0.1:1\"},"
    " \"elevenlabs\": {\"api_key\": \"canary-tts\", \"base_url\": \"http://127.0.0.1:1\"},"
    " \"profile\": {\"7777\": {\"language\": \"en\"}, \"8888\": {\"language\": \"es\"}}}";

/* Milliseconds of a clock that does not jump. */
static inline long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Between two looks at a condition that other threads bring about. */
static inline void breathe(void) {
  struct timespec ms = {0, 1000000};
  nanosleep(&ms, NULL);
}

/* Waits, but not for ever, until the condition holds; it is not asked again once it did. */
#define UNTIL(condition)                                               \
  do {                                                                 \
    long deadline = now_ms() + 20000;                                  \
    int good;                                                          \
    while (!(good = (condition)) && now_ms() < deadline) breathe();    \
    check_true(#condition, __LINE__, good);                            \
  } while (0)

static int finish(void) {
  if (!failures) puts("ok");
  return failures != 0;
}

#endif
