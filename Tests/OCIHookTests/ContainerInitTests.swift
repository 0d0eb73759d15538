import Platform
import Testing

@testable import OCIHook

@Suite struct ContainerInitTests {
    @Test func `a shared PID namespace is refused in the words of those who ask for it`() {
        let failure = sharedPIDNamespace("cannot give the container its TPM")
        for words in ["--pid=host", "hostPID", "shareProcessNamespace", "leave the hook out"] {
            #expect(failure.hint?.contains(words) == true)
        }
    }
}
