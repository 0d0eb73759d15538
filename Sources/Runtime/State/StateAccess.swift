import CLinux
import Glibc
import Platform

extension StateRepository {
    /// Throws a ``Failure`` if a supervisor could not use a state's directory and files.
    ///
    /// A supervisor gives up CAP_DAC_OVERRIDE, and is then refused files that `vtpmctl` and the hook may use. The check
    /// opens nothing, so all of them get the same result. It passes if the state does not exist.
    package func requireAccess(to name: String) throws(Failure) {
        let what = "cannot use the state \(path(of: name))"
        let place = path(of: name).shellWord
        let hint = "chown -R root: \(place) && chmod 0700 \(place)"
        guard let status = try directory.status(of: name, path(of: name)) else { return }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw Failure(what, because: "it is no directory") }
        try requireOwn(status, 0o700, what, "its directory", hint: hint)
        for file in [StateStore.fileName, StateLock.name] {
            let path = "\(path(of: name))/\(file)"
            guard let status = try directory.status(of: "\(name)/\(file)", path) else { continue }
            try requireOwn(status, 0o600, what, "\(path)", hint: "\(hint) && chmod 0600 \(path.shellWord)")
        }
        let (parent, entry) = (directory.number, name)
        do {
            try systemCall("faccessat", what) { faccessat(parent, entry, W_OK, 0) }
        } catch let error where error.code == ENOENT {
            // The state was discarded meanwhile.
        }
    }

    /// Throws a ``Failure`` if a payload has no TPM although the index has seen one.
    ///
    /// An incomplete state is manufactured at its next start, and a complete one never becomes incomplete.
    package func check(_ payload: StatePayload, against entry: IndexEntry?, path: String) throws(Failure) {
        guard payload.isComplete || entry?.generation ?? 0 == 0 else {
            throw Failure(
                "cannot load the state \(path)",
                because: "it holds no TPM, and this host's index knows one of generation \(entry?.generation ?? 0)",
                hint: "restore it from a backup, or begin anew: vtpmctl state reset"
            )
        }
    }

    /// Throws a ``Failure`` if a state that is to be created already exists under the ID that an older version gave it.
    ///
    /// `entry` returns the index's record for a directory's name.
    func refuseAnew(
        _ stateID: String,
        formerly formerID: String?,
        _ entry: (String) throws(Failure) -> IndexEntry?
    ) throws(Failure) {
        guard let formerID else { return }
        let name = try StateDirectoryName.encoded(formerID)
        // A state that was never manufactured holds no TPM that anybody relies on.
        let known = try entry(name)
        let isThere = if let known { known.generation > 0 } else { try hasFile(name) }
        guard isThere else { return }
        throw Failure(
            "cannot begin the state \"\(stateID)\"",
            because: "there is one of an older version, \"\(formerID)\", which did not scope containers' IDs",
            hint: "vtpmctl state rename \(formerID.shellWord) \(stateID.shellWord), "
                + "or to another name if it is not this container's"
        )
    }
}
