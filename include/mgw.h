/*
 * mgw: two people on a phone call hear each other in their own languages.
 *
 * Push what a leg says and pull what it shall hear, 20 ms at a time; everything else happens inside.
 * Generated from src/ffi by cbindgen; do not edit. c-examples/translate_call.c shows the way through it.
 *
 * The way of a call
 *   mgw_config_new, mgw_config_load_file -> mgw_gateway_new (once per process)
 *   per leg:  mgw_session_new -> mgw_push_frame and mgw_pull_frame every 20 ms -> mgw_session_close
 *   beside:   poll mgw_event_fd -> mgw_next_event
 *   at last:  mgw_gateway_shutdown -> mgw_gateway_free
 *
 * Handles
 *   are 64-bit numbers, not pointers; 0 is never valid. Using one after its close or free, freeing twice, or
 *   racing a close gives MGW_ERR_HANDLE, never a crash. What belongs to a gateway is closed with it. A
 *   configuration is copied wherever it is given.
 *
 * Ownership
 *   Memory stays with the side that has it: the library copies what it is given before it returns, and writes
 *   into the caller's buffers only. Nothing is to be freed but by mgw_config_free and mgw_gateway_free.
 *
 * Results
 *   Functions return mgw_status: 0 done, above 0 a note, below 0 an error, after which nothing has happened
 *   unless it says otherwise. Outputs are written on success only, with two exceptions: errbuf is written on
 *   an error only, and MGW_ERR_BUFFER_TOO_SHORT writes len. Numbers are never used again; take ones you do not
 *   know for an error if they are below 0 and for success otherwise. Every function can also return
 *   MGW_ERR_FORKED and MGW_ERR_INTERNAL.
 *
 * Texts
 *   are UTF-8 and NUL-terminated, in both directions. A buffer for a result has cap bytes, its NUL included; on
 *   success len is the text's length without the NUL, on MGW_ERR_BUFFER_TOO_SHORT it is the cap that is needed.
 *   cap 0 with buf NULL asks for that. errbuf has errlen bytes and gets one sentence for a person, cut to fit;
 *   NULL or 0 leaves it out. Sentences may change; go by the status.
 *
 * NULL
 *   where it is not allowed gives MGW_ERR_NULL. Which pointers may be NULL is said under "NULL:"; without such a
 *   line there are none.
 *
 * Threads
 *   Every function may be called by any thread at any time, except as said under "Thread:". One thread may push
 *   on a session while another pulls; a second one on the same side gets MGW_ERR_BUSY and is not made to wait.
 *   The library's own threads are named mgw-..., block every signal and have ordinary scheduling. The only
 *   callback is the log's. No signal handler is ever installed.
 *
 * Blocking
 *   "Blocks: never" means wait-free: no lock, allocation or system call. "Blocks: no" means that it may take a
 *   lock for a moment, but waits for no network, file or thread.
 *
 * Units
 *   Audio is mono 16-bit linear PCM in the machine's byte order, usually 20 ms a frame. Counts are in samples,
 *   rates in Hz, times in milliseconds.
 *
 * Fork
 *   The library belongs to the process that loaded it: after fork (without exec) every call in the child gives
 *   MGW_ERR_FORKED, and nothing hangs. The parent goes on.
 *
 * Unloading
 *   dlclose leaves the library mapped (it is linked with -z nodelete), and dlopen finds it again, able to start
 *   anew. Before a module that uses it is unloaded: mgw_gateway_free, and mgw_set_log(MGW_LOG_OFF, NULL, NULL).
 *
 * Versions
 *   MGW_VERSION_* are of this header, mgw_version is of the library. Compare MGW_ABI_VERSION with
 *   mgw_abi_version() after dlopen. ABI 0 is not frozen: it fits only the header of the same version.
 */


#ifndef MGW_H
#define MGW_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header; compare with mgw_version() and mgw_abi_version(). */
#define MGW_VERSION_MAJOR 0
#define MGW_VERSION_MINOR 1
#define MGW_VERSION_PATCH 0
#define MGW_VERSION_STRING "0.1.0"
#define MGW_ABI_VERSION 0

/**
 * What functions return, as mgw_status.
 */
enum mgw_status_code {
  /** Done. */
  MGW_OK = 0,
  /** Note from pull: nothing to hear; the frame is silence. */
  MGW_SILENCE = 1,
  /** Note from pull: the engine shows no life. Use the frame you hold (the original voice). */
  MGW_ORIGINAL = 2,
  /** Note from next_event: no event waits. */
  MGW_EMPTY = 3,
  /** A required pointer is NULL. */
  MGW_ERR_NULL = -1,
  /** The handle was never valid or its session is closed. */
  MGW_ERR_HANDLE = -2,
  /** The frame has no samples. */
  MGW_ERR_EMPTY = -3,
  /** The frame is longer than 120 ms. */
  MGW_ERR_FRAME_TOO_LONG = -4,
  /** No such key. */
  MGW_ERR_UNKNOWN_KEY = -5,
  /** The key exists, the value is not allowed. */
  MGW_ERR_BAD_VALUE = -6,
  /** No such profile. */
  MGW_ERR_UNKNOWN_PROFILE = -7,
  /** Another thread is in the same call for the same side of this session. */
  MGW_ERR_BUSY = -8,
  /** The process was forked; the library belongs to the parent. */
  MGW_ERR_FORKED = -9,
  /** The gateway was shut down. */
  MGW_ERR_SHUTDOWN = -10,
  /** max_sessions reached. */
  MGW_ERR_LIMIT = -11,
  /** The buffer is too short; the needed length was written and nothing was consumed. */
  MGW_ERR_BUFFER_TOO_SHORT = -12,
  /** The text is not UTF-8 or holds a NUL. */
  MGW_ERR_TEXT = -13,
  /** Reading a file failed. */
  MGW_ERR_FILE = -14,
  /** The file or JSON text is malformed. */
  MGW_ERR_SYNTAX = -15,
  /** Not a sample rate that mgw carries. */
  MGW_ERR_RATE = -16,
  /** Not a direction, mode, verb or digit of the header. */
  MGW_ERR_ARGUMENT = -17,
  /** A queue inside is full; nothing was taken. */
  MGW_ERR_AGAIN = -18,
  /** The deadline passed; what was left was ended by force. */
  MGW_ERR_TIMEOUT = -19,
  /** Threads, memory or descriptors could not be had. */
  MGW_ERR_RESOURCES = -20,
  /** The key cannot change in mid-call. */
  MGW_ERR_NOT_LIVE = -21,
  /** A configuration lacks something (a key, a language a provider cannot do). */
  MGW_ERR_CONFIG = -22,
  /** A panic was caught inside the library. */
  MGW_ERR_INTERNAL = -99
};

/**
 * For mgw_session_close(): the last sentence still reaches the others.
 */
#define MGW_DRAIN 1

/**
 * For mgw_session_close(): at once; what was in flight is reported lost.
 */
#define MGW_NOW 2

/**
 * For mgw_session_set_rate(): what is pushed.
 */
#define MGW_IN 1

/**
 * For mgw_session_set_rate(): what is pulled.
 */
#define MGW_OUT 2

/**
 * For mgw_session_command(): drop what is queued for this session's ear; it is reported as not heard.
 */
#define MGW_FLUSH 1

/**
 * For mgw_session_command(): ask the recogniser to finalise what it has.
 */
#define MGW_FINALIZE 2

/**
 * For mgw_session_command(): what the session says is replaced by silence.
 */
#define MGW_MUTE 3

/**
 * For mgw_session_command(): ends MGW_MUTE.
 */
#define MGW_UNMUTE 4

/**
 * For mgw_session_command(): tell by the event `mark_reached` when what is queued for this session's ear now has been heard.
 */
#define MGW_MARK 5

/**
 * For mgw_set_log(): nothing.
 */
#define MGW_LOG_OFF 0

/**
 * For mgw_set_log(): what needs a person.
 */
#define MGW_LOG_ERROR 1

/**
 * For mgw_set_log(): what went wrong and was dealt with.
 */
#define MGW_LOG_WARN 2

/**
 * For mgw_set_log(): what an operator wants to know.
 */
#define MGW_LOG_INFO 3

/**
 * For mgw_set_log(): what a developer wants to know.
 */
#define MGW_LOG_DEBUG 4

/**
 * For mgw_set_log(): everything.
 */
#define MGW_LOG_TRACE 5

/**
 * Result of a call: one of enum mgw_status_code.
 */
typedef int32_t mgw_status;

/**
 * Receives log records.
 *
 * Called by one library thread named mgw-log only, one call at a time. The texts are valid until it
 * returns. It may be slow (records are then dropped and counted, never waited for), must not unwind,
 * and may call any mgw function.
 */
typedef void (*mgw_log_fn)(int level, const char *target, const char *message, void *user);

/**
 * Settings as they are collected. 0 is never valid.
 */
typedef uint64_t mgw_config;

/**
 * The library at work: threads, connections, rooms. 0 is never valid.
 */
typedef uint64_t mgw_gateway;

/**
 * One leg of a call. 0 is never valid; below 2^53, so that JSON readers keep it exact.
 */
typedef uint64_t mgw_session;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The library's version, such as "0.1.0"; compare with MGW_VERSION_STRING.
 *
 * Thread: any, also in a forked child.
 * Blocks: never.
 * Returns: static text, never NULL.
 */
const char *mgw_version(void);

/**
 * The library's ABI version. A program that was compiled with another MGW_ABI_VERSION must not use it.
 *
 * Thread: any, also in a forked child.
 * Blocks: never.
 * Returns: the number.
 */
uint32_t mgw_abi_version(void);

/**
 * What a status means and what to do about it.
 *
 * Thread: any, also in a forked child.
 * Blocks: never.
 * Returns: static text, never NULL; "unknown status" for other numbers.
 */
const char *mgw_status_str(mgw_status status);

/**
 * Sets who receives the log of the whole library, and the most verbose level. Before the first call
 * nothing is logged, and nothing is ever printed.
 *
 * With fn NULL (or MGW_LOG_OFF) the log is silent and its thread ends. When this returns, the function
 * set before is never called again. Call it so before the code of fn is unloaded.
 * Keys, and what people say, are never logged.
 *
 * Thread: any, also from inside fn.
 * Blocks: until a running call of the old fn has returned (unless called from inside it).
 * NULL: fn and user may be.
 * Returns: MGW_OK, MGW_ERR_ARGUMENT (level), MGW_ERR_RESOURCES (no thread to be had; the log is silent then).
 */
mgw_status mgw_set_log(int32_t level, mgw_log_fn fn, void *user);

/**
 * Makes an empty configuration: everything at its default, no profiles.
 *
 * Thread: any. One configuration may be used by several threads; they take turns.
 * Blocks: no.
 * NULL: config must not be.
 * Returns: MGW_OK, MGW_ERR_NULL, MGW_ERR_LIMIT (65,536 are open), MGW_ERR_RESOURCES.
 */
mgw_status mgw_config_new(mgw_config *config);

/**
 * Sets one key to a value given as text; docs/configuration.md lists the keys. A later value replaces
 * an earlier one. Keys of a profile are written "profile.8888.language".
 *
 * Thread: any.
 * Blocks: no.
 * NULL: key and value must not be; errbuf may be.
 * Returns: MGW_OK, MGW_ERR_UNKNOWN_KEY (the text names the nearest), MGW_ERR_BAD_VALUE, MGW_ERR_CONFIG
 * (the key is not for this place), MGW_ERR_TEXT, MGW_ERR_HANDLE, MGW_ERR_NULL. On an error nothing has changed.
 */
mgw_status mgw_config_set(mgw_config config,
                          const char *key,
                          const char *value,
                          char *errbuf,
                          size_t errlen);

/**
 * Reads settings from a file: TOML, or JSON if its name ends in ".json". At most 1 MiB.
 *
 * Thread: any.
 * Blocks: while the file is read.
 * NULL: path must not be; errbuf may be.
 * Returns: MGW_OK, MGW_ERR_FILE (cannot be read), MGW_ERR_SYNTAX (the text names line and column), or as
 * mgw_config_set(). On an error nothing has changed.
 */
mgw_status mgw_config_load_file(mgw_config config, const char *path, char *errbuf, size_t errlen);

/**
 * Reads settings from JSON text: one object, with objects inside it for sections, dotted keys, or both.
 *
 * Thread: any.
 * Blocks: no.
 * NULL: json must not be; errbuf may be.
 * Returns: MGW_OK, MGW_ERR_SYNTAX (the text names line and column), or as mgw_config_set(). On an error
 * nothing has changed.
 */
mgw_status mgw_config_load_json(mgw_config config, const char *json, char *errbuf, size_t errlen);

/**
 * Frees a configuration. What was made from it lives on; a call that is using it ends well.
 *
 * Thread: any.
 * Blocks: no.
 * Returns: MGW_OK, MGW_ERR_HANDLE (never valid, or freed before).
 */
mgw_status mgw_config_free(mgw_config config);

/**
 * Starts the library: media threads, network threads, room for sessions. Connects to nobody yet.
 * The configuration is copied and may be freed.
 *
 * Thread: any.
 * Blocks: for the start of some threads.
 * NULL: gateway must not be; errbuf may be.
 * Returns: MGW_OK, MGW_ERR_CONFIG or MGW_ERR_BAD_VALUE (the text says what to set), MGW_ERR_RESOURCES,
 * MGW_ERR_LIMIT, MGW_ERR_HANDLE, MGW_ERR_NULL.
 */
mgw_status mgw_gateway_new(mgw_config config, mgw_gateway *gateway, char *errbuf, size_t errlen);

/**
 * Gives the gateway a new configuration for sessions that are made from now on; those that exist keep
 * theirs. The numbers of threads and the sizes of queues stay as they are.
 *
 * Thread: any.
 * Blocks: no.
 * NULL: errbuf may be.
 * Returns: MGW_OK, MGW_ERR_CONFIG, MGW_ERR_BAD_VALUE, MGW_ERR_SHUTDOWN, MGW_ERR_HANDLE. On an error nothing
 * has changed.
 */
mgw_status mgw_gateway_configure(mgw_gateway gateway, mgw_config config, char *errbuf, size_t errlen);

/**
 * Ends all sessions, connections and threads. For at most timeout_ms what was said before is still heard by
 * those whose threads go on pulling; what is pushed meanwhile is ignored. What is left then is ended by force and
 * reported lost. Afterwards session handles give MGW_ERR_SHUTDOWN or MGW_ERR_HANDLE; events that wait can
 * still be fetched. A second call does nothing.
 *
 * Thread: any, but not from the log function.
 * Blocks: up to timeout_ms, and a moment for threads to end.
 * Returns: MGW_OK, MGW_ERR_TIMEOUT (all is ended, some of it by force), MGW_ERR_HANDLE.
 */
mgw_status mgw_gateway_shutdown(mgw_gateway gateway,
                                uint32_t timeout_ms);

/**
 * Frees a gateway and its events; shuts it down at once, by force, if that was not done before. The
 * descriptor of mgw_event_fd() is closed.
 *
 * Thread: any, but not from the log function.
 * Blocks: a moment, if it was not shut down before.
 * Returns: MGW_OK, MGW_ERR_HANDLE (never valid, or freed before).
 */
mgw_status mgw_gateway_free(mgw_gateway gateway);

/**
 * Takes the next event of all sessions: one JSON object, NUL-terminated (docs/events.schema.json). All
 * events of one session come in order.
 *
 * Thread: any; several may fetch, each event goes to one of them.
 * Blocks: never waits for an event.
 * NULL: len must not be; buf may be if cap is 0.
 * Returns: MGW_OK (len: length without the NUL), MGW_EMPTY (no event waits; poll mgw_event_fd()),
 * MGW_ERR_BUFFER_TOO_SHORT (len: the cap that is needed; the event stays), MGW_ERR_HANDLE, MGW_ERR_NULL.
 */
mgw_status mgw_next_event(mgw_gateway gateway, char *buf, size_t cap, size_t *len);

/**
 * A descriptor for poll, select or epoll that is readable while events wait. Do not read from it and do
 * not close it; it belongs to the gateway and is valid until mgw_gateway_free(). When it is readable, call
 * mgw_next_event() until MGW_EMPTY.
 *
 * Thread: any.
 * Blocks: never.
 * NULL: fd must not be.
 * Returns: MGW_OK, MGW_ERR_HANDLE, MGW_ERR_NULL.
 */
mgw_status mgw_event_fd(mgw_gateway gateway, int *fd);

/**
 * Counters and gauges of the gateway as Prometheus text, NUL-terminated.
 *
 * Thread: any.
 * Blocks: no.
 * NULL: len must not be; buf may be if cap is 0.
 * Returns: MGW_OK (len: length without the NUL), MGW_ERR_BUFFER_TOO_SHORT (len: the cap that is needed; it
 * can grow until the next call), MGW_ERR_HANDLE, MGW_ERR_NULL.
 */
mgw_status mgw_metrics(mgw_gateway gateway, char *buf, size_t cap, size_t *len);

/**
 * Opens a session from a profile and puts it into a room, which begins with its first session.
 * options (0 for none) holds settings of this session alone, stronger than its profile: id, label.*,
 * language, hears, role, tts.voice, rate.in, rate.out and others. All three are copied.
 *
 * Thread: any.
 * Blocks: no; connections are made in the background.
 * NULL: profile, room and session must not be; errbuf may be.
 * Returns: MGW_OK, MGW_ERR_UNKNOWN_PROFILE, MGW_ERR_CONFIG or MGW_ERR_BAD_VALUE (the text says what to set),
 * MGW_ERR_LIMIT (max_sessions, those that still drain included), MGW_ERR_AGAIN, MGW_ERR_RESOURCES, MGW_ERR_SHUTDOWN, MGW_ERR_TEXT, MGW_ERR_HANDLE, MGW_ERR_NULL.
 */
mgw_status mgw_session_new(mgw_gateway gateway,
                           const char *profile,
                           const char *room,
                           mgw_config options,
                           mgw_session *session,
                           char *errbuf,
                           size_t errlen);

/**
 * Closes a session; its handle is stale at once. With mode MGW_DRAIN what it said before still reaches
 * the others; with MGW_NOW it is reported lost. The event "closed" is its last.
 *
 * Thread: any, also while another pushes or pulls (that one gets MGW_ERR_HANDLE next).
 * Blocks: no.
 * Returns: MGW_OK, MGW_ERR_ARGUMENT (mode), MGW_ERR_HANDLE.
 */
mgw_status mgw_session_close(mgw_session session, int32_t mode);

/**
 * Changes a setting in mid-call: the keys that docs/configuration.md calls live (languages, voices, gains, the mix).
 *
 * Thread: any.
 * Blocks: no.
 * NULL: key and value must not be; errbuf may be.
 * Returns: MGW_OK, MGW_ERR_UNKNOWN_KEY, MGW_ERR_BAD_VALUE, MGW_ERR_NOT_LIVE, MGW_ERR_AGAIN, MGW_ERR_TEXT,
 * MGW_ERR_HANDLE, MGW_ERR_NULL. On an error nothing has changed.
 */
mgw_status mgw_session_set(mgw_session session,
                           const char *key,
                           const char *value,
                           char *errbuf,
                           size_t errlen);

/**
 * Speaks a text into this session's ear, after what is queued for it. language is the text's; it is
 * translated if the session hears another. The event "said_done" reports the end of what was heard;
 * one of which nothing was heard (it failed, was flushed, or the session did not pull) is told by
 * "segment_lost" instead.
 *
 * Thread: any.
 * Blocks: no.
 * NULL: text must not be; language NULL stands for the language that the session hears.
 * Returns: MGW_OK, MGW_ERR_BAD_VALUE (language), MGW_ERR_ARGUMENT (flags must be 0), MGW_ERR_EMPTY (no text),
 * MGW_ERR_AGAIN, MGW_ERR_TEXT, MGW_ERR_HANDLE, MGW_ERR_NULL.
 */
mgw_status mgw_session_say(mgw_session session, const char *text, const char *language, uint32_t flags);

/**
 * Gives a command: MGW_FLUSH, MGW_FINALIZE, MGW_MUTE, MGW_UNMUTE or MGW_MARK.
 *
 * Thread: any.
 * Blocks: no.
 * Returns: MGW_OK, MGW_ERR_ARGUMENT (verb), MGW_ERR_AGAIN, MGW_ERR_HANDLE.
 */
mgw_status mgw_session_command(mgw_session session, int32_t verb);

/**
 * Reports a DTMF digit that the leg sent: one of '0' to '9', '*', '#', 'A' to 'D'. It comes back as an event,
 * in order with the session's others.
 *
 * Thread: any.
 * Blocks: no.
 * Returns: MGW_OK, MGW_ERR_ARGUMENT (digit), MGW_ERR_AGAIN, MGW_ERR_HANDLE.
 */
mgw_status mgw_session_dtmf(mgw_session session, char digit);

/**
 * Counters of a session as one JSON object, NUL-terminated.
 *
 * Thread: any, but not a real-time one.
 * Blocks: until the session's media thread has answered, at most 200 ms.
 * NULL: len must not be; buf may be if cap is 0.
 * Returns: MGW_OK (len: length without the NUL), MGW_ERR_BUFFER_TOO_SHORT (len: the cap that is needed; it
 * can grow until the next call), MGW_ERR_AGAIN, MGW_ERR_TIMEOUT (no answer), MGW_ERR_HANDLE, MGW_ERR_NULL.
 */
mgw_status mgw_session_stats(mgw_session session, char *buf, size_t cap, size_t *len);

/**
 * The latest trouble of a session (a refused setting, a provider's refusal) as a sentence for a person,
 * NUL-terminated. It stays until the next one.
 *
 * Thread: any.
 * Blocks: no.
 * NULL: len must not be; buf may be if cap is 0.
 * Returns: MGW_OK (len: length without the NUL), MGW_EMPTY (no trouble so far; len is not written),
 * MGW_ERR_BUFFER_TOO_SHORT (len: the cap that is needed), MGW_ERR_HANDLE, MGW_ERR_NULL.
 */
mgw_status mgw_last_error(mgw_session session, char *buf, size_t cap, size_t *len);

/**
 * Takes what the leg said: mono 16-bit PCM at the session's input rate, from 1 sample to 120 ms. Push
 * silence too, or mgw_push_gap(), or nothing: a speaker who does not push is silent.
 * If the library cannot keep up, the frame is dropped and counted, and MGW_OK is returned.
 *
 * Thread: one at a time pushes; another may pull meanwhile. Fit for a real-time thread.
 * Blocks: never; no allocation, lock or system call.
 * NULL: samples must not be. It is read until the call returns, and must be aligned as int16_t.
 * Returns: MGW_OK, MGW_ERR_EMPTY, MGW_ERR_FRAME_TOO_LONG (count is in samples, not bytes), MGW_ERR_BUSY
 * (another thread is pushing), MGW_ERR_ARGUMENT (alignment), MGW_ERR_SHUTDOWN, MGW_ERR_HANDLE, MGW_ERR_NULL.
 */
mgw_status mgw_push_frame(mgw_session session, const int16_t *samples, size_t count);

/**
 * Says that count samples are missing here (lost packets, for example), so that times stay right. At most
 * an hour at once.
 *
 * Thread: as mgw_push_frame(), and one of both at a time.
 * Blocks: never; no allocation, lock or system call.
 * Returns: MGW_OK, MGW_ERR_EMPTY (0 samples), MGW_ERR_FRAME_TOO_LONG, MGW_ERR_AGAIN, MGW_ERR_BUSY,
 * MGW_ERR_SHUTDOWN, MGW_ERR_HANDLE.
 */
mgw_status mgw_push_gap(mgw_session session, uint64_t count);

/**
 * Fills samples with what the leg shall hear: mono 16-bit PCM at the session's output rate, from 1 sample
 * to 120 ms. On MGW_OK and on every note all of it is written, with silence where there is nothing; on an
 * error nothing is. The puller is the clock of playout: pull at the pace at which the leg hears.
 *
 * Thread: one at a time pulls; another may push meanwhile. Fit for a real-time thread.
 * Blocks: never; no allocation, lock or system call.
 * NULL: samples must not be. It must be aligned as int16_t.
 * Returns: MGW_OK, MGW_SILENCE (nothing to hear), MGW_ORIGINAL (the engine has shown no life for 25 pulls: let
 * the leg hear the other's original voice, if you hold it), MGW_ERR_EMPTY, MGW_ERR_FRAME_TOO_LONG,
 * MGW_ERR_BUSY (another thread is pulling), MGW_ERR_ARGUMENT (alignment), MGW_ERR_SHUTDOWN, MGW_ERR_HANDLE,
 * MGW_ERR_NULL.
 */
mgw_status mgw_pull_frame(mgw_session session,
                          int16_t *samples,
                          size_t count);

/**
 * Changes the sample rate of one direction, MGW_IN or MGW_OUT, in order with the frames: those that are
 * pushed or pulled from now on have it. Rates: 8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000,
 * 192000 Hz. Pulled frames are silent until the engine has switched (some 10 ms).
 *
 * Thread: the one that pushes (MGW_IN) or pulls (MGW_OUT).
 * Blocks: never; no allocation, lock or system call.
 * Returns: MGW_OK, MGW_ERR_RATE, MGW_ERR_ARGUMENT (direction), MGW_ERR_AGAIN, MGW_ERR_BUSY, MGW_ERR_SHUTDOWN,
 * MGW_ERR_HANDLE.
 */
mgw_status mgw_session_set_rate(mgw_session session, int32_t direction, uint32_t hz);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MGW_H */
