import Platform
import VTPMProxy

extension DeviceAccess {
    /// Returns the error that names the denying programs, in the container's own cgroups and in those above.
    func denial(of devices: [DeviceNumber], _ what: String) throws(Failure) -> Failure {
        let denying = try denyingPrograms(devices)
        guard !denying.isEmpty else {
            return Failure(
                what,
                because: "the device cgroup denies it",
                hint: "devices.list of its control groups, or bpftool cgroup tree, shows what is allowed"
            )
        }
        let rules = devices.map { "c \($0) rw" }.joined(separator: " and ")
        return Failure(
            what,
            because: "denied by \(denying.joined(separator: " and "))",
            hint: "allow \(rules) there, or end what attached it"
        )
    }

    private func denyingPrograms(_ devices: [DeviceNumber]) throws(Failure) -> [String] {
        guard let hierarchy = cgroups.unified else { return [] }
        let kernel = KernelBPF()
        let patcher = DeviceProgramPatcher(kernel: kernel, devices: devices)
        var denying: [String] = []
        for cgroup in hierarchy.leaf.upwards + [.root] {
            let directory = try hierarchy.open(cgroup)
            for program in try kernel.query(directory.number).programs {
                // A program that was detached meanwhile denies nothing.
                guard let opened = try? kernel.open(program), try !patcher.allowsAll(kernel.dump(opened)) else {
                    continue
                }
                denying.append("device filter \(program) of \(hierarchy.name(of: cgroup))")
            }
        }
        return denying
    }
}
