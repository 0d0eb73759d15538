import CLinux
import Glibc

/// Mounts that are in no namespace yet, and where they are put. fsopen(2), open_tree(2), move_mount(2)
package enum DetachedMount {
    /// Makes an empty tmpfs with these mount options and attributes (`MOUNT_ATTR_…`).
    ///
    /// With a label, all files on it have that one, as on the `/dev` that a runtime mounts. mount(8), `context`
    package static func tmpfs(
        _ options: [(key: String, value: String)],
        label: (text: String, what: String)? = nil,
        attributes: UInt32,
        _ what: String
    ) throws(Failure) -> Descriptor {
        let context = Descriptor(owning: try systemCall("fsopen", what) { fsopen("tmpfs", clinux_fsopen_cloexec) })
        let number = context.number
        for (key, value) in options {
            try systemCall("fsconfig \(key)", what) { fsconfig(number, clinux_fsconfig_set_string, key, value, 0) }
        }
        if let label {
            try systemCall("fsconfig context", label.what) {
                fsconfig(number, clinux_fsconfig_set_string, "context", label.text, 0)
            }
        }
        try systemCall("fsconfig", what) { fsconfig(number, clinux_fsconfig_cmd_create, nil, nil, 0) }
        return Descriptor(
            owning: try systemCall("fsmount", what) { fsmount(number, clinux_fsmount_cloexec, attributes) }
        )
    }

    /// Clones what is seen at a directory's entry, with all that is mounted below it if `recursively` is true.
    package static func clone(
        _ name: String,
        at directory: borrowing Descriptor,
        recursively: Bool = false,
        _ what: String
    ) throws(Failure) -> Descriptor {
        let parent = directory.number
        let flags = clinux_open_tree_clone | clinux_open_tree_cloexec | UInt32(AT_SYMLINK_NOFOLLOW)
        return Descriptor(
            owning: try systemCall("open_tree", what) {
                open_tree(parent, name, recursively ? flags | clinux_at_recursive : flags)
            }
        )
    }

    /// Puts a mount onto a file or directory of the current namespace.
    package static func attach(
        _ mount: borrowing Descriptor,
        to target: borrowing Descriptor,
        _ what: String
    ) throws(Failure) {
        let (source, destination) = (mount.number, target.number)
        try systemCall("move_mount", what) {
            move_mount(source, "", destination, "", clinux_move_mount_f_empty_path | clinux_move_mount_t_empty_path)
        }
    }
}
