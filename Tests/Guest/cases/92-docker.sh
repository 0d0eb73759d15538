# docker with its defaults, by CDI and by the wrapper: as with podman, and its daemon may be restarted while containers run.
# Of the two runtimes, the hook's containers have one and the wrapper's the other.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"
ENGINE=docker

install_carrier
RUNTIME=crun install_wrapper docker
engine_import
host=$(host_snapshot)
member hook docker hook runc
member wrapper docker wrapper crun
each start_member --restart always
# docker names no image by its digest.
expect_match "docker's image" 'image\.digest: "not stated"' "$(vtpmctl launch show "$(<"$(name=hook record id)")")"
expect_same_launch "$(<"$(name=hook record id)")" "$(<"$(name=wrapper record id)")"
each expect_device_rules

systemctl daemon-reload
neighbours_come_and_go system.slice
each expect_tpm "after daemon-reload and five neighbours"
systemctl daemon-reexec
neighbours_come_and_go system.slice
each expect_tpm "after daemon-reexec and five neighbours"
each set_a_property
each expect_tpm "after a property of its unit was set"
docker update --memory 512m --memory-swap 1g hook wrapper >/dev/null
each expect_tpm "after docker update"

# With the setting that leaves containers running.
supervisors() { vtpmctl list --json | jq --compact-output 'map(.supervisorPID) | sort'; }
docker_live_restore true
running=$(supervisors)
systemctl restart docker
wait_until "docker" docker info
expect_equal "the supervisors after docker's restart" "$running" "$(supervisors)"
each expect_tpm "after docker's restart"

docker restart --time 0 hook wrapper >/dev/null
each expect_key "after its restart"

# Without that setting docker stops its containers, and starts them again.
docker_live_restore false
systemctl restart docker
wait_until "docker" docker info
each expect_started_again "after docker has started it again"
docker rm --force hook wrapper >/dev/null
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
