# docker with its defaults and CDI: as with podman, and its daemon may be restarted while containers run.
# Guests: debian-13
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"
ENGINE=docker

install_carrier
engine_import
host=$(host_snapshot)
engine_start main
unit=$(scope_of "$id")
expect_tpm "at first" main
key=$(engine_endorsement_key main)

systemctl daemon-reload
neighbours_come_and_go system.slice
expect_tpm "after daemon-reload and five neighbours" main
systemctl set-property --runtime "$unit" MemoryMax=1G
docker update --memory 512m --memory-swap 1g main >/dev/null
expect_tpm "after docker update" main

# With the setting that leaves containers running.
cp /etc/docker/daemon.json "$WORK/daemon.json"
jq '."live-restore" = true' <"$WORK/daemon.json" >/etc/docker/daemon.json
systemctl reload docker
supervisor=$(lease_field "$id" supervisorPID)
systemctl restart docker
wait_until "docker" docker info
expect_equal "the supervisor after docker's restart" "$supervisor" "$(lease_field "$id" supervisorPID)"
expect_tpm "after docker's restart" main
cp "$WORK/daemon.json" /etc/docker/daemon.json
systemctl reload docker

docker restart --time 0 main >/dev/null
expect_equal "its endorsement key after a restart" "$key" "$(engine_endorsement_key main)"
docker rm --force main >/dev/null
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
