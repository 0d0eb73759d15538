extension Check {
    /// All checks, in the order in which they are reported: what others depend on comes first.
    ///
    /// docs/operations.md explains each, and for which refusals of the hook it stands.
    public static var all: [Check] {
        [
            Check("root", "run by root", SystemChecks.root),
            Check("user-namespace", "in the host's user namespace", SystemChecks.userNamespace),
            Check("privileges", "capabilities and limits of the engines", SystemChecks.privileges),

            Check("kernel", "version of the kernel", KernelChecks.version),
            Check("kernel-features", "features of the kernel", KernelChecks.features),
            Check("vtpm-proxy", "the kernel's vTPM proxy", KernelChecks.proxy),
            Check("vtpm-proxy-at-boot", "the proxy's module at boot", KernelChecks.proxyAtBoot),
            Check("vtpmx-node", "owner and mode of /dev/vtpmx", KernelChecks.proxyNode),
            Check("tpm-numbers", "other TPMs, and the numbers of the next", TPMChecks.numbers),
            Check("random-source", "the host's hardware random numbers", TPMChecks.randomSource),

            Check("cgroups", "control groups", CgroupChecks.versions),
            Check("bpf-hardening", "device programs as they were loaded", CgroupChecks.hardening),
            Check("systemd", "systemd and its socket", SystemChecks.systemd),
            Check("security-modules", "security modules of the kernel", SecurityChecks.modules),
            Check("apparmor", "AppArmor profiles of our programs", SecurityChecks.appArmor),
            Check("selinux", "what SELinux lets containers use", SecurityChecks.selinux),

            Check("programs", "our programs", ProgramChecks.installed),
            Check("hook", "a start of the hook", ProgramChecks.hook),
            Check("worker", "a trial of a worker", ProgramChecks.worker),
            Check("configuration", "the configuration file", KeyChecks.configuration),
            Check("host-tpm", "the host's TPM, if it is used", KeyChecks.hostTPM),
            Check("master-key", "the master key", KeyChecks.masterKey),
            Check("state-directory", "where states are kept", FolderChecks.states),
            Check("states", "the states", KeyChecks.states),
            Check("run-directory", "where leases are kept", FolderChecks.leases),
            Check("clock", "the clock", SystemChecks.clock),
            Check("log", "the system log", SystemChecks.log),

            Check("runtimes", "runc and crun", Engines.runtimes),
            Check("wrapper", "the runtime behind our wrapper", ProgramChecks.runtime),
            Check("cdi", "our CDI device", CDI.check),
            Check("podman", "podman", Engines.podman),
            Check("docker", "docker", Docker.check),
            Check("containerd", "containerd", Containerd.check),
            Check("cri-o", "CRI-O", Engines.crio),
            Check("nerdctl", "nerdctl", Engines.nerdctl),

            Check("tpms", "TPMs of running containers", ContainerChecks.tpms),
            Check("grants", "their permission to use them", ContainerChecks.grants),
        ]
    }
}
