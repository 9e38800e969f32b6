// What every part of the tool uses: files, time, marks, page table entries.
#include "lab.h"

void die(const char *f, ...) {
    va_list a;
    va_start(a, f);
    vfprintf(stderr, f, a);
    va_end(a);
    fputc('\n', stderr);
    exit(1);
}

const char *out_dir(void) {
    const char *d = getenv("REPLAY_CAPTURE_DIR");
    return d ? d : "/tmp";
}

const char *victims(void) {
    static char p[300];
    snprintf(p, sizeof p, "%s/victims.jsonl", out_dir());
    return p;
}

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int is(const char *k, const char *p) {
    return !strcmp(k, p);
}

int pre(const char *k, const char *p) {
    return !strncmp(k, p, strlen(p));
}

static int kpf_fd = -1, kpc_fd = -1;
static u64 rd1(int *fd, const char *path, u64 pfn, int *ok) {
    u64 v = 0;
    if (*fd < 0)
        *fd = open(path, O_RDONLY);
    ssize_t r = pread(*fd, &v, 8, pfn * 8);
    if (ok)
        *ok = (r == 8) ? 1 : (r == 0 ? 0 : -errno);
    return r == 8 ? v : 0;
}

u64 kpf(u64 pfn, int *ok) {
    return rd1(&kpf_fd, "/proc/kpageflags", pfn, ok);
}

u64 kpc(u64 pfn, int *ok) {
    return rd1(&kpc_fd, "/proc/kpagecount", pfn, ok);
}

void mark(const char *f, ...) {
    static int fd = -1;
    char b[512];
    va_list a;
    if (fd < 0) {
        const char *m = getenv("REPLAY_CAPTURE_MARKER");
        fd = m ? open(m, O_WRONLY | O_CLOEXEC) : -1;
    }
    va_start(a, f);
    int n = vsnprintf(b, sizeof b - 1, f, a);
    va_end(a);
    b[n++] = '\n';
    if (fd >= 0)
        if (write(fd, b, n) < 0) {
        }
}

long meminfo(const char *key) {
    FILE *f = fopen("/proc/meminfo", "r");
    char l[256];
    long v = -1;
    size_t k = strlen(key);
    while (f && fgets(l, sizeof l, f))
        if (!strncmp(l, key, k) && l[k] == ':')
            v = atol(l + k + 1);
    if (f)
        fclose(f);
    return v;
}

long rdlong(const char *p) {
    FILE *f = fopen(p, "r");
    long v = -1;
    if (f) {
        if (fscanf(f, "%ld", &v) != 1)
            v = -1;
        fclose(f);
    }
    return v;
}

int wrstr(const char *p, const char *s) {
    int fd = open(p, O_WRONLY);
    if (fd < 0)
        return -errno;
    int r = write(fd, s, strlen(s)) < 0 ? -errno : 0;
    close(fd);
    return r;
}

u64 pagemap_of(int pid, u64 va) {
    char p[64];
    snprintf(p, sizeof p, "/proc/%d/pagemap", pid);
    int fd = open(p, O_RDONLY);
    u64 v = 0;
    if (fd >= 0) {
        if (pread(fd, &v, 8, va / PG * 8) != 8)
            v = 0;
        close(fd);
    }
    return v;
}

char *align_map(size_t len, int flags, int fd, int prot) {
    char *r = mmap(0, len + HPG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *a = (char *)(((u64)r + HPG - 1) & ~(HPG - 1));
    return mmap(a, len, prot, flags | MAP_FIXED, fd, 0);
}

int next_id(void) {
    int fd = open("/tmp/victim.seq", O_RDWR | O_CREAT, 0644), id = 0;
    char b[32] = "";
    if (read(fd, b, 31) > 0)
        id = atoi(b);
    id++;
    lseek(fd, 0, 0);
    dprintf(fd, "%d\n", id);
    close(fd);
    return id;
}

// ctl "line": send one line to the host over ttyS1, wait for the one-line reply
int ctl_line(const char *line, char *b, int size) {
    int fd = open("/dev/ttyS1", O_RDWR | O_NOCTTY), n = 0;
    if (fd < 0)
        return 1;
    if (system("stty -F /dev/ttyS1 raw -echo 115200 2>/dev/null")) {
    }
    dprintf(fd, "%s\n", line);
    while (n < size - 1 && read(fd, b + n, 1) == 1) {
        if (b[n] == '\n')
            break;
        n++;
    }
    b[n] = 0;
    close(fd);
    return strncmp(b, "OK", 2) != 0;
}
