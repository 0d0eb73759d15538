import CLinux
import Glibc

extension Descriptor {
    /// Returns the status of one entry of a directory, of a link itself, or nil if there is none. fstatat(2)
    public borrowing func status(of entry: String, _ name: String) throws(Failure) -> stat? {
        var status = stat()
        let number = self.number
        do {
            try systemCall("fstatat", "cannot examine \(name)") {
                fstatat(number, entry, &status, AT_SYMLINK_NOFOLLOW)
            }
            return status
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    /// Throws unless root can use a directory of ours without CAP_DAC_OVERRIDE, as a supervisor has to.
    ///
    /// The same holds for these files in it, if they exist.
    public borrowing func requireOwn(files: [String], _ path: String) throws(Failure) {
        let what = "cannot use \(path)"
        let hint = "chown root: \(path.shellWord) && chmod 0700 \(path.shellWord)"
        try Platform.requireOwn(status(path), 0o700, what, "it", hint: hint)
        for file in files {
            let name = "\(path)/\(file)"
            guard let status = try status(of: file, name) else { continue }
            try Platform.requireOwn(
                status,
                0o600,
                "cannot use \(name)",
                "it",
                hint: "chown root: \(name.shellWord) && chmod 0600 \(name.shellWord)"
            )
        }
    }
}

/// Throws unless a file belongs to this process's user, and grants its owner these permissions.
public func requireOwn(
    _ status: stat,
    _ permissions: mode_t,
    _ what: String,
    _ subject: String,
    hint: String
) throws(Failure) {
    guard status.st_uid == geteuid() else {
        throw Failure(what, because: "\(subject) belongs to user \(status.st_uid)", code: EACCES, hint: hint)
    }
    guard status.st_mode & permissions == permissions else {
        let (mode, needed) = (String(status.st_mode & 0o7777, radix: 8), String(permissions, radix: 8))
        throw Failure(
            what,
            because: "\(subject) has the mode 0\(mode), without all of 0\(needed)",
            code: EACCES,
            hint: hint
        )
    }
}

/// Throws if another user than these could change a file or directory, or what is in it.
///
/// - Parameters:
///   - status: Its status.
///   - place: Its path, for errors.
///   - owners: The users that it may belong to.
///   - what: The start of every error.
///   - subject: What another user could change, for errors.
/// - Throws: ``Failure`` that names the place, and the command that helps.
public func requireNoOtherWriter(
    _ status: stat,
    _ place: String,
    owners: [uid_t] = [0, geteuid()],
    _ what: String,
    _ subject: String = "it"
) throws(Failure) {
    let why = "another user could change \(subject)"
    guard owners.contains(status.st_uid) else {
        let owner = "\(place) belongs to user \(status.st_uid)"
        throw Failure(what, because: "\(why): \(owner)", hint: "chown root: \(place.shellWord)")
    }
    guard status.st_mode & 0o022 == 0 else {
        let mode = String(status.st_mode & 0o7777, radix: 8)
        let hint = "chmod go-w \(place.shellWord)"
        throw Failure(what, because: "\(why): the mode of \(place) is 0\(mode)", hint: hint)
    }
}
