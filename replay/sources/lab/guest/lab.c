// lab: guest-side multi-tool of the ground-truth lab (static, no dependencies).
// Sub-commands: walk, ranges, find, poison, poisonlist, victim, ctl, mark. It writes into the folder of the recorder.
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;
#define PG 4096UL
#define HPG (2UL << 20)
#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif

static void die(const char *f, ...) { va_list a; va_start(a, f); vfprintf(stderr, f, a); va_end(a); fputc('\n', stderr); exit(1); }
static const char *out_dir(void) { const char *d = getenv("REPLAY_CAPTURE_DIR"); return d ? d : "/tmp"; }
static const char *victims(void) { static char p[300]; snprintf(p, sizeof p, "%s/victims.jsonl", out_dir()); return p; }
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static int kpf_fd = -1, kpc_fd = -1;
static u64 rd1(int *fd, const char *path, u64 pfn, int *ok)
{
	u64 v = 0;
	if (*fd < 0) *fd = open(path, O_RDONLY);
	ssize_t r = pread(*fd, &v, 8, pfn * 8);
	if (ok) *ok = (r == 8) ? 1 : (r == 0 ? 0 : -errno);
	return r == 8 ? v : 0;
}
static u64 kpf(u64 pfn, int *ok) { return rd1(&kpf_fd, "/proc/kpageflags", pfn, ok); }
static u64 kpc(u64 pfn, int *ok) { return rd1(&kpc_fd, "/proc/kpagecount", pfn, ok); }
static void mark(const char *f, ...)
{
	static int fd = -1; char b[512]; va_list a;
	if (fd < 0) { const char *m = getenv("REPLAY_CAPTURE_MARKER"); fd = m ? open(m, O_WRONLY | O_CLOEXEC) : -1; }
	va_start(a, f); int n = vsnprintf(b, sizeof b - 1, f, a); va_end(a);
	b[n++] = '\n'; if (fd >= 0) if (write(fd, b, n) < 0) {}
}
static long meminfo(const char *key)
{
	FILE *f = fopen("/proc/meminfo", "r"); char l[256]; long v = -1; size_t k = strlen(key);
	while (f && fgets(l, sizeof l, f)) if (!strncmp(l, key, k) && l[k] == ':') v = atol(l + k + 1);
	if (f) fclose(f);
	return v;
}
static long rdlong(const char *p) { FILE *f = fopen(p, "r"); long v = -1; if (f) { if (fscanf(f, "%ld", &v) != 1) v = -1; fclose(f); } return v; }
static int wrstr(const char *p, const char *s)
{
	int fd = open(p, O_WRONLY); if (fd < 0) return -errno;
	int r = write(fd, s, strlen(s)) < 0 ? -errno : 0; close(fd); return r;
}
// ---- ranges ------------------------------------------------------------
struct rng { u64 s, e, step; };
static int cmpr(const void *a, const void *b) { const struct rng *x = a, *y = b; return x->s < y->s ? -1 : x->s > y->s; }
// ranges RADIUS SAMPLE [LO HI] : around each iomem/section/block boundary +- RADIUS, and 1-in-SAMPLE elsewhere
static int cmd_ranges(int c, char **v)
{
	u64 rad = strtoull(v[1], 0, 0), smp = strtoull(v[2], 0, 0);
	u64 lo = c > 3 ? strtoull(v[3], 0, 0) : 0, hi = c > 4 ? strtoull(v[4], 0, 0) : 0, maxp = 0;
	static struct rng r[200000]; int n = 0;
	FILE *f = fopen("/proc/iomem", "r"); char l[256];
	u64 bnd[8192]; int nb = 0;
	while (fgets(l, sizeof l, f)) {
		u64 s, e; if (sscanf(l, " %lx-%lx :", &s, &e) != 2) continue;
		if (nb + 2 < 8192) { bnd[nb++] = s / PG; bnd[nb++] = (e + 1) / PG; }
		if ((strstr(l, "System RAM") || strstr(l, "Persistent")|| strstr(l, "dax")) && (e + 1) / PG > maxp) maxp = (e + 1) / PG;
	}
	fclose(f);
	if (!hi) hi = maxp + 2 * 32768;
	for (u64 p = 0; p <= hi; p += 32768) if (nb < 8192) bnd[nb++] = p;
	for (int i = 0; i < nb; i++) {
		if (bnd[i] > hi + rad) continue;
		u64 s = bnd[i] > rad ? bnd[i] - rad : 0, e = bnd[i] + rad;
		if (s < lo) s = lo;
		if (e > hi) e = hi;
		if (s < e) r[n++] = (struct rng){ s, e, 1 };
	}
	qsort(r, n, sizeof r[0], cmpr);
	u64 cur = lo; int i = 0;
	while (i < n || cur < hi) {
		u64 s = i < n ? r[i].s : hi, e = i < n ? r[i].e : hi;
		for (i++; i < n && r[i].s <= e; i++) if (r[i].e > e) e = r[i].e;
		if (smp && cur < s) { u64 a = (cur + smp - 1) / smp * smp; if (a < s) printf("%#lx %#lx %lu\n", a, s, smp); }
		if (s < e) printf("%#lx %#lx 1\n", s, e);
		if (e <= cur && i >= n) break;
		cur = e;
		if (i >= n && cur >= hi) break;
	}
	return 0;
}
// walk NAME kpageflags|kpagecount < ranges ; every pfn read with its own 8-byte pread
static int cmd_walk(int c, char **v)
{
	if (c < 3) die("walk NAME FILE");
	char p[256], q[256]; snprintf(p, sizeof p, "%s/walk-%s.txt", out_dir(), v[1]); snprintf(q, sizeof q, "/proc/%s", v[2]);
	FILE *o = fopen(p, "w"); int fd = open(q, O_RDONLY); char l[256]; u64 n = 0, no = 0, eof = 0;
	if (!o || fd < 0) die("walk open");
	static char obuf[1 << 20]; setvbuf(o, obuf, _IOFBF, sizeof obuf);
	fprintf(o, "# /proc/%s, one 8-byte pread per pfn, in this order; columns: pfn value\n", v[2]);
	mark("WALK begin name=%s file=%s", v[1], v[2]);
	while (fgets(l, sizeof l, stdin)) {
		u64 s, e, st; if (sscanf(l, "%li %li %li", (long *)&s, (long *)&e, (long *)&st) != 3) continue;
		for (u64 x = s; x < e; x += st) {
			u64 val; ssize_t r = pread(fd, &val, 8, x * 8); n++;
			if (r == 8) { fprintf(o, "%#lx %#lx\n", x, val); if (val & (1UL << 20)) no++; }
			else { fprintf(o, "%#lx %s\n", x, r == 0 ? "EOF" : strerror(errno)); eof++; }
		}
	}
	mark("WALK end name=%s reads=%lu nopage=%lu eof=%lu", v[1], n, no, eof);
	fclose(o);
	printf("walk %s %s reads=%lu nopage=%lu eof=%lu\n", v[1], v[2], n, no, eof);
	return 0;
}
// ---- kcore / mem_section ------------------------------------------------
static int kc = -1; static Elf64_Phdr *ph; static int nph;
static int kread(u64 va, void *b, size_t n)
{
	if (kc < 0) {
		Elf64_Ehdr eh; kc = open("/proc/kcore", O_RDONLY); if (kc < 0) return -1;
		if (pread(kc, &eh, sizeof eh, 0) != sizeof eh) return -1;
		nph = eh.e_phnum; ph = calloc(nph, sizeof *ph);
		if (pread(kc, ph, nph * sizeof *ph, eh.e_phoff) < 0) return -1;
	}
	for (int i = 0; i < nph; i++) if (ph[i].p_type == PT_LOAD && va >= ph[i].p_vaddr && va + n <= ph[i].p_vaddr + ph[i].p_memsz)
		return pread(kc, b, n, ph[i].p_offset + va - ph[i].p_vaddr) == (ssize_t)n ? 0 : -1;
	return -1;
}
// symbol addresses: one scan of /proc/kallsyms per boot, cached in /tmp/ksyms
static u64 ksym(const char *name)
{
	static const char *want[] = { "mem_section", "vmemmap_base", "max_pfn" };
	char l[512], n[256], t; u64 a; FILE *c = fopen("/tmp/ksyms", "r");
	if (!c) {
		FILE *f = fopen("/proc/kallsyms", "r"), *o = fopen("/tmp/ksyms.new", "w"); static char big[1 << 18]; int got = 0;
		setvbuf(f, big, _IOFBF, sizeof big);
		while (got < 3 && fgets(l, sizeof l, f)) if (sscanf(l, "%lx %c %255s", &a, &t, n) == 3) for (int i = 0; i < 3; i++) if (!strcmp(n, want[i])) { fprintf(o, "%lx %s\n", a, n); got++; }
		fclose(f); fclose(o); rename("/tmp/ksyms.new", "/tmp/ksyms"); c = fopen("/tmp/ksyms", "r");
	}
	while (c && fgets(l, sizeof l, c)) if (sscanf(l, "%lx %255s", &a, n) == 2 && !strcmp(n, name)) { fclose(c); return a; }
	if (c) fclose(c);
	return 0;
}
static u64 huge_pages = 512;	// of the hugetlb page at hand
#define B(n) (1UL << (n))
// Struct page of a pfn: flags, compound_head, mapping, _mapcount, _refcount. The offsets are those of x86-64 since v4.18.
static void pagej(FILE *o, const char *tag, u64 pfn, u64 kpf)
{
	static u64 base; unsigned char b[64]; u64 w[8]; int c[2], h[2] = { 0, -1 };
	if (!base && kread(ksym("vmemmap_base"), &base, 8)) base = 1;
	if (base == 1 || kread(base + pfn * 64, b, 64)) { fprintf(o, "\"page_%s\":null,", tag); return; }
	memcpy(w, b, 64); memcpy(c, b + 48, 8);
	fprintf(o, "\"page_%s\":{\"flags\":\"%#lx\",\"head\":\"%#lx\",\"mapping\":\"%#lx\",\"mapcount\":%d,\"refcount\":%d", tag, w[0], w[1], w[3], c[0], c[1]);
	if ((kpf & B(17)) && !kread(base + (pfn & ~(huge_pages - 1)) * 64, b, 64)) { memcpy(h, b + 48, 8); fprintf(o, ",\"head_refcount\":%d", h[1]); }
	fprintf(o, "},");
}
// ---- find: pick pfns by kpageflags from the boot snapshot, then re-verify -------------------------
struct kindbit { const char *n; u64 set, clr; };
static struct kindbit kinds[] = {
	{ "slab", B(7), B(19) }, { "buddy", B(10), B(19) | B(32) }, { "buddy-any", B(10), B(19) }, { "pgtable", B(26), B(19) }, { "reserved", B(32), B(19) }, { "nopage", B(20), 0 },
	{ "lru", B(5), B(19) | B(17) | B(22) }, { "mmap", B(11), B(19) }, { "hugetlb", B(17), B(19) }, { "tail", B(16), B(19) | B(17) }, { "hwpoison", B(19), 0 },
	{ "kernel", 0, ~0UL & ~(B(35) | B(36) | B(37) | B(38)|B(39)) }, { "lru-unmapped", B(5), B(11) | B(12) | B(19) | B(17) | B(22) | B(14) | B(18) | B(20) },
	{ "slabtail", B(7) | B(16), B(19) }, { "zero", B(24), B(19) }, { "hugezero", B(24) | B(22), B(19) }, { NULL }
};
static u64 rng_s = 88172645463325252ULL;
static u64 rnd(void) { rng_s ^= rng_s << 13; rng_s ^= rng_s >> 7; rng_s ^= rng_s << 17; return rng_s; }
static int find_pfns(const char *k, int want, u64 lo, u64 hi, u64 *out)
{
	static u64 *snap; static u64 n; struct kindbit *b = kinds;
	for (; b->n && strcmp(b->n, k); b++) ;
	if (!b->n) return 0;
	int nosnap = !!getenv("LAB_NOSNAP"); long maxtries = nosnap ? 4000 : 2000000;
	if (!snap && !nosnap) {
		int fd = open("/tmp/kpageflags.bin", O_RDONLY); struct stat st;
		if (fd < 0) return 0;
		fstat(fd, &st); n = st.st_size / 8; snap = mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0); close(fd);
	}
	if (!nosnap && (!hi || hi > n)) hi = n;
	int got = 0; long live = 0;
	if (hi <= lo) return 0;
	for (long tries = 0; tries < maxtries && got < want; tries++) {
		u64 p = lo + rnd() % (hi - lo);
		if (!nosnap && ((snap[p] & b->set) != b->set || (snap[p] & b->clr))) continue;
		if (++live > (nosnap ? 4000 : 400)) break;	// bound the number of real /proc reads
		int ok; u64 f = kpf(p, &ok);
		if (ok != 1 || (f & b->set) != b->set || (f & b->clr)) continue;
		int dup = 0; for (int i = 0; i < got; i++) dup |= out[i] == p;
		if (!dup) out[got++] = p;
	}
	return got;
}
// find KIND N SEED [LO HI]
static int cmd_find(int c, char **v)
{
	u64 o[1024]; rng_s ^= strtoull(v[3], 0, 0) * 0x9E3779B97F4A7C15ULL; int n = atoi(v[2]);
	int g = find_pfns(v[1], n > 1024 ? 1024 : n, c > 4 ? strtoull(v[4], 0, 0) : 0, c > 5 ? strtoull(v[5], 0, 0) : 0, o);
	for (int i = 0; i < g; i++) printf("%#lx\n", o[i]);
	return 0;
}
// ---- raw injections ------------------------------------------------------
static int ctl_line(const char *line, char *b, int n);
static void poisoned(u64 pfn) { for (int i = 0, ok; i < 300 && !(kpf(pfn, &ok) & B(19)); i++) usleep(10000); usleep(50000); }
// A memory error as the hardware reports it, raised by the emulator on cpu 1: action required (a load of this very task)
// or action optional (found by a scrubber). The handler runs later, so wait for its mark on the page.
static int machine_check(int required, u64 pfn)
{
	char l[160], b[4096];
	snprintf(l, sizeof l, "hmp mce 1 9 %s %#lx 0x8c", required ? "0xbd80000000000134 0x7" : "0xbd000000000000c0 0x5", pfn * PG);
	int r = ctl_line(l, b, sizeof b) ? -EIO : 0; printf("%s -> %s\n", l, b); poisoned(pfn); return r;
}
static int inject(const char *m, u64 pfn)
{
	char s[64], l[64];
	snprintf(s, sizeof s, "%#lx\n", pfn * PG); snprintf(l, sizeof l, "%#lx\n", pfn);
	if (!strcmp(m, "hard")) return wrstr("/sys/devices/system/memory/hard_offline_page", s);
	if (!strcmp(m, "soft")) return wrstr("/sys/devices/system/memory/soft_offline_page", s);
	if (!strcmp(m, "corrupt")) return wrstr("/sys/kernel/debug/hwpoison/corrupt-pfn", l);
	if (!strcmp(m, "unpoison")) return wrstr("/sys/kernel/debug/hwpoison/unpoison-pfn", l);
	if (!strncmp(m, "mce", 3)) return machine_check(!strcmp(m, "mce-ar"), pfn);
	return -EINVAL;
}
static int next_id(void)
{
	int fd = open("/tmp/victim.seq", O_RDWR | O_CREAT, 0644), id = 0; char b[32] = "";
	if (read(fd, b, 31) > 0) id = atoi(b);
	id++; lseek(fd, 0, 0); dprintf(fd, "%d\n", id); close(fd); return id;
}
static void kpj(FILE *o, const char *tag, u64 pfn)
{
	int a, b; u64 f = kpf(pfn, &a), n = kpc(pfn, &b);
	if (a == 1) fprintf(o, "\"kpageflags_%s\":\"%#lx\",", tag, f); else fprintf(o, "\"kpageflags_%s\":null,", tag);
	if (b == 1) fprintf(o, "\"kpagecount_%s\":%lu,", tag, n); else fprintf(o, "\"kpagecount_%s\":null,", tag);
	pagej(o, tag, pfn, a == 1 ? f : 0);
}
static long debugfs(const char *name) { char p[96]; snprintf(p, sizeof p, "/sys/kernel/debug/hwpoison/%s", name); FILE *f = fopen(p, "r"); long v = 0; if (f) { if (fscanf(f, "%li", &v) != 1) v = 0; fclose(f); } return v; }
static long pool(const char *name) { char p[128]; snprintf(p, sizeof p, "/sys/kernel/mm/hugepages/hugepages-%lukB/%s", huge_pages * 4, name); return rdlong(p); }
static void factj(FILE *o, u64 flags, int pins, const char *mapping, long owner)
{
	if (debugfs("corrupt-filter-enable") > 0) fprintf(o, "\"filter\":{\"mask\":\"%#lx\",\"value\":\"%#lx\"},", debugfs("corrupt-filter-flags-mask"), debugfs("corrupt-filter-flags-value"));
	if (flags & B(17)) fprintf(o, "\"hugetlb\":{\"pages\":%lu,\"free\":%ld,\"reserved\":%ld},", huge_pages, pool("free_hugepages"), pool("resv_hugepages"));
	if (pins) fprintf(o, "\"pins\":%d,", pins);
	if (mapping) fprintf(o, "\"mapping\":\"%s\",", mapping);
	if (owner != 1) fprintf(o, "\"owner_ret\":%ld,", owner);
}
static const char *ifn(const char *m)
{
	if (!strcmp(m, "hard")) return "/sys/devices/system/memory/hard_offline_page";
	if (!strcmp(m, "soft")) return "/sys/devices/system/memory/soft_offline_page";
	if (!strcmp(m, "corrupt")) return "debugfs hwpoison/corrupt-pfn";
	if (!strcmp(m, "unpoison")) return "debugfs hwpoison/unpoison-pfn";
	if (!strcmp(m, "mhard")) return "madvise MADV_HWPOISON";
	if (!strcmp(m, "msoft")) return "madvise MADV_SOFT_OFFLINE";
	if (!strncmp(m, "mce", 3)) return "machine check";
	return "none";
}
static int is_inj(const char *m) { return !strcmp(m, "hard") || !strcmp(m, "corrupt"); }
static int raw_poison(const char *m, u64 pfn, const char *label)
{
	int okf; u64 fl = kpf(pfn, &okf); char *own = strstr(label, "owner=");
	int id = next_id(); FILE *o = fopen(victims(), "a"); char *buf; size_t bl; FILE *b = open_memstream(&buf, &bl);
	fprintf(b, "{\"id\":%d,\"action\":\"raw\",\"t\":%.6f,\"kind\":\"%s\",\"pfn\":\"%#lx\",", id, now(), label, pfn);
	kpj(b, "before", pfn); factj(b, fl, 0, 0, own ? atol(own + 6) : 1);
	fprintf(b, "\"inject\":\"%s\",\"inject_value\":\"%#lx\",\"early_kill_sysctl\":%ld,\"hwcorrupted_kb_before\":%ld,", ifn(m),
		(!strcmp(m, "hard") || !strcmp(m, "soft")) ? pfn * PG : pfn, rdlong("/proc/sys/vm/memory_failure_early_kill"), meminfo("HardwareCorrupted"));
	mark("VICTIM id=%d begin raw kind=%s pfn=%#lx inject=%s", id, label, pfn, ifn(m));
	int r = inject(m, pfn);
	mark("VICTIM id=%d end ret=%d", id, r);
	kpj(b, "after", pfn);
	fprintf(b, "\"inject_ret\":%d,\"inject_errno\":%d,\"hwcorrupted_kb_after\":%ld}\n", r < 0 ? -1 : 0, r < 0 ? -r : 0, meminfo("HardwareCorrupted"));
	fclose(b); fwrite(buf, 1, bl, o); fclose(o); free(buf);
	return r;
}
// poisonlist < "METHOD PFN LABEL" lines. Hard/corrupt injections into pages that the lab's own processes use right now
// (LRU, mapped or anonymous) are not made: they would kill the harness, and are recorded as skipped.
static int cmd_poisonlist(int c, char **v)
{
	char l[512], m[32], p[64], lab[256];
	while (fgets(l, sizeof l, stdin)) {
		if (sscanf(l, "%31s %63s %255[^\n]", m, p, lab) != 3) continue;
		u64 pfn = strtoull(p, 0, 0); int ok; u64 f = kpf(pfn, &ok);
		if (ok == 1 && (is_inj(m)) && (f & (B(5) | B(11) | B(12))) && !(f & B(19)) && !strstr(lab, "inuse-ok")) {
			FILE *o = fopen(victims(), "a"); fprintf(o, "{\"id\":%d,\"action\":\"raw\",\"t\":%.6f,\"kind\":\"%s\",\"pfn\":\"%#lx\",\"kpageflags_before\":\"%#lx\",\"skipped\":\"page in use by the harness\"}\n", next_id(), now(), lab, pfn, f); fclose(o);
			printf("skip %s %#lx %s flags %#lx\n", m, pfn, lab, f); continue;
		}
		int r = raw_poison(m, pfn, lab); printf("poison %s %#lx %s -> %d (%s)\n", m, pfn, lab, r, r < 0 ? strerror(-r) : "ok");
	}
	return 0;
}
// poison METHOD PFN LABEL
static int cmd_poison(int c, char **v) { int r = raw_poison(v[1], strtoull(v[2], 0, 0), v[3]); printf("poison %s %s %s -> %d (%s)\n", v[1], v[2], v[3], r, r < 0 ? strerror(-r) : "ok"); return 0; }

// ---- victims ---------------------------------------------------------------
#define MAXSH 6
struct sev { int phase, code; u64 addr; int lsb; };
struct sharer { volatile int pid, nev; struct sev ev[8]; volatile int touched; };
struct ctl {
	volatile u64 vaddr, len, pfn, pagemap; volatile int ready, fail, cmd, ret, err, done; volatile char why[128];
	volatile int phase, pins; struct sharer sh[MAXSH];
} *ct;
static int me; static sigjmp_buf jb; static volatile int injmp;
static void onbus(int s, siginfo_t *si, void *u)
{
	struct sharer *h = &ct->sh[me]; int i = h->nev;
	if (i < 8) { h->ev[i].phase = ct->phase; h->ev[i].code = si->si_code; h->ev[i].addr = (u64)si->si_addr; h->ev[i].lsb = si->si_addr_lsb; h->nev = i + 1; }
	if (injmp && (si->si_code == 4 || si->si_code == 2)) siglongjmp(jb, 1);
}
static int fail(const char *w) { snprintf((char *)ct->why, 128, "%s: %s", w, strerror(errno)); ct->fail = 1; return -1; }
static u64 pagemap_of(int pid, u64 va)
{
	char p[64]; snprintf(p, sizeof p, "/proc/%d/pagemap", pid); int fd = open(p, O_RDONLY); u64 v = 0;
	if (fd >= 0) { if (pread(fd, &v, 8, va / PG * 8) != 8) v = 0; close(fd); }
	return v;
}
static char *align_map(size_t len, int flags, int fd, int prot)
{
	char *r = mmap(0, len + HPG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *a = (char *)(((u64)r + HPG - 1) & ~(HPG - 1));
	return mmap(a, len, prot, flags | MAP_FIXED, fd, 0);
}
struct vopt { const char *kind, *inj, *path; int early, share, handler, touch, free_first, unpoison, rdonly, again, pin; long sub, off, second, owner; int node; };
static volatile char sink;
static int is(const char *k, const char *p) { return !strcmp(k, p); }
static int pre(const char *k, const char *p) { return !strncmp(k, p, strlen(p)); }
// Set up the mapping; returns address of the target byte.
static char *setup(struct vopt *o)
{
	if (o->node >= 0) { unsigned long mask = 1UL << o->node; if (syscall(SYS_set_mempolicy, 2, &mask, 64)) { fail("set_mempolicy"); return 0; } }
	const char *k = o->kind; char *m = 0; size_t len = 16 * PG; int fd = -1, RW = PROT_READ | PROT_WRITE; long sub = o->sub;
	if (pre(k, "anon-thp")) {
		len = 2 * HPG; m = align_map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1, RW); if (m == MAP_FAILED) goto f;
		madvise(m, len, MADV_HUGEPAGE); memset(m, 0x5a, len); if (strstr(k, "mlock")) mlock(m, len);
	} else if (is(k, "hugezero")) {
		len = 2 * HPG; m = align_map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1, RW); madvise(m, len, MADV_HUGEPAGE); sink = m[0];
	} else if (is(k, "zero")) {
		m = mmap(0, len, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); madvise(m, len, MADV_NOHUGEPAGE); sink = m[sub * PG];
	} else if (pre(k, "anon")) {
		m = mmap(0, len, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); if (m == MAP_FAILED) goto f;
		madvise(m, len, MADV_NOHUGEPAGE);
		for (int i = 0; i < 16; i++) { memset(m + i * PG, 0xa0 + i, PG); *(int *)(m + i * PG) = getpid(); }
		if (is(k, "anon-mlocked")) mlock(m, len);
		if (is(k, "anon-pinned")) { int p[2]; struct iovec iv = { m + sub * PG, PG }; if (pipe(p) || vmsplice(p[1], &iv, 1, 0) < 0) goto f; }
		if (pre(k, "anon-swapcache")) { madvise(m, len, MADV_PAGEOUT); usleep(300000); sink = m[sub * PG]; if (is(k, "anon-swapcache-dirty")) m[sub * PG] = 1; }
	} else if (is(k, "ksm")) {
		wrstr("/sys/kernel/mm/ksm/pages_to_scan", "4000"); wrstr("/sys/kernel/mm/ksm/sleep_millisecs", "20");
		m = mmap(0, len, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); madvise(m, len, MADV_NOHUGEPAGE); memset(m, 0x77 ^ getpid(), len);
		if (madvise(m, len, MADV_MERGEABLE)) goto f;
		wrstr("/sys/kernel/mm/ksm/run", "1"); int ok = 0;
		for (int i = 0; i < 150 && !ok; i++) { usleep(100000); u64 e = pagemap_of(getpid(), (u64)m + sub * PG) & ((1UL << 55) - 1); ok = !!(kpf(e, 0) & B(21)); }
		wrstr("/sys/kernel/mm/ksm/run", "0");
		if (!ok) { errno = ETIMEDOUT; goto f; }
	} else if (is(k, "shmem") || is(k, "shmem-mlocked")) {
		m = mmap(0, len, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0); memset(m, 0x33, len); if (is(k, "shmem-mlocked")) mlock(m, len);
	} else if (is(k, "shmem-thp")) {
		len = 2 * HPG; fd = syscall(SYS_memfd_create, "lab", 0); if (ftruncate(fd, len)) goto f;
		m = align_map(len, MAP_SHARED, fd, RW); madvise(m, len, MADV_HUGEPAGE); memset(m, 1, len);
	} else if (pre(k, "hugetlb-unmapped")) {	// a free page of the pool; with -reserved, every other free page is promised to a mapping
		m = mmap(0, HPG, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << 26), -1, 0); if (m == MAP_FAILED) goto f;
		m[0] = 1; u64 e = pagemap_of(getpid(), (u64)m); ct->pagemap = e + sub; ct->pfn = (e & ((1UL << 55) - 1)) + sub; munmap(m, HPG);
		if (strstr(k, "reserved")) { size_t n = pool("free_hugepages") * HPG; if (mmap(0, n, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << 26), -1, 0) == MAP_FAILED) goto f; }
	} else if (pre(k, "hugetlb-busy")) {	// other processes keep the lock of the file's mappings taken nearly all the time
		len = HPG; fd = syscall(SYS_memfd_create, "lab", 4 | (21 << 26)); if (fd < 0 || ftruncate(fd, 2 * HPG)) goto f;
		m = mmap(0, len, RW, MAP_SHARED, fd, 0); if (m == MAP_FAILED) goto f;
		memset(m, 0x44, PG); m[sub * PG] = 1;
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (int i = 0; i < 20000; i++) if (mmap(0, HPG, RW, MAP_SHARED | MAP_NORESERVE, fd, HPG) == MAP_FAILED) break;
			ct->pins = -1; for (;;) fallocate(fd, 3, HPG, HPG);
		}
		for (int i = 0; i < 20000 && ct->pins != -1; i++) usleep(1000);
		ct->pins = 0;
	} else if (pre(k, "hugetlb")) {
		len = 2 * HPG; int sh = 21; if (pre(k, "hugetlb1g")) { len = 1UL << 30; sh = 30; }
		m = mmap(0, len, RW, (strstr(k, "shared") ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_HUGETLB | (sh << 26), -1, 0); if (m == MAP_FAILED) goto f;
		if (sh == 30) m[sub * PG] = 1; else memset(m, 0x44, len);
	} else if (is(k, "perf")) {	// a page of the kernel that a process may map, and that is on no LRU
		long at[16] = { 1 | (112L << 32), 9 }; fd = syscall(SYS_perf_event_open, at, 0, -1, -1, 0); if (fd < 0) goto f;
		len = 2 * PG; sub = 1; m = mmap(0, len, RW, MAP_SHARED, fd, 0); if (m == MAP_FAILED) goto f;
		sink = m[PG];
	} else if (pre(k, "bdev")) {
		fd = open(o->path, O_RDWR); if (fd < 0) goto f;
		m = mmap(0, len, strstr(k, "dirty") ? RW : PROT_READ, MAP_SHARED, fd, o->off); if (m == MAP_FAILED) goto f;
		sink = m[sub * PG]; if (strstr(k, "dirty")) m[sub * PG] = 0x67;
		if (strstr(k, "unmapped")) { u64 e = pagemap_of(getpid(), (u64)m + sub * PG); ct->pagemap = e; ct->pfn = e & ((1UL << 55) - 1); munmap(m, len); }
	} else if (pre(k, "file") || pre(k, "tmpfs")) {
		fd = open(o->path, O_RDWR | O_CREAT, 0644); if (fd < 0) goto f;
		static char blk[PG]; memset(blk, 0x66, PG); for (int i = 0; i < 16; i++) if (pwrite(fd, blk, PG, i * PG) != PG) goto f;
		fsync(fd);
		int priv = !!strstr(k, "private");
		m = mmap(0, len, (o->rdonly || priv) ? PROT_READ : RW, priv ? MAP_PRIVATE : MAP_SHARED, fd, 0); if (m == MAP_FAILED) goto f;
		for (int i = 0; i < 16; i++) sink = m[i * PG];
		if (strstr(k, "dirty")) m[sub * PG] = 0x67;
		if (strstr(k, "mlocked")) mlock(m, len);
		if (strstr(k, "unmapped") && !strstr(k, "truncated")) { u64 e = pagemap_of(getpid(), (u64)m + sub * PG); ct->pagemap = e; ct->pfn = e & ((1UL << 55) - 1); munmap(m, len); ct->vaddr = (u64)m + sub * PG; ct->len = len; return m + sub * PG; }
	} else if (pre(k, "devdax")) {
		len = 2 * HPG; fd = open(o->path, O_RDWR); if (fd < 0) goto f;
		m = align_map(len, MAP_SHARED, fd, RW); if (m == MAP_FAILED) goto f;
		if (o->off) { munmap(m, len); m = mmap(m, len, RW, MAP_SHARED | MAP_FIXED, fd, o->off); if (m == MAP_FAILED) goto f; }
		if (o->rdonly) sink = m[sub * PG]; else m[sub * PG] = 1;
	} else if (pre(k, "fsdax")) {
		len = 2 * HPG; fd = open(o->path, O_RDWR | O_CREAT, 0644); if (fd < 0) goto f;
		if (posix_fallocate(fd, 0, 8UL << 20)) goto f;
		fsync(fd); int fl = strstr(k, "sync") ? (MAP_SHARED_VALIDATE | MAP_SYNC) : strstr(k, "private") ? MAP_PRIVATE : MAP_SHARED;
		m = align_map(len + HPG, MAP_PRIVATE | MAP_ANONYMOUS, -1, PROT_NONE);
		if (strstr(k, "pte")) m += PG; // misaligned on purpose: forces PTE mappings
		m = mmap(m, len, RW, fl | MAP_FIXED, fd, o->off); if (m == MAP_FAILED) goto f;
		if (o->rdonly || strstr(k, "private")) sink = m[sub * PG]; else m[sub * PG] = 1;
	} else if (is(k, "vdso")) { errno = ENOSYS; goto f;
	} else { errno = EINVAL; goto f; }
	ct->len = len; ct->vaddr = (u64)m + sub * PG;
	if (o->pin) { int p[2]; struct iovec iv = { m + sub * PG, PG }; if (pipe(p) || vmsplice(p[1], &iv, 1, 0) < 0) goto f; ct->pins = 1; }
	if (strstr(k, "truncated")) { u64 e = pagemap_of(getpid(), ct->vaddr); ct->pagemap = e; ct->pfn = e & ((1UL << 55) - 1); if (ftruncate(fd, 0)) goto f; }
	return m + sub * PG;
f:	fail("setup"); return 0;
}
static void sharer_main(int idx, struct vopt *o, char *t)
{
	me = idx; ct->sh[idx].pid = getpid(); char nm[16]; snprintf(nm, 16, "v%d-%s", idx, o->kind); prctl(PR_SET_NAME, nm);
	int pol = o->early;	// 0 late 1 early 2 default 3 alternate
	if (pol == 3) pol = idx & 1;
	if (pol != 2) prctl(PR_MCE_KILL, PR_MCE_KILL_SET, pol ? PR_MCE_KILL_EARLY : PR_MCE_KILL_LATE, 0, 0);
	if (o->handler) { struct sigaction sa = { 0 }; sa.sa_sigaction = onbus; sa.sa_flags = SA_SIGINFO | SA_NODEFER; sigaction(SIGBUS, &sa, 0); }
	if (pre(o->inj, "mce")) { unsigned long one = 2; syscall(SYS_sched_setaffinity, 0, sizeof one, &one); }
	if (idx && !strstr(o->kind, "unmapped")) { if (o->rdonly) sink = *t; else sink = *t; if (strstr(o->kind, "mlock")) mlock((void *)((u64)t & ~(PG - 1)), PG); }
	__sync_fetch_and_add(&ct->ready, 1);
	int seen = 0;
	for (;;) {
		int c = ct->cmd; if (c == seen) { usleep(500); continue; }
		seen = c;
		if (c == 1 && idx == 0) {
			errno = 0; int adv = is(o->inj, "mhard") ? MADV_HWPOISON : MADV_SOFT_OFFLINE;
			ct->ret = madvise((void *)((u64)t & ~(PG - 1)), PG, adv); ct->err = ct->ret ? errno : 0; ct->done = 1;
		} else if (c == 2) {
			injmp = 1;
			if (!sigsetjmp(jb, 1)) { sink = *(volatile char *)t; ct->sh[idx].touched = 1; } else ct->sh[idx].touched = 2;
			injmp = 0;
		} else if (c == 4) {	// consume the page over and over, until a signal says that it is bad
			injmp = 1;
			if (!sigsetjmp(jb, 1)) while (ct->cmd == 4) for (int i = 0; i < 1000000; i++) sink = *(volatile char *)t;
			injmp = 0; ct->done = 1; seen = 4;
		} else if (c == 3) _exit(0);
	}
}
static int is_madvise(const char *m) { return is(m, "mhard") || is(m, "msoft"); }
static int run_victim(struct vopt *o)
{
	int id = next_id(); static char pbuf[256]; if (o->path && strchr(o->path, '%')) { snprintf(pbuf, sizeof pbuf, "%.*s%d", (int)(strchr(o->path, '%') - o->path), o->path, id); o->path = pbuf; }
	int nsh = o->share < 1 ? 1 : o->share > MAXSH ? MAXSH : o->share;
	ct = mmap(0, sizeof *ct, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); memset((void *)ct, 0, sizeof *ct);
	FILE *out = fopen(victims(), "a"); char *buf; size_t bl; FILE *b = open_memstream(&buf, &bl);
	double t0 = now(); long hw0 = meminfo("HardwareCorrupted");
	fflush(stdout);
	huge_pages = pre(o->kind, "hugetlb1g") ? 1UL << 18 : 512;
	int pid = fork();
	if (!pid) {
		char *t = setup(o); if (ct->fail) _exit(99);
		for (int i = 1; i < nsh; i++) { if (syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0) sharer_main(i, o, t); }
		sharer_main(0, o, t);
	}
	int st[MAXSH], dead[MAXSH] = { 0 };
	for (int i = 0; i < 40000 && ct->ready < nsh && !ct->fail; i++) { usleep(1000); if (ct->ready < nsh) { int s; pid_t w = waitpid(-1, &s, WNOHANG); if (w > 0 && !ct->fail) { snprintf((char *)ct->why, 128, "a process exited during setup, wait status %#x", s); ct->fail = 1; } } }
	fprintf(b, "{\"id\":%d,\"action\":\"victim\",\"t\":%.6f,\"kind\":\"%s\",", id, t0, o->kind);
	if (ct->fail || ct->ready < nsh) {
		fprintf(b, "\"skipped\":\"%s\"}\n", ct->fail ? (char *)ct->why : "timeout in setup"); fclose(b); fwrite(buf, 1, bl, out); fclose(out);
		for (int i = 0; i < nsh; i++) if (ct->sh[i].pid) kill(ct->sh[i].pid, SIGKILL);
		kill(pid, SIGKILL); while (waitpid(-1, 0, 0) > 0) ;
		printf("victim %s SKIP %s\n", o->kind, (char *)ct->why); munmap(ct, sizeof *ct); return -1;
	}
	u64 va = ct->vaddr, pm = ct->pagemap ? ct->pagemap : pagemap_of(pid, va), pfn = pm & ((1UL << 55) - 1); if (!(pm >> 63)) pfn = ct->pfn;
	char comm[32] = "", p[64]; snprintf(p, sizeof p, "/proc/%d/comm", pid); FILE *cf = fopen(p, "r"); if (cf) { if (fgets(comm, 32, cf)) comm[strcspn(comm, "\n")] = 0; fclose(cf); }
	if (o->free_first) { ct->cmd = 3; for (int i = 0; i < nsh; i++) { waitpid(ct->sh[i].pid, &st[i], 0); dead[i] = 1; } usleep(20000); }
	fprintf(b, "\"bind_node\":%d,\"pid\":%d,\"comm\":\"%s\",\"vaddr\":\"%#lx\",\"length\":%lu,\"sub\":%ld,\"file_offset\":%ld,\"path\":\"%s\",\"pagemap\":\"%#lx\",\"pfn\":\"%#lx\",\"freed_before_inject\":%s,", o->node, pid, comm, va, (u64)ct->len, o->sub, o->off, o->path ? o->path : "", pm, pfn, o->free_first ? "true" : "false");
	fprintf(b, "\"early_kill_prctl\":\"%s\",\"early_kill_sysctl\":%ld,\"sigbus_handler\":%s,\"processes\":%d,", o->early == 0 ? "late" : o->early == 1 ? "early" : o->early == 3 ? "even=late,odd=early" : "default", rdlong("/proc/sys/vm/memory_failure_early_kill"), o->handler ? "true" : "false", nsh);
	int okf; u64 fl = kpf(pfn, &okf); const char *cls = strstr(o->kind, "truncated") ? "none" : pre(o->kind, "bdev") ? "block-device" : 0;
	kpj(b, "before", pfn); factj(b, okf == 1 ? fl : 0, ct->pins, cls, o->owner);
	fprintf(b, "\"inject\":\"%s\",\"inject_value\":\"%#lx\",\"hwcorrupted_kb_before\":%ld,", ifn(o->inj), is_madvise(o->inj) ? va & ~(PG - 1) : is(o->inj, "corrupt") ? pfn : pfn * PG, hw0);
	mark("VICTIM id=%d begin kind=%s pid=%d pfn=%#lx inject=%s", id, o->kind, pid, pfn, ifn(o->inj));
	ct->phase = 1; int ret = 0, err = 0;
	if (is_madvise(o->inj)) {
		ct->cmd = 1;
		for (int i = 0; i < 8000 && !ct->done; i++) { usleep(1000); if (!dead[0] && waitpid(pid, &st[0], WNOHANG) == pid) { dead[0] = 1; break; } }
		ret = ct->done ? ct->ret : -2; err = ct->err;
	} else {
		if (is(o->inj, "mce-ar")) { ct->cmd = 4; usleep(200000); }
		int r = inject(o->inj, pfn); ret = r < 0 ? -1 : 0; err = r < 0 ? -r : 0;
		if (is(o->inj, "mce-ar")) { ct->cmd = 5; usleep(50000); }
	}
	usleep(30000);
	for (int i = 0; i < nsh; i++) if (!dead[i] && waitpid(ct->sh[i].pid, &st[i], WNOHANG) == ct->sh[i].pid) dead[i] = 1;
	mark("VICTIM id=%d injected ret=%d errno=%d", id, ret, err);
	fprintf(b, "\"inject_ret\":%d,\"inject_errno\":%d,%s", ret, err, ret == -2 ? "\"inject_note\":\"caller died inside madvise\"," : "");
	kpj(b, "after", pfn);
	int died_inj[MAXSH]; for (int i = 0; i < nsh; i++) died_inj[i] = dead[i];
	fprintf(b, "\"pagemap_after\":\"%#lx\",", dead[0] ? 0UL : pagemap_of(pid, va));
	if (o->second) { char lab[80]; snprintf(lab, sizeof lab, "%s:second%+ld", o->kind, o->second); raw_poison("hard", pfn + o->second, lab); }
	int again_r = 1;
	if (o->again) { mark("VICTIM id=%d again begin", id); again_r = inject(o->again == 2 ? "soft" : "hard", pfn); mark("VICTIM id=%d again end ret=%d", id, again_r); fprintf(b, "\"again_inject\":\"%s\",\"again_ret\":%d,\"again_errno\":%d,", ifn(o->again == 2 ? "soft" : "hard"), again_r < 0 ? -1 : 0, again_r < 0 ? -again_r : 0); }
	if (o->touch && !o->free_first && !strstr(o->kind, "unmapped")) {
		ct->phase = 2; mark("VICTIM id=%d touch", id); ct->cmd = 2;
		for (int k = 0; k < 1500; k++) {
			usleep(1000); int all = 1;
			for (int i = 0; i < nsh; i++) { if (!dead[i] && waitpid(ct->sh[i].pid, &st[i], WNOHANG) == ct->sh[i].pid) dead[i] = 1; if (!dead[i] && !ct->sh[i].touched) all = 0; }
			if (all) break;
		}
		usleep(5000); kpj(b, "after_touch", pfn);
		fprintf(b, "\"pagemap_after_touch\":\"%#lx\",", dead[0] ? 0UL : pagemap_of(pid, va));
	}
	ct->cmd = 3;
	for (int i = 0; i < nsh; i++) if (!dead[i]) { int k; for (k = 0; k < 3000 && waitpid(ct->sh[i].pid, &st[i], WNOHANG) != ct->sh[i].pid; k++) usleep(1000); if (k >= 3000) { kill(ct->sh[i].pid, SIGKILL); waitpid(ct->sh[i].pid, &st[i], 0); } }
	fprintf(b, "\"sharers\":[");
	for (int i = 0; i < nsh; i++) {
		struct sharer *h = &ct->sh[i];
		fprintf(b, "%s{\"pid\":%d,\"sigbus\":[", i ? "," : "", h->pid);
		for (int k = 0; k < h->nev; k++) fprintf(b, "%s{\"phase\":\"%s\",\"si_code\":%d,\"si_addr\":\"%#lx\",\"si_addr_lsb\":%d}", k ? "," : "", h->ev[k].phase == 1 ? "inject" : h->ev[k].phase == 2 ? "touch" : "setup", h->ev[k].code, h->ev[k].addr, h->ev[k].lsb);
		fprintf(b, "],\"touch\":\"%s\",\"died_during_inject\":%s,\"exit\":\"%s\",\"exit_value\":%d}", h->touched == 1 ? "ok" : h->touched == 2 ? "sigbus" : "none",
			died_inj[i] && !o->free_first ? "true" : "false", WIFSIGNALED(st[i]) ? "signal" : "code", WIFSIGNALED(st[i]) ? WTERMSIG(st[i]) : WEXITSTATUS(st[i]));
	}
	fprintf(b, "],");
	kpj(b, "after_exit", pfn);
	if (o->unpoison) {
		long h1 = meminfo("HardwareCorrupted"); mark("VICTIM id=%d unpoison begin pfn=%#lx", id, pfn); int r = inject("unpoison", pfn); mark("VICTIM id=%d unpoison end ret=%d", id, r);
		fprintf(b, "\"unpoison_ret\":%d,\"unpoison_errno\":%d,\"hwcorrupted_kb_before_unpoison\":%ld,", r < 0 ? -1 : 0, r < 0 ? -r : 0, h1); kpj(b, "after_unpoison", pfn);
	}
	mark("VICTIM id=%d end", id);
	fprintf(b, "\"hwcorrupted_kb_after\":%ld}\n", meminfo("HardwareCorrupted"));
	fclose(b); fwrite(buf, 1, bl, out); fclose(out); free(buf); munmap(ct, sizeof *ct);
	printf("victim %d %s %s pfn=%#lx ret=%d errno=%d\n", id, o->kind, o->inj, pfn, ret, err); fflush(stdout);
	return 0;
}
static void vparse(struct vopt *o, int c, char **v)
{
	*o = (struct vopt){ .kind = "anon", .inj = "mhard", .early = 2, .share = 1, .handler = 1, .touch = 1, .sub = 5, .node = -1, .owner = 1 };
	for (int i = 1; i < c; i++) {
		char *e = strchr(v[i], '='); if (!e) die("bad option %s", v[i]);
		char *x = e + 1; size_t n = e - v[i];
#define O(s) (n == strlen(s) && !strncmp(v[i], s, n))
		if (O("kind")) o->kind = x; else if (O("inj")) o->inj = x; else if (O("path")) o->path = x; else if (O("early")) o->early = atoi(x);
		else if (O("share")) o->share = atoi(x); else if (O("handler")) o->handler = atoi(x); else if (O("touch")) o->touch = atoi(x);
		else if (O("free")) o->free_first = atoi(x); else if (O("unpoison")) o->unpoison = atoi(x); else if (O("ro")) o->rdonly = atoi(x);
		else if (O("sub")) o->sub = atol(x); else if (O("off")) o->off = strtol(x, 0, 0); else if (O("node")) o->node = atoi(x); else if (O("again")) o->again = atoi(x); else if (O("pin")) o->pin = atoi(x); else if (O("second")) o->second = atol(x); else if (O("owner")) o->owner = atol(x); else die("unknown option %s", v[i]);
	}
}
static int cmd_victim(int c, char **v) { struct vopt o; vparse(&o, c, v); return run_victim(&o) ? 0 : 0; }
// ctl "line": send one line to the host over ttyS1, wait for the one-line reply
static int ctl_line(const char *line, char *b, int size)
{
	int fd = open("/dev/ttyS1", O_RDWR | O_NOCTTY), n = 0; if (fd < 0) return 1;
	if (system("stty -F /dev/ttyS1 raw -echo 115200 2>/dev/null")) {}
	dprintf(fd, "%s\n", line);
	while (n < size - 1 && read(fd, b + n, 1) == 1) { if (b[n] == '\n') break; n++; }
	b[n] = 0; close(fd); return strncmp(b, "OK", 2) != 0;
}
static int cmd_ctl(int c, char **v) { char b[4096]; int r = ctl_line(v[1], b, sizeof b); printf("%s\n", b); return r; }
int main(int c, char **v)
{
	if (c < 2) die("usage: lab CMD");
	char *n = v[1]; c--; v++;
	if (is(n, "walk")) return cmd_walk(c, v);
	if (is(n, "ranges")) return cmd_ranges(c, v);
	if (is(n, "find")) return cmd_find(c, v);
	if (is(n, "poisonlist")) return cmd_poisonlist(c, v);
	if (is(n, "poison")) return cmd_poison(c, v);
	if (is(n, "victim")) return cmd_victim(c, v);
	if (is(n, "ctl")) return cmd_ctl(c, v);
	if (is(n, "mark")) { mark("%s", v[1]); return 0; }
	die("unknown %s", n); return 1;
}
