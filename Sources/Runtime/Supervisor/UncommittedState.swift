import Platform
import RuntimeState

/// A state that was made for a container that is not complete yet.
final class UncommittedState {
    private let store: StateStore
    private let states: Descriptor

    /// Creates it from a store and the open directory of all states.
    init(_ store: StateStore, in states: consuming Descriptor) {
        self.store = store
        self.states = states
    }

    /// Removes the state, since the container's program was never executed.
    ///
    /// If that fails, the state stays, and `vtpmctl state list` shows it.
    func discard() {
        do throws(Failure) {
            try store.discard(in: states)
        } catch {
            Log.error("\(error.withHint( "remove the state, which nobody has used: vtpmctl state purge"))")
        }
    }
}
