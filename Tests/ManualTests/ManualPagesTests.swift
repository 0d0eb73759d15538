import Foundation
import OCIHook
import Testing

/// The pages of the manual, the programs and their `--help` say the same.
@Suite struct ManualPagesTests {
    private let tree: CommandTree
    private let pages: [ManualPage]

    init() throws {
        tree = try CommandTree()
        pages = try ManualPage.all()
    }

    /// Returns the page of a command: that of its group, where the group has one.
    private func page(of path: [String]) throws -> ManualPage {
        let own = pages.first { $0.file == "\(path.prefix(2).joined(separator: "-")).8" && path.count > 2 }
        return try #require(own ?? pages.first { $0.file == "vtpmctl.8" })
    }

    private func commonOptions() throws -> [String] {
        let sections = try #require(pages.first { $0.file == "vtpmctl.8" }).sections("Sh")
        return try #require(sections.first { $0.heading == "OPTIONS" }).explained
    }

    @Test func everyCommandIsInItsPageWithItsOptions() throws {
        #expect(tree.commands.count > 15)
        let common = Set(try commonOptions())
        for command in tree.commands {
            let page = try page(of: command.path)
            guard let section = page.sections("Ss").first(where: { $0.heading == command.name }) else {
                Issue.record("docs/man/\(page.file) lacks the section “.Ss \(command.name)”")
                continue
            }
            let place = "docs/man/\(page.file), “.Ss \(command.name)”"
            let (shown, explained) = (Set(section.options), Set(section.explained))
            for option in command.options.subtracting(shown).sorted() {
                Issue.record("\(place): the synopsis lacks “.Op Fl -\(option)”")
            }
            for option in shown.subtracting(command.options).sorted() {
                Issue.record("\(place): the synopsis has --\(option), which the program does not know")
            }
            for option in command.options.subtracting(common).subtracting(explained).sorted() {
                Issue.record("\(place): “.It Fl -\(option)” is missing")
            }
            for option in explained.subtracting(command.options).sorted() {
                Issue.record("\(place): it explains --\(option), which the program does not know")
            }
            #expect(section.positionals == command.positionals, "\(place): other arguments than the program's")
        }
    }

    @Test func noPageHasAnotherCommand() {
        let known = Set(tree.commands.map(\.name))
        for page in pages where page.name.hasPrefix("vtpmctl") {
            for section in page.sections("Ss") where !known.contains(section.heading) {
                Issue.record("docs/man/\(page.file): the program does not know “\(section.heading)”")
            }
        }
    }

    @Test func commonOptionsAreThoseOfSomeCommand() throws {
        let known = Set(tree.commands.flatMap(\.options) + ["help"])
        #expect(Set(try commonOptions()).subtracting(known) == [])
    }

    @Test func helpExplainsEverything() {
        for command in tree.commands {
            #expect(command.unexplained == [], "\(command.name) --help says nothing about them")
        }
    }

    @Test(arguments: ["bash", "zsh", "fish"]) func completionsHaveEveryCommandAndOption(shell: String) throws {
        let printed = try CommandTree.output(["--generate-completion-script", shell])
        let words = Set(String(decoding: printed, as: UTF8.self).split { !$0.isLetter && !$0.isNumber && $0 != "-" })
        for command in tree.commands {
            for word in command.path.dropFirst() where !words.contains(Substring(word)) {
                Issue.record("\(shell) does not complete \(command.name)")
            }
            for option in command.options where !words.contains("--\(option)") && !words.contains(Substring(option)) {
                Issue.record("\(shell) does not complete --\(option) of \(command.name)")
            }
        }
    }

    @Test func everyProgramHasAPageAndEveryPageASubject() throws {
        let programs = try SourceTree.programs()
        #expect(programs.count >= 6)
        for program in programs where !pages.contains(where: { $0.file == "\(program).8" }) {
            Issue.record("docs/man/\(program).8 is missing")
        }
        let groups = tree.groups.map { "\($0.replacing(" ", with: "-")).8" }
        let known = programs.map { "\($0).8" } + groups + ["container-vtpm.7", "container-vtpm.toml.5"]
        for page in pages {
            #expect(known.contains(page.file), "docs/man/\(page.file) is about no program")
            #expect(page.text.contains(".Dt \(page.name.uppercased()) \(page.number)\n"), "\(page.file)")
            #expect(page.text.contains(".Sh NAME\n.Nm \(page.name)\n.Nd "), "\(page.file)")
        }
    }

    @Test func theHooksStagesAreInItsPage() throws {
        let page = try #require(pages.first { $0.file == "vtpm-hook.8" })
        let described = try #require(page.sections("Sh").first { $0.heading == "DESCRIPTION" })
        let stages = described.items.filter { $0.hasPrefix("Cm ") }.map { String($0.dropFirst(3)) }
        #expect(stages == Hook.Stage.allCases.map(\.rawValue))
    }

    /// What of ours is installed where, as `make install` does it.
    private static let installed = [
        "/etc/apparmor.d/": "AppArmor/",
        "/etc/cdi/": "hooks/cdi/",
        "/usr/libexec/container-vtpm/": "Sources/",
        "/usr/share/container-vtpm/config.toml": "hooks/config.toml",
        "/usr/share/container-vtpm/hooks/": "hooks/",
    ]
    /// Files of the system's and of other products.
    private static let others = [
        "/dev/launch.eventlog", "/dev/tpm0", "/dev/tpmrm0", "/dev/tpmN", "/etc/group",
        "/usr/share/containers/oci/hooks.d",
    ]

    @Test func pagesNameFilesThatExist() throws {
        let sources = try SourceTree.files(below: "Sources", ending: [".swift"]).map(SourceTree.text).joined()
        let makefile = try SourceTree.text(of: "Makefile")
        for page in pages {
            for match in page.text.matches(of: /(?m)^\.(?:It )?Pa (\/[^ \n]+)/) {
                let path = String(match.1)
                let place = Self.installed.first { path.hasPrefix($0.key) }
                let isInstalled = place.map { SourceTree.exists($0.value + path.dropFirst($0.key.count)) } ?? false
                let isKnown = Self.others.contains(path) || sources.contains("\"\(path)\"")
                let isFolder = Self.installed.keys.contains("\(path)/") && makefile.contains("container-vtpm")
                if !isInstalled, !isKnown, !isFolder, path != "/var/lib/container-vtpm" {
                    Issue.record("docs/man/\(page.file): nothing installs or makes \(path)")
                }
            }
        }
    }

    @Test func pagesNameOtherPagesThatExist() {
        for page in pages {
            for match in page.text.matches(of: /(?m)^\.(?:It )?Xr (\S+) (\d)/) {
                let isOurs = match.1.hasPrefix("vtpm") || match.1.hasPrefix("container-vtpm")
                guard isOurs, !pages.contains(where: { $0.file == "\(match.1).\(match.2)" }) else { continue }
                Issue.record("docs/man/\(page.file): there is no page \(match.1)(\(match.2))")
            }
        }
    }
}
