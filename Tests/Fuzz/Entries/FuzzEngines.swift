import Engines
import Platform

/// A file of an engine's that somebody else has written: the first byte says which engine's, and which entries.
///
/// What is added is undone to the byte, and what takes our entries out leaves none.
func fuzzEngineText(_ bytes: UnsafeRawBufferPointer) {
    guard let first = bytes.first else { return }
    let before = Array(bytes.dropFirst())
    let isDefault = first & 0x10 != 0
    let wrapper = "/usr/libexec/container-vtpm/vtpm-runtime"
    let editor: any EngineText =
        switch first & 0x0f {
        case 0: DockerText(path: "f", .runtime(wrapper, isDefault: isDefault))
        case 1: DockerText(path: "f", .cdi)
        case 2: ContainerdText(path: "f", wrapper: wrapper, isDefault: isDefault, newVersion: 2)
        case 3: TemplateText(path: "f", wrapper: wrapper, version: isDefault ? 2 : 3)
        case 4: DropInText.crio(path: "f", wrapper: wrapper, isDefault: isDefault)
        case 5: DropInText.podman(path: "f", wrapper: wrapper, isDefault: isDefault)
        default: OwnText(path: "f", content: HookFiles.cdi(hook: "/vtpm-hook"), hook: "/vtpm-hook")
        }
    _ = accepted { () throws(Failure) in try editor.isComplete(before) }
    var alone = EditedText(before)
    accepted { () throws(Failure) in try editor.remove(from: &alone, FormerEntries(switchedCDIOn: isDefault)) }
    var text = EditedText(before)
    guard accepted({ () throws(Failure) in try editor.add(to: &text) }) != nil else { return }
    require(EditedText.undoing(text.splices, in: text.bytes) == before, "an installation cannot be undone")
    require(must { () throws(Failure) in try editor.isComplete(text.bytes) }, "an installation is not complete")
    var removed = EditedText(text.bytes)
    let former = FormerEntries(defaultRuntime: text.formerDefault, switchedCDIOn: first & 0x0f == 1)
    guard accepted({ () throws(Failure) in try editor.remove(from: &removed, former) }) != nil else { return }
    let isComplete = accepted { () throws(Failure) in try editor.isComplete(removed.bytes) } ?? false
    require(!isComplete || text.splices.isEmpty, "an entry is left")
}
