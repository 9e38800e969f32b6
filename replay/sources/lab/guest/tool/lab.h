// lab: declarations of the guest tool.
#pragma once
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
#define B(n) (1UL << (n))
#define NONE (1L << 62) // no second page
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

#define MAXSH 6
struct sev {
    int phase, code;
    u64 addr;
    int lsb;
};
struct sharer {
    volatile int pid, nev;
    struct sev ev[8];
    volatile int touched;
};
struct ctl {
    volatile u64 vaddr, len, pfn, pagemap;
    volatile int ready, fail, cmd, ret, err, done;
    volatile char why[128];
    volatile int phase, pins;
    struct sharer sh[MAXSH];
};
extern struct ctl *ct; // shared by the processes of a victim

struct vopt {
    const char *kind, *inj, *path;
    int early, share, handler, touch, free_first, unpoison, rdonly, again, pin;
    long sub, off, second, owner;
    int node;
};
extern volatile char sink;
extern u64 huge_pages;

char *align_map(size_t len, int flags, int fd, int prot);
int cmd_find(int c, char **v);
int cmd_poison(int c, char **v);
int cmd_poisonlist(int c, char **v);
int cmd_ranges(int c, char **v);
int cmd_victim(int c, char **v);
int cmd_walk(int c, char **v);
int ctl_line(const char *line, char *b, int size);
void die(const char *f, ...);
void factj(FILE *o, u64 flags, int pins, const char *mapping, long owner, int filling);
int head_references(u64 pfn);
const char *ifn(const char *m);
int inject(const char *m, u64 pfn);
int is(const char *k, const char *p);
u64 kpc(u64 pfn, int *ok);
u64 kpf(u64 pfn, int *ok);
void kpj(FILE *o, const char *tag, u64 pfn);
void mark(const char *f, ...);
long meminfo(const char *key);
int next_id(void);
double now(void);
const char *out_dir(void);
u64 pagemap_of(int pid, u64 va);
long pool(const char *name);
int pre(const char *k, const char *p);
int raw_poison(const char *m, u64 pfn, const char *label);
long rdlong(const char *p);
const char *victims(void);
int wrstr(const char *p, const char *s);
int fail(const char *what);
char *setup(struct vopt *o);
