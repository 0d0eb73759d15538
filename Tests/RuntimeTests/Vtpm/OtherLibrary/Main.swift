import CLibTPMS
import Glibc
import Platform
import RuntimeControl
import RuntimeWorker

/// A worker on a host with another libtpms than the one here: a fixture that stands in for libtpms 0.10.1, or for 0.9.2
/// where its argument is `older`.
///
/// Everything but the functions below is the real worker's and the real library's. A newer library makes a TPM with
/// another profile, whose state nothing older reads, unless it is told not to before it starts: here it does not start.
@main
struct Main {
    nonisolated(unsafe) static var profile = ""
    nonisolated(unsafe) static var hasVersion = false
    static let version =
        CommandLine.arguments.dropFirst().first == "older" ? LibraryVersion(0, 9, 2) : LibraryVersion(0, 10, 1)

    static func main() {
        // Found while that can still be done.
        _ = (libraryInit, libraryChoose, version)
        do throws(Failure) {
            try Worker(channel: Channel(owning: Descriptor(owning: 3), peer: "supervisor")).run()
        } catch {
            exit(1)
        }
    }
}

private func library<Function>(_ name: String, _ type: Function.Type) -> Function? {
    guard let library = dlopen("libtpms.so.0", RTLD_NOW | RTLD_NOLOAD), let symbol = dlsym(library, name) else {
        return nil
    }
    return unsafeBitCast(symbol, to: type)
}

private let libraryInit = library("TPMLIB_MainInit", (@convention(c) () -> TPM_RESULT).self)
private let libraryChoose = library(
    "TPMLIB_ChooseTPMVersion",
    (@convention(c) (TPMLIB_TPMVersion) -> TPM_RESULT).self
)

@_cdecl("TPMLIB_GetVersion")
func otherVersion() -> UInt32 { Main.version.number }

@_cdecl("TPMLIB_ChooseTPMVersion")
func choose(_ version: TPMLIB_TPMVersion) -> TPM_RESULT {
    Main.hasVersion = version == TPMLIB_TPM_VERSION_2
    return libraryChoose?(version) ?? TPM_RESULT(TPM_FAIL)
}

@_cdecl("TPMLIB_SetProfile")
func setProfile(_ profile: UnsafePointer<CChar>?) -> TPM_RESULT {
    guard Main.hasVersion, let profile else { return TPM_RESULT(TPM_FAIL) }
    Main.profile = String(cString: profile)
    return TPM_RESULT(TPM_SUCCESS)
}

@_cdecl("TPMLIB_MainInit")
func mainInit() -> TPM_RESULT {
    guard Main.profile == #"{"Name":"null"}"# else { return TPM_RESULT(TPM_FAIL) }
    return libraryInit?() ?? TPM_RESULT(TPM_FAIL)
}
