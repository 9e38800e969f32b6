# S9: machine checks, raised by the emulator: what tasks get that consumed the error, what others get, and that
# unpoison refuses to work afterwards
need hwpoison_inject libcrc32c crc32c_generic ext4
mount -t ext4 /dev/vdb /mnt/disk || note "ext4 data disk not mounted"

v() { lab victim "$@"; }
f() { echo /mnt/disk/f%; }
before() { for i in mhard hard; do v kind=anon inj=$i unpoison=1; done; v kind=file-clean inj=hard unpoison=1 path="$(f)"; }
optional() { for e in 0 1 2; do for k in anon shmem; do v kind=$k inj=mce-ao early=$e; done
    v kind=file-clean inj=mce-ao early=$e path="$(f)"; v kind=file-dirty inj=mce-ao early=$e path="$(f)"; done
    v kind=anon inj=mce-ao early=1 handler=0; v kind=shmem inj=mce-ao early=3 share=3; v kind=anon-thp inj=mce-ao early=1; }
# The processor that consumes must be in the task's own code at that moment: an error that hits the kernel is a panic.
required() { v kind=anon inj=mce-ar early=0; v kind=shmem inj=mce-ar early=1; v kind=anon inj=mce-ar early=2 handler=0; }
after() { for i in mhard hard; do v kind=anon inj=$i unpoison=1; done; v kind=shmem inj=hard unpoison=1; for p in $(lab find buddy 2 5); do lab poison hard $p buddy; lab poison unpoison $p buddy; done; }
qstep before before
vmstate before-machine-checks
qstep optional optional
vmstate after-optional
qstep after-first after
qstep required required
vmstate end-of-scenario
