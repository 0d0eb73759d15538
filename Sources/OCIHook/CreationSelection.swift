import Configuration
import Platform

/// Whether a container gets a TPM.
enum Selected: Sendable {
    /// It gets none.
    case none
    /// It gets one; the bundle's configuration is there if it was read for the decision.
    case tpm(BundleFile?)
}

extension Creation {
    /// Decides whether the container gets a TPM, from its annotations and the operator's configuration.
    ///
    /// Most containers get one without saying so. Only the others have their `config.json` read here, since runtime and
    /// `config.json` must agree on the annotations; of most, it is read while the supervisor's programs load.
    func select() throws(Failure) -> Selected {
        let allowed = try setting.loadConfiguration().container
        let given = try Annotations(state: state.annotations, bundle: state.annotations)
        if given.areSilent, allowed.selection == .all { return .tpm(nil) }
        let file = try BundleConfig.load(bundle: state.bundle)
        let agreed = try Annotations(state: state.annotations, bundle: file.config.annotations)
        return try agreed.selectTPM(allowed) ? .tpm(file) : .none
    }
}
