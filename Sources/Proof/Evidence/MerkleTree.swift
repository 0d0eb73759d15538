import CryptoDigests
import Platform

/// A tree of SHA-256 over many requests, so that one quote answers all of them. RFC 6962, 2.1
public enum MerkleTree {
    /// Where a leaf is in a tree, and the nodes beside its way to the root.
    public struct Path: Equatable, Sendable {
        /// The leaf's number.
        public let index: Int
        /// How many leaves the tree has.
        public let size: Int
        /// The nodes, from the leaf on.
        public let nodes: [[UInt8]]

        /// Creates a path.
        public init(index: Int, size: Int, nodes: [[UInt8]]) {
            self.index = index
            self.size = size
            self.nodes = nodes
        }

        /// That of the only leaf.
        public static let alone = Path(index: 0, size: 1, nodes: [])
    }

    /// The most leaves that a tree has.
    public static let sizeLimit = 1 << 16
    // No node can be shown for a leaf. RFC 6962, 2.1
    private static let (leafPrefix, nodePrefix): (UInt8, UInt8) = (0, 1)

    /// Returns the root of the tree of these leaves, of which there is at least one.
    public static func root(of leaves: [[UInt8]]) throws(Failure) -> [UInt8] {
        guard leaves.count > 1 else { return try hash(leaf: leaves.first ?? []) }
        let split = split(leaves.count)
        return try hash(root(of: Array(leaves[..<split])), root(of: Array(leaves[split...])))
    }

    /// Returns the path of a leaf.
    public static func path(to index: Int, in leaves: [[UInt8]]) throws(Failure) -> Path {
        Path(index: index, size: leaves.count, nodes: try nodes(beside: index, leaves))
    }

    private static func nodes(beside index: Int, _ leaves: [[UInt8]]) throws(Failure) -> [[UInt8]] {
        guard leaves.count > 1 else { return [] }
        let split = split(leaves.count)
        let (left, right) = (Array(leaves[..<split]), Array(leaves[split...]))
        return try index < split
            ? nodes(beside: index, left) + [root(of: right)]
            : nodes(beside: index - split, right) + [root(of: left)]
    }

    /// Returns the root to which a path leads from a leaf; nil if there is no such path. RFC 9162, 2.1.3.2
    public static func root(from leaf: [UInt8], by path: Path) throws(Failure) -> [UInt8]? {
        guard path.size > 0, path.size <= sizeLimit, path.index >= 0, path.index < path.size else { return nil }
        var (position, last) = (path.index, path.size - 1)
        var node = try hash(leaf: leaf)
        for other in path.nodes {
            guard last > 0, other.count == DigestAlgorithm.sha256.size else { return nil }
            if position % 2 == 1 || position == last {
                node = try hash(other, node)
                while position % 2 == 0, position > 0 { (position, last) = (position / 2, last / 2) }
            } else {
                node = try hash(node, other)
            }
            (position, last) = (position / 2, last / 2)
        }
        return last == 0 ? node : nil
    }

    /// The largest power of two below a number of at least two.
    private static func split(_ count: Int) -> Int {
        var split = 1
        while split * 2 < count { split *= 2 }
        return split
    }

    private static func hash(leaf: [UInt8]) throws(Failure) -> [UInt8] {
        try DigestAlgorithm.sha256.digest([leafPrefix] + leaf)
    }

    private static func hash(_ left: [UInt8], _ right: [UInt8]) throws(Failure) -> [UInt8] {
        try DigestAlgorithm.sha256.digest([nodePrefix] + left + right)
    }
}
