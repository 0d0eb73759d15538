import CLinux
import Configuration
import Glibc
import Launch
import OCIHook
import Platform
import RuntimeControl
import RuntimeLease

// Where what was measured of a launch, or will be, is found.
extension HostOptions {
    /// Returns the event log of a container that runs.
    func launchLog(of container: String) throws(Failure) -> LaunchLog {
        let what = "cannot show the launch of \"\(container.excerpt)\""
        let log = try lease(of: container, "cannot show the launch of") { (opened, _) throws(Failure) in
            try opened.launchLog()
        }
        guard let log else {
            throw Failure(what, because: "it was not measured", hint: "measure = true in [launch], and create it again")
        }
        return try LaunchLog(reading: log, "the launch log of \"\(container.excerpt)\"")
    }

    /// Makes the statement about a bundle, as a creation would.
    func statement(ofBundle bundle: String) throws(Failure) -> LaunchStatement {
        let launch = try configuration().launch
        guard launch.isMeasured else {
            throw Failure(
                "cannot describe the launch of \(bundle)",
                because: "the configuration says measure = false in [launch]"
            )
        }
        let (config, path) = try OwnConfig.read(bundle: bundle)
        let root = try launch.root(of: config, path: path, bundle: bundle)
        return try LaunchStatement(of: config, path: path, PublicNames(launch), root: root)
    }

    /// Finds the statement about a container, a bundle, an event log or a file with a statement.
    func statement(named name: String) throws(Failure) -> LaunchStatement {
        guard name.utf8.contains(UInt8(ascii: "/")) else {
            return LaunchStatement(text: try launchLog(of: name).launchStatement)
        }
        let opened = try Descriptor.open(name, .read)
        guard try opened.status(name).st_mode & S_IFMT != S_IFDIR else { return try statement(ofBundle: name) }
        let content = try Descriptor.openFile(name, .read).readAll(limit: LaunchStatement.configLimit, name)
        guard content.first != UInt8(ascii: "{") else { return LaunchStatement(text: content) }
        return LaunchStatement(text: try LaunchLog(reading: content, name).launchStatement)
    }
}
