// swift-tools-version: 6.2
import PackageDescription

/// `make build` builds the two programs that live as long as a container once more, and no others, so that nothing is
/// fetched for them.
let isResident = Context.environment["CONTAINER_VTPM_RESIDENT"] != nil
/// As Embedded Swift, which has no runtime.
let isEmbedded = Context.environment["CONTAINER_VTPM_EMBEDDED"] != nil
/// With nettle in place of libcrypto in the supervisor.
let usesNettle = Context.environment["CONTAINER_VTPM_NETTLE"] != nil

let strict: [SwiftSetting] =
    [
        .treatAllWarnings(as: .error),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ] + (isEmbedded ? [.enableExperimentalFeature("Embedded")] : []) + (usesNettle ? [.define("NETTLE")] : [])

/// A library target whose sources lie in `Sources/<path>`.
///
/// `links` is for what a module map links, which Embedded Swift does not read there.
func library(
    _ name: String,
    path: String? = nil,
    _ dependencies: [Target.Dependency],
    without excluded: [String] = [],
    links: [String] = []
) -> Target {
    .target(
        name: name,
        dependencies: dependencies + (isEmbedded ? ["Glibc"] : []),
        path: "Sources/\(path ?? name)",
        exclude: excluded,
        swiftSettings: strict,
        linkerSettings: links.map { .linkedLibrary($0) }
    )
}

/// A program: a page of arguments, one call, one error.
func program(_ name: String, _ dependencies: [Target.Dependency], linking: [LinkerSetting] = []) -> Target {
    .executableTarget(
        name: name,
        dependencies: dependencies + (isEmbedded ? ["Glibc"] : []),
        swiftSettings: strict,
        linkerSettings: linking
    )
}

/// With all of its libraries in it, at addresses that are chosen at each start.
let staticPIE: [LinkerSetting] = [.unsafeFlags(["-use-ld=lld", "-Xclang-linker", "-static-pie"])]

/// What the fuzzers and their replay call.
let fuzzed: [Target.Dependency] = [
    "Authority", "CLinux", "Configuration", "Crypto", "CryptoCertificates", "CryptoTransfer", "Engines", "JSONText",
    "Launch", "OCIHook", "Platform", "Proof",
    "RuntimeControl",
    "RuntimeAdministration", "RuntimeEndorsement", "RuntimeFormat", "RuntimeHostTPM",
    "RuntimeLease", "RuntimePCR", "RuntimeState", "RuntimeSupervisor", "RuntimeTransfer", "RuntimeWorker",
    "RuntimeWrapper", "VTPMProxy",
]

/// What lies beside them and is no source.
let fuzzData = ["Corpus", "Dictionaries", "run", "corpora", "tpm-recorder"]

/// `make fuzz` builds the fuzzers, all of it instrumented; a test that replays their inputs is what there is otherwise.
let fuzzTargets: [Target] =
    Context.environment["CONTAINER_VTPM_FUZZ"] == nil
    ? [
        .testTarget(
            name: "FuzzTests",
            dependencies: fuzzed + ["TestSupport"],
            path: "Tests/Fuzz",
            exclude: fuzzData + ["Driver", "CFuzzer"],
            sources: ["Entries", "Replay"],
            swiftSettings: strict
        )
    ]
    : [
        // libFuzzer's own header is C++.
        .systemLibrary(name: "CFuzzer", path: "Tests/Fuzz/CFuzzer"),
        .executableTarget(
            name: "fuzz",
            dependencies: fuzzed + ["CFuzzer"],
            path: "Tests/Fuzz",
            exclude: fuzzData + ["Replay", "CFuzzer"],
            sources: ["Entries", "Driver"],
            swiftSettings: strict,
            linkerSettings: [.linkedLibrary("stdc++")]
        ),
    ]

let products: [Product] = [
    .executable(name: "vtpm-ca", targets: ["vtpm-ca"]),
    .executable(name: "vtpm-hook", targets: ["vtpm-hook"]),
    .executable(name: "vtpm-run", targets: ["vtpm-run"]),
    .executable(name: "vtpm-runtime", targets: ["vtpm-runtime"]),
    .executable(name: "vtpm-supervisor", targets: ["vtpm-supervisor"]),
    .executable(name: "vtpm-systemd", targets: ["vtpm-systemd"]),
    .executable(name: "vtpm-worker", targets: ["vtpm-worker"]),
    .executable(name: "vtpmctl", targets: ["vtpmctl"]),
]

/// What supervisor and worker are made of.
let residentTargets: [Target] = [
    // What the importer cannot see; nothing else is C.
    .systemLibrary(name: "CLinux"),
    .systemLibrary(name: "CLibSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
    .systemLibrary(name: "CLibTPMS", pkgConfig: "libtpms", providers: [.apt(["libtpms-dev"])]),
    .systemLibrary(name: "CLibCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CNettle", pkgConfig: "hogweed", providers: [.apt(["nettle-dev", "libgmp-dev"])]),

    // What every module stands on: the error type, owned descriptors, system calls, bytes.
    library("Platform", ["CLinux"]),

    // What a library has to compute, two that can, and the algorithms by the one that is chosen.
    library("CryptoPrimitives", path: "Crypto/Primitives", ["Platform"]),
    library(
        "CryptoNettle",
        path: "Crypto/Nettle",
        ["CryptoPrimitives", "Platform", "CNettle"],
        links: ["nettle", "gmp"]
    ),
    // All uses of libcrypto but the worker's.
    library("CryptoLibCrypto", path: "Crypto/LibCrypto", ["CryptoPrimitives", "Platform", "CLibCrypto"]),
    library(
        "Crypto",
        path: "Crypto/Core",
        ["CryptoPrimitives", usesNettle ? "CryptoNettle" : "CryptoLibCrypto", "Platform"]
    ),

    // What all files of this program's have in common.
    library("RuntimeFormat", path: "Runtime/Format", ["Crypto", "Platform"]),

    // The kernel's side.
    library("VTPMProxy", ["Platform", "CLinux"]),

    // The vTPM's life. One target per folder, so that a program links no more than it runs.
    library("RuntimeControl", path: "Runtime/Control", ["Platform", "VTPMProxy", "CLinux"]),
    library(
        "RuntimeConfinement",
        path: "Runtime/Confinement",
        ["Platform", "RuntimeControl", "CLinux"]
    ),
    // The worker gets its filter from the supervisor, and does not load libseccomp.
    library("RuntimeFilter", path: "Runtime/Filter", ["Platform", "RuntimeConfinement", "CLibSeccomp", "CLinux"]),
    library("RuntimeState", path: "Runtime/State", ["Crypto", "Platform", "RuntimeFormat", "VTPMProxy", "CLinux"]),
    library(
        "RuntimeLease",
        path: "Runtime/Lease",
        ["Crypto", "Platform", "RuntimeControl", "RuntimeFormat", "RuntimeState", "CLinux"]
    ),
    library("RuntimePCR", path: "Runtime/PCR", ["Platform"]),
    library(
        "RuntimeHostTPM",
        path: "Runtime/HostTPM",
        ["Crypto", "Platform", "VTPMProxy", "RuntimeFormat", "RuntimePCR", "RuntimeState", "CLinux"]
            + (isResident ? [] : ["CryptoDigests", "CryptoEndorsement", "CryptoPrimitives"]),
        // The certificate authority endorses, `vtpmctl` attests, and what they need is libcrypto's alone.
        without: isResident ? ["Attestation", "Endorsement"] : []
    ),
    library(
        "RuntimeSupervisor",
        path: "Runtime/Supervisor",
        [
            "Crypto", "Platform", "VTPMProxy", "RuntimeConfinement", "RuntimeControl", "RuntimeFilter",
            "RuntimeHostTPM", "RuntimeLease", "RuntimeState", "CLinux",
        ]
    ),
    // libcrypto itself, and not Crypto: it prepares the library for libtpms, and computes nothing with it.
    library(
        "RuntimeWorker",
        path: "Runtime/Worker",
        ["Platform", "VTPMProxy", "RuntimeConfinement", "RuntimeControl", "CLibTPMS", "CLibCrypto", "CLinux"]
    ),
    program("vtpm-supervisor", ["RuntimeSupervisor", "Platform"], linking: isEmbedded && usesNettle ? staticPIE : []),
    program("vtpm-worker", ["RuntimeWorker", "Platform"]),
]

/// All others: the other programs, tests, benchmarks.
let otherTargets: [Target] = [

    // JSON files that are read strictly and changed without touching the rest.
    library("JSONText", ["Platform"]),

    // TOML files, the configuration file and those of engines.
    library("TOMLText", ["Platform"]),

    // What only libcrypto can, for `vtpmctl` and the certificate authority.
    library(
        "CryptoTransfer",
        path: "Crypto/Transfer",
        ["CryptoLibCrypto", "CryptoPrimitives", "Platform", "CLibCrypto"]
    ),

    // The digests of a TPM, which are libcrypto's alone.
    library("CryptoDigests", path: "Crypto/Digests", ["CryptoLibCrypto", "Platform", "CLibCrypto"]),

    // What an endorsement key of any template needs, for the authority and `vtpmctl` alone.
    library(
        "CryptoEndorsement",
        path: "Crypto/Endorsement",
        ["CryptoDigests", "CryptoLibCrypto", "CryptoPrimitives", "CryptoTransfer", "Platform", "CLibCrypto"]
    ),

    // What a container runs, as a statement that is measured, and the log of it.
    library(
        "Launch",
        ["CryptoDigests", "CryptoPrimitives", "JSONText", "Platform", "RuntimeControl", "VTPMProxy", "CLinux"]
    ),

    // What proves to others which container runs on which host, with which TPM.
    library(
        "Proof",
        [
            "CryptoDigests", "CryptoPrimitives", "JSONText", "Launch", "Platform", "RuntimeControl", "RuntimeHostTPM",
            "RuntimePCR", "VTPMProxy", "CLinux",
        ]
    ),

    // Certificates, for the certificate authority, and for `vtpmctl` that revokes them.
    library(
        "CryptoCertificates",
        path: "Crypto/Certificates",
        ["CryptoLibCrypto", "CryptoPrimitives", "Platform", "CLibCrypto"]
    ),

    // The configuration file, for the hook and `vtpmctl` alone.
    library("Configuration", ["Platform", "RuntimeControl", "RuntimePCR", "TOMLText", "VTPMProxy", "CLinux"]),
    library(
        "RuntimeKeys",
        path: "Runtime/Keys",
        [
            "Configuration", "Crypto", "Platform", "RuntimeControl", "RuntimeFormat", "RuntimeHostTPM",
            "RuntimePCR", "RuntimeState", "CLinux",
        ]
    ),
    // TPMs that were made ahead of need.
    library(
        "RuntimePool",
        path: "Runtime/Pool",
        [
            "Configuration", "Crypto", "Platform", "RuntimeControl", "RuntimeFormat", "RuntimeHostTPM", "RuntimeState",
            "VTPMProxy", "CLinux",
        ]
    ),
    library(
        "RuntimeTransfer",
        path: "Runtime/Transfer",
        ["Crypto", "CryptoTransfer", "Platform", "RuntimeFormat"]
    ),
    library(
        "RuntimeAdministration",
        path: "Runtime/Administration",
        [
            "Crypto", "JSONText", "Platform", "RuntimeControl", "RuntimeEndorsement", "RuntimeFormat", "RuntimeHostTPM",
            "RuntimeLease", "RuntimeState", "RuntimeSupervisor", "VTPMProxy", "CLinux",
        ]
    ),

    // Who a TPM is, as the host keeps it.
    library(
        "RuntimeEndorsement",
        path: "Runtime/Endorsement",
        ["Platform", "RuntimeControl", "RuntimeFormat", "VTPMProxy"]
    ),

    // The certificate authority, a program that ends; and how others start it.
    library(
        "Authority",
        path: "Authority/Service",
        [
            "Crypto", "CryptoCertificates", "CryptoPrimitives", "CryptoTransfer", "Platform", "RuntimeConfinement",
            "RuntimeControl", "RuntimeEndorsement", "RuntimeFilter", "RuntimeHostTPM", "VTPMProxy", "CLinux",
        ]
    ),
    library(
        "AuthorityClient",
        path: "Authority/Client",
        [
            "Configuration", "Platform", "RuntimeConfinement", "RuntimeControl", "RuntimeKeys", "RuntimeState",
            "VTPMProxy", "CLinux",
        ]
    ),

    // The host's systemd. The second loads libsystemd, in a program of its own.
    library("Systemd", path: "Systemd/Client", ["Platform", "RuntimeControl", "CLinux"]),
    library("SystemdBus", path: "Systemd/Bus", ["Platform", "RuntimeControl", "Systemd", "CLinux"]),

    // The container's side.
    library(
        "OCIHook",
        [
            "AuthorityClient", "Configuration", "Crypto", "CryptoDigests", "CryptoPrimitives", "JSONText", "Launch",
            "Platform", "Proof", "VTPMProxy",
            "RuntimeControl", "RuntimeEndorsement", "RuntimeHostTPM", "RuntimeKeys", "RuntimeLease", "RuntimePool",
            "RuntimeState", "Systemd", "CLinux",
        ]
    ),
    // What an engine calls in place of a runtime. It links no library, since each `exec` of an engine starts it.
    library("RuntimeWrapper", ["Configuration", "JSONText", "Platform", "RuntimeControl", "CLinux"]),

    // `vtpmctl run`, which becomes its command as the wrapper becomes the runtime.
    library("CommandRun", ["Platform", "RuntimeControl", "RuntimeWrapper", "CLinux"]),

    // How container engines are told of this project, for `vtpmctl` alone.
    library("Engines", ["Crypto", "JSONText", "Platform", "TOMLText", "CLinux"]),

    // What the host needs, for `vtpmctl` alone.
    library(
        "Doctor",
        [
            "Configuration", "Crypto", "Engines", "OCIHook", "Platform", "RuntimeAdministration", "RuntimeControl",
            "RuntimeHostTPM", "RuntimeKeys", "RuntimeLease", "RuntimeState", "Systemd", "VTPMProxy", "CLinux",
        ]
    ),

    program("vtpm-ca", ["Authority", "Platform", "RuntimeControl"]),
    program("vtpm-hook", ["OCIHook", "Platform"]),
    program("vtpm-run", ["CommandRun"]),
    program("vtpm-runtime", ["RuntimeWrapper", "Platform"]),
    program("vtpm-systemd", ["SystemdBus", "RuntimeControl", "Platform"]),
    program(
        "vtpmctl",
        [
            "AuthorityClient", "CLinux", "Configuration", "Crypto", "CryptoCertificates", "CryptoDigests", "Doctor",
            "Engines", "JSONText", "Launch", "OCIHook", "Platform", "Proof",
            "RuntimeAdministration", "RuntimeControl", "RuntimeEndorsement", "RuntimeHostTPM", "VTPMProxy",
            "RuntimeKeys", "RuntimeLease", "RuntimePool", "RuntimeState", "RuntimeTransfer",
            .product(name: "ArgumentParser", package: "swift-argument-parser"),
        ]
    ),

    .target(name: "TestSupport", path: "Tests/Support", swiftSettings: strict),
    .testTarget(
        name: "CryptoTests",
        dependencies: [
            "Crypto", "CryptoLibCrypto", "CryptoNettle", "CryptoPrimitives", "CryptoTransfer", "Platform",
        ],
        swiftSettings: strict
    ),
    .testTarget(name: "VTPMProxyTests", dependencies: ["VTPMProxy", "Platform"], swiftSettings: strict),
    .testTarget(
        name: "RuntimeTests",
        dependencies: [
            "AuthorityClient", "CLibCrypto", "CLibSeccomp", "CLinux", "Configuration", "Crypto", "CryptoCertificates",
            "CryptoDigests", "CryptoPrimitives", "JSONText", "Launch", "Platform", "Proof", "RuntimeAdministration",
            "RuntimeConfinement",
            "RuntimeControl", "RuntimeEndorsement", "RuntimeFilter", "RuntimeFormat", "RuntimeHostTPM", "RuntimeKeys",
            "RuntimeLease",
            "RuntimePCR", "RuntimePool", "RuntimeState", "RuntimeSupervisor", "RuntimeTransfer", "RuntimeWorker",
            "HostileSupervisor", "HostileWorker", "OtherLibrary", "PoolClaimer", "ProgramWithGaps",
            "vtpm-ca", "vtpm-hook", "vtpm-supervisor", "vtpm-systemd", "vtpm-worker", "vtpmctl", "TestSupport",
        ],
        exclude: [
            "Fixtures", "Confinement/HostileWorker", "Confinement/HostileSupervisor", "Confinement/CSystemCall",
            "Platform/ProgramWithGaps", "Pool/PoolClaimer", "Vtpm/ObservedLibrary", "Vtpm/OtherLibrary",
        ],
        swiftSettings: strict
    ),
    // What the tests start in place of the worker.
    .executableTarget(
        name: "HostileWorker",
        dependencies: ["RuntimeWorker", "RuntimeControl", "Platform", "CLibTPMS", "CLinux", "CSystemCall"],
        path: "Tests/RuntimeTests/Confinement/HostileWorker",
        swiftSettings: strict
    ),
    .executableTarget(
        name: "HostileSupervisor",
        dependencies: ["RuntimeConfinement", "RuntimeControl", "RuntimeFilter", "Platform", "CLinux", "CSystemCall"],
        path: "Tests/RuntimeTests/Confinement/HostileSupervisor",
        swiftSettings: strict
    ),
    .executableTarget(
        name: "ProgramWithGaps",
        dependencies: ["Platform"],
        path: "Tests/RuntimeTests/Platform/ProgramWithGaps",
        swiftSettings: strict,
        // Each segment begins where a page of 64 KiB could.
        linkerSettings: [
            .unsafeFlags(["-use-ld=lld", "-Xlinker", "-z", "-Xlinker", "separate-loadable-segments"]),
            .unsafeFlags(["-Xlinker", "-z", "-Xlinker", "max-page-size=65536"]),
        ]
    ),
    .executableTarget(
        name: "PoolClaimer",
        dependencies: ["Configuration", "RuntimePool", "RuntimeControl", "RuntimeState", "VTPMProxy", "Platform"],
        path: "Tests/RuntimeTests/Pool/PoolClaimer",
        swiftSettings: strict
    ),
    .executableTarget(
        name: "OtherLibrary",
        dependencies: ["RuntimeWorker", "RuntimeControl", "Platform", "CLibTPMS"],
        path: "Tests/RuntimeTests/Vtpm/OtherLibrary",
        swiftSettings: strict,
        // dlsym(3) finds in a program what is exported alone.
        linkerSettings: [.unsafeFlags(["-Xlinker", "--export-dynamic"])]
    ),
    // No test depends on it: linked into them, its TPMLIB_Process would be a second one beside HostileWorker's.
    .executableTarget(
        name: "ObservedLibrary",
        dependencies: ["RuntimeWorker", "RuntimeControl", "Platform", "CLibCrypto", "CLibTPMS"],
        path: "Tests/RuntimeTests/Vtpm/ObservedLibrary",
        swiftSettings: strict,
        linkerSettings: [.unsafeFlags(["-Xlinker", "--export-dynamic"])]
    ),
    .systemLibrary(name: "CSystemCall", path: "Tests/RuntimeTests/Confinement/CSystemCall"),
    .testTarget(
        name: "DoctorTests",
        dependencies: [
            "Doctor", "Configuration", "OCIHook", "Platform", "RuntimeControl", "RuntimeLease", "RuntimeState",
            "VTPMProxy",
        ],
        exclude: ["refusals.txt"],
        swiftSettings: strict
    ),
    .testTarget(
        name: "TOMLTextTests",
        dependencies: ["TOMLText", "Platform", "TestSupport"],
        swiftSettings: strict
    ),
    .testTarget(
        name: "EnginesTests",
        dependencies: ["Engines", "Crypto", "JSONText", "Platform", "TOMLText", "CLinux"],
        swiftSettings: strict
    ),
    .testTarget(
        name: "RuntimeWrapperTests",
        dependencies: [
            "CommandRun", "RuntimeWrapper", "JSONText", "Platform", "RuntimeControl", "WrapperProgram", "vtpm-run",
            "vtpmctl",
        ],
        exclude: ["WrapperProgram"],
        swiftSettings: strict
    ),
    // What the tests start in place of `vtpm-runtime`, whose configuration has a fixed path, and of its hook.
    .executableTarget(
        name: "WrapperProgram",
        dependencies: ["CLinux", "RuntimeWrapper", "RuntimeControl", "Platform"],
        path: "Tests/RuntimeWrapperTests/WrapperProgram",
        swiftSettings: strict
    ),
    .testTarget(
        name: "JSONTextTests",
        dependencies: ["JSONText", "Platform", "TestSupport"],
        swiftSettings: strict
    ),
    .testTarget(
        name: "ConfigurationTests",
        dependencies: ["Configuration", "Platform", "RuntimeControl", "TestSupport", "VTPMProxy"],
        swiftSettings: strict
    ),
    .testTarget(
        name: "OCIHookTests",
        dependencies: [
            "OCIHook", "Configuration", "CryptoDigests", "Platform", "VTPMProxy", "RuntimeControl",
            "RuntimeEndorsement",
            "RuntimeKeys", "RuntimeLease", "RuntimeState", "Systemd", "CLinux", "JSONText", "ProbeProgram",
            "PlacementProgram",
            "TestSupport",
        ],
        exclude: ["DeviceCgroup/ProbeProgram", "Placement/PlacementProgram"],
        swiftSettings: strict
    ),
    .testTarget(
        name: "LaunchTests",
        dependencies: [
            "CLinux", "Launch", "CryptoDigests", "CryptoPrimitives", "JSONText", "Platform", "RuntimeControl",
            "VTPMProxy",
        ],
        exclude: ["Fixtures"],
        swiftSettings: strict
    ),
    .testTarget(
        name: "ProofTests",
        dependencies: ["CryptoDigests", "Platform", "Proof", "VTPMProxy"],
        swiftSettings: strict
    ),
    .testTarget(
        name: "SystemdTests",
        dependencies: ["Systemd", "SystemdBus", "RuntimeControl", "Platform", "vtpm-systemd"],
        exclude: ["Fixtures"],
        swiftSettings: strict
    ),
    // What the manual, `--help`, completions and documents say, and what each program comes with.
    .testTarget(
        name: "ManualTests",
        dependencies: ["Configuration", "OCIHook", "Platform", "vtpmctl"],
        swiftSettings: strict
    ),
    // `make bench`: the same program measures this project and what it is compared with.
    .executableTarget(
        name: "vtpm-bench",
        dependencies: [
            "AuthorityClient", "Configuration", "Crypto", "Launch", "Platform", "RuntimeAdministration",
            "RuntimeControl",
            "RuntimeLease", "RuntimePool", "RuntimeState", "VTPMProxy", "CLinux",
        ],
        path: "Bench/Driver",
        swiftSettings: strict
    ),
    // What the tests start in place of the hook, whose namespaces a process with many threads cannot change.
    .executableTarget(
        name: "ProbeProgram",
        dependencies: ["OCIHook"],
        path: "Tests/OCIHookTests/DeviceCgroup/ProbeProgram",
        swiftSettings: strict
    ),
    .executableTarget(
        name: "PlacementProgram",
        dependencies: ["OCIHook", "Platform", "VTPMProxy", "CLinux", "TestSupport"],
        path: "Tests/OCIHookTests/Placement/PlacementProgram",
        swiftSettings: strict
    ),
]

let package = Package(
    name: "container-vtpm",
    products: isResident ? products.filter { ["vtpm-supervisor", "vtpm-worker"].contains($0.name) } : products,
    dependencies: isResident
        ? [] : [.package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0")],
    targets: isResident ? residentTargets : residentTargets + otherTargets + fuzzTargets,
    swiftLanguageModes: [.v6]
)

if isEmbedded {
    package.targets += [
        .systemLibrary(name: "CGlibc", path: "Sources/Embedded/CGlibc"),
        .target(
            name: "Glibc",
            dependencies: ["CGlibc"],
            path: "Sources/Embedded/Glibc",
            swiftSettings: strict
        ),
    ]
}
