import Platform

/// One of the two maps of a user namespace, of users or of groups. user_namespaces(7)
struct IDMap: Equatable, Sendable {
    /// A range of IDs; config.json names its parts like this.
    struct Extent: Decodable, Equatable, Sendable {
        /// The first one, as the container has it.
        let containerID: UInt32
        /// The first one, as the host has it.
        let hostID: UInt32
        /// How many there are.
        let size: UInt32
    }

    let extents: [Extent]

    init(_ extents: [Extent]) {
        self.extents = extents
    }

    /// Reads `/proc/PID/uid_map` or `gid_map`: the kernel takes at most 340 lines.
    init(parsing text: [UInt8], path: String) throws(Failure) {
        var extents: [Extent] = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let numbers = line.split(separator: UInt8(ascii: " ")).map { UInt32(String(decoding: $0, as: UTF8.self)) }
            guard numbers.count == 3, let first = numbers[0], let host = numbers[1], let size = numbers[2] else {
                throw .malformed(line, in: path)
            }
            extents.append(Extent(containerID: first, hostID: host, size: size))
        }
        self.extents = extents
    }

    /// Whether it is that of the host's own namespace, which maps each ID to itself.
    var isInitial: Bool { extents == [Extent(containerID: 0, hostID: 0, size: UInt32.max)] }

    /// The host's ID for one of the container's; nil if it has none.
    func hostID(of id: UInt32) -> UInt32? {
        // 2^32 - 1 is no ID but "leave it as it is" for chown(2).
        for extent in extents where id >= extent.containerID && id - extent.containerID < extent.size {
            let (host, overflow) = extent.hostID.addingReportingOverflow(id - extent.containerID)
            return overflow || host == .max || id == .max ? nil : host
        }
        return nil
    }
}
