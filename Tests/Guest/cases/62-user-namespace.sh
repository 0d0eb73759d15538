# In a user namespace a container's TPM belongs to the mapped user of its process, or to a group of the operator's
# choice as well. Both devices open there, although a tmpfs of that namespace opens none.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

opening() { # ID USER:GROUP DEVICE
    container_exec --user "$2" "$1" sh -c "{ exec 3<>$3; } 2>&1 && echo opened" || true
}

nodes() { # ID
    container_exec "$1" stat --format '%F %a %u:%g' /dev/tpm0 /dev/tpmrm0 | sort --unique
}

# The mapped root, in a root filesystem that is read only.
container_bundle root "$in_user_namespace" '.root.readonly = true'
container_bundle user "$in_user_namespace" '.process.user = {uid: 1000, gid: 1000}'
container_bundle inner
before=$(host_snapshot)
container_start root
container_exec root tpm2_getrandom --hex 8
container_exec root tpm2_getrandom --tcti device:/dev/tpm0 --hex 8
expect_equal "the nodes" 'character special file 600 0:0' "$(nodes root)"
expect_equal "the owner on the host" 100000:200000 "$(stat --format %u:%g "/proc/$(container_pid root)/root/dev/tpm0")"
expect_match "another user" 'Permission denied' "$(opening root 1001:1001 /dev/tpmrm0)"
container_stop root
expect_host "$before"

# Another user, and a group by its name in the image.
configure <<'END'
[device]
group = "users"
END
container_start user
container_exec --user 1000:1000 user tpm2_getrandom --hex 8
expect_equal "the nodes" 'character special file 660 1000:100' "$(nodes user)"
expect_equal "another user, in the group" opened "$(opening user 1001:100 /dev/tpm0)"
expect_match "another user" 'Permission denied' "$(opening user 1001:1001 /dev/tpm0)"
container_stop user

# The rest does not depend on the runtime.
[[ $RUNTIME == runc ]] || exit 0

# A group that the namespace does not map.
configure <<'END'
[device]
group = 70000
END
container_wrap_hooks user
expect_creation_refused user 'its group 70000 has no ID on the host'
expect_host "$before"

# A hook that is itself in a user namespace sees other IDs than the host's.
cat >"$WORK/inner" <<'END'
unshare --pid --mount --fork sleep 60 2>/dev/null &
until pid=$(pgrep --parent $!) && [[ $(readlink /proc/$pid/exe) == */sleep ]]; do sleep 0.05; done
jq --null-input --arg bundle "$1" --argjson pid "$pid" '{id: "inner", pid: $pid, bundle: $bundle}' | "$2" createRuntime
status=$?
kill -KILL "$pid"
exit "$status"
END
status=0
error=$(unshare --user --map-root-user bash "$WORK/inner" "$BUNDLES/inner" "$HOOK" 2>&1) || status=$?
expect_refusal "a hook in a user namespace" 'the hook runs in a user namespace' "$status" "$error"
expect_host "$before"
