import Glibc
import Platform

/// A bundle's `config.json` as the engine wrote it, also while another one is in its place for one creation.
public enum OwnConfig {
    /// Reads it; returns the contents, and the path of the file that has them.
    public static func read(bundle: String) throws(Failure) -> (contents: [UInt8], path: String) {
        let current = try read("\(bundle)/config.json")
        guard try PreparedConfig.isPrepared(current.contents, path: current.path) else { return current }
        do {
            return try read("\(bundle)/\(BundleDirectory.originalName)")
        } catch let error where error.code == ENOENT {
            // The creation has ended meanwhile.
            let restored = try read("\(bundle)/config.json")
            guard try !PreparedConfig.isPrepared(restored.contents, path: restored.path) else {
                throw Failure(
                    "cannot read \(restored.path)",
                    because: "it is of a creation that was cut short, and its own is gone"
                )
            }
            return restored
        }
    }

    private static func read(_ path: String) throws(Failure) -> (contents: [UInt8], path: String) {
        let file = try Descriptor.openFile(path, .read)
        return (try file.readAll(limit: BundleConfig.sizeLimit, path), path)
    }
}
