import Platform

extension HostTPM {
    /// The keys by which a TPM is known, where it has them: endorsement keys, then the storage key.
    private static let keyHandles: [UInt32] = [0x8101_0001, 0x8101_000a, Handle.storageKey]

    /// How long each command may take, in milliseconds: containers are created meanwhile.
    private static let identityTimeout = 2000

    /// Returns what distinguishes the host's TPM 2.0 from another one; nothing if the host has none.
    ///
    /// Without a configured device it is the first of the host's hardware TPMs. Throws a ``Failure`` if it does not answer.
    public static func identity(configured: String?, sys: String = "/sys") throws(Failure) -> [UInt8] {
        let device: String
        if let configured {
            device = configured
        } else {
            let chips = try TPMChip.all(sys: sys).filter { $0.isHardware && !$0.isVersion1 }
            guard let first = chips.first else { return [] }
            device = first.path
        }
        return try open(configured: device, timeout: identityTimeout).identity()
    }

    /// Returns the name of the first key that the TPM keeps; of a TPM without any, how often it was reset.
    ///
    /// What is asked for is public, and no session vouches for the answer: it serves to notice another TPM, not to trust one.
    func identity() throws(Failure) -> [UInt8] {
        let link = link("cannot identify the host's TPM")
        var writer = ByteWriter()
        for handle in Self.keyHandles {
            var command = Command(.readPublic)
            command.handles = [.init(handle)]
            var response = try link.run(command, accepting: [.handle])
            guard response.code == .success else { continue }
            guard let area = response.parameters.readSized() else { throw link.malformed(.readPublic) }
            writer.write(handle)
            writer.write(try entityName(ofPublicArea: area))
            return writer.bytes
        }
        // TPMS_TIME_INFO: time and clock in 64 bits each, resetCount in 32. Part 2, 10.11
        var parameters = try link.run(Command(.readClock)).parameters
        guard parameters.read(UInt64.self) != nil, parameters.read(UInt64.self) != nil,
            let resets = parameters.read(UInt32.self)
        else { throw link.malformed(.readClock) }
        writer.write(resets)
        return writer.bytes
    }
}
