/*
 * translate_call: a whole call with mgw, from two WAV files. Read this first.
 *
 *   translate_call [options] mgw.toml A.wav B.wav A-heard.wav B-heard.wav
 *
 * Leg A speaks A.wav (profile 7777), leg B speaks B.wav (profile 8888), at the pace of a call. What each
 * of them hears is written to A-heard.wav and B-heard.wav. A real program has a phone where this one has
 * files; what it does with mgw is the same:
 *
 *   1. make a configuration and a gateway, once            start()
 *   2. make a session for each leg, in one room            open_leg()
 *   3. every 20 ms push what the leg says and pull what
 *      it shall hear                                       tick()
 *   4. beside that, read events                            read_events()
 *   5. close the sessions, shut the gateway down           main()
 */
#define _POSIX_C_SOURCE 200809L

#include <mgw.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <time.h>

#include "event.h"
#include "wav.h"

/* One leg of the call. */
typedef struct {
  const char *name, *profile, *out_path;
  wav said;  /* what it will say */
  wav heard; /* what it has heard */
  size_t at; /* samples said so far */
  mgw_session session;
} leg;

static int frame_ms = 20, tail_ms = 3000, max_s = 600, quiet = 0;
static FILE *json_file = NULL;
static leg legs[2] = {{.name = "A", .profile = "7777"}, {.name = "B", .profile = "8888"}};
static mgw_gateway gateway;
static volatile sig_atomic_t interrupted = 0;

static double open_segments[256]; /* translated, but not heard or lost yet */
static int open_count = 0, done_count = 0, lost_count = 0;
static char *event_buf = NULL;
static size_t event_cap = 4096;

static void on_interrupt(int sig) {
  (void)sig;
  interrupted = 1;
}

static void say(const char *format, ...) {
  va_list args;
  if (quiet) return;
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  fflush(stdout);
}

/* Prints what went wrong. `detail` is mgw's own sentence, if it gave one. */
static int failed(const char *what, mgw_status status, const char *detail) {
  fprintf(stderr, "translate_call: %s: %s\n", what, detail && *detail ? detail : mgw_status_str(status));
  return -1;
}

/* The library logs from a thread of its own, through this function only. */
static void on_log(int level, const char *target, const char *message, void *user) {
  (void)level, (void)user;
  fprintf(stderr, "%s: %s\n", target, message);
}

/* 1. A configuration and a gateway. */
static int start(const char *config_path) {
  char why[512] = "";
  mgw_config config;
  mgw_status s = mgw_config_new(&config);
  if (s < 0) return failed("configuration", s, NULL);
  s = mgw_config_load_file(config, config_path, why, sizeof why);
  if (s < 0) failed("configuration", s, why);
  if (s >= 0) {
    s = mgw_gateway_new(config, &gateway, why, sizeof why);
    if (s < 0) failed("gateway", s, why);
  }
  mgw_config_free(config); /* the gateway has its own copy */
  return s < 0 ? -1 : 0;
}

/* 2. A session, with the rate of its file and a name for its events. */
static int open_leg(leg *l) {
  char rate[16], why[512] = "";
  mgw_config options;
  mgw_status s = mgw_config_new(&options);
  if (s < 0) return failed("options", s, NULL);
  snprintf(rate, sizeof rate, "%u", (unsigned)l->said.rate);
  s = mgw_config_set(options, "id", l->name, why, sizeof why);
  if (s >= 0) s = mgw_config_set(options, "rate.in", rate, why, sizeof why);
  if (s >= 0) s = mgw_config_set(options, "rate.out", rate, why, sizeof why);
  if (s >= 0) s = mgw_session_new(gateway, l->profile, "call", options, &l->session, why, sizeof why);
  mgw_config_free(options);
  if (s < 0) return failed(l->name, s, why);
  l->heard.rate = l->said.rate;
  return 0;
}

/* 3. One frame of one leg in both directions. Returns 1 if it heard something, 0 if not, -1 on an error. */
static int tick(leg *l) {
  int16_t frame[192 * 120]; /* 120 ms at 192 kHz, the longest there is */
  size_t count = (size_t)l->said.rate * (size_t)frame_ms / 1000;
  size_t left = l->said.count - l->at, n = left < count ? left : count;
  mgw_status s;

  memset(frame, 0, sizeof frame); /* after the end of the file the leg is silent */
  memcpy(frame, l->said.samples + l->at, n * sizeof *frame);
  l->at += n;
  s = mgw_push_frame(l->session, frame, count);
  if (s < 0) return failed("push", s, NULL);

  s = mgw_pull_frame(l->session, frame, count);
  if (s < 0) return failed("pull", s, NULL);
  if (wav_append(&l->heard, frame, count)) return failed("out of memory", 0, "what was heard does not fit");
  if (s != MGW_OK) return 0; /* silence, or nobody at home */
  while (count > 0 && abs(frame[count - 1]) < 100) count--; /* the other's own voice may be silent, too */
  return count > 0;
}

/* A segment was heard or lost; one that is lost early has no translation and was never open. */
static void segment_ended(double segment) {
  for (int i = 0; i < open_count; i++)
    if (open_segments[i] == segment) {
      open_segments[i] = open_segments[--open_count];
      return;
    }
}

/* Prints what an event says, and keeps count of segments. */
static void show(const char *e) {
  char id[64], a[512], b[512];
  double segment = event_number(e, "segment", -1);
  event_text(e, "id", id, sizeof id);
  if (event_is(e, "transcript")) {
    if (event_true(e, "final"))
      say("%s said      [%7.0f ms] %s\n", id, event_number(e, "start_ms", 0), event_text(e, "text", a, sizeof a));
  } else if (event_is(e, "translation")) {
    if (open_count < 256) open_segments[open_count++] = segment;
    say("%s means     [%s to %s] %s\n", id, event_text(e, "source", a, 16),
        event_text(e, "target", b, 16), event_text(e, "text", b + 16, sizeof b - 16));
  } else if (event_is(e, "segment_done")) {
    segment_ended(segment);
    done_count++;
    say("%s was heard [lag %4.0f ms] %s -> %s\n", id, event_number(e, "lag_ms", 0),
        event_text(e, "source_text", a, sizeof a), event_text(e, "text", b, sizeof b));
  } else if (event_is(e, "segment_lost")) {
    segment_ended(segment);
    lost_count++;
    say("%s was lost  [in %s] %s\n", id, event_text(e, "stage", a, 32), event_text(e, "reason", b, sizeof b));
  } else if (event_is(e, "provider")) {
    if (strcmp(event_text(e, "state", a, 64), "connecting"))
      say("%s: %s is %s %s\n", id, event_text(e, "provider", a + 64, 64), a, event_text(e, "message", b, sizeof b));
  } else if (event_is(e, "fail_open")) {
    say("%s hears %s: %s\n", id, event_true(e, "active") ? "the original voice" : "translations again",
        event_text(e, "reason", b, sizeof b));
  } else if (event_is(e, "error")) {
    say("%s error %s: %s\n", id, event_text(e, "code", a, 64), event_text(e, "message", b, sizeof b));
  }
}

/* 4. All events that wait. A program with an event loop does this when mgw_event_fd() is readable. */
static int read_events(void) {
  for (;;) {
    size_t len;
    mgw_status s = mgw_next_event(gateway, event_buf, event_cap, &len);
    if (s == MGW_EMPTY) return 0;
    if (s == MGW_ERR_BUFFER_TOO_SHORT) { /* the event is still there */
      char *more = realloc(event_buf, len);
      if (!more) return failed("out of memory", 0, "an event does not fit");
      event_buf = more, event_cap = len;
      continue;
    }
    if (s < 0) return failed("events", s, NULL);
    if (json_file) fprintf(json_file, "%s\n", event_buf);
    show(event_buf);
  }
}

/* The call: a frame of each leg every frame_ms, until all is said and heard. Sleeping until absolute times
 * keeps the pace right however long a round takes. */
static int run_call(void) {
  struct timespec next;
  long elapsed_ms = 0, still_ms = 0;
  clock_gettime(CLOCK_MONOTONIC, &next);
  while (!interrupted && elapsed_ms < 1000L * max_s) {
    int i, busy = 0;
    for (i = 0; i < 2; i++) {
      int heard = tick(&legs[i]);
      if (heard < 0) return -1;
      if (heard || legs[i].at < legs[i].said.count) busy = 1;
    }
    if (read_events()) return -1;
    if (open_count > 0) busy = 1;
    still_ms = busy ? 0 : still_ms + frame_ms;
    if (still_ms >= tail_ms) return 0;

    elapsed_ms += frame_ms;
    next.tv_nsec += frame_ms * 1000000L;
    while (next.tv_nsec >= 1000000000L) next.tv_nsec -= 1000000000L, next.tv_sec++;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR && !interrupted) continue;
  }
  say("%s", interrupted ? "interrupted\n" : "--max-s is over\n");
  return 0;
}

static int usage(void) {
  fprintf(stderr,
          "usage: translate_call [options] mgw.toml A.wav B.wav A-heard.wav B-heard.wav\n"
          "  --profile-a P, --profile-b P  profiles of the legs (7777, 8888)\n"
          "  --frame-ms N                  length of a frame, 1 to 120 (20)\n"
          "  --tail-ms N                   end after so much quiet (3000)\n"
          "  --max-s N                     end after so long (600)\n"
          "  --json FILE                   write all events, one a line\n"
          "  --quiet                       print errors only\n"
          "WAV files are 16-bit mono.\n");
  return 2;
}

static int positive(const char *text, int max) {
  char *end;
  long n = strtol(text, &end, 10);
  return *text && !*end && n >= 1 && n <= max ? (int)n : 0;
}

int main(int argc, char **argv) {
  struct sigaction act;
  const char *wrong, *json_path = NULL;
  int i, result = 1;
  mgw_status s;

  for (i = 1; i < argc && !strncmp(argv[i], "--", 2); i++) {
    const char *name = argv[i], *value;
    if (!strcmp(name, "--quiet")) {
      quiet = 1;
      continue;
    }
    if (!(value = argv[++i])) return usage();
    if (!strcmp(name, "--profile-a")) legs[0].profile = value;
    else if (!strcmp(name, "--profile-b")) legs[1].profile = value;
    else if (!strcmp(name, "--json")) json_path = value;
    else if (!strcmp(name, "--frame-ms") && positive(value, 120)) frame_ms = positive(value, 120);
    else if (!strcmp(name, "--tail-ms") && positive(value, 3600000)) tail_ms = positive(value, 3600000);
    else if (!strcmp(name, "--max-s") && positive(value, 86400)) max_s = positive(value, 86400);
    else return usage();
  }
  if (argc - i != 5) return usage();
  for (int k = 0; k < 2; k++) {
    if ((wrong = wav_read(argv[i + 1 + k], &legs[k].said))) return failed(argv[i + 1 + k], 0, wrong), 1;
    legs[k].out_path = argv[i + 3 + k];
  }
  if (json_path && !(json_file = fopen(json_path, "w"))) return failed(json_path, 0, strerror(errno)), 1;
  if (json_file) setvbuf(json_file, NULL, _IOLBF, 1 << 14); /* a reader sees each event as it happens */
  if (!(event_buf = malloc(event_cap))) return failed("start", 0, "out of memory"), 1;

  /* The program was compiled with one header; is the library it found of the same make? */
  if (mgw_abi_version() != MGW_ABI_VERSION) return failed("libmgw.so", 0, "has another ABI version"), 1;
  if ((s = mgw_set_log(MGW_LOG_ERROR, on_log, NULL)) < 0) failed("log", s, NULL);

  memset(&act, 0, sizeof act);
  act.sa_handler = on_interrupt;
  sigaction(SIGINT, &act, NULL);
  sigaction(SIGTERM, &act, NULL);

  if (start(argv[i])) return 1;
  if (!open_leg(&legs[0]) && !open_leg(&legs[1])) {
    result = run_call() ? 1 : 0;
    for (int k = 0; k < 2; k++) {
      if (!wav_write(legs[k].out_path, &legs[k].heard)) continue;
      failed(legs[k].out_path, 0, "cannot be written");
      result = 1;
    }
  }

  /* 5. The end. A session that was never opened has handle 0, which close refuses politely. */
  for (int k = 0; k < 2; k++) mgw_session_close(legs[k].session, interrupted ? MGW_NOW : MGW_DRAIN);
  s = mgw_gateway_shutdown(gateway, interrupted ? 200 : 3000);
  if (s < 0 && s != MGW_ERR_TIMEOUT) failed("shutdown", s, NULL);
  if (read_events()) result = 1;
  mgw_gateway_free(gateway);
  mgw_set_log(MGW_LOG_OFF, NULL, NULL);
  say("%d segments heard, %d lost\n", done_count, lost_count);

  if (json_file && fclose(json_file)) {
    failed(json_path, 0, "cannot be written");
    result = 1;
  }
  for (int k = 0; k < 2; k++) wav_free(&legs[k].said), wav_free(&legs[k].heard);
  free(event_buf);
  return result;
}
