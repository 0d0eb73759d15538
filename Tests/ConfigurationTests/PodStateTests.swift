import Configuration
import Platform
import Testing

/// `[state] id = "pod"` and what goes with it.
@Suite struct PodStateTests {
    @Test(arguments: [("containerd", Configuration.State.Scope.containerd), ("cri-o", .crio)])
    func podsNameStates(name: String, scope: Configuration.State.Scope) throws {
        let state = try parse("[state]\nid = \"pod\"\nscope = \"\(name)\"").state
        #expect(state.source == .pod && state.scope == scope && state.bundles == nil)
        #expect(state.bundleRoot == scope.standardBundles && state.bundleRoot != nil)
        let other = try parse("[state]\nid = \"pod\"\nscope = \"\(name)\"\nbundles = \"/run/k3s/x\"").state
        #expect(other.bundleRoot == "/run/k3s/x")
    }

    @Test(arguments: [
        ("id = \"pod\"", "line 1: \"scope\" must name a CRI engine with id = \"pod\""),
        ("id = \"pod\"\nscope = \"none\"", "line 3: \"scope\" must name a CRI engine with id = \"pod\""),
        ("id = \"pod\"\nscope = \"nerdctl\"", "line 3: \"scope\" must name a CRI engine with id = \"pod\""),
        (
            "id = \"pod\"\nscope = \"cri-o\"\nrandom-ids = \"30d\"",
            "line 4: \"random-ids\" is not used with id = \"pod\""
        ),
        ("id = \"annotation\"\nbundles = \"/x\"", "line 3: \"bundles\" is only used with id = \"pod\""),
        ("bundles = \"/x\"", "line 2: \"bundles\" is only used with id = \"pod\""),
    ])
    func refusesWhatDoesNotGoWithPods(text: String, reason: String) throws {
        let line = try refusal("[state]\n\(text)")
        #expect(line.hasPrefix(reason), "\(line)")
    }

    @Test(arguments: ["x", "", "/", "/x/", "//x", "/x//y", "/./x", "/x/.."])
    func refusesARootThatIsNoPlainPath(path: String) throws {
        let line = try refusal("[state]\nid = \"pod\"\nscope = \"cri-o\"\nbundles = \"\(path)\"")
        #expect(line.hasPrefix("line 4: \"bundles\" must be an absolute path"), "\(line)")
    }
}
