import CryptoPrimitives
import JSONText
import Launch
import Platform

/// What a proof is for, and where it is in the tree that the host has signed: the file `proof.json`.
package struct ProofHead: Equatable, Sendable {
    package let nonce: [UInt8]
    package let peer: [UInt8]
    package let path: MerkleTree.Path

    private static let type = "container-vtpm proof"
    private static let version: Int64 = 1
    private static let sizeLimit = 1 << 16

    package init(nonce: [UInt8], peer: [UInt8], path: MerkleTree.Path) {
        self.nonce = nonce
        self.peer = peer
        self.path = path
    }

    /// Reads the file's contents; `path` is for errors.
    package init(parsing bytes: [UInt8], _ path: String) throws(Failure) {
        let root = try JSONText(parsing: bytes, path: path, limit: Self.sizeLimit).root
        guard root["type"]?.string == Self.type, root["version"]?.integer == Self.version,
            let nonce = root["nonce"]?.bytes, let peer = root["peer"]?.bytes,
            let index = root["index"]?.integer.flatMap({ Int(exactly: $0) }),
            let size = root["size"]?.integer.flatMap({ Int(exactly: $0) }), let elements = root["path"]?.elements,
            (1...MerkleTree.sizeLimit).contains(size), (0..<size).contains(index)
        else { throw Failure("cannot read \(path)", because: "it is no proof of this version of the project") }
        var nodes: [[UInt8]] = []
        for element in elements {
            guard let node = element.bytes else {
                throw Failure("cannot read \(path)", because: "its path has what is no digest")
            }
            nodes.append(node)
        }
        self.init(nonce: nonce, peer: peer, path: MerkleTree.Path(index: index, size: size, nodes: nodes))
    }

    /// The file's contents, in canonical JSON. RFC 8785
    package var encoded: [UInt8] {
        CanonicalJSON.members([
            "index": .integer(Int64(path.index)),
            "nonce": .hexadecimal(nonce),
            "path": .array(path.nodes.map { .hexadecimal($0) }),
            "peer": .hexadecimal(peer),
            "size": .integer(Int64(path.size)),
            "type": .string(Self.type),
            "version": .integer(Self.version),
        ]).bytes
    }
}
