# Three containers of a podman pod that share a PID namespace have a TPM each. One whose init is killed keeps its own for
# as long as a process of it lives, and what starts meanwhile meets another.
# Guests: debian-13
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"
ENGINE=podman

install_carrier
engine_import
host=$(host_snapshot)
podman pod create --name pod --share pid --infra-command '/bin/sleep 100000' --infra-image "$IMAGE" >/dev/null
for name in first second third; do member "$name" podman hook "$RUNTIME"; done
each start_member --pod pod
expect_equal "different keys" 3 "$(cat "$WORK"/*.key | sort --unique | grep --count .)"
key=$(<"$WORK/first.key")

# A process that uses the TPM from a file, for as long as its container's control group has any.
engine_exec first sh -c 'cat >/witness <<"END"
#!/bin/sh
while true; do
    rm -f /tmp/*
    tpm2_createek -c /tmp/ek.ctx -G ecc -u /tmp/ek.pub >/dev/null 2>&1 && tpm2_flushcontext -t 2>/dev/null
    busybox sha256sum </tmp/ek.pub 2>/dev/null | busybox cut -d " " -f 1 >>/keys
done
END
chmod +x /witness'
podman exec --detach first setsid /witness
mounted=$(podman mount first)
wait_until "the witness" test -s "$mounted/keys"
kill -KILL "$(engine_pid first)"
for i in 1 2; do
    engine_start "new$i" --pod pod
    expect_different "the keys of the first and of a new container" "$key" "$(engine_endorsement_key "new$i")"
done
expect_equal "all keys that the first's child has seen" "$key" "$(grep . "$mounted/keys" | sort --unique)"
name=second expect_key "after that"
podman pod rm --force --time 0 pod >/dev/null

# A container in the host's PID namespace is kept from the host's files by AppArmor, or by a user namespace.
members=()
member host podman hook "$RUNTIME"
member users podman hook "$RUNTIME"
start() {
    local users=()
    [[ $name == host ]] ||
        users=(--security-opt apparmor=unconfined --uidmap=0:1000000:65536 --gidmap=0:1000000:65536)
    engine_start "$name" --pid=host "${users[@]}"
    expect_tpm "with --pid=host"
}
each start
podman rm --force --time 0 host users >/dev/null
expect_failure "with --pid=host and nothing that confines it" \
    engine run --rm --device "$TPM_DEVICE" --pid=host --security-opt apparmor=unconfined "$IMAGE" true
expect_match "why" "it shares a PID namespace, and through the host's processes" "$(journal_of_ours)"
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
