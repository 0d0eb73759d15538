import Glibc
import Platform

/// The files of the programs and libraries that a vTPM needs, as the kernel has them open.
///
/// A path could lead to another file by now: a package can be upgraded while its programs run.
struct RunningPrograms {
    let supervisor: pid_t
    let worker: pid_t

    /// Returns the SHA-256 of each file, by the program's or the library's name.
    ///
    /// What cannot be read is left out, and the log says so once: a verifier that wants to know it refuses the proof.
    func digests(cachedIn runDirectory: borrowing Descriptor) -> [String: [UInt8]] {
        var digests: [String: [UInt8]] = [:]
        var problem: Failure?
        do throws(Failure) {
            let procfs = try Procfs()
            let cache = DigestCache(in: runDirectory)
            for file in files {
                do throws(Failure) {
                    let path = try path(of: file, procfs)
                    digests[file.name] = try cache.digest(of: .openFile(path, .read), named: file.name)
                } catch {
                    problem = problem ?? error
                }
            }
        } catch {
            problem = error
        }
        if let problem { Log.notice("cannot tell the digests of all programs: \(problem)") }
        return digests
    }

    /// A file: a program's, or a library's in the memory of the worker.
    private struct File {
        let name: String
        let process: String
        var library: String?
    }

    private var files: [File] {
        [
            File(name: "vtpm-hook", process: "self"), File(name: "vtpm-supervisor", process: "\(supervisor)"),
            File(name: "vtpm-worker", process: "\(worker)"),
            File(name: "libtpms", process: "\(worker)", library: "libtpms.so"),
            File(name: "libcrypto", process: "\(worker)", library: "libcrypto.so"),
        ]
    }

    /// The link by which the kernel leads to a file. proc(5), /proc/pid/exe and /proc/pid/map_files
    private func path(of file: File, _ procfs: borrowing Procfs) throws(Failure) -> String {
        guard let library = file.library else { return "/proc/\(file.process)/exe" }
        let maps = String(decoding: try procfs.read("\(file.process)/maps"), as: UTF8.self)
        guard let range = Self.firstMap(of: library, in: maps) else {
            throw Failure("cannot read \(file.name)", because: "the worker has no such library in its memory")
        }
        return "/proc/\(file.process)/map_files/\(range)"
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
}
