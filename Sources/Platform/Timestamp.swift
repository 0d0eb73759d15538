import Glibc

/// Times as texts. strftime(3)
public enum Timestamp {
    /// Returns a time, in seconds since 1970, as a text in UTC.
    public static func utc(_ seconds: UInt64, _ format: String) -> String {
        var time = time_t(clamping: seconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        return text(&parts, format)
    }

    /// Returns the present time as a text in local time.
    static func localNow(_ format: String) -> String {
        var seconds = time(nil)
        var parts = tm()
        localtime_r(&seconds, &parts)
        return text(&parts, format)
    }

    private static func text(_ parts: inout tm, _ format: String) -> String {
        var text = [CChar](repeating: 0, count: 64)
        let count = strftime(&text, text.count, format, &parts)
        return String(decoding: text.prefix(count).map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
    }
}
