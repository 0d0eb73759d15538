import Configuration
import Platform
import RuntimeKeys
import RuntimePool
import RuntimeState

// TPMs that were made ahead of need.
extension Creation {
    /// Takes a TPM out of the pool for a state that is not there yet; returns nil if there is none to be had.
    ///
    /// What keeps the pool from being used is logged, and a TPM is manufactured as without one.
    func claimFromPool(for stateID: String, _ configuration: Configuration, _ host: HostContext) -> PooledTPM? {
        let manufacture = configuration.manufacture
        guard manufacture.poolSize > 0 else { return nil }
        do throws(Failure) {
            guard try !StateRepository.hasFile(of: stateID, in: host.states) else { return nil }
            return try TPMPool(hostPaths).claim { () throws(Failure) in
                let binding = try HostBinding(of: hostPaths, configuration.hostTPM)
                return TPMPool.Demand(of: binding, manufacture.provision, ring: host.keys)
            }
        } catch {
            Log.notice("\(error)")
            return nil
        }
    }
}
