import CLinux
import Glibc
import Platform

/// The functions of libsystemd that are used, which is loaded while the program runs. sd-bus(3), dlopen(3)
///
/// Hosts without systemd need not have the library, and those with it have it in any case. Only functions with a fixed
/// number of arguments are used: Swift cannot call the others.
struct SystemdLibrary {
    /// An `sd_bus`.
    typealias Bus = OpaquePointer
    /// An `sd_bus_message`.
    typealias Message = OpaquePointer
    typealias BusError = UnsafeMutablePointer<clinux_sd_bus_error>

    let newBus: @convention(c) (UnsafeMutablePointer<Bus?>) -> CInt
    let setAddress: @convention(c) (Bus, UnsafePointer<CChar>) -> CInt
    let start: @convention(c) (Bus) -> CInt
    let fileDescriptor: @convention(c) (Bus) -> CInt
    let newMethodCall:
        @convention(c) (
            Bus, UnsafeMutablePointer<Message?>, UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafePointer<CChar>,
            UnsafePointer<CChar>
        ) -> CInt
    let appendBasic: @convention(c) (Message, CChar, UnsafeRawPointer?) -> CInt
    let openContainer: @convention(c) (Message, CChar, UnsafePointer<CChar>) -> CInt
    let closeContainer: @convention(c) (Message) -> CInt
    /// The timeout is in microseconds.
    let call: @convention(c) (Bus, Message, UInt64, BusError, UnsafeMutablePointer<Message?>) -> CInt
    let readBasic: @convention(c) (Message, CChar, UnsafeMutableRawPointer) -> CInt
    let enterContainer: @convention(c) (Message, CChar, UnsafePointer<CChar>) -> CInt
    let exitContainer: @convention(c) (Message) -> CInt
    let releaseMessage: @convention(c) (Message) -> Message?
    let freeError: @convention(c) (BusError) -> Void

    private static let name = "libsystemd.so.0"
    private static let what = "cannot load \(name)"

    /// Loads the library, which stays loaded.
    init() throws(Failure) {
        guard let handle = dlopen(Self.name, RTLD_NOW) else { throw Self.failure() }
        newBus = try Self.function("sd_bus_new", in: handle)
        setAddress = try Self.function("sd_bus_set_address", in: handle)
        start = try Self.function("sd_bus_start", in: handle)
        fileDescriptor = try Self.function("sd_bus_get_fd", in: handle)
        newMethodCall = try Self.function("sd_bus_message_new_method_call", in: handle)
        appendBasic = try Self.function("sd_bus_message_append_basic", in: handle)
        openContainer = try Self.function("sd_bus_message_open_container", in: handle)
        closeContainer = try Self.function("sd_bus_message_close_container", in: handle)
        call = try Self.function("sd_bus_call", in: handle)
        readBasic = try Self.function("sd_bus_message_read_basic", in: handle)
        enterContainer = try Self.function("sd_bus_message_enter_container", in: handle)
        exitContainer = try Self.function("sd_bus_message_exit_container", in: handle)
        releaseMessage = try Self.function("sd_bus_message_unref", in: handle)
        freeError = try Self.function("sd_bus_error_free", in: handle)
    }

    private static func function<Function>(
        _ name: String,
        in handle: UnsafeMutableRawPointer
    ) throws(Failure) -> Function {
        guard let address = dlsym(handle, name) else { throw failure() }
        return unsafeBitCast(address, to: Function.self)
    }

    private static func failure() -> Failure {
        let reason = dlerror().map { String(cString: $0) } ?? "no reason"
        return Failure(what, because: reason, hint: "install the package libsystemd0, or systemd-libs")
    }
}
