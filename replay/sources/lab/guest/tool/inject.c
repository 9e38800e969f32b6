// Errors in pages: through sysfs, debugfs, or as a machine check of the emulated processor.
#include "lab.h"

static void poisoned(u64 pfn) {
    for (int i = 0, ok; i < 300 && !(kpf(pfn, &ok) & B(19)); i++)
        usleep(10000);
    usleep(50000);
}

// A memory error as the hardware reports it, raised by the emulator on cpu 1: action required (a load of this very
// task) or action optional (found by a scrubber). The handler runs later, so wait for its mark on the page.
static int machine_check(int required, u64 pfn) {
    char l[160], b[4096];
    snprintf(l, sizeof l, "%s mce -b 1 9 %s %#lx 0x8c", required ? "user 1" : "hmp",
             required ? "0xbd80000000000134 0x7" : "0xbd000000000000c0 0x5", pfn * PG);
    int r = ctl_line(l, b, sizeof b) ? -EIO : 0;
    printf("%s -> %s\n", l, b);
    poisoned(pfn);
    return r;
}

int inject(const char *m, u64 pfn) {
    char s[64], l[64];
    snprintf(s, sizeof s, "%#lx\n", pfn * PG);
    snprintf(l, sizeof l, "%#lx\n", pfn);
    if (!strcmp(m, "hard"))
        return wrstr("/sys/devices/system/memory/hard_offline_page", s);
    if (!strcmp(m, "soft"))
        return wrstr("/sys/devices/system/memory/soft_offline_page", s);
    if (!strcmp(m, "corrupt"))
        return wrstr("/sys/kernel/debug/hwpoison/corrupt-pfn", l);
    if (!strcmp(m, "unpoison"))
        return wrstr("/sys/kernel/debug/hwpoison/unpoison-pfn", l);
    if (!strncmp(m, "mce", 3))
        return machine_check(!strcmp(m, "mce-ar"), pfn);
    return -EINVAL;
}

const char *ifn(const char *m) {
    if (!strcmp(m, "hard"))
        return "/sys/devices/system/memory/hard_offline_page";
    if (!strcmp(m, "soft"))
        return "/sys/devices/system/memory/soft_offline_page";
    if (!strcmp(m, "corrupt"))
        return "debugfs hwpoison/corrupt-pfn";
    if (!strcmp(m, "unpoison"))
        return "debugfs hwpoison/unpoison-pfn";
    if (!strcmp(m, "mhard"))
        return "madvise MADV_HWPOISON";
    if (!strcmp(m, "msoft"))
        return "madvise MADV_SOFT_OFFLINE";
    if (!strncmp(m, "mce", 3))
        return "machine check";
    return "none";
}

static int is_inj(const char *m) {
    return !strcmp(m, "hard") || !strcmp(m, "corrupt");
}

int raw_poison(const char *m, u64 pfn, const char *label) {
    int okf;
    u64 fl = kpf(pfn, &okf);
    char *own = strstr(label, "owner=");
    int id = next_id();
    FILE *o = fopen(victims(), "a");
    char *buf;
    size_t bl;
    FILE *b = open_memstream(&buf, &bl);
    fprintf(b, "{\"id\":%d,\"action\":\"raw\",\"t\":%.6f,\"kind\":\"%s\",\"pfn\":\"%#lx\",", id, now(), label, pfn);
    kpj(b, "before", pfn);
    factj(b, fl, 0, 0, own ? atol(own + 6) : 1, !!strstr(label, "filling"));
    fprintf(b, "\"inject\":\"%s\",\"inject_value\":\"%#lx\",\"early_kill_sysctl\":%ld,\"hwcorrupted_kb_before\":%ld,",
            ifn(m), (!strcmp(m, "hard") || !strcmp(m, "soft")) ? pfn * PG : pfn,
            rdlong("/proc/sys/vm/memory_failure_early_kill"), meminfo("HardwareCorrupted"));
    mark("VICTIM id=%d begin raw kind=%s pfn=%#lx inject=%s", id, label, pfn, ifn(m));
    int r = inject(m, pfn);
    mark("VICTIM id=%d end ret=%d", id, r);
    kpj(b, "after", pfn);
    fprintf(b, "\"inject_ret\":%d,\"inject_errno\":%d,\"hwcorrupted_kb_after\":%ld}\n", r < 0 ? -1 : 0, r < 0 ? -r : 0,
            meminfo("HardwareCorrupted"));
    fclose(b);
    fwrite(buf, 1, bl, o);
    fclose(o);
    free(buf);
    return r;
}

// poisonlist < "METHOD PFN LABEL" lines. Hard/corrupt injections into pages that the lab's own processes use right now
// (LRU, mapped or anonymous) are not made: they would kill the harness, and are recorded as skipped.
int cmd_poisonlist(int c, char **v) {
    char l[512], m[32], p[64], lab[256];
    while (fgets(l, sizeof l, stdin)) {
        if (sscanf(l, "%31s %63s %255[^\n]", m, p, lab) != 3)
            continue;
        u64 pfn = strtoull(p, 0, 0);
        int ok;
        u64 f = kpf(pfn, &ok);
        if (ok == 1 && (is_inj(m)) && (f & (B(5) | B(11) | B(12))) && !(f & B(19)) && !strstr(lab, "inuse-ok")) {
            FILE *o = fopen(victims(), "a");
            fprintf(o,
                    "{\"id\":%d,\"action\":\"raw\",\"t\":%.6f,\"kind\":\"%s\",\"pfn\":\"%#lx\",\"kpageflags_before\":"
                    "\"%#lx\",\"skipped\":\"page in use by the harness\"}\n",
                    next_id(), now(), lab, pfn, f);
            fclose(o);
            printf("skip %s %#lx %s flags %#lx\n", m, pfn, lab, f);
            continue;
        }
        int r = raw_poison(m, pfn, lab);
        printf("poison %s %#lx %s -> %d (%s)\n", m, pfn, lab, r, r < 0 ? strerror(-r) : "ok");
    }
    return 0;
}

// poison METHOD PFN LABEL
int cmd_poison(int c, char **v) {
    int r = raw_poison(v[1], strtoull(v[2], 0, 0), v[3]);
    printf("poison %s %s %s -> %d (%s)\n", v[1], v[2], v[3], r, r < 0 ? strerror(-r) : "ok");
    return 0;
}
