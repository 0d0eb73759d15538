import Glibc

/// A property that a new unit gets, such as `MemoryMax`. org.freedesktop.systemd1(5)
public struct UnitProperty: Equatable, Sendable {
    /// The value, in one of the types that the properties of scopes have.
    public enum Value: Equatable, Sendable {
        /// A text: `Description`, `Slice`, `CollectMode`.
        case text(String)
        /// A yes or no: `SendSIGKILL`, `MemoryAccounting`.
        case flag(Bool)
        /// A number, times in microseconds: `MemoryMax`, `TasksMax`, `TimeoutStopUSec`.
        case number(UInt64)
        /// A list of texts: `Before`, `RequiresMountsFor`.
        case texts([String])
        /// A list of process IDs: `PIDs`.
        case processes([pid_t])
    }

    /// The property's name.
    public var name: String
    /// Its value.
    public var value: Value
    /// The first version of systemd that knows it; an older one is not told.
    public var since: UInt16

    /// Creates a property, which all versions of systemd know unless another is named.
    public init(_ name: String, _ value: Value, since: UInt16 = 0) {
        self.name = name
        self.value = value
        self.since = since
    }
}
