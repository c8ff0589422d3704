/*
 * two_threads: one thread pushes what a leg says, another pulls what it hears.
 *
 *   two_threads mgw.toml in.wav heard.wav [profile]
 *
 * So a program with separate read and write threads (most RTP stacks) uses mgw: without any lock of its
 * own. The leg is alone in its room, so it hears silence, or its alone.cue; translate_call.c shows
 * a call of two.
 */
#define _POSIX_C_SOURCE 200809L

#include <mgw.h>

#include <pthread.h>
#include <time.h>

#include "wav.h"

typedef struct {
  mgw_session session;
  wav *audio;        /* the pusher reads it, the puller appends to its own */
  size_t frames;     /* how many to do */
  mgw_status status; /* how it ended */
} side;

/* Sleeps until the next 20 ms are due. */
static void pace(struct timespec *next) {
  next->tv_nsec += 20000000L;
  if (next->tv_nsec >= 1000000000L) next->tv_nsec -= 1000000000L, next->tv_sec++;
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL)) continue;
}

static void *push_all(void *arg) {
  side *me = arg;
  size_t count = me->audio->rate / 50, i;
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (i = 0; i < me->frames && me->status >= 0; i++) {
    me->status = mgw_push_frame(me->session, me->audio->samples + i * count, count);
    pace(&next);
  }
  return NULL;
}

static void *pull_all(void *arg) {
  side *me = arg;
  int16_t frame[192 * 20];
  size_t count = me->audio->rate / 50, i;
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (i = 0; i < me->frames && me->status >= 0; i++) {
    me->status = mgw_pull_frame(me->session, frame, count);
    if (me->status >= 0 && wav_append(me->audio, frame, count)) me->status = MGW_ERR_RESOURCES;
    pace(&next);
  }
  return NULL;
}

static int failed(const char *what, mgw_status status, const char *detail) {
  fprintf(stderr, "two_threads: %s: %s\n", what, detail && *detail ? detail : mgw_status_str(status));
  return 1;
}

static int run(mgw_gateway gateway, const char *profile, wav *said, wav *heard) {
  char rate[16], why[512] = "", event[4096];
  size_t len;
  mgw_config options;
  mgw_session session;
  pthread_t pusher, puller;
  side in, out;
  mgw_status s = mgw_config_new(&options);
  if (s < 0) return failed("options", s, NULL);
  snprintf(rate, sizeof rate, "%u", (unsigned)said->rate);
  s = mgw_config_set(options, "rate.in", rate, why, sizeof why);
  if (s >= 0) s = mgw_config_set(options, "rate.out", rate, why, sizeof why);
  if (s >= 0) s = mgw_session_new(gateway, profile, "alone", options, &session, why, sizeof why);
  mgw_config_free(options);
  if (s < 0) return failed("session", s, why);

  heard->rate = said->rate;
  in.session = out.session = session;
  in.frames = out.frames = said->count / (said->rate / 50);
  in.status = out.status = MGW_OK;
  in.audio = said, out.audio = heard;
  if (pthread_create(&pusher, NULL, push_all, &in)) return failed("thread", MGW_ERR_RESOURCES, NULL);
  if (pthread_create(&puller, NULL, pull_all, &out)) {
    pthread_join(pusher, NULL);
    return failed("thread", MGW_ERR_RESOURCES, NULL);
  }
  pthread_join(pusher, NULL);
  pthread_join(puller, NULL);
  mgw_session_close(session, MGW_DRAIN);
  while (mgw_next_event(gateway, event, sizeof event, &len) == MGW_OK) printf("%s\n", event);
  if (in.status < 0) return failed("push", in.status, NULL);
  if (out.status < 0) return failed("pull", out.status, NULL);
  return 0;
}

int main(int argc, char **argv) {
  char why[512] = "";
  const char *wrong;
  wav said, heard;
  mgw_config config;
  mgw_gateway gateway;
  mgw_status s;
  int result;

  if (argc < 4 || argc > 5) {
    fprintf(stderr, "usage: two_threads mgw.toml in.wav heard.wav [profile]\n");
    return 2;
  }
  memset(&heard, 0, sizeof heard);
  if ((wrong = wav_read(argv[2], &said))) return failed(argv[2], 0, wrong);
  if ((s = mgw_config_new(&config)) < 0) return failed("configuration", s, NULL);
  if ((s = mgw_config_load_file(config, argv[1], why, sizeof why)) < 0) return failed("configuration", s, why);
  s = mgw_gateway_new(config, &gateway, why, sizeof why);
  mgw_config_free(config);
  if (s < 0) return failed("gateway", s, why);

  result = run(gateway, argc > 4 ? argv[4] : "7777", &said, &heard);
  mgw_gateway_shutdown(gateway, 1000);
  mgw_gateway_free(gateway);
  if (!result && wav_write(argv[3], &heard)) result = failed(argv[3], 0, "cannot be written");
  wav_free(&said);
  wav_free(&heard);
  return result;
}
