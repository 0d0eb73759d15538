import JSONText
import Launch
import Platform

/// A `config.json` that is described for a measurement, and a log that a container may have written.
func fuzzLaunch(_ bytes: UnsafeRawBufferPointer) {
    let file = Array(bytes)
    if let log = accepted({ () throws(Failure) in try LaunchLog(reading: file, "a log") }) {
        require(must { () throws(Failure) in try log.encoded() } == file, "a log is read that nobody has written")
    }
    let names = PublicNames(environment: ["PATH", "LC_*"], annotations: ["run.oci.*"])
    let described = accepted { () throws(Failure) in
        try LaunchStatement(of: file, path: "/config.json", names, root: .notMeasured)
    }
    guard let statement = described else { return }
    let text = must { () throws(Failure) in
        try JSONText(parsing: statement.bytes, path: "the statement", limit: LaunchStatement.configLimit)
    }
    require(CanonicalJSON(text.root).bytes == statement.bytes, "a statement is in another form than its own")
    require(
        must { () throws(Failure) in try StatementDifference.all(statement, statement) }.isEmpty,
        "a statement differs from itself"
    )
    must { () throws(Failure) in _ = try statement.lines() }
}
