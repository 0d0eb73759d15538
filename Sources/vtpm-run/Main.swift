import CommandRun
import Glibc

/// `vtpmctl run …`, for which it becomes the command; for all other arguments it becomes `vtpmctl`.
@main
struct Main {
    static func main() { exit(CommandRun.run()) }
}
