import Glibc
import Platform

/// A message of D-Bus, which is written or read from its first argument to its last. sd_bus_message_append(3)
final class BusMessage {
    let message: SystemdLibrary.Message
    fileprivate let library: SystemdLibrary
    /// What cannot be done with it, for errors.
    let what: String

    /// The largest number of elements of a list that is read.
    private static let elementLimit = 4096

    init(owning message: SystemdLibrary.Message, in library: SystemdLibrary, what: String) {
        self.message = message
        self.library = library
        self.what = what
    }

    deinit {
        _ = library.releaseMessage(message)
    }

    /// The types of arguments. D-Bus specification, "Type System"
    fileprivate enum Kind: UInt8 {
        case text = 0x73  // s
        case path = 0x6f  // o
        case flag = 0x62  // b
        case number32 = 0x75  // u
        case number64 = 0x74  // t
        case array = 0x61  // a
        case structure = 0x72  // r
        case variant = 0x76  // v

        var character: CChar { CChar(rawValue) }
    }
}

// Writing: each call appends one argument, or one element of what is open.
extension BusMessage {
    /// Appends a text.
    func append(_ text: String) throws(Failure) {
        try check(text.withCString { library.appendBasic(message, Kind.text.character, $0) })
    }

    /// Appends a yes or no.
    func append(_ flag: Bool) throws(Failure) {
        _ = try withUnsafePointer(to: CInt(flag ? 1 : 0)) { (value) throws(Failure) in
            try check(library.appendBasic(message, Kind.flag.character, value))
        }
    }

    /// Appends a number of 32 bits.
    func append(_ number: UInt32) throws(Failure) {
        _ = try withUnsafePointer(to: number) { (value) throws(Failure) in
            try check(library.appendBasic(message, Kind.number32.character, value))
        }
    }

    /// Appends a number of 64 bits.
    func append(_ number: UInt64) throws(Failure) {
        _ = try withUnsafePointer(to: number) { (value) throws(Failure) in
            try check(library.appendBasic(message, Kind.number64.character, value))
        }
    }

    /// Appends an array of elements of a type, such as `(sv)`.
    func appendArray(of type: String, _ body: () throws(Failure) -> Void) throws(Failure) {
        try append(.array, type, body)
    }

    /// Appends a structure of elements of these types.
    func appendStructure(of types: String, _ body: () throws(Failure) -> Void) throws(Failure) {
        try append(.structure, types, body)
    }

    /// Appends a variant, which tells the type of its value.
    func appendVariant(of type: String, _ body: () throws(Failure) -> Void) throws(Failure) {
        try append(.variant, type, body)
    }

    private func append(_ kind: Kind, _ types: String, _ body: () throws(Failure) -> Void) throws(Failure) {
        try check(library.openContainer(message, kind.character, types))
        try body()
        try check(library.closeContainer(message))
    }
}

// Reading: each call takes the next argument, or the next element of what is entered.
extension BusMessage {
    /// Reads a text.
    func readText() throws(Failure) -> String { try readText(.text) }

    /// Reads the path of an object.
    func readPath() throws(Failure) -> String { try readText(.path) }

    private func readText(_ kind: Kind) throws(Failure) -> String {
        // The text is the message's.
        var text: UnsafePointer<CChar>?
        guard try check(library.readBasic(message, kind.character, &text)) > 0, let text else {
            throw Failure(what, because: "it ends early")
        }
        return String(cString: text)
    }

    /// Reads a number of 32 bits.
    func readNumber() throws(Failure) -> UInt32 {
        var number: UInt32 = 0
        guard try check(library.readBasic(message, Kind.number32.character, &number)) > 0 else {
            throw Failure(what, because: "it ends early")
        }
        return number
    }

    /// Reads a variant whose value must be of this type.
    func readVariant<Value>(
        of type: String,
        _ body: () throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try read(.variant, type, body)
    }

    /// Reads a structure of elements of these types.
    func readStructure<Value>(
        of types: String,
        _ body: () throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try read(.structure, types, body)
    }

    /// Reads an array of structures of two texts.
    func readPairs() throws(Failure) -> [(first: String, second: String)] {
        try read(.array, "(ss)") { () throws(Failure) in
            var pairs: [(first: String, second: String)] = []
            // At the end of the array, 0 is returned.
            while try check(library.enterContainer(message, Kind.structure.character, "ss")) > 0 {
                guard pairs.count < Self.elementLimit else { throw Failure(what, because: "a list is too long") }
                pairs.append((try readText(), try readText()))
                try check(library.exitContainer(message))
            }
            return pairs
        }
    }

    private func read<Value>(
        _ kind: Kind,
        _ types: String,
        _ body: () throws(Failure) -> Value
    ) throws(Failure) -> Value {
        guard try check(library.enterContainer(message, kind.character, types)) > 0 else {
            throw Failure(what, because: "it ends early")
        }
        let value = try body()
        try check(library.exitContainer(message))
        return value
    }

    @discardableResult
    private func check(_ result: CInt) throws(Failure) -> CInt {
        guard result >= 0 else { throw Failure(what, because: String(cString: strerror(-result)), code: -result) }
        return result
    }
}
