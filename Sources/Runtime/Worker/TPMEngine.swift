import CLibCrypto
import CLibTPMS
import Glibc
import Platform
import RuntimeControl
import VTPMProxy

/// The TPM: libtpms, with its non-volatile state stored elsewhere.
///
/// libtpms keeps one TPM per process in global variables, and its callbacks get no context. So there is one engine, in
/// a static variable, and a process with an engine has one thread. With the main actor the compiler would check that,
/// but the process that the tenant talks to would link Swift's concurrency runtime and libdispatch.
public final class TPMEngine {
    /// Stores the whole non-volatile state; returns once it is on stable storage.
    public typealias Store = (UnsafeRawBufferPointer) throws(Failure) -> Void

    private nonisolated(unsafe) static var current: TPMEngine?
    /// The locality of the next command: 0, which is a tenant's, but while the host measures a launch.
    nonisolated(unsafe) static var locality: UInt8 = 0

    /// The state that libtpms loads while it starts: the one to start from, then the one that it stored last.
    ///
    /// libtpms loads it several times, even after it has manufactured a TPM and stored it. If it were then told again
    /// that there is no state, it would go on with an empty one without an error. The state is wiped once the TPM has
    /// started.
    private var stateToLoad: SecretBytes?
    private var isStarting = true
    private let store: Store
    /// Why a state could not be stored; this is for good, since a restart would forget what the TPM knows.
    private var storeFailure: Failure?
    /// Whether a state could not be stored.
    public var hasFailed: Bool { storeFailure != nil }

    private var response: UnsafeMutablePointer<UInt8>?
    private var responseCapacity: UInt32 = 0

    /// The keys that are not at their handles, since the TPM has refused to put them there.
    public private(set) var refusedKeys: [RefusedKey] = []

    /// Starts the TPM up, as a platform's firmware does before anybody else uses it.
    ///
    /// It executes TPM2_Startup(CLEAR), puts those of the keys at their handles that are not there, calls `beforeClosing`, and
    /// disables the platform hierarchy. The owner of that can replace the endorsement and platform seeds (TPM 2.0 Library, Part 1, 13.3), and its
    /// authorization is empty after each startup. A TPM is manufactured if there is no state, and never otherwise. A new TPM
    /// has all of the keys and the banks of PCRs, or is none.
    public init(
        state: SecretBytes?,
        provision: TPMProvision,
        store: @escaping Store,
        beforeClosing: (TPMEngine) throws(Failure) -> Void = { (_) throws(Failure) in }
    ) throws(Failure) {
        self.store = store
        self.stateToLoad = state
        guard Self.current == nil else {
            throw Failure("cannot start a TPM", because: "this process has one already")
        }
        try Self.checkEntropy()
        Self.current = self
        try start(with: provision, isNew: state == nil)
        try beforeClosing(self)
        try expectSuccess("TPM2_HierarchyControl", TPMCommand.disablePlatformHierarchy)
        isStarting = false
        stateToLoad = nil
    }

    /// Initializes libcrypto, while the process may still open files.
    ///
    /// libtpms calls libcrypto itself. The worker only prepares it, so the module Crypto is not linked. The
    /// configuration file is not read: what a TPM computes must not depend on a host's openssl.cnf. The texts of errors and
    /// the names of all algorithms, which would take 60 KiB of each worker, are left out, and so are the algorithms that no
    /// TPM has (``AlgorithmProvider``). OPENSSL_init_crypto(3)
    public static func prepareLibraries() {
        var byte: UInt8 = 0
        let without =
            OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS | OPENSSL_INIT_NO_ADD_ALL_CIPHERS
            | OPENSSL_INIT_NO_ADD_ALL_DIGESTS
        OPENSSL_init_crypto(UInt64(without), nil)
        AlgorithmProvider.load()
        // Without the tables of names, only those are found that are added: libtpms looks up the digest of OAEP, PSS and
        // ECDSA by its name (EVP_get_digestbyname).
        for digest in [EVP_sha1(), EVP_sha256(), EVP_sha384(), EVP_sha512()] { EVP_add_digest(digest) }
        // Seeds the generator. A failure is found again, and told, when the TPM starts.
        RAND_bytes(&byte, 1)
    }

    /// Throws if libcrypto has no random numbers.
    ///
    /// libtpms would silently fall back to `rand()`, seeded with the time (Entropy.c).
    private static func checkEntropy() throws(Failure) {
        var sample = [UInt8](repeating: 0, count: 32)
        guard RAND_status() == 1, RAND_bytes(&sample, CInt(sample.count)) == 1 else {
            throw Failure("cannot start the TPM", because: "libcrypto has no random numbers")
        }
    }

    private func start(with provision: TPMProvision, isNew: Bool) throws(Failure) {
        var callbacks = libtpms_callbacks()
        callbacks.sizeOfStruct = CInt(MemoryLayout<libtpms_callbacks>.size)
        callbacks.tpm_nvram_init = { TPM_RESULT(TPM_SUCCESS) }
        callbacks.tpm_nvram_loaddata = { data, length, _, name in TPMEngine.load(name, data, length) }
        callbacks.tpm_nvram_storedata = { data, length, _, name in TPMEngine.save(name, data, length) }
        callbacks.tpm_nvram_deletename = { _, _, _ in TPM_RESULT(TPM_SUCCESS) }
        callbacks.tpm_io_init = { TPM_RESULT(TPM_SUCCESS) }
        callbacks.tpm_io_getlocality = { locality, _ in
            locality?.pointee = TPM_MODIFIER_INDICATOR(TPMEngine.locality)
            return TPM_RESULT(TPM_SUCCESS)
        }
        callbacks.tpm_io_getphysicalpresence = { presence, _ in
            presence?.pointee = 0
            return TPM_RESULT(TPM_SUCCESS)
        }
        let found = try stateToLoad.map { (state) throws(Failure) in try PermanentStateStart(of: state) }
        try found?.require(TPMLibrary.version)
        try check("choosing TPM 2.0", TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2))
        try TPMLibrary.pinProfile()
        try check("registering callbacks", TPMLIB_RegisterCallbacks(&callbacks))
        let size = TPMLIB_SetBufferSize(UInt32(ProxyTransport.bufferSize), nil, nil)
        guard size == UInt32(ProxyTransport.bufferSize) else {
            throw Failure("cannot start the TPM", because: "libtpms wants a buffer of \(size) bytes")
        }
        let result = TPMLIB_MainInit()
        // TPMLIB_MainInit does not report a failed store during a manufacture, and does not say so if memory could not
        // be locked.
        if let storeFailure { throw Failure("cannot start the TPM", because: "\(storeFailure)") }
        try check(found.map { "loading its state, \($0.description)" } ?? "manufacturing it", result)
        try expectSuccess("TPM2_Startup", TPMCommand.startupClear)
        if isNew, provision.banks != .all { try allocate(provision.banks) }
        refusedKeys = try complete(provision.keys)
        if isNew, let first = refusedKeys.first {
            throw Failure("cannot make the TPM's key \(first.key.name)", because: first.reason)
        }
    }

    func check(_ step: String, _ result: TPM_RESULT) throws(Failure) {
        guard result == TPM_SUCCESS else {
            throw Failure(
                "cannot start the TPM",
                because: "libtpms \(TPMLibrary.version): \(step): error 0x\(String(result, radix: 16))"
            )
        }
    }

    func expectSuccess(_ name: String, _ command: [UInt8]) throws(Failure) {
        var code: UInt32?
        var copy = command
        copy.withUnsafeMutableBytes { code = TPMCommand.responseCode(of: process($0)) }
        try requireStored(name)
        guard code == TPMCommand.success else {
            throw Failure(
                "cannot execute \(name)",
                because: "the TPM answers 0x\(String(code ?? TPMCommand.failure, radix: 16))"
            )
        }
    }

    /// Asks the TPM how often it was started.
    func resets() throws(Failure) -> TPMResets {
        var resets: TPMResets?
        var command = TPMCommand.readClock
        command.withUnsafeMutableBytes { resets = TPMResets(response: process($0)) }
        guard let resets else { throw Failure("cannot start the TPM", because: "it does not say how often it was") }
        return resets
    }

    /// Throws if what a command has changed could not be stored.
    func requireStored(_ name: String) throws(Failure) {
        if let storeFailure { throw Failure("cannot execute \(name)", because: "\(storeFailure)") }
    }

    /// Executes one command and returns its response, valid until the next command.
    ///
    /// Once a state could not be stored, every response is TPM_RC_FAILURE, including that of the command under way.
    public func process(_ command: UnsafeMutableRawBufferPointer) -> UnsafeRawBufferPointer {
        var size: UInt32 = 0
        var result = TPM_RESULT(TPM_FAIL)
        if !hasFailed {
            let bytes = command.bindMemory(to: UInt8.self)
            result = TPMLIB_Process(&response, &size, &responseCapacity, bytes.baseAddress, UInt32(bytes.count))
        }
        guard !hasFailed, result == TPM_SUCCESS, size >= TPMCommand.headerSize,
            size <= ProxyTransport.bufferSize, let response
        else {
            return failureResponse
        }
        return UnsafeRawBufferPointer(start: response, count: Int(size))
    }

    private let failureBytes = TPMCommand.response(code: TPMCommand.failure)
    private var failureResponse: UnsafeRawBufferPointer {
        let count = failureBytes.count
        if responseCapacity < count {
            response = realloc(response, count)?.bindMemory(to: UInt8.self, capacity: count)
            responseCapacity = response == nil ? 0 : UInt32(count)
        }
        guard let response else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        for (index, byte) in failureBytes.enumerated() { response[index] = byte }
        return UnsafeRawBufferPointer(start: response, count: count)
    }

    /// Executes TPM2_Shutdown(CLEAR), without which the next startup counts as a failed authorization (Part 1, 19.8.6).
    ///
    /// Returns whether the TPM is shut down and its state stored.
    public func shutDown() -> Bool {
        do {
            try expectSuccess("TPM2_Shutdown", TPMCommand.shutdownClear)
            return true
        } catch {
            return false
        }
    }

    // MARK: - Callbacks

    private static func load(
        _ name: UnsafePointer<CChar>?,
        _ data: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?,
        _ length: UnsafeMutablePointer<UInt32>?
    ) -> TPM_RESULT {
        guard let engine = current, let name, let data, let length else { return TPM_RESULT(TPM_FAIL) }
        // TPM_RETRY says that there is no such data. For `permall` it makes libtpms manufacture a new TPM.
        guard strcmp(name, TPM_PERMANENT_ALL_NAME) == 0 else { return TPM_RESULT(TPM_RETRY) }
        return engine.loadPermanentState(data, length)
    }

    private func loadPermanentState(
        _ data: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>,
        _ length: UnsafeMutablePointer<UInt32>
    ) -> TPM_RESULT {
        guard isStarting else { return TPM_RESULT(TPM_FAIL) }
        guard let state = stateToLoad else { return TPM_RESULT(TPM_RETRY) }
        // libtpms frees the copy.
        guard state.count > 0, let copy = malloc(state.count) else { return TPM_RESULT(TPM_FAIL) }
        state.withBytes { UnsafeMutableRawBufferPointer(start: copy, count: $0.count).copyMemory(from: $0) }
        data.pointee = copy.bindMemory(to: UInt8.self, capacity: state.count)
        length.pointee = UInt32(state.count)
        return TPM_RESULT(TPM_SUCCESS)
    }

    private static func save(
        _ name: UnsafePointer<CChar>?,
        _ data: UnsafePointer<UInt8>?,
        _ length: UInt32
    ) -> TPM_RESULT {
        guard let engine = current, let name, let data, strcmp(name, TPM_PERMANENT_ALL_NAME) == 0 else {
            return TPM_RESULT(TPM_FAIL)
        }
        return engine.savePermanentState(UnsafeRawBufferPointer(start: data, count: Int(length)))
    }

    private func savePermanentState(_ state: UnsafeRawBufferPointer) -> TPM_RESULT {
        guard !hasFailed else { return TPM_RESULT(TPM_FAIL) }
        do throws(Failure) {
            if isStarting { try keep(state) }
            try store(state)
            return TPM_RESULT(TPM_SUCCESS)
        } catch {
            storeFailure = error
            return TPM_RESULT(TPM_FAIL)
        }
    }

    private func keep(_ state: UnsafeRawBufferPointer) throws(Failure) {
        let copy = try SecretBytes(capacity: max(state.count, 1))
        guard state.count > 0, copy.append(copying: state) else {
            throw Failure("cannot keep the TPM's state", because: "it is empty")
        }
        stateToLoad = copy
    }
}
