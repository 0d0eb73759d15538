import CLinux
import Glibc
import Platform

/// Makes something as another user and group, as far as file systems are concerned. setfsuid(2)
///
/// On a file system that a user namespace mounted nothing can be made by somebody whom that namespace does not map, not
/// even by the host's root: EOVERFLOW.
func asFileSystemUser<Value: ~Copyable>(
    _ uid: uid_t,
    _ gid: gid_t,
    _ body: () throws(Failure) -> Value
) throws(Failure) -> Value {
    guard uid != 0 || gid != 0 else { return try body() }
    let result: Result<Value, Failure>
    // Neither call reports an error; an ID that is none changes nothing and returns the current one.
    setfsgid(gid)
    setfsuid(uid)
    if setfsuid(.max) == CInt(bitPattern: uid), setfsgid(.max) == CInt(bitPattern: gid) {
        do throws(Failure) { result = .success(try body()) } catch { result = .failure(error) }
    } else {
        result = .failure(Failure("cannot act as user \(uid)", because: "setfsuid has no effect"))
    }
    setfsuid(0)
    setfsgid(0)
    guard setfsuid(.max) == 0, setfsgid(.max) == 0 else {
        throw Failure("cannot act as root again", because: "setfsuid has no effect")
    }
    // The kernel makes a process whose file system user changes as dumpable as fs.suid_dumpable says.
    try Hardening.protectMemory()
    return try result.get()
}
