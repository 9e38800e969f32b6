// lab: the guest-side tool of the lab (static, no dependencies). It writes into the folder of the recorder.
#include "lab.h"

static int cmd_ctl(int c, char **v) {
    char b[4096];
    int r = ctl_line(v[1], b, sizeof b);
    printf("%s\n", b);
    return r;
}

int main(int c, char **v) {
    if (c < 2)
        die("usage: lab CMD");
    char *n = v[1];
    c--;
    v++;
    if (is(n, "walk"))
        return cmd_walk(c, v);
    if (is(n, "ranges"))
        return cmd_ranges(c, v);
    if (is(n, "find"))
        return cmd_find(c, v);
    if (is(n, "poisonlist"))
        return cmd_poisonlist(c, v);
    if (is(n, "poison"))
        return cmd_poison(c, v);
    if (is(n, "victim"))
        return cmd_victim(c, v);
    if (is(n, "ctl"))
        return cmd_ctl(c, v);
    if (is(n, "mark")) {
        mark("%s", v[1]);
        return 0;
    }
    die("unknown %s", n);
    return 1;
}
