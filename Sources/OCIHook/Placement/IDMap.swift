import Platform

/// The user or group ID map of a user namespace. user_namespaces(7)
struct IDMap: Equatable, Sendable {
    /// A range of IDs; the properties have the names of the members in `config.json`.
    struct Extent: Decodable, Equatable, Sendable {
        /// The first ID in the container.
        let containerID: UInt32
        /// The first ID on the host.
        let hostID: UInt32
        /// The number of IDs.
        let size: UInt32
    }

    let extents: [Extent]

    init(_ extents: [Extent]) {
        self.extents = extents
    }

    /// Parses `/proc/PID/uid_map` or `gid_map`, of up to 340 lines; errors call it `path`.
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

    /// Whether it is the initial namespace's, which maps each ID to itself.
    var isInitial: Bool { extents == [Extent(containerID: 0, hostID: 0, size: UInt32.max)] }

    /// Returns the host's ID for one of the container's; nil if it is not mapped.
    func hostID(of id: UInt32) -> UInt32? {
        // 2^32 - 1 is no ID: chown(2) takes it for "do not change".
        for extent in extents where id >= extent.containerID && id - extent.containerID < extent.size {
            let (host, overflow) = extent.hostID.addingReportingOverflow(id - extent.containerID)
            return overflow || host == .max || id == .max ? nil : host
        }
        return nil
    }
}
