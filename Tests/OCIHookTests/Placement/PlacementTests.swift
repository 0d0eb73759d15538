import Glibc
import Platform
import Testing

@testable import OCIHook

/// What lies below a root filesystem cannot lead the hook astray: the container gets its nodes or is refused, and the
/// host stays as it is.
@Suite(.enabled(if: Stage.isPossible, "needs root and mount namespaces"))
struct PlacementTests {
    private static let right = """
        placed
        character special file 1:3 600 0:0
        character special file 1:7 600 0:0
        tpm0 tpmrm0
        """
    private static let look = """
        for name in tpm0 tpmrm0; do node '%F %t:%T %a %u:%g' "$name"; done
        echo $(inside ls "$root/dev")
        """

    @Test(arguments: [
        "true",
        // What an image or --device has put there on the container's own tmpfs is replaced.
        "inside mknod $root/dev/tpm0 c 1 5",
        "inside touch $root/dev/tpm0 $root/dev/tpmrm0",
        // Where the host's mounts spread, the hook's own must not.
        "mount --make-rshared /",
        "inside mknod $root/dev/tpm0 c 1 3; inside mknod $root/dev/tpmrm0 c 1 7",
    ])
    func theNodesAreThere(before: String) throws {
        #expect(try Stage.run("standard; \(before); place; \(Self.look)") == Self.right)
    }

    /// The label is a mount option, which a kernel without SELinux does not know: no node without it is used.
    @Test(.enabled(if: access("/sys/fs/selinux/enforce", F_OK) != 0, "SELinux is on"))
    func nodesThatCannotBeLabelledAreNotPlaced() throws {
        let label = "system_u:object_r:container_file_t:s0:c1,c2"
        #expect(
            try Stage.run("standard; export LABEL=\(label); place; echo $(inside ls $root/dev)")
                == "refused: cannot label the device nodes \(label): fsconfig context: Invalid argument"
        )
    }

    @Test(arguments: [
        ("inside ln -s $victim/tpm0 $root/dev/tpm0", "tpm0 into the container: the image has a symbolic link there"),
        ("inside ln -s $victim/tpm0 $root/dev/tpmrm0", "tpmrm0 into the container: the image has a symbolic link"),
        ("inside ln -s /proc/self/root$victim/tpm0 $root/dev/tpm0", "the image has a symbolic link there"),
        ("inside ln -s /proc/self/fd/0 $root/dev/tpm0", "the image has a symbolic link there"),
        ("inside ln -s nowhere $root/dev/tpm0", "the image has a symbolic link there"),
        ("inside mkfifo $root/dev/tpm0", "the image has something there that is no device"),
        ("inside mkdir $root/dev/tpmrm0", "the image has something there that is no device"),
        ("inside mknod $root/dev/tpm0 b 7 0", "the image has something there that is no device"),
        // runc in a user namespace does this with the host's /dev/tpm0.
        ("inside touch $root/dev/tpm0; inside mount --bind /dev/zero $root/dev/tpm0", "something is mounted there"),
        ("inside touch $root/dev/tpm0; inside mount --bind $victim/tpm0 $root/dev/tpm0", "something is mounted there"),
        ("inside mkdir $root/dev/tpm0; inside mount --bind $victim $root/dev/tpm0", "something is mounted there"),
        ("inside mount -o remount,ro $root/dev", "its /dev is read-only already"),
    ])
    func aTrapForANodeIsRefused(trap: String, reason: String) throws {
        let said = try Stage.run("standard; \(trap); place")
        #expect(said.hasPrefix("refused: cannot put /dev/tpm"))
        #expect(said.contains(reason), "\(said)")
        #expect(!said.contains("\n"), "\(said)")
    }

    @Test(arguments: [
        ("rmdir $root/dev; ln -s $victim $root/dev", "it is a link or no directory"),
        ("rmdir $root/dev; ln -s trap-directory $root/dev", "it is a link or no directory"),
        ("rmdir $root/dev; ln -s /proc/self/root$victim $root/dev", "it is a link or no directory"),
        ("rmdir $root/dev; ln -s /proc/1/cwd $root/dev", "it is a link or no directory"),
        ("rmdir $root/dev; mkfifo $root/dev", "it is a link or no directory"),
        ("rmdir $root/dev; touch $root/dev", "it is a link or no directory"),
        ("rmdir $root/dev", "No such file or directory"),
        ("true", "it is the host's own"),
        ("inside mount -t tmpfs tmpfs $root; inside mkdir $root/dev", "it is no tmpfs of its own"),
        ("inside mount --bind $root/dev $root/dev", "it is the host's own"),
        ("inside mount --bind $victim $root/dev", "it is the host's own"),
        ("mkdir $victim/below; inside mount --bind $victim/below $root/dev", "it is the host's own"),
        ("inside mount --bind /dev $root/dev", "it is the host's own"),
        ("inside mount --rbind /dev $root/dev", "it is the host's own"),
        ("inside mount -t ramfs ramfs $root/dev", "it is no tmpfs of its own"),
    ])
    func aTrapForDevIsRefused(trap: String, reason: String) throws {
        let said = try Stage.run("make_container; \(trap); place")
        #expect(said.hasPrefix("refused: cannot "), "\(said)")
        #expect(said.contains(reason), "\(said)")
        #expect(!said.contains("\n"), "\(said)")
    }

    @Test(arguments: [
        ("/proc/$container/cwd/rootfs", "Too many levels of symbolic links"),
        ("$PWD/magic/rootfs", "Too many levels of symbolic links"),
        ("$root/trap-pipe/rootfs", "Not a directory"), ("$root/trap-pipe", "Not a directory"),
        ("$PWD/nowhere", "No such file or directory"), ("$PWD/to-host", "it is the host's own"),
        ("/", "the host's own"),
    ])
    func aTrapOnTheWayToTheRootIsRefused(path: String, reason: String) throws {
        let said = try Stage.run("standard; ln -s /proc/$container/cwd magic; ln -s / to-host; place \(path)")
        #expect(said.hasPrefix("refused: cannot "), "\(said)")
        #expect(said.contains(reason), "\(said)")
        #expect(!said.contains("\n"), "\(said)")
    }

    /// Engines' paths have links, such as /var/run.
    @Test func aLinkOnTheWayToTheRootIsFollowed() throws {
        #expect(try Stage.run("standard; ln -s $PWD link; place $PWD/link/rootfs; \(Self.look)") == Self.right)
    }

    @Test func anImitationOfProcIsRefused() throws {
        let error = #expect(throws: Failure.self) { _ = try Procfs(at: "/tmp") }
        #expect(error?.description == "cannot use /tmp: it is no process file system")
        let script = """
            standard
            export root container
            cat /proc/self/mountinfo >copy
            bash -c 'mount --bind copy /proc/$$/mountinfo; exec $PROGRAM examine $root $container' || true
            """
        #expect(
            try Stage.run(script)
                == "refused: cannot open /proc/self/mountinfo: openat2: Invalid cross-device link"
        )
    }

    @Test func whatFailsLaterIsUndone() throws {
        let script = """
            standard
            hook place $root $container $private 0 0 600 fail
            inside ls $root/dev
            inside cat /proc/self/mountinfo | grep -c "$root/dev" || true
            """
        #expect(try Stage.run(script) == "refused: cannot go on: the test said so\n1")
    }

    /// A tmpfs of a user namespace takes no files of somebody whom it does not map, and opens no device.
    @Test func aUserNamespaceHasNodesThatOpen() throws {
        let script = """
            make_container '0 100000 65536' '0 200000 65536'
            mount_dev
            inside touch $root/dev/tpm0
            hook place $root $container $private 100000 201000 660
            for name in tpm0 tpmrm0; do node '%F %t:%T %a %u:%g' "$name"; done
            open='exec 3<>"$1"'
            inside sh -c "$open" - $root/dev/tpm0 && echo root opens it
            as() { nsenter --target $container --mount --user --setuid 0 --setgid 0 setpriv "$@"; }
            as --reuid 7 --regid 1000 --clear-groups sh -c "$open" - $root/dev/tpm0 2>/dev/null && echo the group opens it
            as --reuid 7 --regid 7 --groups 1000 sh -c "$open" - $root/dev/tpmrm0 && echo a member opens it
            as --reuid 7 --regid 7 --clear-groups sh -c "$open" - $root/dev/tpm0 2>/dev/null || echo another does not
            """
        let expected = """
            placed
            character special file 1:3 660 0:1000
            character special file 1:7 660 0:1000
            root opens it
            the group opens it
            a member opens it
            another does not
            """
        #expect(try Stage.run(script) == expected)
    }

    @Test(arguments: [
        ("tss", "examined 59"), ("users", "examined 100"),
        ("nobody", "refused: cannot find the group \"nobody\" in the container's /etc/group: it is not there"),
    ])
    func aGroupIsFoundByItsName(name: String, answer: String) throws {
        let script = """
            standard
            printf 'root:x:0:\\ntss:x:59:a,b\\nbroken:x:-1:\\nusers:x:100:\\ntss:x:60:\\n' >$root/etc/group
            hook examine $root $container \(name)
            """
        #expect(try Stage.run(script).hasPrefix(answer))
    }

    @Test(arguments: [
        // nixos/nix; a link that is absolute or leads out of the root means the container's root.
        "mkdir -p $root/nix/store/1-base/etc; mv $root/etc/group $root/nix/store/1-base/etc/;"
            + " ln -s /nix/store/1-base/etc/group $root/etc/group",
        "mv $root/etc/group $root/other; ln -s ../../../../../other $root/etc/group",
        // Android
        "mkdir $root/system; mv $root/etc $root/system/etc; ln -s /system/etc $root/etc",
    ])
    func aLinkedGroupFileIsFollowedInsideTheRoot(image: String) throws {
        let script = "standard; echo tss:x:61: >$root/etc/group; \(image); hook examine $root $container tss"
        #expect(try Stage.run(script) == "examined 61")
    }

    @Test(arguments: [
        ("ln -s $victim/group $root/etc/group", "No such file or directory"),
        ("rmdir $root/etc; ln -s $victim $root/etc", "No such file or directory"),
        ("rmdir $root/etc; ln -s ../../../../../..$victim $root/etc", "No such file or directory"),
        ("ln -s /etc/group $root/etc/group", "a link on the way leads nowhere"),
        (
            "ln -s /proc/self/root/etc/group $root/etc/group; mkdir $root/proc; inside mount -t proc p $root/proc",
            "a link on the way leads nowhere"
        ),
        ("mkfifo $root/pipe; ln -s /pipe $root/etc/group", "it is no regular file"),
        ("mkfifo $root/etc/group", "it is no regular file"),
        ("mknod $root/etc/group c 1 5", "it is no regular file"), ("mkdir $root/etc/group", "it is no regular file"),
        ("true", "No such file or directory"),
        ("truncate --size 1048577 $root/etc/group", "it is larger than 1048576 bytes"),
    ])
    func aTrapForTheGroupFileIsRefused(trap: String, reason: String) throws {
        // What must not be found: the group file of the host, and one beside it.
        let prepared = "standard; echo tss:x:59: >$victim/group; \(trap); hook examine $root $container tss"
        let said = try Stage.run(prepared)
        #expect(said.hasPrefix("refused: cannot "), "\(said)")
        #expect(said.contains(reason), "\(said)")
        #expect(said.hasSuffix(" (give device.group a number)"), "\(said)")
        #expect(!said.contains("\n"), "\(said)")
    }
}

/// A tree that others change as fast as they can while the hook works.
@Suite(.serialized, .enabled(if: Stage.isPossible, "needs root and mount namespaces"))
struct PlacementRaceTests {
    /// `CONTAINER_VTPM_SOAK=1` tries more often, `CONTAINER_VTPM_SEED` something else.
    @Test func nobodyOvertakesTheHook() throws {
        let isSoak = getenv("CONTAINER_VTPM_SOAK") != nil
        let rounds = isSoak ? 10_000 : 500
        let seed = getenv("CONTAINER_VTPM_SEED").flatMap { UInt64(String(cString: $0)) } ?? 1
        let said = try Stage.run("standard; exec $PROGRAM race $root $container $private $victim \(seed) \(rounds)")
        let last = said.split(separator: "\n").last ?? ""
        #expect(last.hasPrefix("raced \(rounds) rounds, placed "), "\(said) (CONTAINER_VTPM_SEED=\(seed))")
        // Both ends of a race must have been seen for it to have been one.
        let placed = try #require(last.split(separator: " ").last.flatMap { Int($0) }, "\(said)")
        #expect(placed > 0 && placed < rounds, "\(said)")
        if isSoak { #expect(said.contains("something else has appeared in its place"), "\(said)") }
        print("raced for a container's /dev: \(said) (CONTAINER_VTPM_SEED=\(seed))")
    }
}
