// Walks over /proc/kpageflags, one read per pfn, around every border of the machine.
#include "lab.h"

struct rng {
    u64 s, e, step;
};
static int cmpr(const void *a, const void *b) {
    const struct rng *x = a, *y = b;
    return x->s < y->s ? -1 : x->s > y->s;
}

// ranges RADIUS SAMPLE [LO HI] : around each iomem/section/block boundary +- RADIUS, and 1-in-SAMPLE elsewhere
int cmd_ranges(int c, char **v) {
    u64 rad = strtoull(v[1], 0, 0), smp = strtoull(v[2], 0, 0);
    u64 lo = c > 3 ? strtoull(v[3], 0, 0) : 0, hi = c > 4 ? strtoull(v[4], 0, 0) : 0, maxp = 0;
    static struct rng r[200000];
    int n = 0;
    FILE *f = fopen("/proc/iomem", "r");
    char l[256];
    u64 bnd[8192];
    int nb = 0;
    while (fgets(l, sizeof l, f)) {
        u64 s, e;
        if (sscanf(l, " %lx-%lx :", &s, &e) != 2)
            continue;
        if (nb + 2 < 8192) {
            bnd[nb++] = s / PG;
            bnd[nb++] = (e + 1) / PG;
        }
        if ((strstr(l, "System RAM") || strstr(l, "Persistent") || strstr(l, "dax")) && (e + 1) / PG > maxp)
            maxp = (e + 1) / PG;
    }
    fclose(f);
    if (!hi)
        hi = maxp + 2 * 32768;
    for (u64 p = 0; p <= hi; p += 32768)
        if (nb < 8192)
            bnd[nb++] = p;
    for (int i = 0; i < nb; i++) {
        if (bnd[i] > hi + rad)
            continue;
        u64 s = bnd[i] > rad ? bnd[i] - rad : 0, e = bnd[i] + rad;
        if (s < lo)
            s = lo;
        if (e > hi)
            e = hi;
        if (s < e)
            r[n++] = (struct rng){s, e, 1};
    }
    qsort(r, n, sizeof r[0], cmpr);
    u64 cur = lo;
    int i = 0;
    while (i < n || cur < hi) {
        u64 s = i < n ? r[i].s : hi, e = i < n ? r[i].e : hi;
        for (i++; i < n && r[i].s <= e; i++)
            if (r[i].e > e)
                e = r[i].e;
        if (smp && cur < s) {
            u64 a = (cur + smp - 1) / smp * smp;
            if (a < s)
                printf("%#lx %#lx %lu\n", a, s, smp);
        }
        if (s < e)
            printf("%#lx %#lx 1\n", s, e);
        if (e <= cur && i >= n)
            break;
        cur = e;
        if (i >= n && cur >= hi)
            break;
    }
    return 0;
}

// walk NAME kpageflags|kpagecount < ranges ; every pfn read with its own 8-byte pread
int cmd_walk(int c, char **v) {
    if (c < 3)
        die("walk NAME FILE");
    char p[256], q[256];
    snprintf(p, sizeof p, "%s/walk-%s.txt", out_dir(), v[1]);
    snprintf(q, sizeof q, "/proc/%s", v[2]);
    FILE *o = fopen(p, "w");
    int fd = open(q, O_RDONLY);
    char l[256];
    u64 n = 0, no = 0, eof = 0;
    if (!o || fd < 0)
        die("walk open");
    static char obuf[1 << 20];
    setvbuf(o, obuf, _IOFBF, sizeof obuf);
    fprintf(o, "# /proc/%s, one 8-byte pread per pfn, in this order; columns: pfn value\n", v[2]);
    mark("WALK begin name=%s file=%s", v[1], v[2]);
    while (fgets(l, sizeof l, stdin)) {
        u64 s, e, st;
        if (sscanf(l, "%li %li %li", (long *)&s, (long *)&e, (long *)&st) != 3)
            continue;
        for (u64 x = s; x < e; x += st) {
            u64 val;
            ssize_t r = pread(fd, &val, 8, x * 8);
            n++;
            if (r == 8) {
                fprintf(o, "%#lx %#lx\n", x, val);
                if (val & (1UL << 20))
                    no++;
            } else {
                fprintf(o, "%#lx %s\n", x, r == 0 ? "EOF" : strerror(errno));
                eof++;
            }
        }
    }
    mark("WALK end name=%s reads=%lu nopage=%lu eof=%lu", v[1], n, no, eof);
    fclose(o);
    printf("walk %s %s reads=%lu nopage=%lu eof=%lu\n", v[1], v[2], n, no, eof);
    return 0;
}
