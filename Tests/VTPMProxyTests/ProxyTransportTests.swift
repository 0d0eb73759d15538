import Glibc
import Platform
import Testing
import VTPMProxy

/// A sequenced-packet socket in place of the proxy's descriptor: one message is one command or one answer.
@Suite struct ProxyTransportTests {
    let ends: (CInt, CInt)

    init() throws {
        var pair: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &pair) == 0)
        ends = (pair[0], pair[1])
    }

    @Test func oneReadIsOneCommand() throws {
        let server = Descriptor(owning: ends.0)
        let client = Descriptor(owning: ends.1)
        let buffer = ScratchBuffer(size: ProxyTransport.bufferSize)
        let commands: [[UInt8]] = [
            TPMCommand.startupClear, [UInt8](repeating: 7, count: 4096), TPMCommand.shutdownClear,
        ]
        for command in commands { try client.writeAll(command, "the device") }
        for command in commands {
            #expect(try ProxyTransport.receive(from: server, into: buffer) == .command(command.count))
            #expect(buffer.withBytes { Array($0.prefix(command.count)) } == command)
        }
    }

    @Test func anEndedDeviceIsGone() throws {
        let server = Descriptor(owning: ends.0)
        close(ends.1)
        let buffer = ScratchBuffer(size: ProxyTransport.bufferSize)
        #expect(try ProxyTransport.receive(from: server, into: buffer) == .gone)
        signal(SIGPIPE, SIG_IGN)
        #expect(try ProxyTransport.send(TPMCommand.response(code: 0), to: server) == .gone)
    }

    @Test func anAnswerIsOneMessage() throws {
        let server = Descriptor(owning: ends.0)
        let client = Descriptor(owning: ends.1)
        #expect(try ProxyTransport.send(TPMCommand.response(code: 0x101), to: server) == .delivered)
        var bytes = [UInt8](repeating: 0, count: 64)
        #expect(read(client.number, &bytes, bytes.count) == 10)
        #expect(Array(bytes.prefix(10)) == TPMCommand.response(code: 0x101))
    }
}
