# For runtimes that know no createRuntime the same works in the prestart stage.
. "$GUEST/lib.sh"

container_bundle old
container_hooks old "$HOOKS/oci-bundle-prestart.json"
container_start old
container_exec old tpm2_getrandom --hex 8
expect_equal "/dev/tpm0" opened "$(try_open old /dev/tpm0)"
container_stop old
