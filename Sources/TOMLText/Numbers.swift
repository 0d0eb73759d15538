/// The words that stand for numbers and times. TOML 1.0, "Integer" to "Local Time"
enum Word {
    /// Returns the value of an integer such as `0`, `-1_000` or `0x01807654`; nil if it is malformed.
    ///
    /// Underscores must be between digits, and a decimal number must not have leading zeros.
    static func integer(_ word: String) -> Int? {
        let radix = ["0x": 16, "0o": 8, "0b": 2][String(word.prefix(2))]
        let sign = radix == nil && (word.hasPrefix("-") || word.hasPrefix("+"))
        let digits = word.dropFirst(radix != nil ? 2 : sign ? 1 : 0)
        let groups = digits.split(separator: "_", omittingEmptySubsequences: false)
        guard groups.allSatisfy({ !$0.isEmpty && $0.allSatisfy(\.isHexDigit) }),
            radix != nil || digits == "0" || !digits.hasPrefix("0")
        else { return nil }
        return Int((word.hasPrefix("-") ? "-" : "") + groups.joined(), radix: radix ?? 10)
    }

    /// Whether it is a number with a fraction or an exponent, infinity, or no number.
    static func isFloat(_ word: String) -> Bool {
        let unsigned = word.hasPrefix("-") || word.hasPrefix("+") ? word.dropFirst() : word[...]
        if unsigned == "inf" || unsigned == "nan" { return true }
        let parts = unsigned.split(maxSplits: 1, omittingEmptySubsequences: false) { $0 == "e" || $0 == "E" }
        guard let mantissa = parts.first else { return false }
        let numbers = mantissa.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = numbers.first, isDigits(whole), whole == "0" || !whole.hasPrefix("0") else { return false }
        if numbers.count > 1, !isDigits(numbers[1]) { return false }
        guard parts.count > 1 else { return numbers.count > 1 }
        let exponent = parts[1]
        return isDigits(exponent.hasPrefix("-") || exponent.hasPrefix("+") ? exponent.dropFirst() : exponent)
    }

    /// Whether all are digits, with underscores only between them.
    private static func isDigits(_ text: Substring) -> Bool {
        text.split(separator: "_", omittingEmptySubsequences: false).allSatisfy { group in
            !group.isEmpty && group.utf8.allSatisfy(isDigit)
        }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    /// Whether it is a date such as `1979-05-27`.
    static func isDate(_ word: some StringProtocol) -> Bool {
        guard let numbers = numbers(word, "-", [4, 2, 2]), (1...12).contains(numbers[1]), numbers[0] > 0 else {
            return false
        }
        let isLeap = numbers[0] % 4 == 0 && (numbers[0] % 100 != 0 || numbers[0] % 400 == 0)
        let days = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        return (1...days[numbers[1] - 1]).contains(numbers[2])
    }

    /// Whether it is a date, a time, or a date with a time and perhaps an offset from UTC.
    static func isTime(_ word: String) -> Bool {
        if isDate(word) || isTimeOfDay(word[...]) { return true }
        guard isDate(word.prefix(10)), word.utf8.count > 10 else { return false }
        let rest = word.dropFirst(10)
        guard let separator = rest.first, "Tt ".contains(separator) else { return false }
        var time = rest.dropFirst()
        if time.hasSuffix("Z") || time.hasSuffix("z") {
            time = time.dropLast()
        } else if let sign = time.lastIndex(where: { $0 == "+" || $0 == "-" }) {
            guard isClock(time[time.index(after: sign)...], [2, 2]) else { return false }
            time = time[..<sign]
        }
        return isTimeOfDay(time)
    }

    private static func isTimeOfDay(_ text: Substring) -> Bool {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let clock = parts.first, isClock(clock, [2, 2, 2]) else { return false }
        return parts.count == 1 || !parts[1].isEmpty && parts[1].utf8.allSatisfy(isDigit)
    }

    private static func isClock(_ text: Substring, _ widths: [Int]) -> Bool {
        numbers(text, ":", widths).map { zip($0, [23, 59, 59]).allSatisfy { $0 <= $1 } } ?? false
    }

    /// Returns the numbers between the separators; nil if one has another width.
    private static func numbers(_ text: some StringProtocol, _ separator: Character, _ widths: [Int]) -> [Int]? {
        let parts = text.split(separator: separator, omittingEmptySubsequences: false)
        guard parts.count == widths.count else { return nil }
        var numbers: [Int] = []
        for (part, width) in zip(parts, widths) {
            guard part.utf8.count == width, part.utf8.allSatisfy(isDigit), let number = Int(part) else { return nil }
            numbers.append(number)
        }
        return numbers
    }
}
