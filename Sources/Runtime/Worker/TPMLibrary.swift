import CLibTPMS
import Glibc
import Platform
import RuntimeControl

/// libtpms as it is on this host, which may be newer than the one whose headers the worker was built with.
enum TPMLibrary {
    /// Its version. TPMLIB_GetVersion(3)
    static var version: LibraryVersion { LibraryVersion(number: TPMLIB_GetVersion()) }

    private typealias SetProfile = @convention(c) (UnsafePointer<CChar>?) -> TPM_RESULT

    /// Has a TPM that is manufactured be one of libtpms 0.9, also where libtpms is newer: each host can go back to the
    /// library of before, and a state can go to any host. TPMLIB_SetProfile(3)
    ///
    /// A TPM that has a state keeps the profile that it was made with. Before 0.10 there is no such function, and no
    /// other profile; it is looked for where the program runs, since the one that builds it may have either library.
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

/// The start of libtpms' `permall`, all of it that is looked at here: which libtpms can read the rest.
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
    /// How much of it is looked at, in bytes: what a message can take of a profile.
    private static let size = 10 + 64

    private let version: UInt16
    private let least: UInt16
    /// What the TPM can do, as JSON; its name is in front.
    private let profile: String?

    /// Reads it, and throws where it is no TPM 2.0's.
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

    /// Throws where this libtpms is known to be too old for it.
    func require(_ library: LibraryVersion) throws(Failure) {
        // One that is newer than this program may know more than it.
        guard least > 3, library < LibraryVersion(0, 10, 0) else { return }
        throw Failure(
            "cannot start the TPM",
            because: "only libtpms 0.10 or newer can read its state, \(description), and this is libtpms \(library)",
            hint: "upgrade libtpms"
        )
    }

    /// What there is to say of it where libtpms has refused it.
    var description: String {
        "which has format \(version)" + (profile.map { " and the profile \($0)" } ?? "")
    }
}
