import CLinux
import Glibc
import Platform

/// A TPM device that the kernel has made on request: the descriptor that serves it, and its number.
///
/// Documentation/security/tpm/tpm_vtpm_proxy.rst and drivers/char/tpm/tpm_vtpm_proxy.c of Linux.
public struct ProxyDevice: ~Copyable {
    /// The descriptor from which commands are read, and to which responses are written.
    ///
    /// The device lives as long as any copy of it is open.
    public let server: Descriptor
    /// N of `/dev/tpmN`.
    public let number: UInt32

    /// Asks for a TPM 2.0 device with `VTPM_PROXY_IOC_NEW_DEV`.
    ///
    /// The kernel sends it commands at once, from a work queue, so the worker must be ready before. The call needs
    /// CAP_SYS_ADMIN in the initial user namespace.
    public init(from vtpmx: borrowing Descriptor) throws(Failure) {
        var request = vtpm_proxy_new_dev()
        request.flags = UInt32(VTPM_PROXY_FLAG_TPM2.rawValue)
        let control = vtpmx.number
        try systemCall("ioctl VTPM_PROXY_IOC_NEW_DEV on \(vtpmxPath)", "cannot create a vTPM") {
            ioctl(control, clinux_vtpm_proxy_ioc_new_dev, &request)
        }
        // The driver makes the descriptor without O_CLOEXEC; a child that inherited it would keep the device alive.
        let server = Descriptor(owning: CInt(bitPattern: request.fd))
        try server.setCloseOnExec()
        self.init(server: server, number: request.tpm_num)
    }

    init(server: consuming Descriptor, number: UInt32) {
        self.server = server
        self.number = number
    }
}

/// The control device of the kernel's vTPM proxy.
public let vtpmxPath = "/dev/vtpmx"

/// Opens `/dev/vtpmx`; loads the kernel module that makes it if it is missing.
public func openProxyControl() throws(Failure) -> Descriptor {
    do {
        return try .open(vtpmxPath, OpenOptions(O_RDWR))
    } catch let error where error.code == ENOENT {
        try loadProxyModule()
    }
    return try .open(vtpmxPath, OpenOptions(O_RDWR))
}

private func loadProxyModule() throws(Failure) {
    let module = "tpm_vtpm_proxy"
    let hint = "needs a kernel with CONFIG_TCG_VTPM_PROXY; try: modprobe \(module)"
    let program = "/sbin/modprobe"
    let status: WaitStatus
    do {
        status = try ProgramLaunch(program, ["modprobe", "--quiet", module]).start()
            .wait(until: Deadline(milliseconds: 20_000))
    } catch {
        throw error.withHint(hint)
    }
    guard status == .exited(0) else {
        throw Failure("cannot load the kernel module \(module)", because: "modprobe: \(status)", hint: hint)
    }
}
