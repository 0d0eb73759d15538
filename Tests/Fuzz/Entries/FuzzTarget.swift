/// What is fuzzed, by the name of its corpus.
enum FuzzTarget: String, CaseIterable, Codable, Sendable {
    case worker
    case authority
    case control
    case stateFile = "state-file"
    case index
    case export
    case swtpmState = "swtpm-state"
    case containerState = "container-state"
    case bundleConfig = "bundle-config"
    case configuration
    case deviceFilter = "device-filter"
    case kernelText = "kernel-text"
    case jsonText = "json-text"
    case engineText = "engine-text"
    case preparedConfig = "prepared-config"
    case launch
    case proof
    case invocation
    case logLine = "log-line"

    /// Runs one input: it returns, or the process dies.
    func run(_ bytes: UnsafeRawBufferPointer) {
        switch self {
        case .worker: fuzzWorker(bytes)
        case .authority: fuzzAuthority(bytes)
        case .control: fuzzControl(bytes)
        case .stateFile: fuzzStateFile(bytes)
        case .index: fuzzIndex(bytes)
        case .export: fuzzExport(bytes)
        case .swtpmState: fuzzSWTPMState(bytes)
        case .containerState: fuzzContainerState(bytes)
        case .bundleConfig: fuzzBundleConfig(bytes)
        case .configuration: fuzzConfiguration(bytes)
        case .deviceFilter: fuzzDeviceFilter(bytes)
        case .kernelText: fuzzKernelText(bytes)
        case .jsonText: fuzzJSONText(bytes)
        case .engineText: fuzzEngineText(bytes)
        case .preparedConfig: fuzzPreparedConfig(bytes)
        case .launch: fuzzLaunch(bytes)
        case .proof: fuzzProof(bytes)
        case .invocation: fuzzInvocation(bytes)
        case .logLine: fuzzLogLine(bytes)
        }
    }
}
