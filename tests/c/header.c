/* The header alone, twice, and first: it needs nothing before it. Compiled as C99 and as C++. */
#include <mgw.h>
#include <mgw.h>

#include <stdio.h>
#include <string.h>

/* Types and constants are what C programs were compiled with. */
static mgw_status (*push)(mgw_session, const int16_t *, size_t) = mgw_push_frame;
static mgw_status (*next)(mgw_gateway, char *, size_t, size_t *) = mgw_next_event;

int main(void) {
  char composed[64];
  mgw_status number = MGW_ERR_INTERNAL;
  int good = push && next && sizeof(mgw_status) == 4 && sizeof(mgw_session) == 8 && number == -99;
  snprintf(composed, sizeof composed, "%d.%d.%d", MGW_VERSION_MAJOR, MGW_VERSION_MINOR, MGW_VERSION_PATCH);
  if (strncmp(MGW_VERSION_STRING, composed, strlen(composed))) good = 0;
  if (strcmp(mgw_version(), MGW_VERSION_STRING) || mgw_abi_version() != MGW_ABI_VERSION) good = 0;
  /* Every code has a text of its own; other numbers have one too. */
  if (!strcmp(mgw_status_str(MGW_OK), mgw_status_str(MGW_ERR_NULL))) good = 0;
  if (strcmp(mgw_status_str(12345), "unknown status") || strcmp(mgw_status_str(INT32_MIN), "unknown status")) good = 0;
  puts(good ? "ok" : "header and library differ");
  return !good;
}
