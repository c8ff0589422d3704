/* wav.h: reads and writes the WAV files of the examples (16-bit mono PCM), nothing more. */
#ifndef WAV_H
#define WAV_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  uint32_t rate;    /* Hz */
  size_t count;     /* samples */
  size_t room;      /* samples that fit before memory must grow (writing) */
  int16_t *samples; /* freed by wav_free */
} wav;

static uint32_t wav_u32(const unsigned char *p) {
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint16_t wav_u16(const unsigned char *p) { return (uint16_t)(p[0] | p[1] << 8); }

static void wav_free(wav *w) {
  free(w->samples);
  memset(w, 0, sizeof *w);
}

/* Adds samples at the end. Returns 0, or -1 without memory. */
static int wav_append(wav *w, const int16_t *samples, size_t count) {
  if (count > w->room - w->count) {
    size_t room = (w->room + count) * 2;
    int16_t *more = realloc(w->samples, room * sizeof *more);
    if (!more) return -1;
    w->samples = more;
    w->room = room;
  }
  memcpy(w->samples + w->count, samples, count * sizeof *samples);
  w->count += count;
  return 0;
}

/* Reads a file. Returns NULL, or what is wrong with it. */
static const char *wav_read(const char *path, wav *w) {
  unsigned char head[12], chunk[8], format[16], pair[4096];
  int known = 0;
  const char *wrong = "has no sound in it";
  FILE *f = fopen(path, "rb");
  memset(w, 0, sizeof *w);
  if (!f) return "cannot be opened";
  if (fread(head, 1, 12, f) != 12 || memcmp(head, "RIFF", 4) || memcmp(head + 8, "WAVE", 4)) {
    fclose(f);
    return "is not a WAV file";
  }
  while (fread(chunk, 1, 8, f) == 8) {
    uint32_t size = wav_u32(chunk + 4);
    if (!memcmp(chunk, "fmt ", 4) && size >= 16) {
      if (fread(format, 1, 16, f) != 16) break;
      /* 1: PCM, 0xfffe: PCM with an extended description */
      if ((wav_u16(format) != 1 && wav_u16(format) != 0xfffe) || wav_u16(format + 14) != 16 ||
          wav_u16(format + 2) != 1) {
        wrong = "is not 16-bit mono PCM";
        break;
      }
      w->rate = wav_u32(format + 4);
      known = 1;
      size -= 16;
    } else if (!memcmp(chunk, "data", 4) && known) {
      /* A size that lies (a stream of unknown length) ends at the end of the file. */
      wrong = NULL;
      while (size >= 2) {
        size_t n = fread(pair, 1, size < sizeof pair ? size & ~1u : sizeof pair, f) / 2, i;
        int16_t samples[sizeof pair / 2];
        for (i = 0; i < n; i++) samples[i] = (int16_t)wav_u16(pair + 2 * i);
        if (wav_append(w, samples, n)) wrong = "does not fit into memory";
        if (n == 0 || wrong) break;
        size -= (uint32_t)(2 * n);
      }
      break;
    }
    /* Chunks begin at even places. */
    if (fseek(f, (long)size + (long)(size & 1), SEEK_CUR)) break;
  }
  fclose(f);
  if (!wrong && w->count == 0) wrong = "has no sound in it";
  if (wrong) wav_free(w);
  return wrong;
}

static void wav_put32(unsigned char *p, uint32_t v) {
  p[0] = (unsigned char)v, p[1] = (unsigned char)(v >> 8);
  p[2] = (unsigned char)(v >> 16), p[3] = (unsigned char)(v >> 24);
}

/* Writes a file. Returns 0, or -1. */
static int wav_write(const char *path, const wav *w) {
  unsigned char head[44] = "RIFF....WAVEfmt \20\0\0\0\1\0\1\0........\2\0\20\0data";
  size_t i;
  FILE *f = fopen(path, "wb");
  if (!f) return -1;
  wav_put32(head + 4, (uint32_t)(36 + 2 * w->count));
  wav_put32(head + 24, w->rate);
  wav_put32(head + 28, 2 * w->rate);
  wav_put32(head + 40, (uint32_t)(2 * w->count));
  fwrite(head, 1, sizeof head, f);
  for (i = 0; i < w->count; i++) {
    uint16_t s = (uint16_t)w->samples[i];
    fputc(s & 0xff, f);
    fputc(s >> 8, f);
  }
  i = (size_t)ferror(f);
  return fclose(f) || i ? -1 : 0;
}

#endif
