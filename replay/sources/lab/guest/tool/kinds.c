// Pages of every kind, mapped by this process (or just unmapped by it).
#include "lab.h"
#include <linux/userfaultfd.h>

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define HUGE_2M (MAP_HUGETLB | (21 << 26))

// A mapping under construction: its start, length and file, and the page of it that is meant.
struct made {
    char *start;
    size_t len;
    int fd;
    long sub;
};

// A page that is being filled: by which file of faults, and from where.
struct filling {
    int fd;
    char *to, *from;
};

int fail(const char *what) {
    snprintf((char *)ct->why, 128, "%s: %s", what, strerror(errno));
    ct->fail = 1;
    return -1;
}

static char *target(struct made *m) {
    return m->start + m->sub * PG;
}

static int mapped(struct made *m) {
    return m->start == MAP_FAILED ? -1 : 0;
}

// Remember which page it was: after this nobody maps it any more.
static void remember(struct made *m) {
    u64 entry = pagemap_of(getpid(), (u64)target(m));
    ct->pagemap = entry;
    ct->pfn = entry & ((1UL << 55) - 1);
}

static int pin(struct made *m) {
    int p[2];
    struct iovec page = {target(m), PG};
    return pipe(p) || vmsplice(p[1], &page, 1, 0) < 0 ? -1 : 0;
}

// Pin for device access: the buffer of an io_uring. A page of one process alone cannot lose its mapping then, but to an
// entry that says the page is bad.
static int pin_buffer(struct made *m) {
    static unsigned parameters[30];
    struct iovec page = {target(m), PG};
    int ring = syscall(425, 1, parameters); // io_uring_setup
    return ring < 0 || syscall(427, ring, 0, &page, 1) ? -1 : 0; // io_uring_register, buffers
}

static int anon_thp(struct vopt *o, struct made *m) {
    m->len = 2 * HPG;
    m->start = align_map(m->len, ANON, -1, RW);
    if (mapped(m))
        return -1;
    madvise(m->start, m->len, MADV_HUGEPAGE);
    if (is(o->kind, "hugezero")) {
        sink = m->start[0];
        return 0;
    }
    memset(m->start, 0x5a, m->len);
    if (strstr(o->kind, "mlock"))
        mlock(m->start, m->len);
    return 0;
}

static int anon(struct vopt *o, struct made *m) {
    m->start = mmap(0, m->len, RW, ANON, -1, 0);
    if (mapped(m))
        return -1;
    madvise(m->start, m->len, MADV_NOHUGEPAGE);
    if (is(o->kind, "zero")) {
        sink = *target(m);
        return 0;
    }
    for (int i = 0; i < 16; i++) {
        memset(m->start + i * PG, 0xa0 + i, PG);
        *(int *)(m->start + i * PG) = getpid();
    }
    if (is(o->kind, "anon-mlocked"))
        mlock(m->start, m->len);
    if (is(o->kind, "anon-pinned") && pin(m))
        return -1;
    if (pre(o->kind, "anon-swapcache")) { // out, and in again by reading
        madvise(m->start, m->len, MADV_PAGEOUT);
        usleep(300000);
        sink = *target(m);
        if (is(o->kind, "anon-swapcache-dirty"))
            *target(m) = 1;
    }
    return 0;
}

static int ksm(struct vopt *o, struct made *m) {
    (void)o;
    int merged = 0;
    wrstr("/sys/kernel/mm/ksm/pages_to_scan", "4000");
    wrstr("/sys/kernel/mm/ksm/sleep_millisecs", "20");
    m->start = mmap(0, m->len, RW, ANON, -1, 0);
    madvise(m->start, m->len, MADV_NOHUGEPAGE);
    memset(m->start, 0x77 ^ getpid(), m->len);
    if (madvise(m->start, m->len, MADV_MERGEABLE))
        return -1;
    wrstr("/sys/kernel/mm/ksm/run", "1");
    for (int i = 0; i < 150 && !merged; i++) {
        usleep(100000);
        merged = !!(kpf(pagemap_of(getpid(), (u64)target(m)) & ((1UL << 55) - 1), 0) & B(21));
    }
    wrstr("/sys/kernel/mm/ksm/run", "0");
    errno = ETIMEDOUT;
    return merged ? 0 : -1;
}

static int shmem(struct vopt *o, struct made *m) {
    if (is(o->kind, "shmem-thp")) {
        m->len = 2 * HPG;
        m->fd = syscall(SYS_memfd_create, "lab", 0);
        if (ftruncate(m->fd, m->len))
            return -1;
        m->start = align_map(m->len, MAP_SHARED, m->fd, RW);
        madvise(m->start, m->len, MADV_HUGEPAGE);
    } else {
        m->start = mmap(0, m->len, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    }
    if (mapped(m))
        return -1;
    memset(m->start, 0x33, m->len);
    if (is(o->kind, "shmem-mlocked"))
        mlock(m->start, m->len);
    return 0;
}

// A page of a shared memory file that a driver maps for its own file: who looks for its mappings does not find them.
static int vgem(struct vopt *o, struct made *m) {
    struct {
        unsigned height, width, bits, flags, handle, pitch;
        u64 size;
    } made = {.height = 16, .width = 1024, .bits = 32};
    struct {
        unsigned handle, unused;
        u64 offset;
    } at = {0};
    m->fd = open(o->path, O_RDWR);
    if (m->fd < 0 || ioctl(m->fd, _IOWR('d', 0xb2, made), &made)) // of DRM: make a buffer, and where to map it
        return -1;
    at.handle = made.handle;
    if (ioctl(m->fd, _IOWR('d', 0xb3, at), &at))
        return -1;
    m->start = mmap(0, m->len, RW, MAP_SHARED, m->fd, at.offset);
    if (mapped(m))
        return -1;
    memset(m->start, 0x33, m->len);
    return 0;
}

// A free page of the pool; with -reserved, every other free page is promised to a mapping.
static int hugetlb_free(struct vopt *o, struct made *m) {
    m->start = mmap(0, HPG, RW, ANON | HUGE_2M, -1, 0);
    if (mapped(m))
        return -1;
    m->start[0] = 1;
    u64 entry = pagemap_of(getpid(), (u64)m->start);
    ct->pagemap = entry + m->sub;
    ct->pfn = (entry & ((1UL << 55) - 1)) + m->sub;
    munmap(m->start, HPG);
    if (!strstr(o->kind, "reserved"))
        return 0;
    return mmap(0, pool("free_hugepages") * HPG, RW, ANON | HUGE_2M, -1, 0) == MAP_FAILED ? -1 : 0;
}

static void filler(struct filling *f) {
    struct uffdio_copy copy = {.dst = (u64)f->to, .src = (u64)f->from, .len = HPG};
    syscall(SYS_ioctl, f->fd, UFFDIO_COPY, &copy);
    for (;;)
        syscall(SYS_pause);
}

static int watch(int fd, char *start) {
    struct uffdio_register r = {.range = {(u64)start, HPG}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    return ioctl(fd, UFFDIO_REGISTER, &r);
}

// A page of the pool that is allocated, and neither free nor mapped: a thread fills it with data that does not come.
static int hugetlb_filling(struct vopt *o, struct made *m) {
    static struct filling f;
    static char stack[1 << 14] __attribute__((aligned(16)));
    struct uffdio_api api = {.api = UFFD_API};
    if (hugetlb_free(o, m))
        return -1; // it is the next one that is handed out
    f.fd = syscall(SYS_userfaultfd, 0);
    f.to = align_map(HPG, ANON | HUGE_2M, -1, RW);
    f.from = align_map(HPG, ANON, -1, RW);
    if (f.fd < 0 || f.to == MAP_FAILED || f.from == MAP_FAILED || ioctl(f.fd, UFFDIO_API, &api))
        return -1;
    madvise(f.from, HPG, MADV_NOHUGEPAGE);
    f.from[0] = 1; // the rest is missing, and nobody answers
    if (watch(f.fd, f.to) || watch(f.fd, f.from))
        return -1;
    clone((int (*)(void *))filler, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD,
          &f);
    m->start = f.to;
    for (int i = 0; i < 2000 && head_references(ct->pfn) < 1; i++)
        usleep(1000);
    ct->pins = 1; // the thread's
    errno = ENOENT;
    return head_references(ct->pfn) < 1 ? -1 : 0;
}

// Another process keeps the lock of the file's mappings taken nearly all the time: it punches a hole that 5000
// mappings look at.
static int hugetlb_busy(struct vopt *o, struct made *m) {
    (void)o;
    m->len = HPG;
    m->fd = syscall(SYS_memfd_create, "lab", 4 | (21 << 26));
    if (m->fd < 0 || ftruncate(m->fd, 2 * HPG))
        return -1;
    m->start = mmap(0, m->len, RW, MAP_SHARED, m->fd, 0);
    if (mapped(m))
        return -1;
    memset(m->start, 0x44, PG);
    *target(m) = 1;
    if (!fork()) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < 5000; i++)
            if (mmap(0, HPG, RW, MAP_SHARED | MAP_NORESERVE, m->fd, HPG) == MAP_FAILED)
                break;
        ct->pins = -1;
        for (;;)
            fallocate(m->fd, 3, HPG, HPG);
    }
    for (int i = 0; i < 20000 && ct->pins != -1; i++)
        usleep(1000);
    ct->pins = 0;
    return 0;
}

static int hugetlb(struct vopt *o, struct made *m) {
    int gigantic = pre(o->kind, "hugetlb1g"), share = strstr(o->kind, "shared") ? MAP_SHARED : MAP_PRIVATE;
    m->len = gigantic ? 1UL << 30 : 2 * HPG;
    m->start = mmap(0, m->len, RW, share | MAP_ANONYMOUS | MAP_HUGETLB | ((gigantic ? 30 : 21) << 26), -1, 0);
    if (mapped(m))
        return -1;
    if (gigantic)
        *target(m) = 1;
    else
        memset(m->start, 0x44, m->len);
    return 0;
}

// A page of the kernel that a process may map, and that is on no LRU list: the buffer of a software event.
static int perf(struct vopt *o, struct made *m) {
    (void)o;
    long attributes[16] = {1 | (112L << 32), 9};
    m->fd = syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0);
    if (m->fd < 0)
        return -1;
    m->len = 2 * PG;
    m->sub = 1;
    m->start = mmap(0, m->len, RW, MAP_SHARED, m->fd, 0);
    if (mapped(m))
        return -1;
    sink = *target(m);
    return 0;
}

static int file(struct vopt *o, struct made *m) {
    static char block[PG];
    int device = pre(o->kind, "bdev"), private = !!strstr(o->kind, "private"), dirty = !!strstr(o->kind, "dirty");
    m->fd = open(o->path, device ? O_RDWR : O_RDWR | O_CREAT, 0644);
    if (m->fd < 0)
        return -1;
    memset(block, 0x66, PG);
    for (int i = 0; i < 16 && !device; i++)
        if (pwrite(m->fd, block, PG, i * PG) != PG)
            return -1;
    fsync(m->fd);
    int prot = o->rdonly || private || (device && !dirty) ? PROT_READ : RW;
    m->start = mmap(0, m->len, prot, private ? MAP_PRIVATE : MAP_SHARED, m->fd, device ? o->off : 0);
    if (mapped(m))
        return -1;
    for (int i = 0; i < 16; i++)
        sink = m->start[i * PG];
    if (dirty)
        *target(m) = 0x67;
    for (int i = 0; i < 16 && strstr(o->kind, "writeback"); i++) { // on the way to a disk that is slow
        m->start[i * PG] = 0x68;
        if (sync_file_range(m->fd, i * PG, PG, SYNC_FILE_RANGE_WRITE))
            return -1;
    }
    if (strstr(o->kind, "mlocked"))
        mlock(m->start, m->len);
    return 0;
}

static int devdax(struct vopt *o, struct made *m) {
    m->len = 2 * HPG;
    m->fd = open(o->path, O_RDWR);
    if (m->fd < 0)
        return -1;
    m->start = align_map(m->len, MAP_SHARED, m->fd, RW);
    if (mapped(m))
        return -1;
    if (o->off) {
        munmap(m->start, m->len);
        m->start = mmap(m->start, m->len, RW, MAP_SHARED | MAP_FIXED, m->fd, o->off);
    }
    if (mapped(m))
        return -1;
    if (o->rdonly)
        sink = *target(m);
    else
        *target(m) = 1;
    return 0;
}

static int fsdax(struct vopt *o, struct made *m) {
    int private = !!strstr(o->kind, "private");
    m->len = 2 * HPG;
    m->fd = open(o->path, O_RDWR | O_CREAT, 0644);
    if (m->fd < 0 || posix_fallocate(m->fd, 0, 8UL << 20))
        return -1;
    fsync(m->fd);
    int flags = strstr(o->kind, "sync") ? (MAP_SHARED_VALIDATE | MAP_SYNC) : private ? MAP_PRIVATE : MAP_SHARED;
    m->start = align_map(m->len + HPG, ANON, -1, PROT_NONE);
    if (strstr(o->kind, "pte"))
        m->start += PG; // misaligned on purpose: forces PTE mappings
    m->start = mmap(m->start, m->len, RW, flags | MAP_FIXED, m->fd, o->off);
    if (mapped(m))
        return -1;
    if (o->rdonly || private)
        sink = *target(m);
    else
        *target(m) = 1;
    return 0;
}

static const struct {
    const char *prefix;
    int (*make)(struct vopt *, struct made *);
} kinds[] = {
    // first match
    {"anon-thp", anon_thp},
    {"hugezero", anon_thp},
    {"anon", anon},
    {"zero", anon},
    {"ksm", ksm},
    {"shmem-vgem", vgem},
    {"shmem", shmem},
    {"perf", perf},
    {"hugetlb-unmapped", hugetlb_free},
    {"hugetlb-busy", hugetlb_busy},
    {"hugetlb-filling", hugetlb_filling},
    {"hugetlb", hugetlb},
    {"bdev", file},
    {"file", file},
    {"tmpfs", file},
    {"devdax", devdax},
    {"fsdax", fsdax},
};

// Set up the page that the options ask for; returns its address.
char *setup(struct vopt *o) {
    unsigned long mask = 1UL << (o->node < 0 ? 0 : o->node);
    if (o->node >= 0 && syscall(SYS_set_mempolicy, 2, &mask, 64)) {
        fail("set_mempolicy");
        return 0;
    }
    struct made m = {.len = 16 * PG, .fd = -1, .sub = o->sub};
    unsigned i = 0;
    while (i < sizeof kinds / sizeof *kinds && !pre(o->kind, kinds[i].prefix))
        i++;
    errno = EINVAL;
    if (i == sizeof kinds / sizeof *kinds || kinds[i].make(o, &m)) {
        fail("setup");
        return 0;
    }
    ct->len = m.len;
    ct->vaddr = (u64)target(&m);
    if (o->pin) {
        if (o->pin == 2 ? pin_buffer(&m) : pin(&m)) {
            fail("pin");
            return 0;
        }
        ct->pins = 1;
    }
    if (strstr(o->kind, "unmapped") && !ct->pfn) {
        remember(&m);
        if (strstr(o->kind, "truncated") ? ftruncate(m.fd, 0) : munmap(m.start, m.len)) {
            fail("unmap");
            return 0;
        }
    }
    return target(&m);
}
