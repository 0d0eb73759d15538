import CLibTPMS
import Glibc
import Platform
import RuntimeControl

/// The libtpms of this host, which may be newer than the headers with which the worker was built.
enum TPMLibrary {
    /// Its version. TPMLIB_GetVersion(3)
    static var version: LibraryVersion { LibraryVersion(number: TPMLIB_GetVersion()) }

    private typealias SetProfile = @convention(c) (UnsafePointer<CChar>?) -> TPM_RESULT

    /// Makes libtpms manufacture TPMs as version 0.9 does, even if it is newer. TPMLIB_SetProfile(3)
    ///
    /// So each host can go back to its earlier library, and a state can go to any host.
    ///
    /// A TPM that has a state keeps the profile with which it was made. Before 0.10 there is no such function, and no
    /// other profile. It is looked up at run time, since the program can be built with either library.
    static func pinProfile() throws(Failure) {
        guard let symbol = dlsym(nil, "TPMLIB_SetProfile") else { return }
        let result = unsafeBitCast(symbol, to: SetProfile.self)(#"{"Name":"null"}"#)
        guard result == TPM_SUCCESS else {
            throw Failure(
                "cannot start the TPM",
                because: "libtpms \(version) does not take the profile \"null\": error 0x\(String(result, radix: 16))"
            )
        }
    }
}

/// The start of libtpms' `permall`, which says which libtpms can read the rest.
///
///     version    16 bits  of the format
///     magic      32 bits  0xab364723
///     least      16 bits  the format that a reader must know at least; since version 2
///     profile    16 bits  length, then JSON and a zero; since version 4
///
/// libtpms 0.6 to 0.9 write version 3. Later ones write it too for a TPM with the profile "null", else version 4.
/// libtpms: src/tpm2/NVMarshal.c, PERSISTENT_ALL_Marshal
struct PermanentStateStart {
    private static let magic: UInt32 = 0xab36_4723
    /// How the `permall` of a TPM 1.2 begins: TPM_TAG_NVSTATE_V1 and TPM_TAG_PERMANENT_DATA.
    private static let tpm12: [UInt8] = [0, 1, 0, 0x22]
    /// The size of the part that is read, in bytes; it limits how much of a profile a message has.
    private static let size = 10 + 64

    private let version: UInt16
    private let least: UInt16
    /// The profile, as JSON that begins with its name; it says what the TPM can do.
    private let profile: String?

    /// Reads it; throws if it is not that of a TPM 2.0.
    init(of state: SecretBytes) throws(Failure) {
        let what = "cannot start the TPM"
        let start = state.withBytes { Array($0.prefix(Self.size)) }
        guard !start.starts(with: Self.tpm12) else {
            throw Failure(what, because: "its state is one of a TPM 1.2, and none of a TPM 2.0")
        }
        var reader = ByteReader(start)
        guard let version = reader.read(UInt16.self), let magic = reader.read(UInt32.self), magic == Self.magic else {
            throw Failure(what, because: "its state is none of libtpms'")
        }
        self.version = version
        self.least = version >= 2 ? reader.read(UInt16.self) ?? 0 : 0
        guard version >= 4, let length = reader.read(UInt16.self), length > 1 else {
            profile = nil
            return
        }
        let text = reader.read(count: min(Int(length) - 1, reader.remaining)) ?? []
        profile = String(decoding: text, as: UTF8.self)
    }

    /// Throws if this libtpms is known to be too old for it.
    func require(_ library: LibraryVersion) throws(Failure) {
        // A libtpms that is newer than this program may read formats that this program does not know.
        guard least > 3, library < LibraryVersion(0, 10, 0) else { return }
        throw Failure(
            "cannot start the TPM",
            because: "only libtpms 0.10 or newer can read its state, \(description), and this is libtpms \(library)",
            hint: "upgrade libtpms"
        )
    }

    /// A description of it, for the error if libtpms refuses it.
    var description: String {
        "which has format \(version)" + (profile.map { " and the profile \($0)" } ?? "")
    }
}
