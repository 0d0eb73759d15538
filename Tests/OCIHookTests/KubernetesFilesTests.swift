import Configuration
import Glibc
import Platform
import Testing

@testable import OCIHook

/// `hooks/kubernetes`, which is installed for the operator to start from, and the page about it.
@Suite struct KubernetesFilesTests {
    /// The name of the handler, which is the name of containerd's or CRI-O's runtime.
    static let handler = "vtpm"

    func lines(_ path: String) throws -> [String] {
        let root = "\(#filePath)".split(separator: "/").dropLast(3).map { "/\($0)" }.joined()
        let bytes = try Descriptor.openFile("\(root)/\(path)", .read).readAll(limit: 1 << 20, path)
        return try #require(String(validating: bytes, as: UTF8.self)).split(separator: "\n").map(String.init)
    }

    /// The values of a key, wherever it is in a file.
    func values(of key: String, in lines: [String]) -> [String] {
        lines.compactMap { line in
            let text = line.drop { $0 == " " || $0 == "-" }
            guard text.hasPrefix("\(key): ") else { return nil }
            return text.dropFirst(key.count + 2).filter { $0 != "\"" }
        }
    }

    @Test func theClassNamesTheHandler() throws {
        let lines = try lines("hooks/kubernetes/runtimeclass.yaml")
        #expect(values(of: "kind", in: lines) == ["RuntimeClass"])
        #expect(values(of: "handler", in: lines) == [Self.handler])
        #expect(values(of: "name", in: lines) == ["vtpm"])
    }

    @Test(arguments: ["pod", "statefulset"]) func theExamplesAskForATPM(name: String) throws {
        let lines = try lines("hooks/kubernetes/\(name).yaml")
        #expect(values(of: "runtimeClassName", in: lines) == ["vtpm"])
        var annotations: [String: String] = [:]
        for line in lines where !line.hasPrefix("#") && line.contains("org.container-vtpm.") {
            let parts = line.split(separator: ":").map { $0.filter { $0 != " " && $0 != "\"" } }
            annotations[parts[0]] = parts[1]
        }
        let given = try Annotations(state: annotations, bundle: annotations)
        var allowed = Configuration.Container()
        allowed.selection = .annotated
        #expect(try given.selectTPM(allowed))
        // The names of pods are states, which no annotation may be.
        #expect(annotations.keys.sorted() == [Annotations.Key.enable.rawValue])
    }

    @Test(arguments: ["runtimeclass", "pod", "statefulset"]) func indentsWithBlanks(name: String) throws {
        for line in try lines("hooks/kubernetes/\(name).yaml") {
            #expect(!line.contains("\t") && line.prefix { $0 == " " }.count % 2 == 0, "\(line)")
        }
    }

    @Test func thePageConfiguresThatHandler() throws {
        let lines = try lines("docs/kubernetes.md")
        let tables = lines.filter { $0.contains("containerd.runtimes.") }
        #expect(!tables.isEmpty)
        for table in tables { #expect(table.contains("containerd.runtimes.\(Self.handler)"), "\(table)") }
        let page = lines.joined(separator: "\n")
        let containerd = Configuration.State.Scope.containerd
        for scope in [containerd, .crio] { #expect(page.contains(scope.standardBundles ?? "?")) }
    }
}
