import Glibc
import Platform

/// Whether and how an engine is configured, as far as its files tell.
public struct EngineStatus: Encodable, Sendable {
    /// The engine.
    public let engine: String
    /// Whether its program is installed.
    public let isInstalled: Bool
    /// The way that is configured; nil if none is.
    public let way: String?
    /// The files that have our entries.
    public let files: [String]
    /// Whether a container that asks for a TPM by this way never starts without one; nil without a way.
    public let failsClosed: Bool?
    /// Whether ours is the engine's default runtime; nil without a way.
    public let isDefault: Bool?
    /// Whether the entries have an effect; if they have none, the first remark says why.
    public let isInForce: Bool
    /// What there is to know, in sentences.
    public let remarks: [String]
}

extension Installation {
    /// Returns which of the engine's ways are configured, the first that is complete first; one without a way if none
    /// is.
    public func status() throws(Failure) -> [EngineStatus] {
        var found: [EngineStatus] = []
        for way in engine.ways {
            if let status = try status(of: way) { found.append(status) }
        }
        if !found.isEmpty { return found }
        let install = "vtpmctl engine install \(engine.rawValue)"
        let remark =
            engine == .nerdctl ? "nothing has to be configured: \(use(.runtime))" : "not configured: \(install)"
        return [
            EngineStatus(
                engine: engine.rawValue,
                isInstalled: host.isInstalled(engine),
                way: nil,
                files: [],
                failsClosed: nil,
                isDefault: nil,
                isInForce: false,
                remarks: [remark]
            )
        ]
    }

    private func use(_ way: Way) -> String { engine.use(of: way, host.layout) }

    private func status(of way: Way) throws(Failure) -> EngineStatus? {
        var files: [String] = []
        var isDefault = false
        do {
            if way == .runtime { isDefault = try isOursDefault() }
            let places = try Places(engine: engine, host: host).files(of: way, isDefault: isDefault)
            guard !places.isEmpty else { return nil }
            for (path, text) in places {
                if let switchText = text as? DockerText, switchText.entry == .none { continue }
                guard let file = try host.files.read(path), try text.isComplete(file.bytes) else {
                    guard try host.record(of: engine)?.way == way else { return nil }
                    let flaw = "\(path) does not have our entries any more: vtpmctl engine install \(engine.rawValue)"
                    return status(way, files, isDefault: isDefault, flaws: [flaw])
                }
                files.append(path)
            }
        } catch {
            // What cannot be understood has no entries of ours, unless a record says so.
            guard try host.record(of: engine)?.way == way else { return nil }
            return status(way, files, isDefault: isDefault, flaws: [error.description])
        }
        var flaws: [String] = []
        let program = way == .runtime ? host.layout.runtime : host.layout.hook
        if !host.isExecutable(program) { flaws.append("\(program) is not there") }
        if let flaw = flawOfOtherFiles(isDefault: isDefault) { flaws.append(flaw) }
        return status(way, files, isDefault: isDefault, flaws: flaws)
    }

    private func status(_ way: Way, _ files: [String], isDefault: Bool, flaws: [String]) -> EngineStatus {
        let defaultRemark = isDefault ? ["it is the engine's default runtime"] : []
        return EngineStatus(
            engine: engine.rawValue,
            isInstalled: host.isInstalled(engine),
            way: way.rawValue,
            files: files,
            failsClosed: way.failsClosed,
            isDefault: isDefault,
            isInForce: flaws.isEmpty,
            remarks: flaws + defaultRemark + ["it \(way.promise)", "to use it: \(use(way))"]
        )
    }

    /// Returns why other files of the engine's keep our entries in one from having an effect; nil if none does.
    public func flawOfOtherFiles(than own: String? = nil, isDefault: Bool = false) -> String? {
        do {
            if let disabled = try places.containerdFiles(with: own)?.disabledCRI { return disabled }
            return try places.flaw(isDefault: isDefault, wayOut: removeCommand, of: own)?.reason
        } catch {
            return error.reason
        }
    }
}
