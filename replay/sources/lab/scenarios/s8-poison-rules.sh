# S8: decisions that ordinary pages do not lead to: the filter, hugetlb pages that are partly poisoned, pinned, promised
# or of 1 GiB, truncated and block-device pages, pinned swap cache, kernel pages in a process, failing unmaps.
need hwpoison_inject libcrc32c crc32c_generic ext4
more() { echo $(($(cat /proc/sys/vm/nr_hugepages) + ${1:-12})) >/proc/sys/vm/nr_hugepages; } # poisoned ones stay in the pool
more
mount -t ext4 /dev/vdb /mnt/disk || note "ext4 data disk not mounted"
v() { lab victim "$@"; }
f() { echo /mnt/disk/f%; }
hugetlb() { # a second error in a hugetlb page, at another subpage and at the same one
    for k in hugetlb-shared hugetlb-anon; do for i in mhard hard; do
        v kind=$k inj=$i sub=300 second=-200
        v kind=$k inj=$i sub=300 second=0
        v kind=$k inj=$i sub=0 second=7 early=1
    done; done
    more
    v kind=hugetlb-unmapped sub=3 inj=hard second=0
    v kind=hugetlb-unmapped sub=3 inj=hard second=2
    v kind=hugetlb-unmapped sub=0 inj=hard second=0
    more
}
pinned() {
    for i in mhard hard; do for k in hugetlb-anon hugetlb-shared; do v kind=$k pin=1 sub=0 inj=$i early=1; v kind=$k pin=1 sub=9 inj=$i; done; done
    for i in msoft soft; do for k in hugetlb-anon hugetlb-shared; do v kind=$k pin=1 sub=0 inj=$i; done; done
    more
    for i in mhard hard; do
        for k in file-clean file-dirty; do v kind=$k pin=1 inj=$i path="$(f)"; v kind=$k pin=1 inj=$i early=1 path="$(f)"; done
        v kind=shmem pin=1 inj=$i early=1; v kind=anon pin=1 inj=$i early=1; v kind=anon-thp pin=1 inj=$i early=1; done
    for i in msoft soft; do for k in file-clean shmem anon; do v kind=$k pin=1 inj=$i path="$(f)"; done; done
}
promised() { more; # free pages of a pool that is promised in full cannot be dissolved
    for s in 0 5; do for i in hard soft; do v kind=hugetlb-unmapped-reserved sub=$s inj=$i; done; done
    for i in mhard msoft hard; do v kind=hugetlb-anon sub=0 inj=$i; done
    more
}
truncated() { for k in file-clean file-dirty; do for e in 0 1; do
    v kind=$k-unmapped-truncated pin=1 inj=hard early=$e path="$(f)"
    v kind=$k-unmapped-truncated pin=1 inj=corrupt early=$e path="$(f)"; done; v kind=$k-unmapped-truncated pin=1 inj=soft path="$(f)"; done; }
writeback() { # with the target as the last of sixteen writes, of which the disk makes eight in a second
    hmp block_set_io_throttle virtio1 0 0 0 8 0 0
    for i in mhard hard; do for e in 0 1; do v kind=file-writeback inj=$i early=$e sub=15 path="$(f)"; done; done
    v kind=file-writeback inj=soft sub=15 path="$(f)"
    hmp block_set_io_throttle virtio1 0 0 0 0 0 0
}
blockdev() {
    O=0
    for i in mhard hard; do for e in 0 1; do for k in bdev-clean bdev-dirty; do v kind=$k inj=$i early=$e path=/dev/vdc off=$O; O=$((O + 65536)); done; done; done
    for i in hard corrupt soft; do v kind=bdev-clean-unmapped inj=$i path=/dev/vdc off=$O; O=$((O + 65536)); v kind=bdev-dirty-unmapped inj=$i path=/dev/vdc off=$O; O=$((O + 65536)); done
    for i in msoft soft; do for k in bdev-clean bdev-dirty; do v kind=$k inj=$i path=/dev/vdc off=$O; O=$((O + 65536)); done; done
}
kernelmapped() { for i in mhard hard msoft soft; do v kind=perf inj=$i; v kind=perf inj=$i early=1; done; }
filtered() { # MASK VALUE : pages whose kpageflags differ are left alone
    echo $1 >$H/corrupt-filter-flags-mask; echo $2 >$H/corrupt-filter-flags-value; echo 1 >$H/corrupt-filter-enable; more
    for i in mhard hard; do for k in anon anon-thp shmem hugetlb-anon hugetlb-shared hugetlb-unmapped; do v kind=$k inj=$i early=1 sub=0; done
        for k in file-clean file-dirty; do v kind=$k inj=$i early=1 path="$(f)"; done; done
    for p in $(lab find buddy 3 5); do lab poison hard $p buddy; done
    for p in $(lab find buddy 2 6); do lab poison soft $p buddy; done
    for i in msoft soft; do for k in anon file-clean shmem hugetlb-anon anon-thp; do v kind=$k inj=$i path="$(f)"; done; done
    for k in slab pgtable; do for p in $(lab find $k 2 8); do for i in soft hard soft; do lab poison $i $p $k; done; done; done
    echo 0 >$H/corrupt-filter-enable; more; }
busy() { more; for i in hard mhard hard; do v kind=hugetlb-busy inj=$i early=1 sub=5; done
    v kind=hugetlb-busy inj=hard early=0 sub=5; for i in hard mhard; do v kind=hugetlb-busy inj=$i early=1 handler=0 sub=0; done; more; }
filling() { more; # a page on its way from the pool into a process: nobody may have it
    for s in 0 77; do for i in hard corrupt; do v kind=hugetlb-filling-unmapped sub=$s inj=$i; done; done
    v kind=hugetlb-filling-unmapped sub=5 inj=hard second=0
    v kind=hugetlb-filling-unmapped sub=0 inj=hard second=3 unpoison=1
    for s in 0 5; do v kind=hugetlb-filling-unmapped sub=$s inj=soft; done
    more
}
gigantic() {
    for i in msoft soft; do v kind=hugetlb1g-anon inj=$i sub=0; done
    v kind=hugetlb1g-shared inj=mhard early=1 sub=100000
}
qstep hugetlb hugetlb
vmstate after-hugetlb
qstep pinned pinned
vmstate after-pinned
qstep truncated truncated
qstep writeback writeback
qstep blockdev blockdev
vmstate after-blockdev
qstep kernelmapped kernelmapped
if [ -d $H ]; then
    qstep filter-anon-only filtered 0x1000 0x1000
    vmstate after-filter
    qstep filter-not-anon filtered 0x1000 0
fi
mkswap /dev/vdc >/dev/null && swapon /dev/vdc || note "no swap"
swapcache() { for i in mhard hard; do for k in anon-swapcache anon-swapcache-dirty; do for e in 0 1; do v kind=$k pin=1 inj=$i early=$e; done; v kind=$k inj=$i; done; done
    for i in msoft soft; do v kind=anon-swapcache pin=1 inj=$i; done
    for i in mhard hard; do for e in 0 1; do v kind=anon-swapcache-dirty pin=2 inj=$i early=$e; v kind=anon-swapcache-dirty pin=2 inj=$i early=$e handler=0; done; done; }
foreign() { modprobe vgem && for i in mhard hard corrupt; do v kind=shmem-vgem path=/dev/dri/card0 inj=$i early=0; done; }
qstep swapcache swapcache
case $KERNEL in 5.10*) qstep foreign foreign ;; esac # later kernels do not count that as a mapping
qstep promised promised
vmstate after-promised
qstep filling filling
vmstate after-filling
[ -d /sys/kernel/mm/hugepages/hugepages-1048576kB ] && qstep gigantic gigantic
qstep busy-mapping-lock busy
vmstate end-of-scenario
