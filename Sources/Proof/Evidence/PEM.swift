import FoundationEssentials

/// Encodes bytes in lines of 64 characters, with a line feed at the end. RFC 7468, 3
package func pem(_ label: String, _ bytes: [UInt8]) -> String {
    var rest = Substring(Data(bytes).base64EncodedString())
    var lines = ["-----BEGIN \(label)-----"]
    while !rest.isEmpty {
        lines.append(String(rest.prefix(64)))
        rest = rest.dropFirst(64)
    }
    return (lines + ["-----END \(label)-----", ""]).joined(separator: "\n")
}
