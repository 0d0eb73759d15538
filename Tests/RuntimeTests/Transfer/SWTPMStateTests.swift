import Platform
import Testing

@testable import RuntimeTransfer

/// The format of swtpm's file; ``SWTPMTransferTests`` has the real program.
@Suite struct SWTPMStateTests {
    static let keys: [(@Sendable () throws -> SWTPMKey?)] = [
        { nil },
        { .key(try secretCopy(of: [UInt8](repeating: 5, count: 16))) },
        { .key(try secretCopy(of: [UInt8](repeating: 5, count: 32))) },
        { .passphrase(try secretText("correct horse")) },
    ]

    func decoding(_ file: [UInt8], _ key: SWTPMKey?) throws -> String {
        let file = file.isEmpty ? try SecretBytes(capacity: 1) : try secretCopy(of: file)
        return words { () throws(Failure) in _ = try SWTPMState.decode(file, key: key, path: "/x") }
    }

    func file(_ key: SWTPMKey?) throws -> [UInt8] {
        plain(try SWTPMState.encode(secretCopy(of: seeds), key: key))
    }

    @Test(arguments: [1, 15, 16, 17, 31, 32, 33, 1299, 256 << 10])
    func comesBackAsItWas(size: Int) throws {
        let content = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
        for key in Self.keys {
            let file = try SWTPMState.encode(secretCopy(of: content), key: key())
            #expect(file.count <= SWTPMState.fileLimit)
            #expect(plain(try SWTPMState.decode(file, key: key(), path: "")) == content)
        }
    }

    @Test func hasLimits() throws {
        let tooLarge = try secretCopy(of: [UInt8](repeating: 1, count: 256 << 10 + 1))
        let empty = try SecretBytes(capacity: 1)
        for key in Self.keys {
            for permanent in [tooLarge, empty] {
                let key = try key()
                let text = words { () throws(Failure) in _ = try SWTPMState.encode(permanent, key: key) }
                #expect(text.contains("not 1 to 262144"))
            }
        }
        #expect(try decoding([2, 1, 0, 10, 0, 0, 0, 0, 0, 16, 0, 1, 0, 0, 0, 0], nil).contains("has 0 bytes"))
        var larger = SWTPMFile.header([], itemBytes: 6 + 256 << 10 + 1)
        larger += SWTPMFile.itemHeader(.data, count: 256 << 10 + 1) + plain(tooLarge)
        #expect(try decoding(larger, nil).contains("has 262145 bytes"))
        let large = [UInt8](repeating: 0, count: SWTPMState.stateLimit + 1)
        #expect(try decoding(large, nil).contains("larger than any TPM's state"))
        let huge = [UInt8](repeating: 0, count: SWTPMState.fileLimit + 1)
        #expect(try decoding(huge, nil).contains("larger than any of swtpm's"))
    }

    @Test func showsNothingWhereItIsEncrypted() throws {
        #expect(contains(try file(nil), seeds))
        for key in Self.keys.dropFirst() {
            let (one, other) = (try file(key()), try file(key()))
            for start in 0...seeds.count - 8 { #expect(!contains(one, seeds[start..<start + 8])) }
            #expect(one.suffix(16) != other.suffix(16), "an initialisation vector was used twice")
            #expect(zip(one, other).dropFirst(16).filter { $0 == $1 }.count < 30)
        }
    }

    @Test func refusesEveryTruncationAndEveryFlippedBit() throws {
        for key in Self.keys {
            let key = try key()
            let file = try file(key)
            for count in 0..<file.count {
                #expect(try decoding(Array(file[..<count]), key).contains("/x: it is truncated"))
            }
            // What a plain file holds is not protected by anything.
            let protected = key == nil ? 0..<16 : file.indices
            for index in protected {
                for bit in 0..<8 {
                    var damaged = file
                    damaged[index] ^= 1 << bit
                    #expect(try decoding(damaged, key).contains("/x: "), "bit \(bit) of byte \(index)")
                }
            }
            #expect(try decoding(file + [0], key).contains("something follows its end"))
        }
    }

    @Test func saysThatTheKeyIsWrong() throws {
        let short = try file(.key(secretCopy(of: [UInt8](repeating: 5, count: 16))))
        let long = try file(.passphrase(secretText("correct horse")))
        let wrong = "the key or passphrase is wrong, or it is damaged"
        #expect(try decoding(short, .key(secretCopy(of: [UInt8](repeating: 6, count: 16)))).contains(wrong))
        #expect(try decoding(long, .passphrase(secretText("correct horse\n"))).contains(wrong))
        #expect(try decoding(short, .passphrase(secretText("correct horse"))).contains(wrong))
        let text = try decoding(short, .key(secretCopy(of: [UInt8](repeating: 5, count: 32))))
        #expect(text.contains("takes a key of 128 bits, and this one has 256"))
        #expect(try decoding(long, .passphrase(SecretBytes(capacity: 1))).contains("the passphrase is empty"))
        #expect(try decoding(short, nil).contains("it is encrypted"))
        #expect(try decoding(file(nil), .passphrase(secretText("x"))).contains("it is not encrypted"))
        let (odd, permanent) = (try secretText("odd"), try secretText("state"))
        let encoding = words { () throws(Failure) in _ = try SWTPMState.encode(permanent, key: .key(odd)) }
        #expect(encoding.contains("128 or 256 bits, and this one has 24"))
    }

    @Test func saysWhatItIsInstead() throws {
        var file = try file(nil)
        file[5] = 4
        #expect(try decoding(file, nil).contains("a blob for a migration"))
        (file[0], file[5]) = (3, 0)
        #expect(try decoding(file, nil).contains("swtpm's format 3"))
        (file[0], file[1]) = (2, 3)
        #expect(try decoding(file, nil).contains("it is no state of swtpm's"))
        #expect(try decoding(seeds, nil).contains("it is no state of swtpm's"))
        #expect(try decoding([], nil).contains("truncated, or no state of swtpm's"))
        #expect(try decoding(Array("CVTPMEX\n and so on".utf8), nil).contains("it is an export of this program"))
        #expect(try decoding([2, 1, 0, 10], nil).contains("truncated, or no state of swtpm's"))
    }

    /// An item that comes twice, or is missing, leaves open which one was meant.
    @Test func refusesOtherItems() throws {
        func made(_ items: [UInt8]) -> [UInt8] { SWTPMFile.header([], itemBytes: items.count) + items }
        let item = SWTPMFile.itemHeader(.data, count: 2) + [1, 2]
        #expect(plain(try SWTPMState.decode(secretCopy(of: made(item)), key: nil, path: "")) == [1, 2])
        let unknown: [UInt8] = [0, 9, 0, 0, 0, 0]
        for items in [item + item, [], item + unknown, item + [0], SWTPMFile.itemHeader(.mac, count: 2) + [1, 2]] {
            #expect(try decoding(made(items), nil).contains("its contents are damaged, or too new"))
        }
    }

    /// The ciphertext is whole and genuine, but its padding is not: swtpm never wrote that.
    @Test func refusesWrongPadding() throws {
        let key = try secretCopy(of: [UInt8](repeating: 5, count: 16))
        let cipher = SWTPMCipher(key: key)
        let iv = [UInt8](repeating: 3, count: 16)
        // Without its last block, what is left ends in bytes of the state.
        let ciphertext = Array(try cipher.encrypt(secretCopy(of: seeds), iv: iv).dropLast(16))
        let mac = try cipher.mac(ciphertext, iv: iv)
        let items =
            SWTPMFile.itemHeader(.ciphertext, count: ciphertext.count) + ciphertext
            + SWTPMFile.itemHeader(.mac, count: mac.count) + mac + SWTPMFile.itemHeader(.iv, count: iv.count) + iv
        let file = SWTPMFile.header(.encrypted, itemBytes: items.count) + items
        #expect(try decoding(file, .key(key)).contains("what was encrypted is no state of swtpm's"))
    }

    /// A file says how long its key is, and a key file does not say whether it is one or its digits.
    @Test func readsWithTheKeyThatTheFileTakes() throws {
        let digits = "00ff10a0B0c9000102030405060708ff"
        let short = try file(.hexadecimal(secretText(digits)))
        let long = try file(.key(secretText(digits)))
        for file in [short, long] {
            let state = try SWTPMState.decode(secretCopy(of: file), key: .keyFile(secretText(digits)), path: "")
            #expect(plain(state) == seeds)
        }
        let other = try decoding(long, .keyFile(secretText(digits + "\n")))
        #expect(other.contains("it takes a key of 256 bits, and this one has 128"))
        #expect(try decoding(long, .keyFile(secretText("nonsense"))).contains("neither 16 or 32 bytes nor 32 or 64"))
    }

    /// What swtpm takes for another key than we do, it cannot open.
    @Test func writesWithNoKeyThatCouldBeAnother() throws {
        let digits = "00ff10a0B0c9000102030405060708ff"
        func refusal(_ text: String) throws -> String {
            let (key, state) = (try secretText(text), try secretCopy(of: seeds))
            return words { () throws(Failure) in _ = try SWTPMState.encode(state, key: .keyFile(key)) }
        }
        let text = try refusal(digits)
        #expect(text.contains("32 hexadecimal digits, a key of 128 bits with format=hex and another of 256 bits with"))
        #expect(text.contains("(put 0x before the digits, or write the binary key as 64 digits)"))
        #expect(try refusal("correct horse!!!").contains("are text: a passphrase"))
        #expect(try refusal("correct horse battery staple ok\n").contains("(--swtpm-passphrase-file, or "))
        #expect(try refusal("nonsense").contains("neither 16 or 32 bytes nor 32 or 64 hexadecimal digits"))
        for certain in ["0x" + digits, digits + "\n", digits + digits] {
            let file = try file(.keyFile(secretText(certain)))
            #expect(file[5] == (certain.utf8.count == 64 ? 9 : 1))
            let state = try SWTPMState.decode(secretCopy(of: file), key: .hexadecimal(secretText(certain)), path: "")
            #expect(plain(state) == seeds)
        }
    }

    @Test func namesTheStateOfATPM12() throws {
        var file = SWTPMFile.header([], itemBytes: 6 + 100)
        file += SWTPMFile.itemHeader(.data, count: 100) + [0, 1, 0, 0x22] + [UInt8](repeating: 0, count: 96)
        let text = try decoding(file, nil)
        #expect(text.contains("/x: it is of a TPM 1.2"))
        #expect(text.contains("(give the tpm2-00.permall of a swtpm --tpm2, or let the container have a new TPM)"))
    }

    /// A store of the `file://` backend, with a state at an offset.
    private func store(of file: [UInt8], at offset: Int = 192, length: Int? = nil) -> [UInt8] {
        func littleEndian(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        let header = Array("nilmptws".utf8) + [1, 0, 192, 0] + littleEndian(offset)
        let entry = littleEndian(length ?? file.count) + littleEndian(1024)
        let start = header + entry + [UInt8](repeating: 0, count: 14 * 12)
        return start + [UInt8](repeating: 0, count: max(offset - 192, 0)) + file + [UInt8](repeating: 7, count: 5000)
    }

    @Test func readsAStoreOfTheFileBackend() throws {
        for key in Self.keys {
            let file = try file(key())
            for offset in [192, 1000] {
                let store = try secretCopy(of: store(of: file, at: offset))
                #expect(plain(try SWTPMState.decode(store, key: key(), path: "")) == seeds)
            }
        }
        let file = try file(nil)
        #expect(try decoding(store(of: file, at: 0), nil).contains("a store of swtpm's without a TPM's state in it"))
        #expect(try decoding(store(of: file, at: 191), nil).contains("its header is damaged"))
        #expect(try decoding(store(of: file, length: 1 << 20), nil).contains("it is truncated"))
        #expect(try decoding(store(of: file, at: 1 << 24), nil).contains("larger than any of swtpm's"))
        for count in 8..<192 {
            #expect(try decoding(Array(store(of: file)[..<count]), nil).contains("it is truncated"))
        }
        var newer = store(of: file)
        newer[8] = 2
        #expect(try decoding(newer, nil).contains("swtpm's store format 2, and only 1 is known"))
    }

    @Test func readsHexadecimalKeys() throws {
        func key(_ text: String) -> [UInt8]? {
            guard let file = try? secretText(text), case .key(let key) = try? SWTPMKey.hexadecimal(file) else {
                return nil
            }
            return plain(key)
        }
        let digits = "00ff10a0B0c9000102030405060708ff"
        let bytes: [UInt8] = [0, 0xff, 0x10, 0xa0, 0xb0, 0xc9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0xff]
        for text in [digits, "0x\(digits)", digits + "\n", digits + " and so on"] { #expect(key(text) == bytes) }
        #expect(key(digits + digits) == bytes + bytes)
        for text in [
            "x", "0x", String(digits.dropLast(2)), digits + "0", digits.replacing("1", with: "g"), "\n" + digits,
        ] {
            #expect(key(text) == nil)
        }
    }
}
