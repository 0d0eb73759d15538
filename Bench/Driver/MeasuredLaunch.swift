import Glibc
import Launch
import Platform
import RuntimeControl

/// What a start costs more if the launch is measured: the description of a container of docker's, and what the TPM does with it.
struct MeasuredLaunch {
    let place: Place
    /// A bundle's `config.json`.
    let config: [UInt8]

    private static let names = PublicNames(environment: ["PATH", "LD_*"], annotations: ["run.oci.*"])

    /// Measures so many starts of an existing state with and without, in turn.
    func measure(_ rounds: Range<Int>) throws(Failure) {
        try start("launch", isMeasured: false).tpm.stop()
        for round in rounds {
            let output = Output(round: round)
            for isMeasured in round % 2 == 0 ? [false, true] : [true, false] {
                usleep(50_000)
                let begin = now()
                let (tpm, instance) = try start("launch", isMeasured: isMeasured)
                if isMeasured { _ = try LaunchLog(launch: event(), instance: instance).encoded() }
                let started = now()
                try tpm.stop()
                let name = isMeasured ? "measured" : "not measured"
                output.write("launch", name, "ours", unit: "ms", [milliseconds(started - begin)])
            }
        }
    }

    private func event() throws(Failure) -> [UInt8] {
        try LaunchStatement(of: config, path: "config.json", Self.names, root: .notMeasured).event()
    }

    private func start(_ name: String, isMeasured: Bool) throws(Failure) -> (tpm: OurTPM, instance: [UInt8]) {
        let tpm = try OurTPM(name, in: place, for: FakeInit(), measuring: isMeasured ? event() : nil)
        return (tpm, tpm.instance)
    }
}
