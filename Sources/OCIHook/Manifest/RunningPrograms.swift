import CryptoDigests
import CryptoPrimitives
import Glibc
import Platform

/// The files of the programs and libraries that a vTPM needs, as the kernel has them open.
///
/// A path could lead to another file by now: a package can be upgraded while its programs run.
struct RunningPrograms {
    let supervisor: pid_t
    let worker: pid_t

    /// The libraries that are the TPM, by the start of their files' names.
    private static let libraries = ["libtpms": "libtpms.so", "libcrypto": "libcrypto.so"]
    private static let what = "cannot tell the digests of the programs"

    /// Returns the SHA-256 of each file, by the program's or the library's name.
    ///
    /// What cannot be read is left out, and the log says so once: a verifier that wants to know it refuses the proof.
    func digests(cachedIn runDirectory: borrowing Descriptor) -> [String: [UInt8]] {
        do throws(Failure) {
            let procfs = try Procfs()
            var digests: [String: [UInt8]] = [:]
            let cache = try DigestCache(in: runDirectory)
            for (name, path) in try paths(procfs) {
                digests[name] = try cache.digest(of: Self.open(path), named: name)
            }
            return digests
        } catch {
            Log.notice("\(Self.what): \(error)")
            return [:]
        }
    }

    /// The links by which the kernel leads to the files. proc(5), /proc/pid/exe and /proc/pid/map_files
    private func paths(_ procfs: borrowing Procfs) throws(Failure) -> [(name: String, path: String)] {
        var paths = [
            ("vtpm-hook", "/proc/self/exe"), ("vtpm-supervisor", "/proc/\(supervisor)/exe"),
            ("vtpm-worker", "/proc/\(worker)/exe"),
        ]
        let maps = String(decoding: try procfs.read("\(worker)/maps"), as: UTF8.self)
        for (name, file) in Self.libraries.sorted(by: { $0.key < $1.key }) {
            guard let range = Self.firstMap(of: file, in: maps) else {
                throw Failure(Self.what, because: "the worker has no \(name) in its memory")
            }
            paths.append((name, "/proc/\(worker)/map_files/\(range)"))
        }
        return paths
    }

    /// Returns the addresses at which the first part of a file with this start of its name is mapped, as `map_files` has them.
    static func firstMap(of file: String, in maps: String) -> String? {
        for line in maps.split(separator: "\n") {
            // The addresses, the rights, the offset, the device, the inode, and the path, which can have spaces.
            let fields = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            guard fields.count == 6, let name = fields[5].split(separator: "/").last, name.hasPrefix(file) else {
                continue
            }
            // The one has the zeros in front that the other has not. linux: fs/proc/base.c, map_files_d_revalidate
            let addresses = fields[0].split(separator: "-").compactMap { UInt64($0, radix: 16) }
            guard addresses.count == 2 else { continue }
            return addresses.map { String($0, radix: 16) }.joined(separator: "-")
        }
        return nil
    }

    private static func open(_ path: String) throws(Failure) -> Descriptor { try .openFile(path, .read) }
}
