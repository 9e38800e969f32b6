#!/bin/sh
# Record what the kernel does with page frames: pfn walks, memory hotplug, memory poison.
#
# Needs nothing but a POSIX shell and the usual small tools (busybox is enough), so it can be copied to a production
# host or into an initramfs. It writes a recording folder (or a tar stream) that `replay import recording` takes.
#
# The tracing of anyone else is left alone: the events go to a trace instance of its own, the probes are in a group of
# its own, and all of it is taken back at the end: at exit, on Ctrl-C, on a signal, when the parent process is gone,
# and (by a guard process) even when this script is killed.
set -u
umask 077
LC_ALL=C
export LC_ALL
PROGRAM=${0##*/}
MEMORY=/sys/devices/system/memory

usage() {
    cat <<'END'
usage: capture.sh [-o DIR|-] [-d SECONDS] [-n NAME] [-b KB] [-w] [-k] [-a] [-s] [-P] [-- COMMAND [ARG...]]
       capture.sh check
       capture.sh mark TEXT | state TAG | step-begin NAME | step-end STATUS [-q] [WHAT...]   (inside of COMMAND)

Records until COMMAND ends, SECONDS have passed, or a signal (Ctrl-C) comes.

  -o DIR   folder to write; it must not exist or be empty. -o - writes a tar stream to standard output.
           Default: recording-HOST-DATE
  -d N     stop after N seconds
  -n NAME  name of what is recorded (scenario in meta.json)
  -b KB    ring buffer per cpu; default: 256 MiB over all cpus, at most an eighth of the free memory
  -w       record page frame lookups too (pfn_to_online_page, get_dev_pagemap): there can be very many
  -k       copies of /proc/kpageflags and /proc/kpagecount, before and after
  -a       the whole kernel log since the start, not only the lines about memory
  -s       no events, only the copies of /proc and /sys
  -P       go on when the parent process is gone
  check    say what can be recorded here, and record nothing

Exit status: 0 recorded, 2 wrong usage, 3 this machine cannot be recorded, 4 events were lost, else that of a signal.
END
}

say() { printf '%s: %s\n' "$PROGRAM" "$*" >&2; }
stop_with() { # STATUS WHAT... : one line per argument
    _status=$1
    shift
    for _line in "$@"; do say "$_line"; done
    exit "$_status"
}
uptime() { cut -d' ' -f1 /proc/uptime; }
number() { case ${1:-x} in *[!0-9]*) return 1 ;; esac; }
note() { printf '%s %s\n' "$(uptime)" "$*" >>"$OUT/notes.txt"; }

# ---- what this machine allows ---------------------------------------------------------------------------------------

find_tracefs() { # prints the mount point, or nothing
    for _d in /sys/kernel/tracing /sys/kernel/debug/tracing; do
        [ -f "$_d/kprobe_events" ] && [ -d "$_d/instances" ] && { printf '%s\n' "$_d"; return; }
    done
    awk '$3 == "tracefs" { print $2; exit }' /proc/mounts
}

check() { # prints WHAT<tab>ok|missing|partly<tab>DETAIL, one line each; status 1 when no events can be recorded
    _can=0
    if [ "$(id -u)" = 0 ]; then printf 'root\tok\t\n'; else
        printf 'root\tmissing\tuser id %s: tracefs, /proc/iomem and /proc/kpageflags are for root\n' "$(id -u)"
        _can=1
    fi
    _lock=$(sed -n 's/.*\[\(.*\)\].*/\1/p' /sys/kernel/security/lockdown 2>/dev/null)
    if [ "$_lock" = confidentiality ]; then # "integrity" allows all that is needed here
        printf 'lockdown\tmissing\tthe kernel is locked down (%s): it refuses kprobes and /proc/kcore\n' "$_lock"
        _can=1
    else
        printf 'lockdown\tok\t%s\n' "${_lock:-}"
    fi
    _t=$(find_tracefs)
    if [ -n "$_t" ] && [ -w "$_t/kprobe_events" ]; then printf 'tracefs\tok\t%s\n' "$_t"
    elif [ -n "$_t" ] && [ ! -e "$_t/kprobe_events" ]; then
        printf 'tracefs\tmissing\t%s has no kprobe_events: CONFIG_KPROBE_EVENTS is not set\n' "$_t"
        _can=1
    elif [ -n "$_t" ]; then
        printf 'tracefs\tmissing\t%s/kprobe_events cannot be written\n' "$_t"
        _can=1
    elif grep -qw tracefs /proc/filesystems; then
        printf 'tracefs\tmissing\tit is not mounted: mount -t tracefs tracefs /sys/kernel/tracing\n'
        _can=1
    else
        printf 'tracefs\tmissing\tthis kernel has none (CONFIG_FTRACE, CONFIG_KPROBE_EVENTS)\n'
        _can=1
    fi
    if [ -r /sys/kernel/btf/vmlinux ]; then printf 'btf\tok\t\n'; else
        printf 'btf\tmissing\tno /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF): no pagemaps and no section table\n'
    fi
    if head -c 4 /proc/kcore 2>/dev/null | grep -q ELF; then printf 'kcore\tok\t\n'; else
        printf 'kcore\tmissing\t/proc/kcore cannot be read: no section table\n'
    fi
    for _f in kpageflags kpagecount; do
        if dd if=/proc/$_f of=/dev/null bs=8 count=1 2>/dev/null; then printf '%s\tok\t\n' "$_f"
        else printf '%s\tmissing\t/proc/%s cannot be read\n' "$_f" "$_f"; fi
    done
    if [ -d $MEMORY ]; then printf 'memory_blocks\tok\t\n'; else
        printf 'memory_blocks\tmissing\tno %s (CONFIG_MEMORY_HOTPLUG)\n' $MEMORY
    fi
    return $_can
}

# ---- structure layouts: from the kernel's own type information ------------------------------------------------------

btf_layout() { # prints STRUCT.MEMBER=BYTES, STRUCT=SIZE and FUNCTION(FIRST_ARGUMENT) for what is asked for below
    _btf=/sys/kernel/btf/vmlinux
    [ -r $_btf ] || return 1
    # shellcheck disable=SC2046
    set -- $(od -An -v -t u4 -N 24 $_btf)
    [ "$1" = 125855 ] || return 1
    _types=$(($2 + $3)) _types_len=$4 _strings=$(($2 + $5)) _strings_len=$6
    tail -c +$((_strings + 1)) $_btf | head -c "$_strings_len" | tr '\n\000' ' \n' | awk '
        BEGIN {
            split("dev_pagemap vmem_altmap mem_section mem_section_usage page range type flags nr_range ranges " \
                  "base_pfn end_pfn reserve free align alloc subsection_map section_mem_map usage " \
                  "try_remove_memory arch_remove_memory nid", names, " ")
            for (i in names) wanted[names[i]] = 1
        }
        ($0 in wanted) { print at, $0 }
        { at += length($0) + 1 }' >"$WORK/strings" || return 1
    tail -c +$((_types + 1)) $_btf | head -c "$_types_len" | od -An -v -t u4 | awk -v strings="$WORK/strings" '
        # A type is name, info, size or type, and then as many words as its kind and count ask for.
        BEGIN {
            while ((getline line < strings) > 0) { split(line, part, " "); name_at[part[1]] = part[2] }
            each[1] = 1; each[3] = 3; each[14] = 1; each[17] = 1                           # fixed
            per[4] = 3; per[5] = 3; per[6] = 2; per[13] = 2; per[15] = 3; per[19] = 3      # per member
        }
        function close_type(   i, unnamed, base) {
            if (kind == 4 && (name in name_at)) {
                base = name_at[name]
                print base "=" size
                for (i = 0; i < count; i++) {
                    if (word[3 * i] in name_at) print base "." name_at[word[3 * i]] "=" (word[3 * i + 2] % 16777216) / 8
                    # The ranges of a pagemap are in a union without a name, right after their number.
                    else if (word[3 * i] == 0 && last == "nr_range") print base ".range=" (word[3 * i + 2] % 16777216) / 8
                    last = (word[3 * i] in name_at) ? name_at[word[3 * i]] : ""
                }
            } else if (kind == 12 && (name in name_at)) proto[name_at[name]] = size
            else if (kind == 13 && count) first[id] = word[0]
        }
        left > NF && !keep && at { left -= NF; next } # members that nobody asked for
        {
            for (f = 1; f <= NF; f++) {
                if (left > 0) {
                    if (keep || !at) word[at++] = $f
                    if (--left == 0) { close_type(); head = 0 }
                    else if (!keep) { skip = (left < NF - f) ? left : NF - f; left -= skip; f += skip; if (!left) { close_type(); head = 0 } }
                    continue
                }
                if (head == 0) { name = $f; head = 1 }
                else if (head == 1) { kind = int($f / 16777216) % 32; count = $f % 65536; head = 2 }
                else {
                    size = $f; id++; at = 0
                    left = (kind in each) ? each[kind] : (kind in per) ? per[kind] * count : 0
                    keep = kind == 4 && (name in name_at)
                    if (left == 0) { close_type(); head = 0 }
                }
            }
        }
        END { for (f in proto) print f "(" name_at[first[proto[f]]] ")" }'
}

layout() { # NAME : the number that btf_layout found, or nothing
    awk -F= -v name="$1" '$1 == name { print $2; exit }' "$WORK/layout" 2>/dev/null
}

# ---- reading kernel memory ------------------------------------------------------------------------------------------

# Addresses of the kernel do not fit into the positive half of a number; dash reads at most 2^63-1 from text.
value() { # HEX without 0x
    _h=$(printf '%s' "$1" | sed 's/^0*//')
    _low=$(printf '%s' "$_h" | sed 's/.*\(.\{8\}\)$/\1/')
    if [ ${#_h} -le 8 ]; then printf '%d\n' $((0x${_h:-0})); else
        printf '%d\n' $(((0x${_h%"$_low"} << 32) | 0x$_low))
    fi
}
symbol() { value "$(awk -v n="$1" '$2 == n { print $1; exit }' "$WORK/symbols")"; }
kernel_words() { # ADDRESS COUNT : that many 8-byte words in hexadecimal, one per line
    while read -r _kAddress _kOffset _kSize; do
        _kInto=$(($1 - _kAddress))
        if [ $_kInto -lt 0 ] || [ $((_kInto + $2 * 8)) -gt "$_kSize" ]; then continue; fi
        dd if=/proc/kcore bs=8 skip=$(((_kOffset + _kInto) / 8)) count="$2" 2>/dev/null | od -An -v -t x8 |
            tr -s ' ' '\n' | sed '/^$/d'
        return
    done <"$WORK/segments"
}
read_segments() { # of /proc/kcore: address, offset, size
    # shellcheck disable=SC2046
    set -- $(dd if=/proc/kcore bs=8 count=8 2>/dev/null | od -An -v -t u2 -N 64)
    [ $# -ge 29 ] || return 1
    _n=${29} # e_phnum; program headers of 56 bytes follow the header
    dd if=/proc/kcore bs=8 skip=8 count=$((_n * 7)) 2>/dev/null | od -An -v -t x8 | tr -s ' ' '\n' | sed '/^$/d' |
        awk '{ w[(NR - 1) % 7] = $1 } NR % 7 == 0 && substr(w[0], 9) == "00000001" { print w[2], w[1], w[5] }' |
        while read -r _a _o _s; do echo "$(value "$_a") $(value "$_o") $(value "$_s")"; done >"$WORK/segments"
    [ -s "$WORK/segments" ]
}
read_symbols() {
    awk '$3 ~ /^(mem_section|vmemmap_base|max_pfn|pfn_to_online_page|stable_page_flags|memory_failure)$/ { print $1, $3 }' \
        /proc/kallsyms >"$WORK/symbols" 2>/dev/null
    [ -s "$WORK/symbols" ] && [ "$(symbol mem_section)" != 0 ]
}
dump_sections() { # FILE : the section table, in the format of docs/importing-recordings.md
    [ -f "$WORK/segments" ] || return 1
    _size=$(layout mem_section) _usage=$(layout mem_section.usage) _map=$(layout mem_section_usage.subsection_map)
    number "$_size" && number "$_usage" && number "$_map" || return 1
    _per_root=$((4096 / _size))
    _base=$(kernel_words "$(symbol vmemmap_base)" 1) _max=$(kernel_words "$(symbol max_pfn)" 1)
    _root=$(kernel_words "$(symbol mem_section)" 1)
    [ -n "$_root" ] || return 1
    # Only as many roots as there can be memory: the table covers every physical address.
    _end=$(awk '!/PCI/ { split($1, a, "-"); print a[2] }' /proc/iomem | while read -r _e; do value "$_e"; done | sort -n | tail -n 1)
    _roots=$((((_end >> SECTION_BITS) / _per_root) + 1))
    printf '# struct mem_section contents read through /proc/kcore; vmemmap_base=0x%s max_pfn=0x%s root=0x%s\n' \
        "$_base" "$_max" "$_root" >"$1"
    echo "# columns: section_nr first_pfn section_mem_map(raw) flags subsection_map(64 bits, bit n = pfns first_pfn+512n..+511)" >>"$1"
    _i=0
    kernel_words "$(value "$_root")" "$_roots" >"$WORK/roots"
    while read -r _r; do
        case $_r in *[!0]*) kernel_words "$(value "$_r")" 512 | awk -v first=$((_i * _per_root)) -v per=$((_size / 8)) \
            -v usage=$((_usage / 8)) '
                { w[(NR - 1) % per] = $1 }
                NR % per == 0 && w[0] ~ /[13579bdf]$/ { print first + NR / per - 1, w[0], w[usage] }' ;; esac
        _i=$((_i + 1))
    done <"$WORK/roots" >"$WORK/present"
    while read -r _nr _raw _use; do # neighbours share a page that is read once
        _address=$(($(value "$_use") + _map))
        if [ "${_page:-0}" != $((_address & ~4095)) ]; then
            _page=$((_address & ~4095))
            kernel_words $_page 512 >"$WORK/usage"
        fi
        echo "$_nr $_raw $(sed -n $(((_address - _page) / 8 + 1))p "$WORK/usage")"
    done <"$WORK/present" | awk -v pages=$((1 << (SECTION_BITS - PAGE_SHIFT))) '
        function bit(digit, n) { return int(index("0123456789abcdef", digit) - 1) % (2 * n) >= n }
        {
            low = substr($2, length($2)); high = substr($2, length($2) - 1, 1)
            printf "%d 0x%x 0x%s %s%s%s%s%s %s\n", $1, $1 * pages, $2, bit(low, 1) ? "P" : "-", bit(low, 2) ? "M" : "-",
                bit(low, 4) ? "O" : "-", bit(low, 8) ? "E" : "-", bit(high, 1) ? "T" : "-", $3
        }' >>"$1"
}

# ---- copies of /proc and /sys ---------------------------------------------------------------------------------------

dump_blocks() { # FILE
    echo "# name phys_index state online removable node valid_zones(spaces shown as +) phys_device" >"$1"
    for _b in "$MEMORY"/memory[0-9]*; do [ -d "$_b" ] && printf '%s\n' "${_b##*/memory}"; done | sort -n | while read -r _n; do
        _b=$MEMORY/memory$_n
        printf 'memory%s' "$_n"
        for _a in phys_index state online removable valid_zones phys_device; do
            read -r _v 2>/dev/null <"$_b/$_a" || _v=
            case $_v in *' '*) _v=$(printf '%s' "$_v" | tr ' ' '+') ;; esac
            printf ' %s=%s' "$_a" "$_v"
        done
        _nodes=
        for _v in "$_b"/node[0-9]*; do [ -e "$_v" ] && _nodes=$_nodes${_nodes:+,}${_v##*/node}; done
        printf ' node=%s\n' "$_nodes"
    done >>"$1"
}
dump_dax() { # FILE
    for _d in /sys/bus/nd/devices/* /sys/bus/dax/devices/*; do
        [ -e "$_d" ] || continue
        printf '[%s]\n' "$_d"
        for _a in resource size align mode target_node numa_node holder start end_trunc start_pad uuid sector_size type \
            nstype devtype mappings state memmap_on_memory force_raw range_index dax_region/size dax_region/align \
            dax_region/id mapping0/start mapping0/end mapping0/page_offset mapping1/start mapping1/end mapping2/start mapping2/end \
            mapping3/start mapping3/end mapping/start; do
            [ -r "$_d/$_a" ] && { read -r _v <"$_d/$_a"; } 2>/dev/null && printf '%s=%s\n' "$_a" "$_v"
        done
        [ -e "$_d/driver" ] && { _v=$(readlink "$_d/driver"); printf 'driver=%s\n' "${_v##*/}"; }
    done >"$1"
    for _t in "ndctl list -NDRv" "daxctl list -RDM"; do
        # shellcheck disable=SC2086
        command -v "${_t%% *}" >/dev/null 2>&1 && { echo "[$_t]"; $_t 2>&1; } >>"$1"
    done
}
dump() { # SUFFIX : "" before anything, -end, -NN-STEP
    cat /proc/iomem >"$OUT/iomem$1.txt"
    cat /proc/zoneinfo >"$OUT/zoneinfo$1.txt" 2>/dev/null
    dump_blocks "$OUT/memory_blocks$1.txt"
    dump_dax "$OUT/dax$1.txt"
    dump_sections "$OUT/sections$1.txt" || rm -f "$OUT/sections$1.txt"
}
state() { # TAG : sysctls and counters, one block
    {
        echo "== $1 uptime=$(uptime)"
        for _f in memory_failure_early_kill memory_failure_recovery enable_soft_offline nr_hugepages overcommit_memory; do
            [ -r /proc/sys/vm/$_f ] && echo "vm.$_f=$(cat /proc/sys/vm/$_f)"
        done
        grep -E 'HardwareCorrupted|MemTotal|MemFree|HugePages|AnonHuge|SwapTotal' /proc/meminfo
        for _f in /sys/devices/system/node/node*/memory_failure/*; do [ -r "$_f" ] && echo "$_f=$(cat "$_f")"; done
        [ -r $MEMORY/auto_online_blocks ] && echo "auto_online_blocks=$(cat $MEMORY/auto_online_blocks)"
        [ -r /sys/module/memory_hotplug/parameters/memmap_on_memory ] &&
            echo "memory_hotplug.memmap_on_memory=$(cat /sys/module/memory_hotplug/parameters/memmap_on_memory)"
    } >>"$OUT/vmstate.txt"
}
page_images() { # SUFFIX
    for _f in kpageflags kpagecount; do
        dd if=/proc/$_f bs=1048576 2>/dev/null | gzip -1 >"$OUT/$_f$1.bin.gz"
    done
}
facts() { # what does not change
    uname -r >"$OUT/uname_r.txt"
    cat /proc/version >"$OUT/version.txt"
    cat /proc/cmdline >"$OUT/cmdline.txt"
    cat /proc/modules >"$OUT/modules.txt" 2>/dev/null
    cat $MEMORY/block_size_bytes >"$OUT/block_size_bytes.txt" 2>/dev/null
    for _c in "/boot/config-$(uname -r)" "/lib/modules/$(uname -r)/config"; do [ -r "$_c" ] && cat "$_c"; done >"$WORK/config"
    [ -r /proc/config.gz ] && gzip -dc /proc/config.gz >>"$WORK/config" 2>/dev/null
    grep -E '^(# )?CONFIG_(SPARSEMEM|MEMORY_|HWPOISON|ZONE_DEVICE|FS_DAX|DEV_DAX|NVDIMM|ND_|TRANSPARENT_HUGEPAGE|HUGETLB|KSM|MHP_|PAGE_EXTENSION|DEVICE_PRIVATE|PCI_P2PDMA|ARCH_MEMORY|X86_5LEVEL|X86_MCE|KPROBE|FTRACE|CXL|EFI_SOFT)' \
        "$WORK/config" >"$OUT/config.txt" 2>/dev/null || rm -f "$OUT/config.txt"
}
upstream_version() { # distributions name a kernel after the first release of a series and keep its patch level elsewhere
    _v=$(uname -v | sed -n 's/.*Debian \([0-9][0-9.]*[0-9]\)[-~+ ].*/\1/p')
    [ -n "$_v" ] || _v=$(sed -n 's/.* \([0-9][0-9.]*[0-9]\)$/\1/p' /proc/version_signature 2>/dev/null)
    [ -n "$_v" ] || _v=$(uname -r | sed 's/^\([0-9]*\.[0-9]*\(\.[0-9]*\)\{0,1\}\).*/\1/')
    printf '%s\n' "$_v"
}
machine() { # sets PAGE_SHIFT and SECTION_BITS
    _kb=$(awk '/^KernelPageSize/ { print $2; exit }' /proc/self/smaps 2>/dev/null)
    PAGE_SHIFT=12
    while [ $((1 << PAGE_SHIFT)) -lt $((${_kb:-4} * 1024)) ]; do PAGE_SHIFT=$((PAGE_SHIFT + 1)); done
    ARCH=$(uname -m)
    case $ARCH in
        aarch64) if [ "$PAGE_SHIFT" = 16 ]; then SECTION_BITS=29; else SECTION_BITS=27; fi ;;
        ppc64*) SECTION_BITS=24 ;;
        s390x) SECTION_BITS=28 ;;
        *) SECTION_BITS=27 ;;
    esac
}
quoted() { printf '"%s"' "$(printf '%s' "$1" | tr '\t\n' '  ' | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }
describe() { # writes meta.json
    line() { printf '%s\n' "$1"; } # echo would read backslashes in some shells
    {
        echo "{"
        line " \"format\": 1,"
        line " \"kernel\": $(quoted "$(upstream_version)"),"
        line " \"kernel_release\": $(quoted "$(uname -r)"),"
        line " \"version\": $(quoted "$(cat /proc/version)"),"
        line " \"arch\": $(quoted "$ARCH"),"
        line " \"page_shift\": $PAGE_SHIFT,"
        line " \"section_size_bits\": $SECTION_BITS,"
        line " \"memory_block_size\": $((0x$(cat $MEMORY/block_size_bytes 2>/dev/null || echo 0))),"
        _page=$(layout page)
        line " \"struct_page_size\": ${_page:-64},"
        line " \"vmemmap_base\": $(quoted "$(sed -n 's/.*vmemmap_base=\(0x[0-9a-f]*\).*/\1/p' "$OUT/sections.txt" 2>/dev/null | head -n 1)"),"
        line " \"scenario\": $(quoted "$NAME"),"
        line " \"recorder\": \"capture.sh 1\","
        line " \"lookups_recorded\": $([ "$WALKS" = 1 ] && echo true || echo false),"
        line " \"lost_events\": ${LOST:-0},"
        line " \"complete\": $([ "${INTERRUPTED:-}" = "" ] && echo true || echo false),"
        printf ' "steps": ['
        _sep=
        _tab=$(printf '\t')
        if [ -f "$OUT/steps.tsv" ]; then
            while IFS=$_tab read -r _n _name _t0 _t1 _rc _cmd; do
                printf '%s\n  {"n": %s, "name": %s, "begin": %s, "end": %s, "rc": %s, "command": %s}' "$_sep" \
                    "$(echo "$_n" | sed 's/^0*\(.\)/\1/')" "$(quoted "$_name")" "$_t0" "$_t1" "$_rc" "$(quoted "$_cmd")"
                _sep=,
            done <"$OUT/steps.tsv"
        fi
        echo "]"
        echo "}"
    } >"$OUT/meta.json"
}
save_log() { # the kernel log since the start
    command -v dmesg >/dev/null 2>&1 || return 0
    dmesg 2>/dev/null | awk -v start="$STARTED" -v all="$WHOLE_LOG" '
        { stamp = $0; sub(/^(<[0-9]*>)?\[ */, "", stamp); now = stamp + 0 }
        stamp == $0 || now < start { next }
        all || /[Mm]emory failure|[Ss]oft.offline|[Uu]npoison|[Hh]wpoison|HWPOISON|MCE|mce:|[Oo]fflin|[Oo]nline|hotplug|due to|pmem|dax|nd_/' \
        >"$OUT/dmesg.txt"
}

# ---- probes ---------------------------------------------------------------------------------------------------------

probe_table() { # FUNCTION|ENTRY FIELDS|RETURN FIELD ("-": the return is not probed)
    _r=$(layout dev_pagemap.range) _a=$(layout vmem_altmap.base_pfn)
    if number "$_r" && number "$_a"; then
        _range="range_start=+$_r(\$arg1):x64 range_end=+$((_r + 8))(\$arg1):x64"
        _more=
        for _k in 1 2 3; do
            _more="$_more range${_k}_start=+$((_r + 16 * _k))(\$arg1):x64 range${_k}_end=+$((_r + 16 * _k + 8))(\$arg1):x64"
        done
        _alt=
        for _k in base_pfn end_pfn reserve free align alloc; do
            _v=$(layout vmem_altmap.$_k) && number "$_v" && _alt="$_alt altmap_$_k=+$_v(\$arg1):x64"
        done
        _nr=$(layout dev_pagemap.nr_range)
        echo "memremap_pages|pgmap=\$arg1:x64 nid=\$arg2:s32 type=+$(layout dev_pagemap.type)(\$arg1):u32 flags=+$(layout dev_pagemap.flags)(\$arg1):x32 nr_range=+$_nr(\$arg1):s32 $_range$_more$_alt|ret=\$retval:x64"
        echo "memunmap_pages|pgmap=\$arg1:x64 nr_range=+$_nr(\$arg1):s32 $_range|"
    else
        note "no layout of struct dev_pagemap: memremap_pages and memunmap_pages are not probed"
    fi
    if grep -q '^try_remove_memory(nid)' "$WORK/layout"; then
        echo "arch_remove_memory|nid=\$arg1:s32 start=\$arg2:x64 size=\$arg3:x64 altmap=\$arg4:x64|"
        echo "try_remove_memory|nid=\$arg1:s32 start=\$arg2:x64 size=\$arg3:x64|ret=\$retval:s32"
    else
        echo "arch_remove_memory|start=\$arg1:x64 size=\$arg2:x64 altmap=\$arg3:x64|"
        echo "try_remove_memory|start=\$arg1:x64 size=\$arg2:x64|ret=\$retval:s32"
    fi
    cat <<'END'
pgmap_pfn_valid|pgmap=$arg1:x64 pfn=$arg2:x64|ret=$retval:u8
memory_failure|pfn=$arg1:x64 flags=$arg2:x32|ret=$retval:s32
soft_offline_page|pfn=$arg1:x64 flags=$arg2:x32|ret=$retval:s32
unpoison_memory|pfn=$arg1:x64|ret=$retval:s32
get_hwpoison_page|page=$arg1:x64 flags=$arg2:x32|ret=$retval:s32
identify_page_state|pfn=$arg1:x64 page=$arg2:x64 page_flags=$arg3:x64|ret=$retval:s32
take_page_off_buddy|page=$arg1:x64|ret=$retval:u8
add_memory_resource|nid=$arg1:s32 start=+0($arg2):x64 end=+8($arg2):x64 mhp_flags=$arg3:x32|ret=$retval:s32
__add_memory|nid=$arg1:s32 start=$arg2:x64 size=$arg3:x64 mhp_flags=$arg4:x32|ret=$retval:s32
add_memory_driver_managed|nid=$arg1:s32 start=$arg2:x64 size=$arg3:x64 mhp_flags=$arg5:x32|ret=$retval:s32
arch_add_memory|nid=$arg1:s32 start=$arg2:x64 size=$arg3:x64 altmap=+0($arg4):x64|ret=$retval:s32
__add_pages|nid=$arg1:s32 pfn=$arg2:x64 nr_pages=$arg3:x64|ret=$retval:s32
__remove_pages|pfn=$arg1:x64 nr_pages=$arg2:x64 altmap=$arg3:x64|-
move_pfn_range_to_zone|zone=$arg1:x64 pfn=$arg2:x64 nr_pages=$arg3:x64|-
online_pages|pfn=$arg1:x64 nr_pages=$arg2:x64 arg3=$arg3:x64|ret=$retval:s32
offline_pages|pfn=$arg1:x64 nr_pages=$arg2:x64|ret=$retval:s32
sparse_add_section|nid=$arg1:s32 pfn=$arg2:x64 nr_pages=$arg3:x64|ret=$retval:s32
section_deactivate|pfn=$arg1:x64 nr_pages=$arg2:x64|-
online_mem_sections|start_pfn=$arg1:x64 end_pfn=$arg2:x64|-
offline_mem_sections|start_pfn=$arg1:x64 end_pfn=$arg2:x64|-
END
    [ "$WALKS" = 1 ] || return 0
    echo "get_dev_pagemap|pfn=\$arg1:x64|pgmap=\$retval:x64"
    grep -q ' pfn_to_online_page$' "$WORK/symbols" && echo "pfn_to_online_page|pfn=\$arg1:x64|page=\$retval:x64"
}
define() { # EVENT DEFINITION : a probe of our group
    if printf '%s\n' "$2" >>"$TRACEFS/kprobe_events" 2>"$WORK/error"; then
        echo "$GROUP/$1" >>"$WORK/defined"
        echo "ok $1 | $2" >>"$OUT/probes.txt"
    else
        echo "FAILED $1 | $2 | $(cat "$WORK/error")" >>"$OUT/probes.txt"
        return 1
    fi
}
arm() {
    : >"$WORK/defined"
    probe_table >"$WORK/probes"
    while IFS='|' read -r _f _entry _return; do
        define "$_f" "p:$GROUP/$_f $_f $_entry" && [ "$_return" != - ] &&
            define "${_f}__return" "r64:$GROUP/${_f}__return $_f $_return"
    done <"$WORK/probes"
    if [ "$WALKS" = 1 ] && ! grep -q ' pfn_to_online_page$' "$WORK/symbols"; then arm_inlined; fi
    [ -s "$WORK/defined" ] || return 1
    grep "[:/]$GROUP/" "$TRACEFS/kprobe_events" | sed "s,[:/]$GROUP/,:truth/,; s,^\(.\):,\1:," >"$OUT/kprobe_events.txt"
    echo 0 >"$INSTANCE/tracing_on"
    echo global >"$INSTANCE/trace_clock"
    echo "$BUFFER_KB" >"$INSTANCE/buffer_size_kb" || note "the ring buffer could not be set to $BUFFER_KB KB per cpu"
    echo 1 >"$INSTANCE/events/$GROUP/enable"
    for _e in "$INSTANCE"/events/*/memory_failure_event; do # its system is ras, or memory_failure in newer kernels
        [ -d "$_e" ] && echo 1 >"$_e/enable" && cat "$_e/format" >"$OUT/memory_failure_event.format"
    done
    _s=$INSTANCE/events/signal
    [ -d "$_s" ] && echo 'sig==7 || sig==9' >"$_s/signal_generate/filter" && echo 1 >"$_s/signal_generate/enable" &&
        echo 'sig==7' >"$_s/signal_deliver/filter" && echo 1 >"$_s/signal_deliver/enable"
    echo 1 >"$INSTANCE/tracing_on"
    mark "ARMED kernel=$(uname -r) scenario=$NAME"
}
# Where pfn_to_online_page is a macro it has no address. Its caller kpageflags_read hands the result to
# stable_page_flags and keeps the pfn in a register that the compiler chose: find it by reading pfns that are known.
arm_inlined() {
    _regs="bx r12 r13 r14 r15 bp"
    _def="p:$GROUP/calibrate stable_page_flags"
    for _g in $_regs; do _def="$_def $_g=%$_g:x64"; done
    define calibrate "$_def" || return 0
    echo 1 >"$INSTANCE/events/$GROUP/calibrate/enable"
    _found=$_regs
    for _pfn in 273 1021 2047; do
        echo 1 >"$INSTANCE/tracing_on"
        echo >"$INSTANCE/trace"
        dd if=/proc/kpageflags of=/dev/null bs=8 skip=$_pfn count=1 2>/dev/null
        echo 0 >"$INSTANCE/tracing_on"
        _next=
        for _g in $_found; do
            grep calibrate "$INSTANCE/trace" | grep -q " $_g=0x$(printf %x $_pfn)\( \|$\)" && _next="$_next $_g"
        done
        _found=$_next
    done
    echo 0 >"$INSTANCE/events/$GROUP/calibrate/enable"
    echo "-:$GROUP/calibrate" >>"$TRACEFS/kprobe_events"
    sed -i "\,/calibrate\$,d" "$WORK/defined"
    echo >"$INSTANCE/trace"
    # shellcheck disable=SC2086
    set -- $_found
    if [ $# = 1 ]; then
        define pfn_to_online_page_inlined "p:$GROUP/pfn_to_online_page_inlined stable_page_flags pfn=%$1:x64 page=\$arg1:x64" &&
            note "pfn_to_online_page is inlined; its calls by /proc/kpageflags are seen, with the pfn in register $1"
    else
        note "pfn_to_online_page is inlined, and no single register of its caller holds the pfn ($# do): not recorded"
    fi
}
mark() { printf '%s\n' "$*" >"$INSTANCE/trace_marker" 2>/dev/null; }

undo() { # takes back everything that was changed; may run twice
    if [ -d "${INSTANCE:-/nonexistent}" ]; then
        echo 0 >"$INSTANCE/tracing_on"
        [ -e "$INSTANCE/events/enable" ] && echo 0 >"$INSTANCE/events/enable"
    fi 2>/dev/null
    if [ -n "${GROUP:-}" ] && [ -w "${TRACEFS:-}/kprobe_events" ]; then
        sed -n "s,.[0-9]*:\($GROUP/[^ ]*\) .*,\1,p" "$TRACEFS/kprobe_events" | while read -r _e; do
            printf -- '-:%s\n' "$_e" >>"$TRACEFS/kprobe_events"
        done
    fi 2>/dev/null
    [ -d "${INSTANCE:-/nonexistent}" ] && rmdir "$INSTANCE" 2>/dev/null
    [ -n "${WORK:-}" ] && rm -rf "$WORK"
    return 0
}
alive() { # PID : it runs, and does not only wait to be reaped
    case $(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null) in '' | Z | X) return 1 ;; esac
}
guard() { # runs beside the recording: ends it when the parent is gone, cleans up when it was killed
    trap '' INT HUP TERM
    while alive "$1"; do
        if [ "$KEEP" = 0 ] && [ "$(awk '/^PPid:/ { print $2 }' "/proc/$1/status" 2>/dev/null)" != "$2" ]; then
            kill -TERM "$1" 2>/dev/null
        fi
        sleep 1
    done
    undo
}

# ---- one recording --------------------------------------------------------------------------------------------------

ring_buffer_kb() {
    _cpus=$(grep -c '^processor' /proc/cpuinfo)
    _free=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
    _total=262144
    [ "${_free:-0}" -gt 0 ] && [ $((_free / 8)) -lt $_total ] && _total=$((_free / 8))
    echo $((_total / (_cpus > 0 ? _cpus : 1)))
}
collect() { # what the trace instance holds
    echo 0 >"$INSTANCE/tracing_on"
    for _c in "$INSTANCE"/per_cpu/cpu*; do echo "[${_c##*/}]"; cat "$_c/stats"; done >"$OUT/trace_stats.txt"
    sed -n "s,^ *\(.*\),\1,p" "$TRACEFS/kprobe_profile" | grep -wFf "$WORK/names" >"$OUT/kprobe_profile.txt" 2>/dev/null
    cat "$INSTANCE/trace_clock" >"$OUT/trace_clock.txt"
    cat "$INSTANCE/trace" >"$OUT/trace.txt"
    LOST=$(awk -F': *' '/^(overrun|commit overrun|dropped events)/ { n += $2 } END { print n + 0 }' "$OUT/trace_stats.txt")
    _missed=$(awk '{ n += $NF } END { print n + 0 }' "$OUT/kprobe_profile.txt")
    LOST=$((LOST + _missed))
}
begin() {
    machine
    mkdir -p "$OUT" || stop_with 3 "$OUT: cannot be made"
    [ -z "$(ls -A "$OUT")" ] || stop_with 2 "$OUT: not an empty folder; give one that does not exist yet"
    STARTED=$(uptime)
    : >"$OUT/notes.txt"
    facts
    btf_layout >"$WORK/layout" || { : >"$WORK/layout"; note "no type information of the kernel: no section table, no pagemaps"; }
    if read_symbols && read_segments; then :; else
        rm -f "$WORK/segments"
        note "no /proc/kcore or no symbol addresses: no section table"
    fi
    cp "$WORK/layout" "$OUT/layout.txt"
    cat /proc/meminfo >"$OUT/meminfo-start.txt"
    [ "$IMAGES" = 1 ] && page_images ""
    dump ""
    state start
}
end() {
    trap '' INT TERM HUP
    state end
    [ "$EVENTS" = 1 ] && collect
    save_log
    dump -end
    [ "$IMAGES" = 1 ] && page_images -end
    cat /proc/meminfo >"$OUT/meminfo-end.txt"
    grep -E ' (vmemmap_base|mem_section|pfn_to_online_page|memory_failure)$' "$WORK/symbols" >"$OUT/kallsyms-excerpt.txt" 2>/dev/null
    describe
    rm -f "$OUT/.capture"
}
ready() { # refuses what cannot be recorded
    check >"$WORK/check" && return
    say "this machine cannot be recorded:"
    awk -F'\t' '$2 == "missing" { print "  " $1 ": " $3 }' "$WORK/check" >&2
    say "what can still be captured: $(awk -F'\t' '$2 == "ok" && $1 !~ /root|lockdown|tracefs|btf/ { printf "%s%s", s, $1; s = ", " }' "$WORK/check"), iomem, zones, dax devices, sysctls: $PROGRAM -s -o DIR"
    exit 3
}
run() {
    PARENT=$PPID
    [ "$EVENTS" = 1 ] && ready
    TRACEFS=$(find_tracefs) GROUP=replay_$$ INSTANCE=
    trap 'INTERRUPTED=1' INT TERM HUP
    begin
    if [ "$EVENTS" = 1 ]; then
        INSTANCE=$TRACEFS/instances/$GROUP
        guard $$ "$PARENT" </dev/null >/dev/null 2>&1 &
        GUARD=$!
        mkdir "$INSTANCE" || { undo; stop_with 3 "$INSTANCE: cannot be made"; }
        arm || { sed 's/^/  /' "$OUT/probes.txt" >&2; undo; stop_with 3 "none of the functions can be probed (see above)"; }
        sed 's,.*/,,' "$WORK/defined" >"$WORK/names"
    fi
    { echo "INSTANCE='$INSTANCE'"; echo "WORK='$WORK'"; echo "PAGE_SHIFT=$PAGE_SHIFT"; echo "SECTION_BITS=$SECTION_BITS"; } >"$OUT/.capture"
    REPLAY_CAPTURE=$0 REPLAY_CAPTURE_DIR=$OUT REPLAY_CAPTURE_MARKER=$INSTANCE/trace_marker
    export REPLAY_CAPTURE REPLAY_CAPTURE_DIR REPLAY_CAPTURE_MARKER
    if [ $# -gt 0 ]; then
        "$@" >&2 &
        CHILD=$!
    elif [ "$EVENTS" = 1 ]; then
        say "recording to $OUT${SECONDS_LEFT:+ for $SECONDS_LEFT s}; Ctrl-C ends it"
        CHILD=
    fi
    wait_for_end
    end
    undo
    [ -n "${GUARD:-}" ] && { kill -KILL "$GUARD"; wait "$GUARD"; } 2>/dev/null
    [ "$TAR" = 1 ] && { tar cf - -C "$OUT" . && rm -rf "$OUT"; }
    [ "${LOST:-0}" = 0 ] || stop_with 4 "$LOST events were lost: record again with a larger buffer (-b), now $BUFFER_KB KB per cpu"
    exit "${STATUS:-0}"
}
wait_for_end() {
    [ "$EVENTS" = 1 ] || [ -n "${CHILD:-}" ] || return 0
    _left=${SECONDS_LEFT:-}
    STATUS=0
    while [ -z "${INTERRUPTED:-}" ]; do
        if [ -n "${CHILD:-}" ] && ! alive "$CHILD"; then
            wait "$CHILD"
            STATUS=$?
            break
        fi
        [ -n "$_left" ] && { [ "$_left" -gt 0 ] || break; _left=$((_left - 1)); }
        sleep 1
    done
    if [ -n "${CHILD:-}" ]; then kill -TERM "$CHILD" 2>/dev/null; fi
    # Ctrl-C is how an open-ended recording is ended; with a command or a duration it was cut short.
    if [ -n "${INTERRUPTED:-}" ] && [ -z "${CHILD:-}${SECONDS_LEFT:-}" ]; then INTERRUPTED=; fi
}

# ---- inside of a recorded command -----------------------------------------------------------------------------------

inner() { # SUBCOMMAND ARGUMENTS...
    OUT=${REPLAY_CAPTURE_DIR:-}
    [ -f "$OUT/.capture" ] || stop_with 2 "$1 works inside of a recorded command only"
    # shellcheck disable=SC1091
    . "$OUT/.capture"
    case $1 in
        mark) shift; mark "$*" ;;
        state) state "$2" ;;
        step-begin)
            _n=$(($(cat "$OUT/.step" 2>/dev/null || echo 0) + 1))
            echo $_n >"$OUT/.step"
            printf '%s\t%s\t%s' "$(printf %02d $_n)" "$2" "$(uptime)" >"$OUT/.begun"
            mark "STEP $(printf %02d $_n) begin $2"
            ;;
        step-end)
            _begun=$(cat "$OUT/.begun") _rc=$2 _quiet=
            shift 2
            [ "${1:-}" = -q ] && { _quiet=1; shift; }
            _t1=$(uptime) _nn=$(printf '%s' "$_begun" | cut -f1) _name=$(printf '%s' "$_begun" | cut -f2)
            mark "STEP $_nn end $_name rc=$_rc"
            printf '%s\t%s\t%s\t%s\n' "$_begun" "$_t1" "$_rc" "$*" >>"$OUT/steps.tsv"
            [ -n "$_quiet" ] || dump "-$_nn-$_name"
            ;;
    esac
    exit 0
}

case ${1:-} in
    -h | --help) usage; exit 0 ;;
    check) check; exit $((3 * $?)) ;;
    mark | state | step-begin | step-end) inner "$@" ;;
esac
OUT='' SECONDS_LEFT='' NAME='' BUFFER_KB='' WALKS=0 IMAGES=0 WHOLE_LOG=0 EVENTS=1 KEEP=0 TAR=0
while getopts o:d:n:b:wkasP OPTION; do
    case $OPTION in
        o) OUT=$OPTARG ;;
        d) number "$OPTARG" || stop_with 2 "-d $OPTARG: needed a number of seconds"; SECONDS_LEFT=$OPTARG ;;
        n) NAME=$OPTARG ;;
        b) number "$OPTARG" || stop_with 2 "-b $OPTARG: needed a number of KB"; BUFFER_KB=$OPTARG ;;
        w) WALKS=1 ;;
        k) IMAGES=1 ;;
        a) WHOLE_LOG=1 ;;
        s) EVENTS=0 ;;
        P) KEEP=1 ;;
        *) usage >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ -n "$NAME" ] || NAME=$(uname -n)-$(date +%Y%m%dT%H%M%S)
[ "$OUT" = - ] && { TAR=1; OUT=; }
WORK=$(mktemp -d "${TMPDIR:-/tmp}/capture.XXXXXX") || stop_with 3 "no folder for temporary files"
trap 'undo' EXIT
if [ $TAR = 1 ]; then OUT=$WORK.recording; elif [ -z "$OUT" ]; then OUT=recording-$NAME; fi
[ -n "$BUFFER_KB" ] || BUFFER_KB=$(ring_buffer_kb)
case $OUT in /*) ;; *) OUT=$PWD/$OUT ;; esac
run "$@"
