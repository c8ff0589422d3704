/*
 * What TRANSLATE's callbacks cost, while it is measured: CPU time of their thread, as a histogram.
 *
 * Copyright (C) the mgw contributors. GPL-2.0-or-later, see LICENSE.
 */

#include "mgw_module.h"

#include <time.h>

#define COST_STEP_NS 50
#define COST_STEPS 4096

static int measuring;
static unsigned long costs[COST_STEPS];
static unsigned long cost_max_ns;

int mgw_cost_measured(void)
{
	return __atomic_load_n(&measuring, __ATOMIC_RELAXED);
}

int64_t mgw_cost_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void mgw_cost_note(int64_t ns)
{
	unsigned long step = MIN((unsigned long)ns / COST_STEP_NS, COST_STEPS - 1);
	unsigned long max = __atomic_load_n(&cost_max_ns, __ATOMIC_RELAXED);

	__atomic_fetch_add(&costs[step], 1, __ATOMIC_RELAXED);
	while ((unsigned long)ns > max
		&& !__atomic_compare_exchange_n(&cost_max_ns, &max, (unsigned long)ns, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
	}
}

void mgw_hook_measure(int on)
{
	int i;

	if (on && !__atomic_load_n(&measuring, __ATOMIC_RELAXED)) {
		for (i = 0; i < COST_STEPS; i++) {
			__atomic_store_n(&costs[i], 0, __ATOMIC_RELAXED);
		}
		__atomic_store_n(&cost_max_ns, 0, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&measuring, on, __ATOMIC_RELAXED);
}

void mgw_hook_cost(struct mgw_hook_cost *cost)
{
	unsigned long sum = 0;
	int i;

	memset(cost, 0, sizeof(*cost));
	for (i = 0; i < COST_STEPS; i++) {
		cost->count += __atomic_load_n(&costs[i], __ATOMIC_RELAXED);
	}
	for (i = 0; i < COST_STEPS && cost->count; i++) {
		sum += __atomic_load_n(&costs[i], __ATOMIC_RELAXED);
		if (!cost->p50_us && sum * 2 >= cost->count) {
			cost->p50_us = (i + 1) * COST_STEP_NS / 1000.0;
		}
		if (sum * 100 >= cost->count * 99) {
			cost->p99_us = (i + 1) * COST_STEP_NS / 1000.0;
			break;
		}
	}
	cost->max_us = __atomic_load_n(&cost_max_ns, __ATOMIC_RELAXED) / 1000.0;
}
