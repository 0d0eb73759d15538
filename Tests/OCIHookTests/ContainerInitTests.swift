import Platform
import Testing

@testable import OCIHook

@Suite struct ContainerInitTests {
    @Test(arguments: [
        ("Name:\tinit\nNSpid:\t4711\t1\nNSpgid:\t1\n", true),
        ("NSpid:\t4711\t12\t1\n", true),
        ("NSpid:\t4711\t7\n", false),
        ("NSpid:\t4711\n", false),
        ("NSpid:\t1\n", false),
        ("NSpid:\t11\t11\n", false),
        ("Name:\tinit\n", false),
        ("", false),
    ])
    func knowsTheFirstProcessOfANamespace(status: String, expected: Bool) {
        #expect(isFirstInPIDNamespace(status: status) == expected)
    }

    @Test func `a shared PID namespace is refused in the words of those who ask for it`() {
        let failure = sharedPIDNamespace("cannot give the container its TPM")
        for words in ["--pid=host", "hostPID", "shareProcessNamespace", "leave the hook out"] {
            #expect(failure.remedy?.contains(words) == true)
        }
    }
}
