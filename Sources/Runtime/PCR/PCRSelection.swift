import Platform

/// The PCRs that a secret is bound to: `sha256:0-4,6-14`, or several banks, `sha1:0+sha256:0-7`.
public struct PCRSelection: Equatable, Sendable, CustomStringConvertible {
    /// The selected PCRs of one bank.
    package struct Bank: Equatable, Sendable {
        /// The TPM_ALG_ID of the bank's hash.
        package let algorithm: UInt16
        /// One bit for each PCR; the lowest bit is PCR 0.
        package var mask: UInt32

        package init(algorithm: UInt16, mask: UInt32) {
            self.algorithm = algorithm
            self.mask = mask
        }

        package var pcrs: [Int] { (0..<PCRSelection.pcrCount).filter { mask & 1 << $0 != 0 } }

        package var name: String { PCRSelection.algorithms.first { $0.algorithm == algorithm }?.name ?? "" }

        /// The size of the bank's digests, in bytes; 0 if the algorithm is unknown.
        package var digestSize: Int { PCRSelection.algorithms.first { $0.algorithm == algorithm }?.size ?? 0 }
    }

    package let banks: [Bank]

    /// The PCRs of the firmware, the boot loader and the system, except PCR 5, with SHA-256.
    ///
    /// PCR 5 holds the partition table and the boot attempts. It can change between two good boots.
    public static let standard = PCRSelection(banks: [Bank(algorithm: 0x000b, mask: 0x7fdf)])

    package static let pcrCount = 24
    private static let algorithms: [(name: String, algorithm: UInt16, size: Int)] = [
        ("sha1", 0x0004, 20), ("sha256", 0x000b, 32), ("sha384", 0x000c, 48), ("sha512", 0x000d, 64),
    ]

    package init(banks: [Bank]) {
        self.banks = banks
    }

    /// Parses the text form: banks separated by `+`, PCRs and ranges of PCRs separated by `,`.
    ///
    /// Throws if a bank or a PCR is named twice, because that is probably a typing error.
    public init(parsing text: String) throws(Failure) {
        func refuse(_ why: String) -> Failure {
            Failure(
                "cannot use \"\(text.prefix(128))\" as PCR selection",
                because: why,
                hint: "write it like \(Self.standard)"
            )
        }
        var banks: [Bank] = []
        for part in text.split(separator: "+", omittingEmptySubsequences: false) {
            let halves = part.split(separator: ":", omittingEmptySubsequences: false)
            guard halves.count == 2 else { throw refuse("\"\(part)\" is not a bank, a colon and PCRs") }
            guard let known = Self.algorithms.first(where: { $0.name == halves[0] }) else {
                throw refuse("\"\(halves[0])\" is not one of sha1, sha256, sha384, sha512")
            }
            guard !banks.contains(where: { $0.algorithm == known.algorithm }) else {
                throw refuse("\(known.name) is named twice")
            }
            var bank = Bank(algorithm: known.algorithm, mask: 0)
            for item in halves[1].split(separator: ",", omittingEmptySubsequences: false) {
                guard let range = Self.range(item) else {
                    throw refuse("\"\(item)\" is not a PCR from 0 to \(Self.pcrCount - 1), nor a range of them")
                }
                for pcr in range {
                    guard bank.mask & 1 << pcr == 0 else { throw refuse("PCR \(pcr) is named twice") }
                    bank.mask |= 1 << pcr
                }
            }
            banks.append(bank)
        }
        self.banks = banks
    }

    private static func range(_ item: Substring) -> ClosedRange<Int>? {
        let ends = item.split(separator: "-", omittingEmptySubsequences: false).map(number)
        guard (1...2).contains(ends.count), let first = ends.first ?? nil, let last = ends.last ?? nil, first <= last
        else { return nil }
        return first...last
    }

    /// Parses the number of a PCR, in digits without a sign or leading zeros.
    ///
    /// `Int` alone would also accept `+1` and `01`. Each selection has only one text form.
    private static func number(_ text: Substring) -> Int? {
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let value = Int(text),
            value < pcrCount, String(value) == text
        else { return nil }
        return value
    }

    /// The text form, with ranges as long as possible.
    public var description: String {
        banks.map { bank in
            var ranges: [ClosedRange<Int>] = []
            for pcr in bank.pcrs {
                if let last = ranges.last, last.upperBound == pcr - 1 {
                    ranges[ranges.count - 1] = last.lowerBound...pcr
                } else {
                    ranges.append(pcr...pcr)
                }
            }
            let items = ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            return "\(bank.name):\(items.joined(separator: ","))"
        }.joined(separator: "+")
    }

    /// TPML_PCR_SELECTION. TPM 2.0 Library, Part 2, 10.9.7
    package var encoded: [UInt8] {
        var list = ByteWriter()
        list.write(UInt32(banks.count))
        for bank in banks {
            list.write(bank.algorithm)
            // The size of the bit map, then the map; the byte of PCR 0 comes first.
            list.write(UInt8(3))
            list.write([UInt8(bank.mask & 0xff), UInt8(bank.mask >> 8 & 0xff), UInt8(bank.mask >> 16 & 0xff)])
        }
        return list.bytes
    }

    /// Reads a TPML_PCR_SELECTION of one bank from a response; returns nil if it is malformed.
    ///
    /// The bit map may have any size up to 4 bytes, since a TPM chooses its own.
    package static func readBank(_ reader: inout ByteReader) -> Bank? {
        guard reader.read(UInt32.self) == 1, let algorithm = reader.read(UInt16.self),
            let size = reader.read(UInt8.self), size <= 4, let map = reader.read(count: Int(size))
        else { return nil }
        return Bank(algorithm: algorithm, mask: map.reversed().reduce(0) { $0 << 8 | UInt32($1) })
    }
}
