# The kernel's own selftests for TPM 2, smoke and space, pass inside a container.
# Guests: debian-12 debian-13
# Runtimes: runc
. "$GUEST/lib.sh"

container_bundle selftests
cp --recursive "$SELFTESTS" "$BUNDLES/selftests/rootfs/selftests"
# Not through their shell scripts: those do not report the failure of any but the last suite.
container_run selftests sh -c 'cd /selftests &&
    exec timeout 240 python3 -m unittest -v tpm2_tests.SmokeTest tpm2_tests.AsyncTest tpm2_tests.SpaceTest'
