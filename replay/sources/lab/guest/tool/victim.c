// Processes that map a page, and what they see when it goes bad.
#include "lab.h"

struct ctl *ct;
volatile char sink;
static int me;
static sigjmp_buf jb;
static volatile int injmp;
static void onbus(int s, siginfo_t *si, void *u) {
    struct sharer *h = &ct->sh[me];
    int i = h->nev;
    if (i < 8) {
        h->ev[i].phase = ct->phase;
        h->ev[i].code = si->si_code;
        h->ev[i].addr = (u64)si->si_addr;
        h->ev[i].lsb = si->si_addr_lsb;
        h->nev = i + 1;
    }
    if (injmp && (si->si_code == 4 || si->si_code == 2))
        siglongjmp(jb, 1);
}

static void sharer_main(int idx, struct vopt *o, char *t) {
    me = idx;
    ct->sh[idx].pid = getpid();
    char nm[16];
    snprintf(nm, 16, "v%d-%s", idx, o->kind);
    prctl(PR_SET_NAME, nm);
    int pol = o->early; // 0 late 1 early 2 default 3 alternate
    if (pol == 3)
        pol = idx & 1;
    if (pol != 2)
        prctl(PR_MCE_KILL, PR_MCE_KILL_SET, pol ? PR_MCE_KILL_EARLY : PR_MCE_KILL_LATE, 0, 0);
    if (o->handler) {
        struct sigaction sa = {0};
        sa.sa_sigaction = onbus;
        sa.sa_flags = SA_SIGINFO | SA_NODEFER;
        sigaction(SIGBUS, &sa, 0);
    }
    if (pre(o->inj, "mce")) {
        unsigned long one = 2;
        syscall(SYS_sched_setaffinity, 0, sizeof one, &one);
    }
    if (idx && !strstr(o->kind, "unmapped")) {
        if (o->rdonly)
            sink = *t;
        else
            sink = *t;
        if (strstr(o->kind, "mlock"))
            mlock((void *)((u64)t & ~(PG - 1)), PG);
    }
    __sync_fetch_and_add(&ct->ready, 1);
    int seen = 0;
    for (;;) {
        int c = ct->cmd;
        if (c == seen) {
            usleep(500);
            continue;
        }
        seen = c;
        if (c == 1 && idx == 0) {
            errno = 0;
            int adv = is(o->inj, "mhard") ? MADV_HWPOISON : MADV_SOFT_OFFLINE;
            ct->ret = madvise((void *)((u64)t & ~(PG - 1)), PG, adv);
            ct->err = ct->ret ? errno : 0;
            ct->done = 1;
        } else if (c == 2) {
            injmp = 1;
            if (!sigsetjmp(jb, 1)) {
                sink = *(volatile char *)t;
                ct->sh[idx].touched = 1;
            } else
                ct->sh[idx].touched = 2;
            injmp = 0;
        } else if (c == 4) { // consume the page over and over, until a signal says that it is bad
            injmp = 1;
            if (!sigsetjmp(jb, 1))
                while (ct->cmd == 4)
                    for (int i = 0; i < 1000000; i++)
                        sink = *(volatile char *)t;
            injmp = 0;
            ct->done = 1;
            seen = 4;
        } else if (c == 3)
            _exit(0);
    }
}

static int is_madvise(const char *m) {
    return is(m, "mhard") || is(m, "msoft");
}

// One victim: its processes and what is known about its page.
struct run {
    struct vopt *o;
    int id, processes, pid, state[MAXSH], dead[MAXSH], died[MAXSH];
    u64 va, entry, pfn;
    FILE *line; // of victims.jsonl
};

static void start(struct run *r) {
    fflush(stdout);
    r->pid = fork();
    if (r->pid)
        return;
    char *t = setup(r->o);
    if (ct->fail)
        _exit(99);
    for (int i = 1; i < r->processes; i++)
        if (syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0)
            sharer_main(i, r->o, t);
    sharer_main(0, r->o, t);
}

static int is_ready(struct run *r) {
    for (int i = 0; i < 40000 && ct->ready < r->processes && !ct->fail; i++) {
        int status;
        usleep(1000);
        if (ct->ready < r->processes && waitpid(-1, &status, WNOHANG) > 0 && !ct->fail) {
            snprintf((char *)ct->why, 128, "a process exited during setup, wait status %#x", status);
            ct->fail = 1;
        }
    }
    return !ct->fail && ct->ready >= r->processes;
}

static void skip(struct run *r) {
    fprintf(r->line, "\"skipped\":\"%s\"}\n", ct->fail ? (char *)ct->why : "timeout in setup");
    for (int i = 0; i < r->processes; i++)
        if (ct->sh[i].pid)
            kill(ct->sh[i].pid, SIGKILL);
    kill(r->pid, SIGKILL);
    while (waitpid(-1, 0, 0) > 0)
        ;
    printf("victim %s SKIP %s\n", r->o->kind, (char *)ct->why);
}

static void reap(struct run *r) {
    for (int i = 0; i < r->processes; i++)
        if (!r->dead[i] && waitpid(ct->sh[i].pid, &r->state[i], WNOHANG) == ct->sh[i].pid)
            r->dead[i] = 1;
}

// Tell all processes to exit, and wait for that; those that do not are killed.
static void stop(struct run *r) {
    ct->cmd = 3;
    for (int k = 0; k < 3000; k++) {
        int left = 0;
        reap(r);
        for (int i = 0; i < r->processes; i++)
            left |= !r->dead[i];
        if (!left)
            return;
        usleep(1000);
    }
    for (int i = 0; i < r->processes; i++)
        if (!r->dead[i]) {
            kill(ct->sh[i].pid, SIGKILL);
            waitpid(ct->sh[i].pid, &r->state[i], 0);
            r->dead[i] = 1;
        }
}

static void comm_of(int pid, char *name, int size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    FILE *f = fopen(path, "r");
    if (f && fgets(name, size, f))
        name[strcspn(name, "\n")] = 0;
    if (f)
        fclose(f);
}

static void describe(struct run *r, const char *comm, long corrupted) {
    static const char *policies[] = {"late", "early", "default", "even=late,odd=early"};
    struct vopt *o = r->o;
    int ok;
    u64 flags = kpf(r->pfn, &ok);
    const char *mapping = strstr(o->kind, "truncated") ? "none" : pre(o->kind, "bdev") ? "block-device" : 0;
    fprintf(r->line, "\"bind_node\":%d,\"pid\":%d,\"comm\":\"%s\",\"vaddr\":\"%#lx\",\"length\":%lu,\"sub\":%ld,",
            o->node, r->pid, comm, r->va, (u64)ct->len, o->sub);
    fprintf(r->line, "\"file_offset\":%ld,\"path\":\"%s\",\"pagemap\":\"%#lx\",\"pfn\":\"%#lx\",", o->off,
            o->path ? o->path : "", r->entry, r->pfn);
    fprintf(r->line, "\"freed_before_inject\":%s,\"early_kill_prctl\":\"%s\",\"early_kill_sysctl\":%ld,",
            o->free_first ? "true" : "false", policies[o->early & 3], rdlong("/proc/sys/vm/memory_failure_early_kill"));
    fprintf(r->line, "\"sigbus_handler\":%s,\"processes\":%d,", o->handler ? "true" : "false", r->processes);
    kpj(r->line, "before", r->pfn);
    factj(r->line, ok == 1 ? flags : 0, ct->pins, mapping, o->owner, !!strstr(o->kind, "filling"));
    u64 given = is_madvise(o->inj) ? r->va & ~(PG - 1) : is(o->inj, "corrupt") ? r->pfn : r->pfn * PG;
    fprintf(r->line, "\"inject\":\"%s\",\"inject_value\":\"%#lx\",\"hwcorrupted_kb_before\":%ld,", ifn(o->inj), given,
            corrupted);
}

// Make the error; returns 0, -errno, or 1 when the process died inside of its own madvise.
static int hit(struct run *r) {
    const char *how = r->o->inj;
    int result = 0;
    ct->phase = 1;
    if (is_madvise(how)) {
        ct->cmd = 1;
        for (int i = 0; i < 8000 && !ct->done && !r->dead[0]; i++) {
            usleep(1000);
            r->dead[0] = waitpid(r->pid, &r->state[0], WNOHANG) == r->pid;
        }
        result = !ct->done ? 1 : ct->ret ? -ct->err : 0;
    } else {
        int consumes = is(how, "mce-ar");
        if (consumes) {
            ct->cmd = 4;
            usleep(200000);
        }
        result = inject(how, r->pfn);
        if (consumes) {
            ct->cmd = 5;
            usleep(50000);
        }
    }
    usleep(30000);
    reap(r);
    memcpy(r->died, r->dead, sizeof r->died);
    return result;
}

static u64 entry_now(struct run *r) {
    return r->dead[0] ? 0UL : pagemap_of(r->pid, r->va);
}

static void hit_again(struct run *r) {
    const char *how = r->o->again == 2 ? "soft" : "hard";
    mark("VICTIM id=%d again begin", r->id);
    int ret = inject(how, r->pfn);
    mark("VICTIM id=%d again end ret=%d", r->id, ret);
    fprintf(r->line, "\"again_inject\":\"%s\",\"again_ret\":%d,\"again_errno\":%d,", ifn(how), ret < 0 ? -1 : 0,
            ret < 0 ? -ret : 0);
}

static void touch(struct run *r) {
    ct->phase = 2;
    mark("VICTIM id=%d touch", r->id);
    ct->cmd = 2;
    for (int k = 0, all = 0; k < 1500 && !all; k++) {
        usleep(1000);
        reap(r);
        all = 1;
        for (int i = 0; i < r->processes; i++)
            all &= r->dead[i] || ct->sh[i].touched;
    }
    usleep(5000);
    kpj(r->line, "after_touch", r->pfn);
    fprintf(r->line, "\"pagemap_after_touch\":\"%#lx\",", entry_now(r));
}

static void report_processes(struct run *r) {
    static const char *phases[] = {"setup", "inject", "touch"}, *touches[] = {"none", "ok", "sigbus"};
    fprintf(r->line, "\"sharers\":[");
    for (int i = 0; i < r->processes; i++) {
        struct sharer *h = &ct->sh[i];
        int status = r->state[i], killed = WIFSIGNALED(status);
        fprintf(r->line, "%s{\"pid\":%d,\"sigbus\":[", i ? "," : "", h->pid);
        for (int k = 0; k < h->nev; k++)
            fprintf(r->line, "%s{\"phase\":\"%s\",\"si_code\":%d,\"si_addr\":\"%#lx\",\"si_addr_lsb\":%d}",
                    k ? "," : "", phases[h->ev[k].phase], h->ev[k].code, h->ev[k].addr, h->ev[k].lsb);
        fprintf(r->line, "],\"touch\":\"%s\",\"died_during_inject\":%s,\"exit\":\"%s\",\"exit_value\":%d}",
                touches[h->touched], r->died[i] && !r->o->free_first ? "true" : "false", killed ? "signal" : "code",
                killed ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    fprintf(r->line, "],");
}

static void unpoison(struct run *r) {
    long before = meminfo("HardwareCorrupted");
    mark("VICTIM id=%d unpoison begin pfn=%#lx", r->id, r->pfn);
    int ret = inject("unpoison", r->pfn);
    mark("VICTIM id=%d unpoison end ret=%d", r->id, ret);
    fprintf(r->line, "\"unpoison_ret\":%d,\"unpoison_errno\":%d,\"hwcorrupted_kb_before_unpoison\":%ld,",
            ret < 0 ? -1 : 0, ret < 0 ? -ret : 0, before);
    kpj(r->line, "after_unpoison", r->pfn);
}

static void life(struct run *r, long corrupted) {
    struct vopt *o = r->o;
    char comm[32] = "";
    r->va = ct->vaddr;
    r->entry = ct->pagemap ? ct->pagemap : pagemap_of(r->pid, r->va);
    r->pfn = r->entry >> 63 ? r->entry & ((1UL << 55) - 1) : ct->pfn;
    comm_of(r->pid, comm, sizeof comm);
    if (o->free_first) {
        stop(r);
        usleep(20000);
    }
    describe(r, comm, corrupted);
    mark("VICTIM id=%d begin kind=%s pid=%d pfn=%#lx inject=%s", r->id, o->kind, r->pid, r->pfn, ifn(o->inj));
    int result = hit(r), ret = result > 0 ? -2 : result < 0 ? -1 : 0, error = result < 0 ? -result : 0;
    mark("VICTIM id=%d injected ret=%d errno=%d", r->id, ret, error);
    fprintf(r->line, "\"inject_ret\":%d,\"inject_errno\":%d,", ret, error);
    kpj(r->line, "after", r->pfn);
    fprintf(r->line, "\"pagemap_after\":\"%#lx\",", entry_now(r));
    if (o->second != NONE) {
        char label[80];
        snprintf(label, sizeof label, "%s:second%+ld", o->kind, o->second);
        raw_poison("hard", r->pfn + o->second, label);
    }
    if (o->again)
        hit_again(r);
    if (o->touch && !o->free_first && !strstr(o->kind, "unmapped"))
        touch(r);
    if (!o->free_first)
        stop(r);
    report_processes(r);
    kpj(r->line, "after_exit", r->pfn);
    if (o->unpoison)
        unpoison(r);
    mark("VICTIM id=%d end", r->id);
    fprintf(r->line, "\"hwcorrupted_kb_after\":%ld}\n", meminfo("HardwareCorrupted"));
    printf("victim %d %s %s pfn=%#lx ret=%d errno=%d\n", r->id, o->kind, o->inj, r->pfn, ret, error);
}

static void run_victim(struct vopt *o) {
    static char path[256];
    char *text, *percent = o->path ? strchr(o->path, '%') : 0;
    size_t size;
    struct run r = {.o = o, .id = next_id(), .processes = o->share < 1 ? 1 : o->share > MAXSH ? MAXSH : o->share};
    if (percent) { // every victim gets a file of its own
        snprintf(path, sizeof path, "%.*s%d", (int)(percent - o->path), o->path, r.id);
        o->path = path;
    }
    ct = mmap(0, sizeof *ct, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset((void *)ct, 0, sizeof *ct);
    r.line = open_memstream(&text, &size);
    huge_pages = pre(o->kind, "hugetlb1g") ? 1UL << 18 : 512;
    fprintf(r.line, "{\"id\":%d,\"action\":\"victim\",\"t\":%.6f,\"kind\":\"%s\",", r.id, now(), o->kind);
    long corrupted = meminfo("HardwareCorrupted");
    start(&r);
    if (is_ready(&r))
        life(&r, corrupted);
    else
        skip(&r);
    fclose(r.line);
    FILE *out = fopen(victims(), "a");
    fwrite(text, 1, size, out);
    fclose(out);
    fflush(stdout);
}

static void vparse(struct vopt *o, int c, char **v) {
    *o = (struct vopt){.kind = "anon",
                       .inj = "mhard",
                       .early = 2,
                       .share = 1,
                       .handler = 1,
                       .touch = 1,
                       .sub = 5,
                       .node = -1,
                       .owner = 1,
                       .second = NONE};
    struct {
        const char *name;
        int *number;
        long *offset;
        const char **text;
    } options[] = {
        {"kind", .text = &o->kind},
        {"inj", .text = &o->inj},
        {"path", .text = &o->path},
        {"early", &o->early},
        {"share", &o->share},
        {"handler", &o->handler},
        {"touch", &o->touch},
        {"free", &o->free_first},
        {"unpoison", &o->unpoison},
        {"ro", &o->rdonly},
        {"again", &o->again},
        {"pin", &o->pin},
        {"node", &o->node},
        {"sub", .offset = &o->sub},
        {"off", .offset = &o->off},
        {"second", .offset = &o->second},
        {"owner", .offset = &o->owner},
    };
    for (int i = 1; i < c; i++) {
        unsigned k = 0, n = sizeof options / sizeof *options;
        size_t length = strcspn(v[i], "=");
        while (k < n && (strlen(options[k].name) != length || strncmp(v[i], options[k].name, length)))
            k++;
        if (k == n || !v[i][length])
            die("bad option %s", v[i]);
        char *given = v[i] + length + 1;
        if (options[k].text)
            *options[k].text = given;
        else if (options[k].offset)
            *options[k].offset = strtol(given, 0, 0);
        else
            *options[k].number = atoi(given);
    }
}

int cmd_victim(int c, char **v) {
    struct vopt o;
    vparse(&o, c, v);
    run_victim(&o);
    return 0;
}
