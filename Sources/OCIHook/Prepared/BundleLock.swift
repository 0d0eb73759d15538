import Glibc
import Platform

/// The lock on a bundle whose `config.json` is exchanged: several containers can be created from one bundle.
///
/// All bundles share one file in the run directory. A byte of it stands for each, by its number, which needs no room. If
/// two bundles have one number, they only wait for one another.
struct BundleLock: ~Copyable {
    private static let name = ".bundles"
    private static let what = "cannot lock a bundle"
    private static let timeout = 60_000
    private let file: Descriptor

    /// Takes the lock, and waits until the creation that has it has read its `config.json`.
    init(
        of bundle: borrowing BundleDirectory,
        in runDirectory: borrowing Descriptor,
        checkCancellation: CancellationCheck
    ) throws(Failure) {
        let file = try Self.open(in: runDirectory)
        let offset = try bundle.lockNumber()
        let isLocked = try file.lock(
            byte: offset,
            until: Deadline(milliseconds: Self.timeout),
            Self.what,
            checkCancellation: checkCancellation,
            attempt: { () throws(Failure) in try file.tryLock(byte: offset, Self.what) }
        )
        guard isLocked else {
            throw Failure("cannot use the bundle \(bundle.path)", because: "another container is being created from it")
        }
        self.file = file
    }

    /// Takes the lock; returns nil if somebody has it.
    static func tryTake(
        of bundle: borrowing BundleDirectory,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) -> BundleLock? {
        let file = try open(in: runDirectory)
        guard try file.tryLock(byte: bundle.lockNumber(), what) else { return nil }
        return BundleLock(locked: file)
    }

    private init(locked file: consuming Descriptor) { self.file = file }

    private static func open(in runDirectory: borrowing Descriptor) throws(Failure) -> Descriptor {
        let options = OpenOptions.beneath(O_RDWR | O_CREAT, mode: 0o600)
        return try .openFile(name, options, at: runDirectory.number, as: "the lock of all bundles")
    }

    /// Releases the lock now.
    consuming func release() {}
}
