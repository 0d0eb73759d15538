import Glibc
import OCIHook

// The hook's program as far as the probe is concerned.
guard CommandLine.arguments.dropFirst() == [DeviceAccessProbe.argument] else { exit(64) }
exit(DeviceAccessProbe.runChild())
