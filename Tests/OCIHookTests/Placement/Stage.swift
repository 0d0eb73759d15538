import Glibc
import Platform
import Testing

/// A host and a container of the tests' own, in a mount namespace that ends with the script that plays on it.
///
/// The script finds the root filesystem in `$root`, a directory for the hook in `$private`, and in `$victim` what it must
/// not touch: a tmpfs with the names of the nodes, as the host's `/dev` can be.
enum Stage {
    /// Whether this process may do what is played.
    static let isPossible = geteuid() == 0 && (try? run("true")) == ""

    /// Plays a script, and returns what it printed.
    static func run(_ script: String) throws -> String {
        var template = Array("/tmp/vtpm-stage-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("cannot make a directory", call: "mkdtemp", code: errno) }
        let work = String(decoding: template.dropLast().map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
        defer {
            unlink("\(work)/output")
            rmdir(work)
        }
        let output = try Descriptor.open("\(work)/output", OpenOptions(O_RDWR | O_CREAT, mode: 0o600))
        let bash = ["unshare", "--mount", "--propagation", "private", "bash", "-c", prelude + script, "stage", work]
        var launch = ProgramLaunch("/usr/bin/unshare", bash)
        launch.environment.append("PROGRAM=\(Kernel.program("PlacementProgram"))")
        launch.standardOutput = output.number
        let status = try launch.start().wait()
        let number = output.number
        lseek(number, 0, SEEK_SET)
        var text = String(decoding: try output.readAll(limit: 1 << 20, "output"), as: UTF8.self)
        if status != .exited(0) { text += "\n\(status)" }
        while text.last == "\n" { text.removeLast() }
        return text
    }

    private static let prelude = #"""
        exec 2>&1
        set -euo pipefail
        chmod 0755 "$1"
        mount -t tmpfs -o mode=0755 host "$1"
        cd "$1"
        root=$1/rootfs private=$1/private victim=$1/victim
        mkdir -p "$root"/{dev,etc,trap-directory/dev} "$private" "$victim"
        mount -t tmpfs -o mode=0755 victim "$victim"
        echo "the host's own" | tee "$victim/tpm0" >"$victim/tpmrm0"
        ln -s "$victim" "$root/trap-link"
        ln -s "/proc/self/root$victim" "$root/trap-magic"
        mkfifo "$root/trap-pipe"
        ln -s rootfs/trap-directory trap-root
        container=
        trap '[[ -z $container ]] || kill -KILL "$container"' EXIT

        # A process with a mount namespace of its own, and a user namespace where it is given its maps.
        enter=()
        make_container() { # [UID-MAP GID-MAP]
            local namespaces=(--mount --propagation private)
            (($# == 0)) || namespaces+=(--user)
            setpriv --pdeathsig KILL unshare "${namespaces[@]}" sleep 300 &
            container=$!
            until [[ $(readlink /proc/$container/exe) == */sleep ]]; do sleep 0.01; done
            enter=(nsenter --target "$container" --mount)
            (($# == 0)) || {
                echo "$1" >/proc/$container/uid_map
                echo "$2" >/proc/$container/gid_map
                enter+=(--user --setuid 0 --setgid 0)
            }
        }
        inside() { "${enter[@]}" "$@"; }
        mount_dev() { # [OPTIONS]
            inside mount -t tmpfs -o "mode=755${1:+,$1}" tmpfs "$root/dev"
        }
        standard() { make_container; mount_dev; }

        host() {
            find "$root" "$victim" "$private" -printf '%p %y %m %i %s %T@\n' | sort
            cat /proc/self/mountinfo
        }
        # Has the hook do its part, and tells if the host is not as it was.
        hook() { # examine|place ...
            local before
            before=$(host)
            timeout 20 "$PROGRAM" "$@" || true
            [[ $(host) == "$before" ]] || { echo "the host changed:"; diff <(echo "$before") <(host) || true; }
        }
        place() { # [ROOT]
            hook place "${1:-$root}" "$container" "$private" 0 0 600
        }
        node() { # FORMAT NAME
            inside stat --format "$1" "$root/dev/$2"
        }

        """#
}
