import AuthorityClient
import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys

// Who certifies a TPM's endorsement keys.
extension Creation {
    /// Starts the certificate authority with what the host knows of the container.
    ///
    /// `host` has the master keys; without it they are loaded.
    func startAuthority(for requested: RequestedState, _ host: HostContext?) throws(Failure) -> StartedAuthority {
        let configuration = requested.configuration
        let keys = if let host { host.keys } else { try openHost(configuration).keys }
        return try CertificateAuthority(hostPaths, keys: keys, files: configuration.authority.files).start(
            EndorsementOrders(
                level: configuration.manufacture.endorsement(isEphemeral: requested.identity.stateID == nil),
                keys: configuration.manufacture.keys,
                containerID: state.id,
                bundle: state.bundle,
                image: ImageName.of(state.annotations),
                stateID: requested.identity.stateID ?? "",
                time: UInt64(clamping: time(nil)),
                platform: configuration.manufacture.platform,
                listURL: configuration.authority.listURL,
                chain: []
            )
        )
    }

    func openHost(_ configuration: Configuration) throws(Failure) -> HostContext {
        try HostContext(hostPaths, configuration, credentialsDirectory: setting.credentialsDirectory)
    }
}
