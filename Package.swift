// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// A library target whose sources lie in `Sources/<path>`.
func library(_ name: String, path: String? = nil, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/\(path ?? name)", swiftSettings: strict)
}

/// A program: a page of arguments, one call, one error.
func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name,
        dependencies: dependencies,
        swiftSettings: strict + [.defaultIsolation(MainActor.self)]
    )
}

let package = Package(
    name: "container-vtpm",
    targets: [
        // What the importer cannot see; nothing else is C.
        .systemLibrary(name: "CLinux"),
        // What every module stands on: the error type, owned descriptors, system calls, bytes.
        library("Platform", ["CLinux"]),

        // The kernel's side.
        library("VTPMProxy", ["Platform", "CLinux"]),

        .testTarget(name: "VTPMProxyTests", dependencies: ["VTPMProxy", "Platform"], swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
