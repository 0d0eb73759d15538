# A container that uses a protected key with the right password is no attacker: however it stops, by itself or by
# `kill -9` of its init, the TPM is shut down in order and the counter of failed authorizations stays 0.
#
# DA_ROUNDS says how often each kind of stop is tried. 95-stops and 96-power have the counter with both runtimes.
# Runtimes: runc
. "$GUEST/lib.sh"

rounds=${DA_ROUNDS:-$(rounds 2 20)}
readonly rounds
echo "rounds of each kind: $rounds (DA_ROUNDS)"

container_bundle careful
before=$(host_snapshot)
# An init that ends in order when it is told to.
container_start careful sh -c 'trap "exit 0" TERM; sleep infinity & wait'
container_shell careful '
    tpm2_createprimary -C o -G ecc -c /tmp/primary.ctx
    echo content | tpm2_create -C /tmp/primary.ctx -i - -p password -u /tmp/sealed.pub -r /tmp/sealed.priv
    tpm2_load -C /tmp/primary.ctx -u /tmp/sealed.pub -r /tmp/sealed.priv -c /tmp/sealed.ctx
    tpm2_evictcontrol -C o -c /tmp/sealed.ctx 0x81000100
    tpm2_readpublic -c 0x81000100 >/tmp/attributes
    ! grep noda /tmp/attributes' >/dev/null

# Compares the counter as it is, then uses the protected object. From there on a TPM that is lost without a shutdown has
# to count as one attempt more, since it could have been a wrong one.
expect_counter_and_use() { # WHEN COUNTER
    local counter
    counter=$(container_shell careful '
        tpm2_getcap properties-variable | sed -n "s/^TPM2_PT_LOCKOUT_COUNTER: //p"
        test "$(tpm2_unseal -c 0x81000100 -p password)" = content')
    expect_equal "the counter $1" "$2" "$counter"
}

stop_by_itself() {
    runtime kill careful TERM
    wait_until "the container to stop" container_is_stopped careful
    runtime delete careful
}

stop_by_killing_its_init() {
    kill -KILL "$(container_pid careful)"
    wait_until "the container to stop" container_is_stopped careful
    runtime delete careful
}

expect_counter_and_use "at first" 0x0
for kind in by_itself by_killing_its_init; do
    for ((round = 1; round <= rounds; round++)); do
        "stop_$kind"
        container_start careful
        expect_counter_and_use "after stop $round $kind" 0x0
    done
done

# That it can rise at all: nobody can shut down a TPM whose worker is gone.
kill -KILL "$(lease_field careful workerPID)"
container_stop careful
container_start careful
expect_counter_and_use "after the worker was killed" 0x1
stop_by_itself
container_start careful
expect_counter_and_use "after one more ordinary stop" 0x1
stop_by_itself
expect_host "$before"
