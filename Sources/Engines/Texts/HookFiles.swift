import JSONText
import Platform

/// The files in JSON by which engines are told of the hook.
///
/// They are those of the folder `hooks`.
public enum HookFiles {
    /// A stage of the hook, and how long it may take in seconds.
    private static let stages = [("createRuntime", 60), ("poststop", 10)]
    private static let environment = "[\"PATH=/usr/sbin:/usr/bin:/sbin:/bin\"]"
    /// The file of our device.
    static let device = "container-vtpm.json"

    /// The files for a folder of hooks, by their names. oci-hooks(5)
    public static func folder(hook: String) -> [(name: String, content: String)] {
        zip(["create", "poststop"], stages).map { name, stage in
            let content = """
                {
                  "version": "1.0.0",
                  "hook": {
                    "path": "\(hook)",
                    "args": ["vtpm-hook", "\(stage.0)"],
                    "env": \(environment),
                    "timeout": \(stage.1)
                  },
                  "when": {
                    "annotations": {
                      "^org\\\\.container-vtpm\\\\.": ".*"
                    }
                  },
                  "stages": ["\(stage.0)"]
                }

                """
            return ("container-vtpm-\(name).json", content)
        }
    }

    /// The file of our device. container-device-interface, SPEC.md
    public static func cdi(hook: String) -> String {
        let hooks = stages.map { stage, timeout in
            """
                      {
                        "hookName": "\(stage)",
                        "path": "\(hook)",
                        "args": ["vtpm-hook", "\(stage)"],
                        "env": \(environment),
                        "timeout": \(timeout)
                      }
            """
        }
        return """
            {
              "cdiVersion": "0.3.0",
              "kind": "container-vtpm.org/tpm",
              "devices": [
                {
                  "name": "auto",
                  "containerEdits": {
                    "hooks": [
            \(hooks.joined(separator: ",\n"))
                    ]
                  }
                }
              ]
            }

            """
    }

    /// Returns the paths of all hooks in such a file.
    static func hooks(in text: [UInt8], _ path: String) throws(Failure) -> [String] {
        guard !text.isEmpty else { return [] }
        let root = try JSONText(parsing: text, path: path, limit: DockerText.limit).root
        if let hook = root["hook"] { return [hook["path"]?.string ?? ""] }
        let devices = root["devices"]?.elements ?? []
        return devices.flatMap { device in
            (device["containerEdits"]?["hooks"]?.elements ?? []).map { $0["path"]?.string ?? "" }
        }
    }
}
