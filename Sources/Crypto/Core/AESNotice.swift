import CryptoPrimitives

/// What an operator has to know of the processor.
public enum TableNotice<Library: PrimitiveLibrary> {
    /// What is logged at the start where AES is computed by tables; nil where it is not.
    public static func text(byTables: Bool = Library.computesAESByTables) -> String? {
        byTables
            ? "the processor has no instructions for AES: the state is encrypted by tables, and how long that takes "
                + "depends on the key"
            : nil
    }
}
