// What can be read about a page: its struct page through /proc/kcore, kpageflags, the pool it is of, the filter.
#include "lab.h"

static int kc = -1;
static Elf64_Phdr *ph;
static int nph;
static int kread(u64 va, void *b, size_t n) {
    if (kc < 0) {
        Elf64_Ehdr eh;
        kc = open("/proc/kcore", O_RDONLY);
        if (kc < 0)
            return -1;
        if (pread(kc, &eh, sizeof eh, 0) != sizeof eh)
            return -1;
        nph = eh.e_phnum;
        ph = calloc(nph, sizeof *ph);
        if (pread(kc, ph, nph * sizeof *ph, eh.e_phoff) < 0)
            return -1;
    }
    for (int i = 0; i < nph; i++)
        if (ph[i].p_type == PT_LOAD && va >= ph[i].p_vaddr && va + n <= ph[i].p_vaddr + ph[i].p_memsz)
            return pread(kc, b, n, ph[i].p_offset + va - ph[i].p_vaddr) == (ssize_t)n ? 0 : -1;
    return -1;
}

// symbol addresses: one scan of /proc/kallsyms per boot, cached in /tmp/ksyms
static u64 ksym(const char *name) {
    static const char *want[] = {"mem_section", "vmemmap_base", "max_pfn"};
    char l[512], n[256], t;
    u64 a;
    FILE *c = fopen("/tmp/ksyms", "r");
    if (!c) {
        FILE *f = fopen("/proc/kallsyms", "r"), *o = fopen("/tmp/ksyms.new", "w");
        static char big[1 << 18];
        int got = 0;
        setvbuf(f, big, _IOFBF, sizeof big);
        while (got < 3 && fgets(l, sizeof l, f))
            if (sscanf(l, "%lx %c %255s", &a, &t, n) == 3)
                for (int i = 0; i < 3; i++)
                    if (!strcmp(n, want[i])) {
                        fprintf(o, "%lx %s\n", a, n);
                        got++;
                    }
        fclose(f);
        fclose(o);
        rename("/tmp/ksyms.new", "/tmp/ksyms");
        c = fopen("/tmp/ksyms", "r");
    }
    while (c && fgets(l, sizeof l, c))
        if (sscanf(l, "%lx %255s", &a, n) == 2 && !strcmp(n, name)) {
            fclose(c);
            return a;
        }
    if (c)
        fclose(c);
    return 0;
}

u64 huge_pages = 512; // of the hugetlb page at hand

// The struct page of a pfn, 64 bytes; returns whether it could be read.
static int struct_page(u64 pfn, unsigned char *b) {
    static u64 base;
    if (!base && kread(ksym("vmemmap_base"), &base, 8))
        base = 1;
    return base != 1 && !kread(base + pfn * 64, b, 64);
}

// Reference count of the head of the hugetlb page that a pfn is of, or -1.
int head_references(u64 pfn) {
    unsigned char b[64];
    int count = -1;
    if (struct_page(pfn & ~(huge_pages - 1), b))
        memcpy(&count, b + 52, 4);
    return count;
}

// Struct page of a pfn: flags, compound_head, mapping, _mapcount, _refcount. The offsets are those of x86-64 since
// v4.18.
static void pagej(FILE *o, const char *tag, u64 pfn, u64 kpf) {
    unsigned char b[64];
    u64 w[8];
    int c[2];
    if (!struct_page(pfn, b)) {
        fprintf(o, "\"page_%s\":null,", tag);
        return;
    }
    memcpy(w, b, 64);
    memcpy(c, b + 48, 8);
    fprintf(o, "\"page_%s\":{\"flags\":\"%#lx\",\"head\":\"%#lx\",\"mapping\":\"%#lx\",\"mapcount\":%d,\"refcount\":%d",
            tag, w[0], w[1], w[3], c[0], c[1]);
    if (kpf & B(17))
        fprintf(o, ",\"head_refcount\":%d", head_references(pfn));
    fprintf(o, "},");
}

void kpj(FILE *o, const char *tag, u64 pfn) {
    int a, b;
    u64 f = kpf(pfn, &a), n = kpc(pfn, &b);
    if (a == 1)
        fprintf(o, "\"kpageflags_%s\":\"%#lx\",", tag, f);
    else
        fprintf(o, "\"kpageflags_%s\":null,", tag);
    if (b == 1)
        fprintf(o, "\"kpagecount_%s\":%lu,", tag, n);
    else
        fprintf(o, "\"kpagecount_%s\":null,", tag);
    pagej(o, tag, pfn, a == 1 ? f : 0);
}

static long debugfs(const char *name) {
    char p[96];
    snprintf(p, sizeof p, "/sys/kernel/debug/hwpoison/%s", name);
    FILE *f = fopen(p, "r");
    long v = 0;
    if (f) {
        if (fscanf(f, "%li", &v) != 1)
            v = 0;
        fclose(f);
    }
    return v;
}

long pool(const char *name) {
    char p[128];
    snprintf(p, sizeof p, "/sys/kernel/mm/hugepages/hugepages-%lukB/%s", huge_pages * 4, name);
    return rdlong(p);
}

void factj(FILE *o, u64 flags, int pins, const char *mapping, long owner, int filling) {
    if (debugfs("corrupt-filter-enable") > 0)
        fprintf(o, "\"filter\":{\"mask\":\"%#lx\",\"value\":\"%#lx\"},", debugfs("corrupt-filter-flags-mask"),
                debugfs("corrupt-filter-flags-value"));
    if (flags & B(17))
        fprintf(o, "\"hugetlb\":{\"pages\":%lu,\"free\":%ld,\"reserved\":%ld,\"filling\":%s},", huge_pages,
                pool("free_hugepages"), pool("resv_hugepages"), filling ? "true" : "false");
    if (pins)
        fprintf(o, "\"pins\":%d,", pins);
    if (mapping)
        fprintf(o, "\"mapping\":\"%s\",", mapping);
    if (owner != 1)
        fprintf(o, "\"owner_ret\":%ld,", owner);
}
