import Configuration
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimePool
import RuntimeState
import VTPMProxy

/// A first start with keys and certificates: ours, without a pool and from one; `swtpm_setup` and then swtpm.
struct Manufacture {
    let place: Place

    /// A certificate authority of our own beside the states, so that the host's is left alone.
    private func configure() throws(Failure) {
        let authority = "\(place.directory)/authority"
        _ = try openOwnDirectory(authority)
        try write(
            "swtpm_setup.conf",
            "create_certs_tool=/usr/bin/swtpm_localca\n"
                + "create_certs_tool_config=\(authority)/localca.conf\n"
                + "create_certs_tool_options=\(authority)/localca.options\n"
                + "active_pcr_banks=sha256\n"
        )
        try write(
            "localca.conf",
            "statedir=\(authority)\nsigningkey=\(authority)/signkey.pem\nissuercert=\(authority)/issuer.pem\n"
                + "certserial=\(authority)/serial\n"
        )
        try write("localca.options", "--platform-manufacturer bench\n--platform-version 1\n--platform-model bench\n")
    }

    private func write(_ name: String, _ text: String) throws(Failure) {
        let path = "\(place.directory)/authority/\(name)"
        let file = try Descriptor.open(path, OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644))
        try file.writeAll(Array(text.utf8), path)
    }

    /// Measures so many of each; the first ones also make the authorities, and do not count.
    func measure(_ count: Int) throws(Failure) {
        try configure()
        for round in -1..<count {
            let ours = try measureOurs(round), pooled = try measurePooled(round), theirs = try measureTheirs(round)
            guard round >= 0 else { continue }
            let output = Output(round: round)
            output.write("manufacture", "keys and certificates", "ours", unit: "ms", [ours])
            output.write("manufacture", "from the pool", "ours", unit: "ms", [pooled])
            output.write("manufacture", "swtpm_setup and swtpm", "swtpm", unit: "ms", [theirs])
        }
    }

    private func measureOurs(_ round: Int) throws(Failure) -> Double {
        try measureOurs("manufacture-\(round)", claiming: nil)
    }

    /// Measures a start that takes its TPM from the pool, which was made before.
    private func measurePooled(_ round: Int) throws(Failure) -> Double {
        var host = HostPaths(below: place.directory, programs: place.programs)
        host.pool = "/dev/shm/container-vtpm-bench.\(getpid())"
        defer { rmdir(host.pool) }
        let path = host.machineID
        try Descriptor.open(path, OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600))
            .writeAll(Array("0123456789abcdef0123456789abcdef\n".utf8), path)
        let (pool, key) = (TPMPool(host), try MasterKey(Place.secretKey()))
        let made = try TrialStart(worker: host.program("vtpm-worker")).manufacture(with: .standard)
        let tpm = PooledTPM(state: made.state, provision: .standard, library: made.library)
        try PoolFilling(pool).add(tpm, for: HostBinding(of: host, Configuration.HostTPM()), key)
        return try measureOurs("pooled-\(round)") { () throws(Failure) in
            let claimed = try pool.claim { () throws(Failure) in
                let binding = try HostBinding(of: host, Configuration.HostTPM())
                return TPMPool.Demand(of: binding, .standard, ring: KeyRing(key))
            }
            guard let tpm = claimed else {
                throw Failure("cannot measure a start from the pool", because: "there is nothing in it")
            }
            return tpm
        }
    }

    private func measureOurs(
        _ name: String,
        claiming claim: (() throws(Failure) -> PooledTPM?)?
    ) throws(Failure) -> Double {
        let initProcess = try FakeInit()
        let begin = now()
        let tpm = try OurTPM(name, in: place, for: initProcess, isEndorsed: true, claiming: claim)
        let time = milliseconds(now() - begin)
        guard try tpm.device.succeeds(Commands.readPublic(Commands.endorsementKey)) else {
            throw Failure("cannot measure a first start", because: "there is no EK")
        }
        try tpm.stop()
        return time
    }

    private func measureTheirs(_ round: Int) throws(Failure) -> Double {
        let name = "manufacture-\(round)"
        let directory = place.state(.swtpm, name)
        try systemCall("mkdir", "cannot create \(directory)") { mkdir(directory, 0o700) }
        let initProcess = try FakeInit()
        let begin = now()
        let setup = ProgramLaunch(
            "/usr/bin/swtpm_setup",
            [
                "swtpm_setup", "--tpm2", "--tpmstate", directory, "--create-ek-cert", "--create-platform-cert",
                "--lock-nvram", "--overwrite", "--cipher", "aes-256-cbc", "--keyfile", place.keyFile,
                "--config", "\(place.directory)/authority/swtpm_setup.conf",
            ]
        )
        guard try setup.start().wait() == .exited(0) else {
            throw Failure("cannot measure swtpm_setup", because: "it failed", hint: "run it by hand")
        }
        let tpm = try Side.swtpm.start(name, in: place, for: initProcess)
        let time = milliseconds(now() - begin)
        guard try tpm.device.succeeds(Commands.readPublic(Commands.endorsementKey)) else {
            throw Failure("cannot measure swtpm_setup", because: "it made no EK")
        }
        try tpm.stop()
        return time
    }
}
