import Platform
import RuntimeState

/// Reads states that may be in use, whose files are written in place.
extension StateRepository {
    /// How long a state in use is read again before it counts as damaged, in milliseconds.
    ///
    /// A write to the page cache takes far less. It can be held up while it is half done, as where too much is dirty.
    private static let writingTime = 1000

    /// Reads a state's file until `load` succeeds, for as long as a write may be the reason that it does not.
    ///
    /// `load` returns an error that a write can cause, and throws any other. A state that nobody uses is read twice: its
    /// user may have ended between the reading and the look at its lock.
    func readWhileInUse<Loaded>(
        _ name: String,
        in directory: borrowing Descriptor,
        _ load: ([UInt8]) throws(Failure) -> Result<Loaded, Failure>
    ) throws(Failure) -> Loaded {
        var before: [UInt8] = []
        var result = Result<Loaded, Failure>.failure(lost(name))
        _ = try Deadline(milliseconds: Self.writingTime).wait(backoff: Backoff(first: 1, limit: 20)) {
            () throws(Failure) in
            let file = try read(in: directory, name)
            result = try load(file)
            if case .success = result { return true }
            defer { before = file }
            guard file == before else { return false }
            return try StateLock.user(in: directory) == nil
        }
        return try result.get()
    }

    /// Reads, parses and decrypts a state that may be in use; throws a ``Failure`` if it is that of another ID.
    func loadInUse(
        _ name: String,
        _ stateID: String,
        in directory: borrowing Descriptor
    ) throws(Failure) -> (header: StateFile, payload: StatePayload) {
        try readWhileInUse(name, in: directory) { (file) throws(Failure) in
            let header = try StateFile(parsing: file, path: filePath(name))
            let keys = try keys.instanceKeys(of: header, stateID, path: filePath(name))
            return Result { () throws(Failure) in
                (header, try header.decode(file, keys: keys, path: filePath(name)))
            }
        }
    }

    /// Returns the error about a state that the index knows and that is not there.
    func lost(_ name: String) -> Failure {
        Failure(
            "cannot load the state \(filePath(name))",
            because: "it existed and is missing",
            hint: "restore it from a backup, or begin anew: vtpmctl state reset"
        )
    }
}
