import Configuration
import RuntimeHostTPM
import RuntimePCR
import VTPMProxy

@testable import OCIHook
@testable import Platform

/// The configuration file.
func fuzzConfiguration(_ bytes: UnsafeRawBufferPointer) {
    let parsed = accepted { () throws(Failure) in try Configuration(parsing: Array(bytes), path: "/config.toml") }
    guard let configuration = parsed else { return }
    for key in [configuration.key] + (configuration.nextKey.map { [$0] } ?? []) { examine(key) }
    require(configuration.nextKey != configuration.key, "a rotation to the same key")
    require(configuration.hostTPM.device.map(isPath) ?? true, "a device that is no absolute path")
    require(Configuration.Rollback.ownerIndices.contains(configuration.rollback.nvIndex), "an NV index out of range")
    _ = must { () throws(Failure) in try PCRSelection(parsing: configuration.hostTPM.pcrs) }
}

private func examine(_ key: Configuration.Key) {
    switch key {
    case .file(let path): require(isPath(path), "a key file that is no absolute path")
    case .credential(let name, let directory):
        require(!name.isEmpty && !name.utf8.contains(UInt8(ascii: "/")), "a credential that is no file name")
        require(directory.map(isPath) ?? true, "a directory that is no absolute path")
    case .command(let words, let timeout):
        require(words.first.map(isPath) ?? false && (1...60).contains(timeout), "a program that cannot be started")
        require(!words.contains { $0.utf8.contains(0) }, "an argument that is cut off")
    case .hostTPM: break
    }
}

private func isPath(_ path: String) -> Bool {
    path.utf8.first == UInt8(ascii: "/") && !path.utf8.contains(0)
}

/// What the kernel writes about processes, cgroups and devices, with names in it that a tenant may have chosen.
func fuzzKernelText(_ bytes: UnsafeRawBufferPointer) {
    let text = Array(bytes)
    let memberships = accepted { () throws(Failure) in try CgroupMembership.parse(text, path: "cgroup") } ?? []
    let mounts = CgroupMount.among(
        accepted { () throws(Failure) in try MountInfo.parse(text, path: "mountinfo") } ?? []
    )
    require(mounts.allSatisfy { isPath($0.mountPoint) }, "a mount point that is no absolute path")
    for path in memberships.map({ CgroupPath($0.path) }) + mounts.map(\.root) + [CgroupPath(text)] {
        if let path { examine(path) }
    }
    let string = String(decoding: text, as: UTF8.self)
    _ = ProcessStatus(text).isFirstInPIDNamespace
    _ = ProcessStat.startTime(text)
    if let number = DeviceNumber(string) {
        require(DeviceNumber(number.description) == number, "a device number that does not come back")
        require(DeviceNumber(number.raw) == number, "a device number that mknod(2) does not take")
    }
}

private func examine(_ path: CgroupPath) {
    for name in path.names {
        require(
            !name.isEmpty && name != Array(".".utf8) && name != Array("..".utf8)
                && !name.contains { $0 == 0 || $0 == UInt8(ascii: "/") },
            "a name that leads elsewhere"
        )
    }
    require(path.relative(to: .root) == path && path.relative(to: path) == .root, "a path is not below itself")
    require(path.upwards.allSatisfy { $0.contains(path) && !$0.names.isEmpty }, "a path is not below those above it")
    let isText = path.names.allSatisfy { String(validating: $0, as: UTF8.self) != nil }
    if isText { require(CgroupPath(path.description.utf8) == path, "a path that does not come back") }
}
