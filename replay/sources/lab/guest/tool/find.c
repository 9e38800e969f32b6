// Pages of a kind, by their kpageflags.
#include "lab.h"

struct kindbit {
    const char *n;
    u64 set, clr;
};
static struct kindbit kinds[] = {{"slab", B(7), B(19)},
                                 {"buddy", B(10), B(19) | B(32)},
                                 {"buddy-any", B(10), B(19)},
                                 {"pgtable", B(26), B(19)},
                                 {"reserved", B(32), B(19)},
                                 {"nopage", B(20), 0},
                                 {"lru", B(5), B(19) | B(17) | B(22)},
                                 {"mmap", B(11), B(19)},
                                 {"hugetlb", B(17), B(19)},
                                 {"tail", B(16), B(19) | B(17)},
                                 {"hwpoison", B(19), 0},
                                 {"kernel", 0, ~0UL & ~(B(35) | B(36) | B(37) | B(38) | B(39))},
                                 {"lru-unmapped", B(5), B(11) | B(12) | B(19) | B(17) | B(22) | B(14) | B(18) | B(20)},
                                 {"slabtail", B(7) | B(16), B(19)},
                                 {"zero", B(24), B(19)},
                                 {"hugezero", B(24) | B(22), B(19)},
                                 {NULL}};
static u64 rng_s = 88172645463325252ULL;
static u64 rnd(void) {
    rng_s ^= rng_s << 13;
    rng_s ^= rng_s >> 7;
    rng_s ^= rng_s << 17;
    return rng_s;
}

static int find_pfns(const char *k, int want, u64 lo, u64 hi, u64 *out) {
    static u64 *snap;
    static u64 n;
    struct kindbit *b = kinds;
    for (; b->n && strcmp(b->n, k); b++)
        ;
    if (!b->n)
        return 0;
    int nosnap = !!getenv("LAB_NOSNAP");
    long maxtries = nosnap ? 4000 : 2000000;
    if (!snap && !nosnap) {
        int fd = open("/tmp/kpageflags.bin", O_RDONLY);
        struct stat st;
        if (fd < 0)
            return 0;
        fstat(fd, &st);
        n = st.st_size / 8;
        snap = mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        close(fd);
    }
    if (!nosnap && (!hi || hi > n))
        hi = n;
    int got = 0;
    long live = 0;
    if (hi <= lo)
        return 0;
    for (long tries = 0; tries < maxtries && got < want; tries++) {
        u64 p = lo + rnd() % (hi - lo);
        if (!nosnap && ((snap[p] & b->set) != b->set || (snap[p] & b->clr)))
            continue;
        if (++live > (nosnap ? 4000 : 400))
            break; // bound the number of real /proc reads
        int ok;
        u64 f = kpf(p, &ok);
        if (ok != 1 || (f & b->set) != b->set || (f & b->clr))
            continue;
        int dup = 0;
        for (int i = 0; i < got; i++)
            dup |= out[i] == p;
        if (!dup)
            out[got++] = p;
    }
    return got;
}

// find KIND N SEED [LO HI]
int cmd_find(int c, char **v) {
    u64 o[1024];
    rng_s ^= strtoull(v[3], 0, 0) * 0x9E3779B97F4A7C15ULL;
    int n = atoi(v[2]);
    int g = find_pfns(v[1], n > 1024 ? 1024 : n, c > 4 ? strtoull(v[4], 0, 0) : 0, c > 5 ? strtoull(v[5], 0, 0) : 0, o);
    for (int i = 0; i < g; i++)
        printf("%#lx\n", o[i]);
    return 0;
}
