import Platform

extension TPMConnection {
    /// Reads the storage key at a handle; returns nil if the handle is free. TPM2_ReadPublic
    private func storageKey(at handle: UInt32) throws(Failure) -> StorageKey? {
        var command = Command(.readPublic)
        command.handles = [.init(handle)]
        var response = try run(command, accepting: [.handle])
        guard response.code == .success else { return nil }
        // The name and the qualified name are skipped: without a session, anybody on the way could have changed them.
        guard let area = response.parameters.readSized(), response.parameters.readSized() != nil,
            response.parameters.readSized() != nil, response.parameters.remaining == 0
        else { throw malformed(.readPublic) }
        return try parse(area, at: handle)
    }

    func parse(_ area: [UInt8], at handle: UInt32) throws(Failure) -> StorageKey {
        do throws(StorageKey.Problem) {
            return try StorageKey.parse(area, at: handle)
        } catch {
            switch error {
            case .malformed: throw malformed(.readPublic)
            case .failed(let failure): throw failure
            case .unfit(let why):
                throw failure(
                    "the TPM's key \(Handle.text(handle)) cannot be used as storage key: \(why)",
                    hint:
                        "the owner gives that place to a storage key: tpm2_evictcontrol -C o -c \(Handle.text(handle))"
                )
            }
        }
    }

    /// Reads the storage key at a handle; throws if its name is not `name`.
    func storageKey(at handle: UInt32, named name: [UInt8]) throws(Failure) -> StorageKey {
        let hint = "use the TPM of before; docs/operations.md tells what to do where it is gone"
        guard let key = try storageKey(at: handle) else {
            throw failure("its storage key \(Handle.text(handle)) is not in the TPM any more", hint: hint)
        }
        guard key.name == name else {
            throw failure(
                "the TPM's storage key \(Handle.text(handle)) is another than before: "
                    + "this is another TPM, its owner was changed, or something pretends to be it",
                hint: hint
            )
        }
        return key
    }

    /// Reads the host's storage key; makes one from ``StorageKey/template`` if the TPM has none.
    func storageKeyOrNew() throws(Failure) -> StorageKey {
        if let key = try storageKey(at: Handle.storageKey) { return key }
        try makeStorageKey(from: StorageKey.template)
        guard let key = try storageKey(at: Handle.storageKey) else {
            throw failure("the storage key that was made is not in the TPM")
        }
        return key
    }

    /// Creates a primary key in the owner hierarchy and makes it persistent. Provisioning Guidance, 7.8
    func makeStorageKey(from template: [UInt8], at place: UInt32 = Handle.storageKey) throws(Failure) {
        let create = Command.createPrimary(in: Handle.owner, from: template)
        let hint =
            "the owner makes the storage key: tpm2_createprimary -C o -P AUTH -G ecc256:aes128cfb -c srk.ctx && "
            + "tpm2_evictcontrol -C o -P AUTH -c srk.ctx \(Handle.text(place))"
        let created = try runAsOwner(create, hint: hint)
        try withObject(created, madeBy: .createPrimary) { (handle) throws(Failure) in
            var evict = Command(.evictControl)
            evict.handles = [.init(Handle.owner), .init(handle)]
            evict.authorization = .password
            evict.parameters.write(place)
            // Another process may have been faster. Its key is the same: the template and the seed determine it.
            _ = try runAsOwner(evict, hint: hint, accepting: [.nvDefined])
        }
    }

    /// Runs a command with the owner's authorization; throws with `hint` if it is not empty.
    func runAsOwner(
        _ command: Command,
        hint: String,
        accepting accepted: [ResponseCode] = []
    ) throws(Failure) -> Response {
        let refusals: [ResponseCode] = [.authFail, .badAuth]
        let response = try run(command, accepting: accepted + refusals)
        guard !refusals.contains(where: response.code.isSame) else {
            throw failure(
                "\(command.code.name): \(response.code): the TPM's owner has set an authorization",
                hint: hint
            )
        }
        return response
    }
}

extension Command {
    /// Creates a primary key without an authorization value of its own. TPM2_CreatePrimary
    static func createPrimary(in hierarchy: UInt32, from template: [UInt8]) -> Command {
        var create = Command(.createPrimary)
        create.handles = [.init(hierarchy)]
        create.authorization = .password
        // TPM2B_SENSITIVE_CREATE: an empty authorization value and no data.
        create.parameters.write(sized: [0, 0, 0, 0])
        create.parameters.write(sized: template)
        create.parameters.write(sized: [])
        create.parameters.write(UInt32(0))
        create.returnsHandle = true
        return create
    }
}
