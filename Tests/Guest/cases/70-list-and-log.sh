# `vtpmctl list` shows the vTPMs that there are. Each line of ours in the log has its container in a field, by which
# `vtpmctl log` finds those of one.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

expect_equal "the list on a clean host" '[]' "$(vtpmctl list --json | jq --compact-output .)"
container_bundle shown
container_start shown
expect_equal "the lease's bundle" "$BUNDLES/shown" "$(lease_field shown bundle)"
expect_equal "the lease's state" shown "$(lease_field shown stateID)"
expect_equal "the lease's init" "$(container_pid shown)" "$(lease_field shown initPID)"
expect_equal "the supervisor's program" vtpm-supervisor "$(<"/proc/$(lease_field shown supervisorPID)/comm")"
expect_equal "the worker's program" vtpm-worker "$(<"/proc/$(lease_field shown workerPID)/comm")"
table=$(vtpmctl list)
echo "$table"
expect_match "the table" "shown" "$table"
expect_equal "the mode of $LEASES" '700 0:0' "$(stat --format '%a %u:%g' "$LEASES")"
container_stop shown
expect_equal "the list at the end" '[]' "$(vtpmctl list --json | jq --compact-output .)"

wait_until "the supervisor's log" grep 'vtpm-supervisor.*shown' "$SYSLOG"
container_bundle refused '.annotations = {"org.container-vtpm.nonsense": "1"}'
expect_failure "creation" container_create refused
wait_until "the hook's log" grep 'vtpm-hook.*refused.*cannot' "$SYSLOG"
expect_equal "lines of ours that do not name their container" '' \
    "$(grep -E 'vtpm-(hook|supervisor)' "$SYSLOG" | grep -Ev 'container="(shown|refused)"' || true)"

# As a syslog daemon writes them: with the host's name.
mount -t tmpfs tests /var/log
trap 'status=$?; umount /var/log; (exit "$status"); end_case' EXIT
sed --regexp-extended 's/^<[0-9]+>//; s/^(.{15}) /\1 host /' "$SYSLOG" >/var/log/syslog
expect_match "vtpmctl log of the one that was refused" 'host vtpm-hook\[[0-9]+\]: container "refused": cannot ' \
    "$(vtpmctl log refused)"
expect_match "vtpmctl log of the other" 'vTPM of container "shown" stopped' "$(vtpmctl log shown)"
expect_match "the fields of its start" '\[event=started container="shown" state="shown" tpm=[0-9]+\]' "$(vtpmctl log shown)"
expect_equal "lines of one container that vtpmctl log shows of the other" '' \
    "$(vtpmctl log shown | grep refused || true)"
expect_error "vtpmctl log of a container that nobody knows" 'cannot find lines about "nobody" in the system log' vtpmctl log nobody
