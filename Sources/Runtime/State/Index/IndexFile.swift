import Crypto
import Platform
import RuntimeFormat

/// The file `index`: the whole index in the first format, or the root of one in a later one.
enum IndexFile {
    case first(FirstIndexFormat, keyID: [UInt8])
    case root(IndexRoot)

    /// The largest file that is read at all, in bytes.
    static let sizeLimit = FileFormat.index.sizeLimit

    /// Parses the file and checks its tag with the one of these keys that it names.
    init(parsing file: [UInt8], keys: [IndexKey], path: String) throws(Failure) {
        let what = "cannot load the index \(path)"
        let format = FileFormat.index
        let header = try FileHeader(format, parsing: file, what)
        guard header.version == FirstIndexFormat.version || header.size <= IndexRoot.sizeLimit else {
            throw format.damaged(what)
        }
        var fields = header.fields
        guard let keyID = fields.read(count: MasterKey.idSize) else { throw format.damaged(what) }
        guard let key = keys.first(where: { $0.masterKeyID == keyID }) else {
            // A damaged ID cannot be distinguished from that of another key.
            throw format.failure(what, "it is damaged, or needs the master key \(Hexadecimal.encode(keyID))")
        }
        guard try key.isGenuine(file) else { throw format.damaged(what) }

        // The tag is valid, so this program wrote the fields that follow.
        if header.version == FirstIndexFormat.version {
            guard let first = try FirstIndexFormat(&fields), fields.remaining == 0 else { throw format.damaged(what) }
            self = .first(first, keyID: keyID)
        } else {
            guard let root = IndexRoot(keyID: keyID, hasTail: header.version > 2, &fields), fields.remaining == 0 else {
                throw format.damaged(what)
            }
            self = .root(root)
        }
    }
}
