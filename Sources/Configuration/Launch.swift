import Platform

extension Configuration {
    /// What of a container's launch is measured into its TPM.
    public struct Launch: Equatable, Sendable {
        /// The key `measure`: whether anything is.
        public var isMeasured = true

        /// The key `environment`: the names of the environment variables whose values are measured, of which `*` at the end stands
        /// for all that begin so; of all others the names are.
        ///
        /// They decide which programs and libraries run, and no secret is in them. Java's options are not among them: passwords are
        /// given there.
        public var environment = [
            "PATH", "HOME", "USER", "SHELL", "TERM", "LANG", "LC_*", "TZ", "LD_*", "GCONV_PATH", "GLIBC_TUNABLES",
            "ENV",
            "BASH_ENV", "PYTHONPATH", "PYTHONHOME", "PERL5LIB", "PERL5OPT", "RUBYLIB", "RUBYOPT", "NODE_PATH",
            "NODE_OPTIONS",
            "CLASSPATH", "OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "DOTNET_STARTUP_HOOKS", "SHELLOPTS",
            "BASH_FUNC_*",
            "LUA_INIT",
        ]

        /// The key `annotations`: the names of the annotations whose values are measured, in the same way.
        ///
        /// Those of ours change what its TPM is; the others how a runtime makes a container.
        public var annotations = [
            "run.oci.*", "module.wasm.*", "krun.*", "org.systemd.property.*", "org.criu.config",
            "io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType", "org.container-vtpm.enable",
            "org.container-vtpm.state", "org.container-vtpm.keys",
            "org.container-vtpm.certificates",
        ]

        /// What is measured of a container's root file system.
        public enum Root: String, CaseIterable, Sendable {
            /// Nothing.
            case none
            /// The digest with which the kernel verifies it, where it does.
            case verity
            /// All of its tree, which is read at each start.
            case tree
        }

        /// The key `root`: what is measured of a container's root file system.
        public var root = Root.none

        /// Creates the configuration of a missing table.
        public init() {}

        /// The table's keys.
        static let names = ["measure", "environment", "annotations", "root"]

        init(_ section: Section) throws(Failure) {
            isMeasured = try section.boolean("measure") ?? isMeasured
            environment = try section.names("environment") ?? environment
            annotations = try section.names("annotations") ?? annotations
            root = try section.choice("root") ?? root
        }
    }
}

extension Section {
    /// Returns names of which one may end with `*`; nil if the key is missing.
    fileprivate func names(_ key: String) throws(Failure) -> [String]? {
        guard let names = try strings(key) else { return nil }
        for name in names {
            guard !name.isEmpty, !name.dropLast().contains("*"), !name.contains("=") else {
                throw refusal(of: key, "cannot hold \"\(name.excerpt)\"", hint: "a name, or the start of names and *")
            }
        }
        return names
    }
}
