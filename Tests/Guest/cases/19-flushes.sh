# What a TPM has acknowledged has cost its disk one flush on ext4 and xfs. What a file system that copies on write takes is counted.
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/disk.sh"

# Prints how many flushes ten changes of NV take.
flushes_of_ten_writes() {
    local before attempt flushes=()
    container_start disk
    # The kernel's TPM and the TPM's own tests are done, and nothing is written but what is asked for.
    container_shell disk '
        tpm2_nvdefine 0x1500001 -C o -s 8 -a "ownerread|ownerwrite|no_da"
        for number in 0 1; do echo "write $number" | head -c 7 | tpm2_nvwrite 0x1500001 -C o -i -; done' >/dev/null
    # A file system may also write by itself, which the least of three leaves out.
    for attempt in 1 2 3; do
        sync -f /var/lib/container-vtpm
        before=$(disk_flushes)
        container_shell disk 'for number in 0 1 2 3 4 5 6 7 8 9; do
            echo -n "write $number" | head -c 7 | tpm2_nvwrite 0x1500001 -C o -i -; done'
        flushes[attempt]=$(($(disk_flushes) - before))
    done
    printf '%s\n' "${flushes[@]}" | sort --numeric-sort | head -n 1
    container_stop disk
    wait_until "the vTPM to be gone" vtpms_are_gone
}

# Without what a file system writes by itself after some time.
for kind in ext4:commit=3600 xfs: btrfs:commit=3600; do
    disk_begin "${kind%%:*}" 0 "${kind#*:}"
    flushes=$(flushes_of_ten_writes)
    echo "measured: ten changes of NV on ${kind%%:*}: $flushes flushes"
    [[ $kind == btrfs:* ]] || expect_equal "flushes on ${kind%%:*}" 10 "$flushes"
    disk_end
done
