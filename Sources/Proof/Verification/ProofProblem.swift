/// Why a bundle does not prove what a policy wants.
public enum ProofProblem: Equatable, Sendable, CustomStringConvertible {
    case anotherNonce
    case anotherPeer
    case manifest(String)
    case unknownHost(String)
    case hostSignature
    case hostBinding
    case hostQuote
    case hostPCRValues
    case hostPCRMissing(Int)
    case hostPCR(Int, String)
    case anotherTPM
    case guestSignature
    case guestBinding
    case anotherRun
    case guestQuote
    case guestPCRValues
    case guestPCR(Int)
    case launch(String)
    case log(String)
    case anotherLog
    case image(String)
    case root
    case anotherRoot(String)
    case noCounter
    case counterSignature
    case counterBinding
    case anotherCounter
    case counterWentBack(UInt64)
    case counterTooLow(UInt64)
    case state(String)
    case quotingKey(String)
    case generation(UInt64)
    case softwareUnknown(String)
    case software(String, String)

    /// The reason in words.
    public var description: String {
        switch self {
        case .anotherNonce: "it is for another nonce: an earlier proof, or one for another verifier"
        case .anotherPeer: "it is for another peer's key: somebody else's proof is passed on"
        case .manifest(let why): why
        case .unknownHost(let name): "the policy knows no host with the attestation key \(name)"
        case .hostSignature: "the host's key has not signed host.msg"
        case .hostBinding: "the host's quote is not about this nonce, this quote of the container's and this manifest"
        case .hostQuote: "host.msg is no quote of PCRs in the bank sha256"
        case .hostPCRValues: "the values of the host's PCRs are not those of the quote"
        case .hostPCRMissing(let pcr): "the host has not quoted PCR \(pcr), which the policy asks for"
        case .hostPCR(let pcr, let value): "PCR \(pcr) of the host is \(value), which the policy does not allow"
        case .anotherTPM: "the container's quote is by another key than the host has recorded for its TPM"
        case .guestSignature: "the key of the container's TPM has not signed guest.msg"
        case .guestBinding: "the container's quote is not about this nonce and this peer's key"
        case .anotherRun: "the container's quote is of another run of its TPM, or its tenant has cleared it"
        case .guestQuote: "guest.msg is no quote of sha256:8,11,17,18"
        case .guestPCRValues: "the values of the container's PCRs are not those of the quote"
        case .guestPCR(let pcr): "PCR \(pcr) of the container is not what the host has measured"
        case .launch(let value): "the launch is another: PCR 17 is \(value)"
        case .log(let why): why
        case .anotherLog: "launch.log is not the log of what the host has measured"
        case .image(let digest): "the image is \(digest), which the policy does not allow"
        case .root: "the root file system is not measured"
        case .anotherRoot(let text): "the root file system is \(text), which the policy does not allow"
        case .noCounter: "the manifest names no counter of the host's"
        case .counterSignature: "the host's key has not certified the counter"
        case .counterBinding: "the counter was certified for something else"
        case .anotherCounter: "the counter is not that of the manifest"
        case .counterWentBack(let value): "the counter is \(value), less than when the container was started"
        case .counterTooLow(let value): "the counter is \(value), less than the policy asks for"
        case .state(let name): "the state is \"\(name)\", which the policy does not allow"
        case .quotingKey(let name): "the TPM quotes with the key \(name), which the policy does not allow"
        case .generation(let number): "the state's generation is \(number), less than the policy asks for"
        case .softwareUnknown(let name): "the host does not say which \(name) it runs"
        case .software(let name, let digest):
            "the host runs a \(name) with the SHA-256 \(digest), which the policy does not allow"
        }
    }
}
