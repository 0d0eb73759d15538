/// The program's arguments, which Embedded Swift does not keep.
public enum CommandLine {
    /// The most arguments that are found; no program of this project's is started with as many.
    private static let limit = 64

    /// The arguments, the program's name first; none if they are not found.
    ///
    /// The kernel puts them in front of the environment: their number, a pointer to each, a null pointer, and then the
    /// pointers that environ(7) has until somebody changes it, which nothing in these programs does. System V ABI, "Initial
    /// Stack and Register State"
    public static var arguments: [String] {
        guard let environment = cglibc_environment() else { return [] }
        return UnsafeRawPointer(environment).withMemoryRebound(to: UInt.self, capacity: 1) { start in
            guard start[-1] == 0, let count = (0...limit).first(where: { start[-2 - $0] == UInt($0) }) else {
                return []
            }
            return (0..<count).map { index in
                environment[index - count - 1].map { String(cString: $0) } ?? ""
            }
        }
    }
}
