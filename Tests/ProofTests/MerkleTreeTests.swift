import CryptoDigests
import Platform
import Proof
import Testing

/// The tree over requests.
struct MerkleTreeTests {
    private static func leaves(_ count: Int) -> [[UInt8]] { (0..<count).map { [UInt8($0), 7] } }

    private static func hash(_ bytes: [UInt8]) throws -> [UInt8] { try DigestAlgorithm.sha256.digest(bytes) }

    /// As RFC 6962, 2.1, defines it, written out for few leaves.
    @Test func theRootIsThatOfTheRFC() throws {
        let hashes = try Self.leaves(5).map { try Self.hash([0] + $0) }
        func node(_ left: [UInt8], _ right: [UInt8]) throws -> [UInt8] { try Self.hash([1] + left + right) }
        let (first, second) = (try node(hashes[0], hashes[1]), try node(hashes[2], hashes[3]))
        #expect(try MerkleTree.root(of: Self.leaves(1)) == hashes[0])
        #expect(try MerkleTree.root(of: Self.leaves(2)) == first)
        #expect(try MerkleTree.root(of: Self.leaves(3)) == node(first, hashes[2]))
        #expect(try MerkleTree.root(of: Self.leaves(4)) == node(first, second))
        #expect(try MerkleTree.root(of: Self.leaves(5)) == node(node(first, second), hashes[4]))
    }

    @Test(arguments: Array(1...17) + [100]) func eachLeafHasItsPath(count: Int) throws {
        let leaves = Self.leaves(count)
        let root = try MerkleTree.root(of: leaves)
        for index in 0..<count {
            let path = try MerkleTree.path(to: index, in: leaves)
            #expect(try MerkleTree.root(from: leaves[index], by: path) == root)
            // Another leaf, another place, another size, one node more or less: another root, or none.
            #expect(try MerkleTree.root(from: [9], by: path) != root)
            for other in 0..<count where other != index {
                let moved = MerkleTree.Path(index: other, size: count, nodes: path.nodes)
                #expect(try MerkleTree.root(from: leaves[index], by: moved) != root)
            }
            let more = MerkleTree.Path(index: index, size: count, nodes: path.nodes + [root])
            #expect(try MerkleTree.root(from: leaves[index], by: more) == nil)
            guard count > 1 else { continue }
            let less = MerkleTree.Path(index: index, size: count, nodes: Array(path.nodes.dropLast()))
            #expect(try MerkleTree.root(from: leaves[index], by: less) == nil)
        }
    }

    /// What anybody can write into a bundle ends in a refusal.
    @Test(arguments: [
        MerkleTree.Path(index: 0, size: 0, nodes: []), MerkleTree.Path(index: -1, size: 1, nodes: []),
        MerkleTree.Path(index: 1, size: 1, nodes: []), MerkleTree.Path(index: .max, size: .max, nodes: []),
        MerkleTree.Path(index: 0, size: .min, nodes: []), MerkleTree.Path(index: 0, size: 2, nodes: [[1]]),
        MerkleTree.Path(index: 0, size: 65_537, nodes: []),
    ])
    func whatIsNoPathLeadsNowhere(path: MerkleTree.Path) throws {
        #expect(try MerkleTree.root(from: [1], by: path) == nil)
    }
}
