import Glibc
import Platform

/// A bundle's `config.json` as the engine wrote it.
public enum BundleText {
    /// The name that the file has while another one is in its place, for one creation.
    public static let originalName = ".config.json.container-vtpm"

    /// Reads it; returns the contents, and the path of the file that has them.
    public static func read(bundle: String) throws(Failure) -> (contents: [UInt8], path: String) {
        do {
            return try read("\(bundle)/\(originalName)")
        } catch let error where error.code == ENOENT {
            return try read("\(bundle)/config.json")
        }
    }

    private static func read(_ path: String) throws(Failure) -> (contents: [UInt8], path: String) {
        let file = try Descriptor.openFile(path, .read)
        return (try file.readAll(limit: LaunchStatement.configLimit, path), path)
    }
}
