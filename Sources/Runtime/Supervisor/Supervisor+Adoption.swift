import Glibc
import Platform
import RuntimeControl
import RuntimeState

// A vTPM that was prepared for the process that becomes a runtime, until its container has an init.
extension Supervisor {
    /// Watches the container that the hook names in place of the runtime, and has the worker do the same.
    func adopt(_ container: ContainerIdentity, _ message: inout Message) throws(Failure) {
        guard lifecycle.phase == .serving, adopter == nil, let initProcess = message.descriptors.take() else {
            throw Failure("cannot start the vTPM", because: "the hook sent \"adopt\" out of turn")
        }
        let watch = ContainerWatch(initProcess: initProcess, cgroupEvents: message.descriptors.take())
        try worker?.send(.watch, descriptors: watch.descriptors)
        self.container = watch
        adopter = container
        try hook?.send(HookReply.adopted)
    }

    /// Names the container that has adopted the vTPM as the state's user.
    ///
    /// It is done once the container is complete: until then the lock and ``MadeState`` name the same user, so that a
    /// state which nobody has used can be removed.
    func nameAdopter() throws(Failure) {
        guard let adopter else { return }
        try store.name(
            StateUser(
                containerID: request.containerID,
                initProcess: adopter.initProcess,
                cgroup: adopter.cgroup,
                supervisor: getpid()
            )
        )
    }
}
