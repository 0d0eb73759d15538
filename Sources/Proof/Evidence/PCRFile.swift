import Launch
import Platform
import RuntimePCR

/// The values of a quote's PCRs as `tpm2_quote -o` writes them, and `tpm2_checkquote -f` and Keylime read them.
///
/// It is the memory of tpm2-tools: TPML_PCR_SELECTION, the number of lists in 32 bits, and lists TPML_DIGEST of at most eight
/// digests; all numbers with the least significant byte first, and all arrays as long as they can be. tpm2-tools: lib/pcr.c
package enum PCRFile {
    private static let (bankLimit, mapSize, digestsPerList, digestLimit) = (16, 4, 8, 64)

    /// Encodes the values of PCRs of one bank.
    package static func encode(_ bank: PCRSelection.Bank, _ values: [[UInt8]]) -> [UInt8] {
        var file = LittleEndianWriter()
        file.write(UInt32(1))
        file.write(bank.algorithm)
        // Three bytes of the map are used.
        file.bytes.append(3)
        for shift in [0, 8, 16, 24] { file.bytes.append(UInt8(bank.mask >> UInt32(shift) & 0xff)) }
        // A byte that aligns the next one, and the banks that are not there.
        file.pad(to: 4 + bankLimit * (2 + 1 + mapSize + 1))
        let lists = stride(from: 0, to: values.count, by: digestsPerList).map { start in
            values[start..<min(start + digestsPerList, values.count)]
        }
        file.write(UInt32(lists.count))
        for list in lists {
            file.write(UInt32(list.count))
            for index in 0..<digestsPerList {
                let value = index < list.count ? list[list.startIndex + index] : []
                file.write(UInt16(value.count))
                let end = file.bytes.count + digestLimit
                file.bytes += value
                file.pad(to: end)
            }
        }
        return file.bytes
    }

    /// Returns the values in a file of PCRs of this bank; nil if it is any other.
    package static func decode(_ bytes: [UInt8], _ bank: PCRSelection.Bank) -> [[UInt8]]? {
        let start = 4 + bankLimit * (2 + 1 + mapSize + 1) + 4
        let listSize = 4 + digestsPerList * (2 + digestLimit)
        var values: [[UInt8]] = []
        for index in 0..<bank.pcrs.count {
            let place = start + index / digestsPerList * listSize + 4 + index % digestsPerList * (2 + digestLimit) + 2
            guard place + bank.digestSize <= bytes.count else { return nil }
            values.append(Array(bytes[place..<place + bank.digestSize]))
        }
        return encode(bank, values) == bytes ? values : nil
    }
}

extension LittleEndianWriter {
    fileprivate mutating func pad(to size: Int) { bytes += [UInt8](repeating: 0, count: max(size - bytes.count, 0)) }
}
