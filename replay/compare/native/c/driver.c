/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child process: builds the machine from what replay sends, and lets candidate and baseline answer lookups.
 *
 * Arguments: descriptors of the commands, of the replies, of the machine's image and of the work area, then the shared objects.
 * Whatever a candidate does ends with this process; where it was when it died stands in the work area.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#if __has_include(<linux/perf_event.h>)
#include <linux/perf_event.h>
#endif
#define REPLAY_GLUE
#include "module.h"

enum { CANDIDATE, BASELINE, EMPTY, CONTENDERS };
enum { OP_MACHINE = 1, OP_CHECK, OP_TIME };

struct command {
	u64 op, count, function, rounds;
};

struct reply {
	u64 op;
	int64_t value; /* OP_CHECK: references kept; OP_TIME: calls per sample */
};

/* The work area: a page for the moment of death, then arrays of REPLAY_CHUNK elements, then timings. */
struct moment {
	u64 at, signal, code, address, instruction, stack;
	u64 base[2]; /* where the shared objects are loaded */
	u64 defines[2];
	u64 cycles_errno; /* why there are no cycles, 0 if there are */
	u64 nanoseconds;  /* that the last check took */
};

struct work {
	union {
		struct moment moment;
		char page[4096];
	};
	u64 pfn[REPLAY_CHUNK];
	u64 pgmap[REPLAY_CHUNK]; /* position in the image */
	u8 answer[REPLAY_CHUNK];
	double seconds[REPLAY_ROUNDS][CONTENDERS];
	double cycles[REPLAY_ROUNDS][CONTENDERS];
};

static struct work *work;
static struct replay_module *module[2];
static int cycle_counter = -1;

/* Dying. */

static void note_death(int number, siginfo_t *info, void *context)
{
	const ucontext_t *where = context;

	work->moment.code = info->si_code;
	work->moment.address = (uintptr_t)info->si_addr;
#if defined(__x86_64__)
	work->moment.instruction = where->uc_mcontext.gregs[REG_RIP];
	work->moment.stack = where->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
	work->moment.instruction = where->uc_mcontext.pc;
	work->moment.stack = where->uc_mcontext.sp;
#else
	(void)where;
#endif
	work->moment.signal = number;
	if (number == SIGXCPU)
		_exit(1);
	/* The handler is gone by now: the same instruction brings the same signal again. */
	if (info->si_code <= 0)
		raise(number);
}

static void watch_signals(void)
{
	static char stack[65536];
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGXCPU };
	struct sigaction action = { .sa_sigaction = note_death, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND };

	sigaltstack(&(stack_t){ .ss_sp = stack, .ss_size = sizeof(stack) }, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		sigaction(fatal[i], &action, NULL);
}

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	_exit(2);
}

/* Memory that candidates may read only, taken from one end. */

struct arena {
	char *start;
	size_t size, used;
};

static void *take(struct arena *arena, size_t size)
{
	void *taken = arena->start + arena->used;

	arena->used += (size + 63) & ~63UL;
	if (arena->used > arena->size)
		fail("the machine does not fit");
	memset(taken, 0, size);
	return taken;
}

static void make_room(struct arena *arena, size_t size)
{
	arena->used = 0;
	if (size > arena->size) {
		if (arena->start)
			munmap(arena->start, arena->size);
		arena->size = size + size / 4;
		arena->start = mmap(NULL, arena->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (arena->start == MAP_FAILED)
			fail("no memory for the machine");
	}
	mprotect(arena->start, arena->size, PROT_READ | PROT_WRITE);
}

/* The machine. */

struct image {
	u64 sections, words, pagemaps, ranges, indexed, blocks;
	u64 numbers[];
};

struct pagemap_row {
	u64 type, altmap, base, reserve, free, dying, first_range, nr_range;
};

static int image_fd;
static struct arena arena;
static struct mem_section **roots;
static u64 *used_roots, nr_used_roots;
static struct dev_pagemap **pagemaps;
static long *references;
static u64 nr_references, references_size;

static void build_sections(const u64 *number, const u64 *flags, const u64 *map, const struct image *image)
{
	struct mem_section_usage *usage = take(&arena, image->sections * sizeof(*usage));

	while (nr_used_roots)
		roots[used_roots[--nr_used_roots]] = NULL;
	for (u64 i = 0; i < image->sections; i++) {
		u64 root = SECTION_NR_TO_ROOT(number[i]);
		struct mem_section *section;

		if (!roots[root]) {
			roots[root] = take(&arena, SECTIONS_PER_ROOT * sizeof(*section));
			used_roots[nr_used_roots++] = root;
		}
		section = roots[root] + (number[i] & SECTION_ROOT_MASK);
		section->section_mem_map = (uintptr_t)vmemmap | flags[i];
		section->usage = usage + i;
		memcpy(usage[i].subsection_map, map + i * image->words, sizeof(usage[i].subsection_map));
	}
}

static void build_pagemaps(const struct pagemap_row *row, const u64 *range, const struct image *image)
{
	pagemaps = take(&arena, (image->pagemaps + 1) * sizeof(*pagemaps));
	if (image->pagemaps > references_size) {
		free(references);
		references_size = 2 * image->pagemaps;
		references = malloc(references_size * sizeof(*references));
		if (!references)
			fail("no memory for the pagemaps");
	}
	nr_references = image->pagemaps;
	memset(references, 0, nr_references * sizeof(*references));
	for (u64 i = 0; i < image->pagemaps; i++, row++) {
		struct dev_pagemap *pgmap = take(&arena, sizeof(*pgmap) + row->nr_range * sizeof(struct range));

		*pgmap = (struct dev_pagemap){
			.altmap = { row->base, row->reserve, row->free },
			.ref = references + i,
			.dying = row->dying,
			.type = row->type,
			.flags = row->altmap ? PGMAP_ALTMAP_VALID : 0,
			.nr_range = row->nr_range,
		};
		for (u64 n = 0; n < row->nr_range; n++) {
			const u64 *pfn = range + 2 * (row->first_range + n);

			((struct range *)&pgmap->range)[n] = (struct range){ PFN_PHYS(pfn[0]), PFN_PHYS(pfn[1]) - 1 };
		}
		pagemaps[i] = pgmap;
	}
}

static struct replay_node *new_node(unsigned int shift)
{
	struct replay_node *node = take(&arena, sizeof(*node));

	node->shift = shift;
	return node;
}

/* Store an entry for pfns [start, end) below a node that begins at pfn `base`: in the highest slots that it fills. */
static void store(struct replay_node *node, u64 base, u64 start, u64 end, uintptr_t entry)
{
	for (unsigned int i = (start - base) >> node->shift; i < 64; i++) {
		u64 low = base + ((u64)i << node->shift), high = low + (1UL << node->shift);

		if (low >= end)
			return;
		if (start <= low && high <= end) {
			node->slot[i] = entry;
			continue;
		}
		if (!node->slot[i])
			node->slot[i] = (uintptr_t)new_node(node->shift - 6) | 1;
		store((struct replay_node *)(node->slot[i] - 1), low, start > low ? start : low, end < high ? end : high, entry);
	}
}

static void build_index(const u64 *row, const struct image *image, struct replay_view *view)
{
	struct replay_node *top;
	unsigned int shift = 0;
	u64 last = 0;

	for (u64 i = 0; i < image->indexed; i++)
		last = row[3 * i + 1] > last ? row[3 * i + 1] : last;
	if (!last)
		return;
	while (shift < 54 && last > 64UL << shift)
		shift += 6;
	top = new_node(shift);
	view->index = (uintptr_t)top | 1;
	view->index_end = 64UL << shift;
	for (u64 i = 0; i < image->indexed; i++)
		store(top, 0, row[3 * i], row[3 * i + 1], (uintptr_t)pagemaps[row[3 * i + 2]]);
}

static void build_machine(u64 size)
{
	const struct image *image = mmap(NULL, size, PROT_READ, MAP_SHARED, image_fd, 0);
	struct replay_view view = { .mem_section = roots };
	const u64 *at, *number, *flags, *map, *range, *row, *index, *block;

	if (image == MAP_FAILED)
		fail("no way to read the machine");
	number = at = image->numbers;
	flags = at += image->sections;
	map = at += image->sections;
	row = at += image->sections * image->words;
	range = at += image->pagemaps * sizeof(struct pagemap_row) / sizeof(u64);
	index = at += 2 * image->ranges;
	block = at += 3 * image->indexed;
	/* A root per section at worst, two paths of nodes per indexed range, rounding for each piece. */
	make_room(&arena, 65536 + image->sections * (128 + sizeof(struct mem_section_usage)) +
			 (image->sections < NR_SECTION_ROOTS ? image->sections : NR_SECTION_ROOTS) * PAGE_SIZE +
			 image->pagemaps * 512 + image->ranges * 64 + image->indexed * 24 * sizeof(struct replay_node) +
			 image->blocks * 16);
	mprotect(roots, NR_SECTION_ROOTS * sizeof(*roots), PROT_READ | PROT_WRITE);
	build_sections(number, flags, map, image);
	build_pagemaps((const struct pagemap_row *)row, range, image);
	build_index(index, image, &view);
	view.memblock = memcpy(take(&arena, image->blocks * 16), block, image->blocks * 16);
	view.nr_memblock = image->blocks;
	munmap((void *)image, size);
	mprotect(roots, NR_SECTION_ROOTS * sizeof(*roots), PROT_READ);
	mprotect(arena.start, arena.size, PROT_READ);
	for (int i = 0; i < 2; i++)
		if (module[i])
			module[i]->use(&view);
}

/* Lookups. */

static struct dev_pagemap *const *pagemaps_of(const struct command *command)
{
	static struct dev_pagemap *chosen[REPLAY_CHUNK];

	for (u64 i = 0; command->function == REPLAY_METADATA && i < command->count; i++)
		chosen[i] = pagemaps[work->pgmap[i]];
	return chosen;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static int64_t check(const struct command *command)
{
	struct dev_pagemap *const *chosen = pagemaps_of(command);
	double start = now();
	int64_t kept = 0;

	work->moment.at = 0;
	module[CANDIDATE]->check(command->function, work->pfn, chosen, command->count, work->answer,
				 &work->moment.at);
	work->moment.nanoseconds = (now() - start) * 1e9;
	for (u64 i = 0; i < nr_references; i++) {
		kept += references[i];
		references[i] = 0;
	}
	return kept;
}

static void open_cycle_counter(void)
{
#ifdef PERF_COUNT_HW_CPU_CYCLES
	struct perf_event_attr attributes = {
		.size = sizeof(attributes),
		.type = PERF_TYPE_HARDWARE,
		.config = PERF_COUNT_HW_CPU_CYCLES,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	cycle_counter = syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
	work->moment.cycles_errno = cycle_counter < 0 ? errno : 0;
#else
	work->moment.cycles_errno = ENOSYS;
#endif
}

static u64 cycles(void)
{
	u64 count = 0;

	return cycle_counter >= 0 && read(cycle_counter, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static bool takes_part(const struct command *command, int contender)
{
	return contender == EMPTY || (module[contender] && module[contender]->defines >> command->function & 1);
}

static double sample(const struct command *command, int contender, u64 times, double *cycles_taken)
{
	struct replay_module *of = module[contender == BASELINE ? BASELINE : CANDIDATE];
	int function = contender == EMPTY ? REPLAY_EMPTY : (int)command->function;
	struct dev_pagemap *const *chosen = pagemaps_of(command);
	u64 before = cycles();
	double start = now(), end;

	of->loop(function, work->pfn, chosen, command->count, times);
	end = now();
	*cycles_taken = cycles() - before;
	return end - start;
}

/* Rounds of all contenders, there and back, so that none always follows the same. */
static int64_t time_calls(const struct command *command)
{
	double unused, slowest = 0;
	u64 times;

	memset(work->seconds, 0, sizeof(work->seconds));
	memset(work->cycles, 0, sizeof(work->cycles));

	for (int who = 0; who < CONTENDERS; who++) {
		double took;

		if (!takes_part(command, who))
			continue;
		sample(command, who, 1, &unused);
		took = sample(command, who, 1, &unused);
		slowest = took > slowest ? took : slowest;
	}
	times = slowest < REPLAY_SAMPLE_SECONDS ? REPLAY_SAMPLE_SECONDS / (slowest > 1e-8 ? slowest : 1e-8) + 1 : 1;
	for (u64 round = 0; round < command->rounds; round++) {
		for (u64 turn = 0; turn < CONTENDERS; turn++) {
			int who = round & 1 ? CONTENDERS - 1 - turn : turn;

			if (!takes_part(command, who))
				continue;
			work->seconds[round][who] = sample(command, who, times, &work->cycles[round][who]);
		}
	}
	return command->count * times;
}

/* Start and service. */

static void load(int who, const char *path)
{
	void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	Dl_info info;

	if (!object)
		fail(dlerror());
	module[who] = dlsym(object, "replay_module");
	if (!module[who])
		fail("the shared object has no replay_module");
	if (dladdr(module[who], &info))
		work->moment.base[who] = (uintptr_t)info.dli_fbase;
	work->moment.defines[who] = module[who]->defines;
}

int main(int argc, char **argv)
{
	int commands = atoi(argv[1]), replies = atoi(argv[2]);
	struct command command;
	struct reply reply = { 0, 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	image_fd = atoi(argv[3]);
	work = mmap(NULL, sizeof(*work), PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[4]), 0);
	roots = mmap(NULL, NR_SECTION_ROOTS * sizeof(*roots), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	used_roots = mmap(NULL, NR_SECTION_ROOTS * sizeof(*used_roots), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (work == MAP_FAILED || roots == MAP_FAILED || used_roots == MAP_FAILED)
		fail("no memory for the section table");
	setvbuf(stdout, NULL, _IOLBF, 0);
	watch_signals();
	open_cycle_counter();
	for (int i = 5; i < argc; i++)
		load(i - 5, argv[i]);
	do {
		if (write(replies, &reply, sizeof(reply)) != sizeof(reply))
			return 0;
		if (read(commands, &command, sizeof(command)) != sizeof(command))
			return 0;
		reply = (struct reply){ command.op, 0 };
		switch (command.op) {
		case OP_MACHINE:
			build_machine(command.count);
			break;
		case OP_CHECK:
			reply.value = check(&command);
			break;
		case OP_TIME:
			reply.value = time_calls(&command);
			break;
		default:
			return 0;
		}
	} while (true);
}
