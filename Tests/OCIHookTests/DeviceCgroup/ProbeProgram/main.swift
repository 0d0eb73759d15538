import Glibc
import OCIHook

// The hook's program as far as the probe is concerned.
guard CommandLine.arguments.dropFirst() == [AccessProbe.argument] else { exit(64) }
exit(AccessProbe.runChild())
