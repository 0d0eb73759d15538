import Platform
import RuntimeState

/// A state that was made for a container which does not exist yet.
final class UncommittedState {
    private let store: StateStore
    private let states: Descriptor

    /// The state of a store, in the open directory of all states.
    init(_ store: StateStore, in states: consuming Descriptor) {
        self.store = store
        self.states = states
    }

    /// Removes it, since the container's program was never executed.
    ///
    /// On an error it stays, and is listed.
    func discard() {
        do throws(Failure) {
            try store.discard(in: states)
        } catch {
            Log.error("\(error.withHint( "remove the state, which nobody has used: vtpmctl state purge"))")
        }
    }
}
