/* event.h: picks fields out of mgw's events. Events are JSON objects on one line; a program that does more
 * with them should use a JSON library. These look at the outermost object only. */
#ifndef EVENT_H
#define EVENT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The end of the string that begins at p (a quotation mark). */
static const char *event_string_end(const char *p) {
  for (p++; *p && *p != '"'; p++)
    if (*p == '\\' && p[1]) p++;
  return *p ? p + 1 : p;
}

/* Where the value of a field begins, or NULL. */
static const char *event_value(const char *json, const char *field) {
  size_t n = strlen(field);
  int depth = 0;
  const char *p = json;
  while (*p) {
    if (*p == '"') {
      const char *end = event_string_end(p);
      if (depth == 1 && *end == ':' && (size_t)(end - p) == n + 2 && !memcmp(p + 1, field, n))
        return end + 1;
      p = end;
      continue;
    }
    if (*p == '{' || *p == '[') depth++;
    if (*p == '}' || *p == ']') depth--;
    p++;
  }
  return NULL;
}

/* A number, or what is given for a field that is absent. */
static double event_number(const char *json, const char *field, double absent) {
  const char *v = event_value(json, field);
  return v && *v != 'n' ? strtod(v, NULL) : absent;
}

static int event_true(const char *json, const char *field) {
  const char *v = event_value(json, field);
  return v && *v == 't';
}

/* A text, cut to fit; "" if the field is absent. Of the escapes only \" and \\ are undone. */
static const char *event_text(const char *json, const char *field, char *out, size_t cap) {
  const char *v = event_value(json, field);
  size_t n = 0;
  if (v && *v == '"') {
    for (v++; *v && *v != '"' && n + 1 < cap; v++) {
      if (*v == '\\' && (v[1] == '"' || v[1] == '\\')) v++;
      out[n++] = *v;
    }
  }
  out[n] = 0;
  return out;
}

static int event_is(const char *json, const char *type) {
  char have[64];
  return !strcmp(event_text(json, "type", have, sizeof have), type);
}

#endif
