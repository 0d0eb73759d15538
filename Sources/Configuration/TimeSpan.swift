/// A time span as operators write it: a whole number and a unit, such as `90s`, `30m`, `12h`, `30d` or `8w`.
public enum TimeSpan {
    /// The longest span, in seconds: 100 years of 365 days.
    public static let limit: UInt64 = 100 * 365 * 86400

    /// Returns the seconds of a time span; nil if the text is malformed, or the span is longer than ``limit``.
    public static func seconds(_ text: String) -> UInt64? {
        let bytes = Array(text.utf8)
        guard let unit = bytes.last, let factor = factor(of: unit) else { return nil }
        let digits = bytes.dropLast()
        guard (1...10).contains(digits.count),
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        let seconds = digits.reduce(UInt64(0)) { $0 * 10 + UInt64($1 - UInt8(ascii: "0")) } * factor
        return seconds <= limit ? seconds : nil
    }

    private static func factor(of unit: UInt8) -> UInt64? {
        switch Unicode.Scalar(unit) {
        case "s": 1
        case "m": 60
        case "h": 3600
        case "d": 86400
        case "w": 7 * 86400
        default: nil
        }
    }

    /// The hint for errors about a malformed time span.
    public static let example = "for example \"30d\", \"12h\" or \"8w\""
}
