# `vtpmctl list` shows the vTPMs that there are. Each line of ours in the log has its container in a field, by which
# `vtpmctl log` finds those of one.
# Guests: debian-12 debian-13
# Runtimes: runc
. "$GUEST/lib.sh"

metric() { # NAME, without its beginning
    vtpmctl metrics | awk -v name="container_vtpm_$1" '$1 == name { print $2 }'
}

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
expect_equal "TPMs that serve" 1 "$(metric 'vtpms{health="serving"}')"
expect_equal "states" 1 "$(metric states)"
expect_equal "the master key is new" yes "$( (($(date +%s) - $(metric master_key_timestamp_seconds) < 3600)) && echo yes)"
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
    "$(vtpmctl log --raw refused)"
expect_match "what helps" '^The container did not start: the container cannot have a TPM as it is' "$(vtpmctl log refused | tail -n 1)"
expect_match "vtpmctl log of the other" 'vTPM of container "shown" stopped, generation [0-9]+$' "$(vtpmctl log shown | tail -n 1)"
expect_match "the fields of its start" '\[event=started container="shown" state="shown" tpm=[0-9]+\]' "$(vtpmctl log --raw shown)"
expect_match "the fields of its stop" '\[event=stopped container="shown" state="shown" tpm=[0-9]+ writes=[1-9][0-9]* writes-us=' \
    "$(vtpmctl log --raw shown)"
expect_equal "lines of one container that vtpmctl log shows of the other" '' \
    "$(vtpmctl log shown | grep refused || true)"
expect_error "vtpmctl log of a container that nobody knows" 'cannot find lines about "nobody" in the system log' vtpmctl log nobody

# Events and what is counted come from a journal alone: files do not say who has written a line.
if [[ -z ${SYSTEMD_HOST:-} ]]; then
    expect_equal "whether there is a journal" 0 "$(metric log_readable)"
    expect_error "events without a journal" 'cannot read events: there is no journal' vtpmctl events --json
    exit
fi
umount /var/log
collector=$(readlink /dev/log)
ln --symbolic --force --no-target-directory /run/systemd/journal/dev-log /dev/log
trap 'status=$?; ln --symbolic --force --no-target-directory "$collector" /dev/log; (exit "$status"); end_case' EXIT
declare -A before
counters=(starts_total 'stops_total{shutdown="orderly"}' 'refusals_total{reason="container"}' state_write_seconds_count)
for name in "${counters[@]}"; do before[$name]=$(metric "$name"); done
cursor=$(vtpmctl events --json | tail -n 1 | jq --raw-output .cursor)
events() { vtpmctl events --json ${cursor:+--after "$cursor"} | jq --raw-output '"\(.event) \(.container)"'; }
setpriv --reuid 65534 --clear-groups logger --tag vtpm-supervisor 'forged [event=started container="forged"]'
container_bundle counted
container_start counted
container_stop counted
container_bundle denied '.annotations = {"org.container-vtpm.nonsense": "1"}'
expect_failure "creation" container_create denied
events_are_there() { [[ $(events) == *'stopped counted'*'refused denied'* ]]; }
wait_until "the events" events_are_there
journalctl --sync
expect_equal "events of ours" $'started counted\nstopped counted\nrefused denied' "$(events | grep -E '^(started|stopped|refused) ')"
for name in "${counters[@]}"; do
    case $name in *_count) continue ;; esac
    expect_equal "$name" $((before[$name] + 1)) "$(metric "$name")"
done
expect_equal "writes were counted" yes "$( (($(metric state_write_seconds_count) > before[state_write_seconds_count])) && echo yes)"
# Where the node exporter reads, and the profile of vtpmctl lets it write.
folder=/var/lib/prometheus/node-exporter
mkdir -p "$folder"
vtpmctl metrics --output "$folder/container-vtpm.prom"
expect_equal "what is in the folder" container-vtpm.prom "$(ls -A "$folder")"
expect_equal "the mode of the file" 644 "$(stat --format %a "$folder/container-vtpm.prom")"
expect_equal "its end" '# EOF' "$(tail -n 1 "$folder/container-vtpm.prom")"
expect_equal "names in it" '' "$(grep -E 'counted|denied|shown' "$folder/container-vtpm.prom" || true)"
rm -r /var/lib/prometheus
