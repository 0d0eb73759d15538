import Configuration
import Launch
import Platform

// What is measured of a container's launch.
extension Creation {
    /// Reads what is measured of a container's root file system, which can take its time: nothing is held meanwhile.
    ///
    /// Takes the bundle's configuration if it was read already, and returns it if it was read for this.
    func measureRoot(
        _ bundle: BundleFile?,
        of process: borrowing ProcessHandle
    ) throws(Failure) -> (bundle: BundleFile?, root: RootContent) {
        let launch = try setting.loadConfiguration().launch
        guard launch.isMeasured, launch.root != .none else { return (bundle, .notMeasured) }
        let file: BundleFile
        if let bundle { file = bundle } else { file = try BundleConfig.load(bundle: state.bundle) }
        let root = try launch.root(of: file.content, path: file.path, bundle: state.bundle) { () throws(Failure) in
            guard try process.isAlive() else {
                throw Failure("cannot measure the launch", because: "the container's init ended")
            }
        }
        return (file, root)
    }

    /// Returns the event about what a container runs; nil if it is not measured.
    func launchEvent(
        of config: [UInt8],
        path: String,
        _ configuration: Configuration,
        _ root: RootContent
    ) throws(Failure) -> [UInt8]? {
        guard configuration.launch.isMeasured else { return nil }
        let names = PublicNames(configuration.launch)
        return try LaunchStatement(of: config, path: path, names, root: root).event()
    }
}

extension PublicNames {
    /// Takes the names from the configuration.
    public init(_ launch: Configuration.Launch) {
        self.init(environment: launch.environment, annotations: launch.annotations)
    }
}

extension Configuration.Launch {
    /// Returns what is known of the root that a bundle's `config.json` names, as far as it is to be measured.
    ///
    /// `check` is called meanwhile, and can end it.
    public func root(
        of config: [UInt8],
        path: String,
        bundle: String,
        check: () throws(Failure) -> Void = { () throws(Failure) in }
    ) throws(Failure) -> RootContent {
        switch root {
        case .none: .notMeasured
        case .verity: try .find(.verification, of: config, path: path, bundle: bundle)
        case .tree: try .find(.tree, of: config, path: path, bundle: bundle, check: check)
        }
    }
}
