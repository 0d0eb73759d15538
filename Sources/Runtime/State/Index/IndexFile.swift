import Crypto
import Platform

/// The file `index`: all of an index in its first format, or the root of one in its second.
enum IndexFile {
    case first(FirstIndexFormat, keyID: [UInt8])
    case root(IndexRoot)

    /// The largest file that is read at all, in bytes.
    static let sizeLimit = 64 << 20

    /// Parses the file and checks that it was written with one of these keys.
    init(parsing file: [UInt8], keys: [IndexKey], path: String) throws(Failure) {
        func refuse(_ why: String, _ remedy: String = "restore the file from a backup") -> Failure {
            Failure("cannot load the index \(path)", because: why, remedy: remedy)
        }
        var reader = ByteReader(file)
        guard let magic = reader.read(count: FirstIndexFormat.magic.count) else { throw refuse("it is truncated") }
        guard magic == FirstIndexFormat.magic else { throw refuse("it is no index") }
        guard let version = reader.read(UInt16.self), let size = reader.read(UInt32.self) else {
            throw refuse("it is truncated")
        }
        guard version <= IndexRoot.version else {
            throw refuse("it has format \(version), newer than this version's \(IndexRoot.version)", "upgrade")
        }
        let limit = version == IndexRoot.version ? IndexRoot.sizeLimit : Self.sizeLimit
        guard version > 0, Int(size) <= limit, file.count <= limit else { throw refuse("it is damaged") }
        guard file.count >= Int(size) else { throw refuse("it is truncated") }
        guard file.count == Int(size), file.count > reader.offset + MasterKey.idSize + IndexKey.tagSize,
            let keyID = reader.read(count: MasterKey.idSize)
        else { throw refuse("it is damaged") }
        guard let key = keys.first(where: { $0.masterKeyID == keyID }) else {
            // A damaged id looks the same as another key's.
            throw refuse("it is damaged, or needs the master key \(Hexadecimal.encode(keyID))")
        }
        guard try key.isGenuine(file) else { throw refuse("it is damaged") }

        // What follows was written by this program: the tag says so.
        var body = ByteReader(Array(file.dropLast(IndexKey.tagSize)))
        _ = body.read(count: reader.offset)
        if version == FirstIndexFormat.version {
            guard let first = try FirstIndexFormat(&body), body.remaining == 0 else { throw refuse("it is damaged") }
            self = .first(first, keyID: keyID)
        } else {
            guard let root = IndexRoot(keyID: keyID, &body), body.remaining == 0 else { throw refuse("it is damaged") }
            self = .root(root)
        }
    }
}
