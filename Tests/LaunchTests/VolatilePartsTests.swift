import Foundation
import JSONText
import Launch
import Platform
import Testing

/// What differs between two containers of one image and configuration is left out, and nothing else.
struct VolatilePartsTests {
    /// Two containers of one image and configuration: the statement about both is the same.
    @Test(arguments: ["docker", "podman", "cri", "runc"]) func whatIsVolatileIsLeftOut(engine: String) throws {
        let (one, other) = (try fixture("\(engine)-1.json"), try fixture("\(engine)-2.json"))
        #expect(one != other)
        let (first, second) = (try statement(one), try statement(other))
        #expect(try differences(first, second) == [])
        #expect(first == second)
        // No name of either container is in it, and no value of the environment that is not public.
        for word in ["1f1f", "2e2e", "hunter2", "web-7", "4242", "10.0.0"] {
            #expect(!text(first).contains(word), "\(word): \(text(first))")
        }
        #expect(text(first).contains(#"{"name":"TOKEN"}"#))
    }

    /// By whatever process it is named: a path is no proof that a namespace is the container's own.
    @Test func theHostsNamespacesAreTold() throws {
        func joined(_ type: String, _ path: String) throws -> Bool {
            let text = text(try statement(#"{"linux":{"namespaces":[{"type":"\#(type)","path":"\#(path)"}]}}"#))
            try #require(text.contains(#"{"joined":""#))
            return text.contains(#"{"joined":"host","type":"\#(type)"}"#)
        }
        let own = "/proc/\(ProcessInfo.processInfo.processIdentifier)/ns"
        for path in [own, "/proc/self/ns", "/proc/thread-self/ns"] {
            #expect(
                try joined("network", "\(path)/net") && joined("pid", "\(path)/pid") && joined("user", "\(path)/user")
            )
        }
        // Another kind, nothing, and no namespace at all.
        #expect(try !joined("network", "\(own)/pid") && !joined("network", "/none") && !joined("network", "/dev/null"))
        #expect(try !joined("other", "\(own)/net"))
    }

    /// Only podman's own files are in no order.
    @Test func theOrderOfMountsCounts() throws {
        func mounts(_ sources: [String]) -> String {
            let all = sources.map { #"{"destination":"/\#($0.suffix(1))","source":"\#($0)","options":["bind"]}"# }
            return #"{"mounts":[\#(all.joined(separator: ","))]}"#
        }
        #expect(try statement(mounts(["/srv/a", "/srv/b"])) != statement(mounts(["/srv/b", "/srv/a"])))
        let own = "/run/containers/storage/vfs-containers/\(String(repeating: "a", count: 64))/userdata/"
        #expect(try statement(mounts([own + "a", own + "b"])) == statement(mounts([own + "b", own + "a"])))
        // Whether a later mount covers one counts all the same.
        let cover = #"{"destination":"/","source":"/srv/c","options":["bind"]}"#
        let mount = #"{"destination":"/a","source":"\#(own)a","options":["bind"]}"#
        let (over, under) = (
            try statement(#"{"mounts":[\#(mount),\#(cover)]}"#), try statement(#"{"mounts":[\#(cover),\#(mount)]}"#)
        )
        #expect(try differences(over, under) == ["engineMounts.0.covered"])
        // A path that only looks like one of podman's has no ID in it.
        let like = "/srv/vfs-containers/a/userdata/"
        #expect(try statement(mounts([like + "a", like + "b"])) != statement(mounts([like + "b", like + "a"])))
    }

    /// What the operator has listed counts, also where an engine sets such variables.
    @Test func aListedVariableIsNeverLeftOut() throws {
        let names = PublicNames(environment: ["DB_SERVICE_HOST", "HOSTNAME"], annotations: [])
        let config =
            #"{"process":{"env":["DB_SERVICE_HOST=1","DB_PORT=2","HOSTNAME=h"]},"annotations":{"io.kubernetes.cri.container-type":""}}"#
        let statement = try LaunchStatement(of: Array(config.utf8), path: "it", names, root: .notMeasured)
        let text = text(statement)
        #expect(
            text.contains(
                #""environment":[{"name":"DB_SERVICE_HOST","value":"1"},{"name":"HOSTNAME","value":"h"}]"#
            ),
            "\(text)"
        )
    }

    /// A pod can have as many variables as its author likes.
    @Test func manyServicesAreNoWork() throws {
        let variables = (0..<20_000).map { "\"S\($0)_SERVICE_HOST=1\"" }.joined(separator: ",")
        let pod = #""annotations":{"io.kubernetes.cri.container-type":"container"}"#
        let text = text(try statement("{\"process\":{\"env\":[\(variables)]},\(pod)}"))
        #expect(text.contains(#""environment":[]"#))
        // Nor is one with a name that has the marks of a service all over.
        let name = String(repeating: "_PORT", count: 280_000)
        _ = try statement("{\"process\":{\"env\":[\"A_SERVICE_HOST=1\",\"\(name)=1\"]},\(pod)}")
    }

    /// Only where engines make them: the operator's own folders with such names are what was mounted.
    @Test(
        arguments: [
            ("/var/lib/docker/volumes/ID/_data", "/var/lib/docker/volumes/*/_data"),
            ("/data/docker/containers/ID/hosts", "/data/docker/containers/*/hosts"),
            ("/srv/releases/ID", nil), ("/srv/volumes/ID", nil), ("/srv/containers/ID/data", nil),
            (
                "/var/lib/kubelet/pods/UID/volumes/kubernetes.io~csi/x/mount",
                "/var/lib/kubelet/pods/*/volumes/kubernetes.io~csi/x/mount"
            ),
            ("/var/lib/docker/volumes/UID/_data", nil), ("/srv/containers/UID/hosts", nil),
            ("/var/lib/kubelet/pods/UID/etc-hosts", "/var/lib/kubelet/pods/*/etc-hosts"),
            ("/srv/kube-api-access-abcde", nil), ("/srv/pods/UID/data", nil),
            (
                "/run/containers/storage/overlay-containers/ID/userdata/hosts",
                "/run/containers/storage/overlay-containers/*/userdata/hosts"
            ),
            (
                "/var/lib/nerdctl/1935db59/etchosts/default/ID/hosts",
                "/var/lib/nerdctl/1935db59/etchosts/default/*/hosts"
            ),
            (
                "/r/io.containerd.grpc.v1.cri/containers/ID/volumes/ID",
                "/r/io.containerd.grpc.v1.cri/containers/*/volumes/*"
            ),
        ]
    )
    func sourcesAreReplacedWhereEnginesMakeThem(source: String, replaced: String?) throws {
        let path = source.replacingOccurrences(of: "UID", with: "01234567-89ab-4cde-8f01-23456789abcd")
            .replacingOccurrences(of: "ID", with: String(repeating: "0f", count: 32))
        let text = text(try statement(#"{"mounts":[{"destination":"/d","source":"\#(path)"}]}"#))
        #expect(text.contains(#""source":"\#(replaced ?? path)""#), "\(text)")
    }

    /// Only the level of a label is left out, and not what stands behind it.
    @Test(
        arguments: [
            (#"context=\"u:r:t:s0:c1,c2\""#, "context=u:r:t"),
            ("context=u:r:t:s0-s0:c0.c1023", "context=u:r:t:s0-s0:c0.c1023"), ("context=u:r:t:s0", "context=u:r:t:s0"),
            ("context=u:r:t:s0:c0.c1023", "context=u:r:t:s0:c0.c1023"), ("context=u:r:t:s0:c1,c1023", "context=u:r:t"),
            ("context=u:r:t:s0,lowerdir=/a", "context=u:r:t:s0,lowerdir=/a"), ("context=u:r:t", "context=u:r:t"),
            ("size=1", "size=1"),
        ]
    )
    func onlyTheLevelOfALabelIsLeftOut(option: String, expected: String) throws {
        let text = text(try statement(#"{"mounts":[{"destination":"/d","options":["\#(option)"]}]}"#))
        #expect(text.contains(#""options":["\#(expected)"]"#), "\(text)")
    }

    /// Whether the host's root is mapped, however its number is written, also of a mount.
    @Test func theHostsRootIsTold() throws {
        for (id, isRoot) in [("0", true), ("-0", true), ("0.0", true), ("100000", false)] {
            let extents = #"[{"containerID":0,"hostID":\#(id),"size":1}]"#
            for config in [#"{"linux":{"uidMappings":\#(extents)}}"#, #"{"mounts":[{"gidMappings":\#(extents)}]}"#] {
                #expect(text(try statement(config)).contains(#""hostRoot":\#(isRoot)"#), "\(config)")
            }
        }
    }

    /// A service of the namespace of a pod is left out; a variable that only has such a name is not.
    @Test func onlyServicesOfPodsAreLeftOut() throws {
        let environment = #""process":{"env":["A_SERVICE_HOST=1","A_PORT=2","A_PORT_1_TCP=3","B_PORT=4"]}"#
        let pod = #""annotations":{"io.kubernetes.cri.container-type":"container"}"#
        let alone = text(try statement("{\(environment)}"))
        let ofPod = text(try statement("{\(environment),\(pod)}"))
        for name in ["A_SERVICE_HOST", "A_PORT", "A_PORT_1_TCP", "B_PORT"] { #expect(alone.contains("\"\(name)\"")) }
        #expect(ofPod.contains(#""environment":[{"name":"B_PORT"}]"#), "\(ofPod)")
    }
}
